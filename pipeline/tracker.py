"""Who is who from frame to frame, and where to look for them while the detector rests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.types import Detections, FloatArray, IntArray, Poses, Skeleton

BoolArray = npt.NDArray[np.bool_]
MATCH = 0.15  # least mean of box IoU and OKS between a track and its next pose
SAME_BOX = 0.4  # a person whose box overlaps a detection by this IoU has been found by the detector
SAME_PERSON = 0.7  # two poses of one frame with this OKS are one person
SURE_SHARE = 0.5  # of the keypoints must be sure for a person to outlive a detector that misses them
WHOLE_SHARE = 0.7  # of the keypoints must be sure before their extent says how large the person is
MARGIN = 0.1  # of the extent of the keypoints, on each side: head and feet reach beyond them
STEADY_SIGMA = 0.2  # of the largest OKS sigma: finer keypoints, of faces and fingers, do not say who is who
BODY_SHARE = 0.53  # of a person's box is body, the area that OKS is relative to


@dataclass(frozen=True)
class Tracks:
    """The last poses of T people, and what is known of them.

    missed: [T], detector rounds since the detector last found the person. seen_s: [T], media time of the pose.
    visible: [T], whether the pose is of the last frame.
    """

    poses: Poses
    missed: IntArray
    seen_s: FloatArray
    visible: BoolArray


class Tracker:
    """Greedy association by box IoU and OKS, with a memory of `memory_s` seconds for those out of sight.

    score_threshold: keypoints at or below it say nothing. patience: detector rounds that a person whom only the
    pose network sees survives.
    """

    def __init__(self, skeleton: Skeleton, score_threshold: float, patience: int = 2, memory_s: float = 1.0) -> None:
        self._skeleton, self._threshold = skeleton, score_threshold
        self._steady = np.flatnonzero(skeleton.oks_sigmas >= STEADY_SIGMA * skeleton.oks_sigmas.max())
        self._patience, self._memory_s = patience, memory_s
        self._next_id = 1
        self.forget()

    def forget(self) -> None:
        """Drop all tracks, because the picture has changed altogether; ids go on counting."""
        nobody = Poses.none(len(self._skeleton))
        self._tracks = Tracks(nobody, np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))

    def carried(self) -> Detections:
        """The boxes, frame px, where the people of the last frame are expected now."""
        people = _rows(self._tracks.poses, self._tracks.visible)
        return Detections(people.boxes, people.box_scores)

    def confirm(self, found: Detections) -> Detections:
        """What the detector found, then the boxes of people it missed although their poses are still sure."""
        tracks = self._tracks
        found_again = (box_iou(tracks.poses.boxes, found.boxes) >= SAME_BOX).any(axis=1)
        missed = np.where(found_again, 0, tracks.missed + 1)
        self._tracks = replace(tracks, missed=missed)
        sure = self._sure(tracks.poses).mean(axis=1) >= SURE_SHARE
        kept = _rows(tracks.poses, tracks.visible & sure & (missed > 0) & (missed <= self._patience))
        return Detections(np.concatenate([found.boxes, kept.boxes]), np.concatenate([found.scores, kept.box_scores]))

    def update(self, people: Detections, keypoints: FloatArray, scores: FloatArray, time_s: float) -> Poses:
        """The poses of a frame, with ids. people: N boxes; keypoints: [N, K, 2] frame px; scores: [N, K].

        A pose without any sure keypoint is dropped, and so is the worse of two poses of one person.
        """
        poses = Poses(keypoints, scores, people.boxes, people.scores, np.zeros(len(people), np.int64))
        poses = _rows(poses, np.flatnonzero((scores > self._threshold).any(axis=1)))
        poses = _rows(poses, self._one_pose_a_person(poses))
        self._forget_lost(time_s)
        track_rows, pose_rows = greedy_match(self._similarity(self._tracks.poses, poses), MATCH)

        ids, boxes, missed = poses.track_ids.copy(), poses.boxes.copy(), np.zeros(len(poses), np.int64)
        ids[pose_rows] = self._tracks.poses.track_ids[track_rows]
        boxes[pose_rows] = self._follow(_rows(self._tracks.poses, track_rows), _rows(poses, pose_rows))
        missed[pose_rows] = self._tracks.missed[track_rows]
        born = np.flatnonzero(ids == 0)
        ids[born] = self._next_id + np.arange(len(born))
        self._next_id += len(born)

        poses = replace(poses, track_ids=ids, boxes=boxes)
        self._remember(poses, missed, track_rows, time_s)
        return poses

    def _forget_lost(self, time_s: float) -> None:
        """Drop the tracks that have been out of sight for longer than the memory lasts."""
        old = self._tracks
        kept = old.visible | (time_s - old.seen_s <= self._memory_s)
        self._tracks = Tracks(_rows(old.poses, kept), old.missed[kept], old.seen_s[kept], old.visible[kept])

    def _remember(self, poses: Poses, missed: IntArray, matched: IntArray, time_s: float) -> None:
        """Keep this frame's poses, and behind them the tracks that have none."""
        old = self._tracks
        lost = np.ones(len(old.visible), np.bool_)
        lost[matched] = False
        self._tracks = Tracks(
            _joined(poses, _rows(old.poses, lost)),
            np.concatenate([missed, old.missed[lost]]),
            np.concatenate([np.full(len(poses), time_s), old.seen_s[lost]]),
            np.arange(len(poses) + int(lost.sum())) < len(poses),
        )

    def _similarity(self, one: Poses, other: Poses) -> FloatArray:
        """Mean of box IoU and OKS, [A, B]."""
        similarity: FloatArray = (box_iou(one.boxes, other.boxes) + self._oks(one, other)) / 2
        return similarity

    def _one_pose_a_person(self, poses: Poses) -> IntArray:
        """Rows that remain when poses that lie on a better one are dropped, in their old order."""
        if len(poses) < 2:
            return np.arange(len(poses))
        alike = self._oks(poses, poses) > SAME_PERSON
        dropped = np.zeros(len(poses), np.bool_)
        for row in np.argsort(-poses.scores.mean(axis=1) * poses.box_scores, kind="stable"):
            if not dropped[row]:
                dropped |= alike[row]
                dropped[row] = False
        return np.flatnonzero(~dropped)

    def _sure(self, poses: Poses) -> BoolArray:
        """Which of the steady keypoints of each person are sure, [N, S]."""
        return poses.scores[:, self._steady] > self._threshold

    def _oks(self, one: Poses, other: Poses) -> FloatArray:
        """Object keypoint similarity [A, B], of the keypoints sure in both, over the smaller number of sure ones."""
        sure_one, sure_other = self._sure(one), self._sure(other)
        places_one, places_other = one.keypoints[:, self._steady], other.keypoints[:, self._steady]
        distance2 = ((places_one[:, None] - places_other[None]) ** 2).sum(axis=-1)
        area = BODY_SHARE * np.minimum(_areas(one.boxes)[:, None], _areas(other.boxes)[None])
        variance = (2 * self._skeleton.oks_sigmas[self._steady]) ** 2
        alike = np.exp(-distance2 / (2 * np.maximum(area, 1.0)[..., None] * variance))
        total = (alike * (sure_one[:, None] & sure_other[None])).sum(axis=-1)
        counts = np.minimum(sure_one.sum(axis=1)[:, None], sure_other.sum(axis=1)[None])
        similarity: FloatArray = total / np.maximum(counts, 1)
        return similarity

    def _follow(self, before: Poses, now: Poses) -> FloatArray:
        """Boxes [N, 4] of `now`: a detector's box stays, a carried one (its track's own) moves with the keypoints.

        Its size follows the extent of the keypoints only where most are sure: else a hidden leg would shrink the
        crop, and the next pose could not find the leg again.
        """
        sure = now.scores > self._threshold
        both = (sure & (before.scores > self._threshold))[..., None]
        moved = ((now.keypoints - before.keypoints) * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
        shifted = now.boxes + np.tile(moved, 2)
        whole = self._sure(now).mean(axis=1, keepdims=True) >= WHOLE_SHARE
        followed = np.where(whole, (shifted + _extent(now.keypoints, sure)) / 2, shifted)
        carried = (now.boxes == before.boxes).all(axis=1, keepdims=True)
        return np.where(carried, followed, now.boxes).astype(np.float32)


def greedy_match(similarity: FloatArray, least: float) -> tuple[IntArray, IntArray]:
    """Rows and columns of the pairs taken from the most alike downwards, each row and column once."""
    rows: list[int] = []
    columns: list[int] = []
    candidates = np.argwhere(similarity >= least)
    order = np.argsort(-similarity[candidates[:, 0], candidates[:, 1]], kind="stable")
    for row, column in candidates[order].tolist():
        if row not in rows and column not in columns:
            rows.append(row)
            columns.append(column)
    return np.array(rows, np.int64), np.array(columns, np.int64)


def box_iou(one: FloatArray, other: FloatArray) -> FloatArray:
    """Intersection over union [A, B] of boxes [A, 4] and [B, 4], x1 y1 x2 y2."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    union = _areas(one)[:, None] + _areas(other)[None] - both
    overlap: FloatArray = both / np.maximum(union, 1e-9)
    return overlap


def _extent(keypoints: FloatArray, sure: BoolArray) -> FloatArray:
    """Boxes [N, 4] round the sure keypoints, with a margin; of no use where none is sure."""
    low = np.where(sure[..., None], keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(sure[..., None], keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes: FloatArray = np.nan_to_num(np.concatenate([low - MARGIN * (high - low), high + MARGIN * (high - low)], 1))
    return boxes


def _areas(boxes: FloatArray) -> FloatArray:
    areas: FloatArray = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return areas


def _rows(poses: Poses, which: npt.NDArray[Any]) -> Poses:
    return Poses(
        poses.keypoints[which],
        poses.scores[which],
        poses.boxes[which],
        poses.box_scores[which],
        poses.track_ids[which],
    )


def _joined(one: Poses, other: Poses) -> Poses:
    return Poses(
        np.concatenate([one.keypoints, other.keypoints]),
        np.concatenate([one.scores, other.scores]),
        np.concatenate([one.boxes, other.boxes]),
        np.concatenate([one.box_scores, other.box_scores]),
        np.concatenate([one.track_ids, other.track_ids]),
    )
