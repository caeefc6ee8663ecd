"""Who is who from frame to frame, and where to look for them while the detector rests."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.association import BODY_SHARE, BoolArray, assign, box_areas, box_iou, keypoint_similarity
from pipeline.types import Detections, FloatArray, IntArray, Poses, Skeleton

MATCH = 0.15  # least mean of box IoU and OKS between where a track is expected and its next pose
MATCH_AFTER_CHANGE = 0.5  # the same when the picture has changed: others may stand where these stood
SAME_BOX = 0.4  # a person whose box overlaps a detection by this IoU has been found by the detector
SAME_PERSON = 0.7  # two poses of one frame with this OKS are one person
SURE_SHARE = 0.5  # of the steady keypoints must be sure for a pose to be sure
WHOLE_SHARE = 0.7  # of the keypoints must be sure before their extent says how large the person is
MARGIN = 0.1  # of the extent of the keypoints, on each side: head and feet reach beyond them
STEADY_SIGMA = 0.2  # of the largest OKS sigma: finer keypoints, of faces and fingers, do not say who is who
ROUNDS_FOUND = 2  # detector rounds must find someone whose pose is not sure before they are shown
CLEAR_BOX = 0.5  # score of a box that makes a person of someone of whom only a part is seen
PART_SHARE = 0.33  # of the steady keypoints, just more than a face has; of a lesser box as many must be sure
FRAMES_SURE = 5  # in a row make a pose whose loss asks for the detector
VELOCITY_S = 0.25  # time constant of the velocity
FORESEEN_S = 0.5  # nobody is expected to walk on for longer


@dataclass(frozen=True)
class Tracks(Poses):
    """The last poses of T people, and what is known of them. An id of 0: nobody has been told of them yet.

    velocity: float64 [T, 2], px/s. seen_s: [T], media time of the pose. visible: [T], whether it is of the last frame.
    found, missed: [T], detector rounds that found the person, and those since it last did.
    sure: [T], frames in a row, up to the last, in which the pose was sure.
    """

    velocity: FloatArray
    seen_s: FloatArray
    visible: BoolArray
    found: IntArray
    missed: IntArray
    sure: IntArray


People = TypeVar("People", bound=Poses)


class Tracker:
    """Association of poses by box IoU and OKS with where their tracks are expected, by the Hungarian method.

    A track moves on with constant velocity, as in SORT (Bewley et al., ICIP 2016), here of an alpha-beta filter, the
    steady state of its Kalman filter. It is remembered for `memory_s` seconds out of sight. Someone new is shown, with
    the next id, once the pose is sure or the detector has found them twice; with `at_once` always, as for stills. The
    detector's word is not enough where its score is low and no more than a face is seen: things look like that, too.

    score_threshold: keypoints at or below it say nothing. patience: detector rounds that a person whom only the
    pose network sees survives.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        score_threshold: float,
        patience: int = 2,
        memory_s: float = 1.0,
        at_once: bool = False,
    ) -> None:
        self._skeleton, self._threshold = skeleton, score_threshold
        self._steady = np.flatnonzero(skeleton.oks_sigmas >= STEADY_SIGMA * skeleton.oks_sigmas.max())
        self._patience, self._memory_s, self._at_once = patience, memory_s, at_once
        self._next_id = 1
        self.forget()

    def forget(self) -> None:
        """Drop all tracks, as for a picture of another size; ids go on counting."""
        self._tracks = _begun(Poses.none(len(self._skeleton)), np.zeros(0, np.bool_), 0.0)
        self._detected = 0  # of the people that are looked for, those that the detector found
        self._doubted, self.wants_detector = False, True

    def doubt(self) -> None:
        """Say that the picture has changed: in the next frame only those who are much the same keep their ids."""
        self._doubted, self.wants_detector = True, True
        self._tracks = replace(self._tracks, velocity=np.zeros_like(self._tracks.velocity))

    @property
    def settled(self) -> bool:
        """Whether nobody shown is in doubt: the detector found them when it last looked, and their poses are sure."""
        shown = self._tracks.visible & (self._tracks.track_ids > 0)
        return not bool((shown & ((self._tracks.missed > 0) | (self._tracks.sure == 0))).any())

    def carried(self, time_s: float) -> Detections:
        """The boxes, frame px, where the people of the last frame are expected at that media time."""
        tracks = _expected(self._tracks, time_s)
        people = _rows(tracks, tracks.visible)
        self._detected = 0
        return Detections(people.boxes, people.box_scores)

    def confirm(self, found: Detections, time_s: float) -> Detections:
        """What the detector found, then the boxes of people it missed although their poses are still sure."""
        tracks = _expected(self._tracks, time_s)
        self._detected = len(found)
        again = (box_iou(tracks.boxes, found.boxes) >= SAME_BOX).any(axis=1)
        missed = np.where(again, 0, tracks.missed + 1)
        self._tracks = replace(self._tracks, missed=missed, found=tracks.found + again)
        patient = (missed > 0) & (missed <= self._patience) & (not self._doubted)
        kept = _rows(tracks, tracks.visible & self._is_sure(tracks) & patient)
        return Detections(np.concatenate([found.boxes, kept.boxes]), np.concatenate([found.scores, kept.box_scores]))

    def update(self, people: Detections, keypoints: FloatArray, scores: FloatArray, time_s: float) -> Poses:
        """The poses of a frame, with ids. people: N boxes; keypoints: [N, K, 2] frame px; scores: [N, K].

        The people are those of `carried` or `confirm`, in their order. A pose without any sure keypoint is dropped, and
        so is the worse of two poses of one person. Afterwards `wants_detector` says whether the next frame needs it:
        somebody was lost, or is new and in doubt.
        """
        poses = Poses(keypoints, scores, people.boxes, people.scores, np.zeros(len(people), np.int64))
        rows = self._one_pose_a_person(poses)
        poses, carried = _rows(poses, rows), rows >= self._detected
        self._forget_lost(time_s)
        before = _expected(self._tracks, time_s)
        least = MATCH_AFTER_CHANGE if self._doubted else MATCH
        old_rows, pose_rows = assign(self._similarity(before, poses), least)
        self._doubted = False

        new_rows = np.setdiff1d(np.arange(len(poses)), pose_rows)
        continued = self._continued(_rows(before, old_rows), _rows(poses, pose_rows), carried[pose_rows], time_s)
        begun = _begun(_rows(poses, new_rows), self._is_sure(_rows(poses, new_rows)), time_s)
        order = np.argsort(np.concatenate([pose_rows, new_rows]))
        now = self._named(_rows(_joined(continued, begun), order))

        out_of_sight = _rows(self._tracks, np.setdiff1d(np.arange(len(before)), old_rows))
        weaker = (before.sure[old_rows] >= FRAMES_SURE) & (continued.sure == 0)
        gone = out_of_sight.visible & (out_of_sight.sure >= FRAMES_SURE)
        in_doubt = (now.track_ids == 0) & (now.found < ROUNDS_FOUND)
        self.wants_detector = bool(weaker.any() or gone.any() or in_doubt.any())
        self._tracks = _joined(now, replace(out_of_sight, visible=np.zeros(len(out_of_sight), np.bool_)))
        return _poses(_rows(now, now.track_ids > 0))

    def _forget_lost(self, time_s: float) -> None:
        """Drop who has been out of sight for longer than the memory lasts, or has not been shown before."""
        old = replace(self._tracks, seen_s=np.minimum(self._tracks.seen_s, time_s))  # the time may have gone back
        remembered = (time_s - old.seen_s <= self._memory_s) & (old.track_ids > 0)
        self._tracks = _rows(old, old.visible | remembered)

    def _named(self, tracks: Tracks) -> Tracks:
        """Ids for those who have none yet and are to be shown."""
        seen = (tracks.box_scores >= CLEAR_BOX) | (self._sure_share(tracks) >= PART_SHARE)
        known = (tracks.sure > 0) | ((tracks.found >= ROUNDS_FOUND) & seen) | self._at_once
        born = np.flatnonzero((tracks.track_ids == 0) & known)
        ids = tracks.track_ids.copy()
        ids[born] = self._next_id + np.arange(len(born))
        self._next_id += len(born)
        return replace(tracks, track_ids=ids)

    def _continued(self, before: Tracks, now: Poses, carried: BoolArray, time_s: float) -> Tracks:
        """Tracks where they were expected, with the poses that they have now."""
        sure: BoolArray = self._sure_points(before) & self._sure_points(now)
        centres = (now.boxes - before.boxes).reshape(-1, 2, 2).mean(axis=1)
        moved = np.where(sure.any(axis=1, keepdims=True), _mean_move(before, now, sure), centres)
        passed_s = (time_s - before.seen_s)[:, None]
        gain = (1 - np.exp(-np.maximum(passed_s, 0) / VELOCITY_S)) / np.where(passed_s > 0, passed_s, 1.0)
        return Tracks(
            now.keypoints,
            now.scores,
            self._follow(before, now, carried),
            now.box_scores,
            before.track_ids,
            velocity=before.velocity + gain * moved,
            seen_s=np.full(len(now), time_s),
            visible=np.ones(len(now), np.bool_),
            found=before.found,
            missed=before.missed,
            sure=np.where(self._is_sure(now), before.sure + 1, 0),
        )

    def _similarity(self, one: Poses, other: Poses) -> FloatArray:
        """Mean of box IoU and OKS, [A, B]."""
        similarity: FloatArray = (box_iou(one.boxes, other.boxes) + self._oks(one, other)) / 2
        return similarity

    def _one_pose_a_person(self, poses: Poses) -> IntArray:
        """Rows of those with a sure keypoint that lie on no better one."""
        alike: BoolArray = self._oks(poses, poses) > SAME_PERSON
        dropped = np.asarray(~self._sure_points(poses).any(axis=1), np.bool_)
        for row in np.argsort(-poses.scores.mean(axis=1) * poses.box_scores, kind="stable"):
            if not dropped[row]:
                dropped |= alike[row]
                dropped[row] = False
        return np.flatnonzero(~dropped)

    def _sure_points(self, poses: Poses) -> BoolArray:
        """Which keypoints of each person are sure, [N, K]."""
        return poses.scores > self._threshold

    def _is_sure(self, poses: Poses) -> BoolArray:
        """Whose pose is sure, [N]."""
        sure: BoolArray = self._sure_share(poses) >= SURE_SHARE
        return sure

    def _sure_share(self, poses: Poses) -> FloatArray:
        """Share of each person's steady keypoints that are sure, [N]."""
        share: FloatArray = self._sure_points(poses)[:, self._steady].mean(axis=1)
        return share

    def _oks(self, one: Poses, other: Poses) -> FloatArray:
        """Object keypoint similarity [A, B] of the steady keypoints, relative to the smaller body."""
        steady = self._steady
        sure = self._sure_points(one)[:, steady], self._sure_points(other)[:, steady]
        areas = BODY_SHARE * np.minimum(box_areas(one.boxes)[:, None], box_areas(other.boxes)[None])
        sigmas = self._skeleton.oks_sigmas[steady]
        return keypoint_similarity(one.keypoints[:, steady], other.keypoints[:, steady], sure, areas, sigmas)

    def _follow(self, before: Poses, now: Poses, carried: BoolArray) -> FloatArray:
        """Boxes [N, 4] of `now`: a detector's box stays, a carried one (its track's own) moves with the keypoints.

        Its size follows the extent of the keypoints only where most are sure: else a hidden leg would shrink the
        crop, and the next pose could not find the leg again.
        """
        sure = self._sure_points(now)
        shifted = now.boxes + np.tile(_mean_move(before, now, sure & self._sure_points(before)), 2)
        whole = sure[:, self._steady].mean(axis=1, keepdims=True) >= WHOLE_SHARE
        followed = np.where(whole, (shifted + _extent(now.keypoints, sure)) / 2, shifted)
        own = carried & (now.boxes == before.boxes).all(axis=1)
        return np.where(own[:, None], followed, now.boxes).astype(np.float32)


def _begun(poses: Poses, sure: BoolArray, time_s: float) -> Tracks:
    """Tracks of people who were not there before, found once."""
    people = len(poses)
    return Tracks(
        poses.keypoints,
        poses.scores,
        poses.boxes,
        poses.box_scores,
        poses.track_ids,
        velocity=np.zeros((people, 2)),
        seen_s=np.full(people, time_s),
        visible=np.ones(people, np.bool_),
        found=np.ones(people, np.int64),
        missed=np.zeros(people, np.int64),
        sure=sure.astype(np.int64),
    )


def _expected(tracks: Tracks, time_s: float) -> Tracks:
    """The tracks where they should be at that time, by their velocities."""
    shift = tracks.velocity * np.clip(time_s - tracks.seen_s, 0, FORESEEN_S)[:, None]
    return replace(
        tracks,
        keypoints=(tracks.keypoints + shift[:, None]).astype(np.float32),
        boxes=(tracks.boxes + np.tile(shift, 2)).astype(np.float32),
    )


def _mean_move(before: Poses, now: Poses, which: BoolArray) -> FloatArray:
    """How far the keypoints [N, K] `which` have moved in the mean, [N, 2] px; 0 where there are none."""
    both = which[..., None]
    move: FloatArray = ((now.keypoints - before.keypoints) * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    return move


def _extent(keypoints: FloatArray, sure: BoolArray) -> FloatArray:
    """Boxes [N, 4] round the sure keypoints, with a margin; of no use where none is sure."""
    low = np.where(sure[..., None], keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(sure[..., None], keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes: FloatArray = np.nan_to_num(np.concatenate([low - MARGIN * (high - low), high + MARGIN * (high - low)], 1))
    return boxes


def _rows(people: People, which: npt.NDArray[Any]) -> People:
    return type(people)(*(getattr(people, field.name)[which] for field in fields(people)))


def _joined(one: Tracks, other: Tracks) -> Tracks:
    return Tracks(*(np.concatenate([getattr(one, f.name), getattr(other, f.name)]) for f in fields(Tracks)))


def _poses(tracks: Tracks) -> Poses:
    return Poses(*(getattr(tracks, field.name) for field in fields(Poses)))
