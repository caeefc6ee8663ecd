"""Keypoints without jitter, by the One-Euro filter.

Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012: a low-pass filter whose cutoff frequency grows with the speed, so that what stands still does not tremble and
what moves fast does not lag.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, IntArray, Poses

MIN_CUTOFF_HZ = 1.5  # of a keypoint that stands still
CUTOFF_PER_SPEED = 8.0  # Hz more for each body size a second
SPEED_CUTOFF_HZ = 2.0  # of the speed's own low-pass filter
LONGEST_GAP_S = 0.5  # who has been away for longer begins anew


@dataclass(frozen=True)
class _Memory:
    """The filter's state of M people. speeds, places: [M, K, 2], px/s and px; sure: [M, K]; seen_s: [M]."""

    ids: IntArray
    places: FloatArray
    speeds: FloatArray
    sure: npt.NDArray[np.bool_]
    seen_s: FloatArray


class PoseSmoother:
    """Poses of the frames of one source in order -> the same poses, their keypoints smoothed over time.

    Speeds are relative to the person's size, the square root of the box's area, so that near and far people are
    smoothed alike. The frame rate may vary: intervals are those of the media time. A keypoint begins anew, where it is
    seen, with a new id, after a gap, when the time did not go on, and when it was not sure in the frame before.

    score_threshold: keypoints at or below it are not sure, and are left as they are.
    """

    def __init__(
        self, keypoint_count: int, score_threshold: float, min_cutoff_hz: float = MIN_CUTOFF_HZ,
        cutoff_per_speed: float = CUTOFF_PER_SPEED, speed_cutoff_hz: float = SPEED_CUTOFF_HZ,
    ) -> None:  # fmt: skip
        self._threshold = score_threshold
        self._min_cutoff_hz, self._cutoff_per_speed = min_cutoff_hz, cutoff_per_speed
        self._speed_cutoff_hz = speed_cutoff_hz
        nowhere = np.zeros((0, keypoint_count, 2))
        self._memory = _Memory(np.zeros(0, np.int64), nowhere, nowhere, nowhere[..., 0] > 0, np.zeros(0))

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """The poses of the next frame, smoothed; time_s: its media time."""
        before = self._before(poses, time_s)
        passed_s = (time_s - before.seen_s)[:, None, None]
        sure = poses.scores > self._threshold
        going_on = (before.sure & sure)[..., None]

        move = poses.keypoints - before.places
        measured = move / np.where(passed_s > 0, passed_s, 1.0)
        speeds = before.speeds + _rate(self._speed_cutoff_hz, passed_s) * (measured - before.speeds)
        speeds = np.where(going_on, speeds, 0.0)
        areas = np.prod(poses.boxes[:, 2:] - poses.boxes[:, :2], axis=1)
        relative = np.linalg.norm(speeds, axis=2, keepdims=True) / np.sqrt(np.maximum(areas, 1.0))[:, None, None]
        cutoff_hz = self._min_cutoff_hz + self._cutoff_per_speed * relative
        rate = np.where(going_on, _rate(cutoff_hz, passed_s), 1.0)  # 1: the filter begins where the keypoint is

        places = before.places + rate * move
        self._remember(_Memory(poses.track_ids, places, speeds, sure, np.full(len(poses), time_s)), time_s)
        return replace(poses, keypoints=places.astype(np.float32))

    def _before(self, poses: Poses, time_s: float) -> _Memory:
        """What is known of these people, a row each; those who begin anew have no sure keypoint there."""
        old = self._memory
        passed_s = time_s - old.seen_s
        recent = (passed_s > 0) & (passed_s <= LONGEST_GAP_S)
        rows, columns = np.nonzero((poses.track_ids[:, None] == old.ids[None]) & recent)
        places, seen_s = poses.keypoints.astype(np.float64), np.full(len(poses), time_s)
        speeds, sure = np.zeros_like(places), np.zeros(poses.scores.shape, np.bool_)
        places[rows], speeds[rows], sure[rows] = old.places[columns], old.speeds[columns], old.sure[columns]
        seen_s[rows] = old.seen_s[columns]
        return _Memory(poses.track_ids, places, speeds, sure, seen_s)

    def _remember(self, now: _Memory, time_s: float) -> None:
        """Keep this frame's people, and those of the last moments who are not in it."""
        old = self._memory
        kept = ~np.isin(old.ids, now.ids) & (old.seen_s <= time_s) & (time_s - old.seen_s <= LONGEST_GAP_S)
        self._memory = _Memory(
            np.concatenate([now.ids, old.ids[kept]]),
            np.concatenate([now.places, old.places[kept]]),
            np.concatenate([now.speeds, old.speeds[kept]]),
            np.concatenate([now.sure, old.sure[kept]]),
            np.concatenate([now.seen_s, old.seen_s[kept]]),
        )


def _rate(cutoff_hz: FloatArray | float, passed_s: FloatArray) -> FloatArray:
    """The share of the way to the newest value that a low-pass filter goes: the paper's alpha."""
    turns: FloatArray = 2 * np.pi * np.asarray(cutoff_hz) * passed_s
    return turns / (turns + 1)
