"""Keypoints without jitter, by the One-Euro filter.

Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012: a low-pass filter whose cutoff frequency grows with the speed, so that what stands still does not tremble and
what moves fast does not lag.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, IntArray, Poses

MIN_CUTOFF_HZ = 0.5  # of what stands still
CUTOFF_PER_SPEED = 12.0  # Hz more for each body size a second of a keypoint, beside the whole person's movement
BODY_CUTOFF_PER_SPEED = 60.0  # the same for that movement: the mean of many keypoints is steadier than one
SPEED_CUTOFF_HZ = 1.5  # of the speeds' own low-pass filter
LONGEST_GAP_S = 0.5  # who has been away for longer begins anew


@dataclass(frozen=True)
class _Memory:
    """The filter's state of M people.

    places: [M, K, 2], px. speeds: [M, K, 2], of the keypoints beside the whole person's, px/s. body_speeds: [M, 1, 2].
    sure: [M, K]. seen_s: [M].
    """

    ids: IntArray
    places: FloatArray
    speeds: FloatArray
    body_speeds: FloatArray
    sure: npt.NDArray[np.bool_]
    seen_s: FloatArray


class PoseSmoother:
    """Poses of the frames of one source in order -> the same poses, their keypoints smoothed over time.

    One filter follows the whole person, the mean of the keypoints, and one each keypoint beside it: somebody who walks
    by does not lag, and their limbs do not tremble. Speeds are relative to the person's size, the square root of the
    box's area, so that near and far people are smoothed alike. The frame rate may vary: intervals are those of the
    media time. A keypoint begins anew, where it is seen, with a new id, after a gap, when the time did not go on, and
    when it was not sure in the frame before.

    score_threshold: keypoints at or below it are not sure, and are left as they are.
    """

    def __init__(self, keypoint_count: int, score_threshold: float) -> None:
        self._threshold = score_threshold
        nowhere = np.zeros((0, keypoint_count, 2))
        unknown = nowhere[..., 0] > 0
        self._memory = _Memory(np.zeros(0, np.int64), nowhere, nowhere, nowhere[:, :1], unknown, np.zeros(0))

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """The poses of the next frame, smoothed; time_s: its media time."""
        before = self._before(poses, time_s)
        passed_s = (time_s - before.seen_s)[:, None, None]
        sure = poses.scores > self._threshold
        going_on = (before.sure & sure)[..., None]
        areas = np.prod(poses.boxes[:, 2:] - poses.boxes[:, :2], axis=1)
        sizes = np.sqrt(np.maximum(areas, 1.0))[:, None, None]

        gaps = np.where(going_on, poses.keypoints - before.places, 0.0)
        body = gaps.sum(axis=1, keepdims=True) / np.maximum(going_on.sum(axis=1, keepdims=True), 1)
        body_speeds = _speeds(before.body_speeds, body, passed_s)
        speeds = np.where(going_on, _speeds(before.speeds, gaps - body, passed_s), 0.0)
        steps = _step(body, body_speeds / sizes, passed_s, BODY_CUTOFF_PER_SPEED)
        steps = steps + _step(gaps - body, speeds / sizes, passed_s, CUTOFF_PER_SPEED)

        places = np.where(going_on, before.places + steps, poses.keypoints)
        now = _Memory(poses.track_ids, places, speeds, body_speeds, sure, np.full(len(poses), time_s))
        self._remember(now, time_s)
        return replace(poses, keypoints=places.astype(np.float32))

    def _before(self, poses: Poses, time_s: float) -> _Memory:
        """What is known of these people, a row each; those who begin anew have no sure keypoint there."""
        old = self._memory
        passed_s = time_s - old.seen_s
        recent = (passed_s > 0) & (passed_s <= LONGEST_GAP_S)
        rows, columns = np.nonzero((poses.track_ids[:, None] == old.ids[None]) & recent)
        places, seen_s = poses.keypoints.astype(np.float64), np.full(len(poses), time_s)
        speeds, sure = np.zeros_like(places), np.zeros(poses.scores.shape, np.bool_)
        body_speeds = np.zeros((len(poses), 1, 2))
        places[rows], speeds[rows], sure[rows] = old.places[columns], old.speeds[columns], old.sure[columns]
        body_speeds[rows], seen_s[rows] = old.body_speeds[columns], old.seen_s[columns]
        return _Memory(poses.track_ids, places, speeds, body_speeds, sure, seen_s)

    def _remember(self, now: _Memory, time_s: float) -> None:
        """Keep this frame's people, and those of the last moments who are not in it."""
        old = self._memory
        kept = ~np.isin(old.ids, now.ids) & (old.seen_s <= time_s) & (time_s - old.seen_s <= LONGEST_GAP_S)
        pairs = ((getattr(now, field.name), getattr(old, field.name)[kept]) for field in fields(_Memory))
        self._memory = _Memory(*(np.concatenate(pair) for pair in pairs))


def _speeds(before: FloatArray, gaps: FloatArray, passed_s: FloatArray) -> FloatArray:
    """The speeds, px/s, after moves by these gaps, px, in that time, s."""
    speeds: FloatArray = before + _rate(SPEED_CUTOFF_HZ, passed_s) * (
        gaps / np.where(passed_s > 0, passed_s, 1) - before
    )
    return speeds


def _step(gaps: FloatArray, relative: FloatArray, passed_s: FloatArray, per_speed: float) -> FloatArray:
    """What a filter goes of the gaps [N, J, 2] to the newest values, at relative speeds [N, J, 2], body sizes/s."""
    cutoff_hz = MIN_CUTOFF_HZ + per_speed * np.linalg.norm(relative, axis=2, keepdims=True)
    step: FloatArray = _rate(cutoff_hz, passed_s) * gaps
    return step


def _rate(cutoff_hz: FloatArray | float, passed_s: FloatArray) -> FloatArray:
    """The share of the gap that a low-pass filter of that cutoff frequency closes in that time: the paper's alpha."""
    turns: FloatArray = 2 * np.pi * np.asarray(cutoff_hz) * passed_s
    return turns / (turns + 1)
