"""What holds for the tracker whatever comes: any number of people, anywhere, at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.skeletons import COCO
from pipeline.smoothing import PoseSmoother
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Poses
from tests.fakes import standing

THRESHOLD = 0.3
CELL = 200  # px: the people of the grid below are never neighbours
steady = settings(derandomize=True, max_examples=40, deadline=None, database=None)


@dataclass(frozen=True)
class Shot:
    """A frame: media time, whether the detector runs, who is there: boxes [N, 4] and keypoint scores [N, 17]."""

    time_s: float
    detect: bool
    boxes: FloatArray
    scores: FloatArray


@st.composite
def shots(draw: st.DrawFn) -> Shot:
    """Up to 50 people anywhere, some without any sure keypoint, some on top of each other."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 50))
    low = rng.uniform(-50, 900, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 300, (count, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, (count, 17)) * rng.integers(0, 2, (count, 1))
    time_s = draw(st.floats(-10, 1e6, allow_nan=False))
    return Shot(time_s, draw(st.booleans()), boxes, scores.astype(np.float32))


def play(tracker: Tracker, shot: Shot) -> Poses:
    """A frame: the detector finds everyone, or they are looked for where they are expected."""
    if shot.detect:
        found = Detections(shot.boxes, np.full(len(shot.boxes), 0.8, np.float32))
        people = tracker.confirm(found, shot.time_s)
    else:
        people = tracker.carried(shot.time_s)
    keypoints, scores = standing(people.boxes)
    scores[: len(shot.scores)] = shot.scores[: len(scores)]
    return tracker.update(people, keypoints, scores, shot.time_s)


@steady
@given(st.lists(shots(), min_size=1, max_size=8), st.booleans())
def test_outputs_are_numbers_and_ids_are_positive_and_unique(frames: list[Shot], at_once: bool) -> None:
    tracker, smoother = Tracker(COCO, THRESHOLD, at_once=at_once), PoseSmoother(17, THRESHOLD)
    for frame in frames:
        raw = play(tracker, frame)
        for poses in (raw, smoother(raw, frame.time_s)):
            ids = poses.track_ids.tolist()
            assert len(set(ids)) == len(ids) == len(poses.keypoints) == len(poses.scores) == len(poses.box_scores)
            assert all(each > 0 for each in ids)
            assert np.isfinite(poses.keypoints).all()
            assert np.isfinite(poses.boxes).all()
            assert (poses.scores > THRESHOLD).any(axis=1).all()
            assert poses.keypoints.dtype == poses.boxes.dtype == np.float32
        assert np.isfinite(tracker.carried(frame.time_s + 1.0).boxes).all()


@steady
@given(st.lists(shots(), min_size=1, max_size=8))
def test_new_ids_count_up_and_none_is_used_again(frames: list[Shot]) -> None:
    tracker, memory_s = Tracker(COCO, THRESHOLD), 1.0
    last_seen, greatest, now_s = dict[int, float](), 0, 0.0
    for frame in frames:
        now_s += abs(frame.time_s) % 0.7
        poses = play(tracker, Shot(now_s, frame.detect, frame.boxes, frame.scores))
        for each in sorted(poses.track_ids.tolist()):
            if each in last_seen:
                assert now_s - last_seen[each] <= memory_s + 0.7
            else:
                assert each == greatest + 1
                greatest = each
            last_seen[each] = now_s


def crowd(rng: np.random.Generator, count: int) -> FloatArray:
    """Boxes of people who stand apart from each other."""
    cells = rng.choice(100, count, replace=False)
    low = np.stack([cells % 10, cells // 10], axis=1) * CELL + rng.uniform(0, 30, (count, 2))
    return np.concatenate([low, low + rng.uniform(60, 140, (count, 2))], axis=1).astype(np.float32)


@steady
@given(st.integers(0, 50), st.integers(0, 2**32 - 1), st.lists(st.floats(-5, 100, allow_nan=False), max_size=6))
def test_everyone_with_a_sure_pose_is_shown_once_whatever_the_time(count: int, seed: int, times: list[float]) -> None:
    boxes, tracker = crowd(np.random.default_rng(seed), count), Tracker(COCO, THRESHOLD)
    for time_s in times:
        poses = play(tracker, Shot(time_s, True, boxes, np.full((count, 17), 0.9, np.float32)))
        assert sorted(poses.track_ids.tolist()) == list(range(1, count + 1))
        np.testing.assert_array_equal(np.sort(poses.boxes, axis=0), np.sort(boxes, axis=0))


@steady
@given(st.integers(0, 50), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_order_of_detections_does_not_decide_who_is_who(count: int, seed: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, speeds = crowd(rng, count), rng.uniform(-4, 4, (count, 2))
    one, other = Tracker(COCO, THRESHOLD), Tracker(COCO, THRESHOLD)
    scores = np.full((count, 17), 0.9, np.float32)
    for frame in range(frames):
        places = (boxes + np.tile(frame * speeds, 2)).astype(np.float32)
        order = rng.permutation(count) if frame else np.arange(count)
        straight = play(one, Shot(frame / 25, True, places, scores))
        shuffled = play(other, Shot(frame / 25, True, places[order], scores))
        assert shuffled.track_ids.tolist() == straight.track_ids[order].tolist()
        np.testing.assert_array_equal(shuffled.boxes, straight.boxes[order])
