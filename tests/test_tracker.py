from __future__ import annotations

import numpy as np
import pytest

from pipeline.skeletons import COCO
from pipeline.tracker import Tracker, box_iou, greedy_match
from pipeline.types import Detections, Poses
from tests.fakes import standing


def found(*boxes: list[float], score: float = 0.9) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32))


def see(tracker: Tracker, people: Detections, time_s: float, score: float = 0.9) -> Poses:
    """One frame in which everyone stands in their box."""
    keypoints, scores = standing(people.boxes, score)
    return tracker.update(people, keypoints, scores, time_s)


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(COCO, score_threshold=0.3)


def test_ids_stay_with_people_who_walk_past_each_other(tracker: Tracker) -> None:
    ids = []
    for step in range(30):
        right, left = 100.0 + 8 * step, 340.0 - 8 * step
        people = found([right, 100, right + 50, 250], [left, 170, left + 60, 350])
        people = people if step % 2 else Detections(people.boxes[::-1], people.scores)
        poses = see(tracker, tracker.confirm(people), step / 10)
        tall = poses.boxes[:, 3] - poses.boxes[:, 1] > 160
        ids.append((poses.track_ids[~tall].tolist(), poses.track_ids[tall].tolist()))
    assert all(each == ids[0] for each in ids)
    assert sorted(ids[0][0] + ids[0][1]) == [1, 2]


def test_a_newcomer_gets_the_next_id_and_a_short_absence_keeps_the_old(tracker: Tracker) -> None:
    one, other = [0.0, 0, 50, 150], [200.0, 0, 250, 150]
    assert see(tracker, tracker.confirm(found(one)), 0.0).track_ids.tolist() == [1]
    assert see(tracker, tracker.confirm(found(other)), 0.5, score=0.9).track_ids.tolist()[0] == 2
    assert see(tracker, found(one), 0.9).track_ids.tolist() == [1]
    assert see(tracker, found(), 1.5).track_ids.tolist() == []
    assert see(tracker, found(one), 3.0).track_ids.tolist() == [3]


def test_carried_boxes_follow_the_keypoints(tracker: Tracker) -> None:
    see(tracker, tracker.confirm(found([100, 100, 150, 250])), 0.0)
    for step in range(1, 10):
        carried = tracker.carried()
        keypoints, scores = standing([[100.0 + 5 * step, 100, 150 + 5 * step, 250]])
        tracker.update(carried, keypoints, scores, step / 10)
    box = tracker.carried().boxes[0]
    assert np.abs(box - [145, 100, 195, 250]).max() < 10


def test_hidden_legs_do_not_shrink_a_carried_box(tracker: Tracker) -> None:
    see(tracker, tracker.confirm(found([100, 100, 150, 250])), 0.0)
    for step in range(1, 10):
        keypoints, scores = standing([[100, 100, 150, 250]])
        scores[:, 11:] = 0.0
        tracker.update(tracker.carried(), keypoints, scores, step / 10)
    np.testing.assert_allclose(tracker.carried().boxes, [[100, 100, 150, 250]], atol=1e-3)


def test_a_pose_without_sure_keypoints_dies(tracker: Tracker) -> None:
    see(tracker, tracker.confirm(found([0, 0, 50, 150], [200, 0, 250, 150])), 0.0)
    carried = tracker.carried()
    keypoints, scores = standing(carried.boxes)
    scores[0] = 0.1
    poses = tracker.update(carried, keypoints, scores, 0.1)
    assert poses.track_ids.tolist() == [2]
    assert len(tracker.carried()) == 1


def test_two_poses_on_one_person_become_one_with_the_older_id(tracker: Tracker) -> None:
    see(tracker, tracker.confirm(found([100, 100, 150, 250])), 0.0)
    people = found([100, 100, 150, 250], [95, 90, 165, 260])
    keypoints, scores = standing([[100, 100, 150, 250], [101, 100, 151, 251]])
    scores[0] -= 0.2
    poses = tracker.update(people, keypoints, scores, 0.1)
    assert poses.track_ids.tolist() == [1]
    np.testing.assert_allclose(poses.scores, 0.9)


def test_a_person_the_detector_misses_survives_its_patience_only() -> None:
    tracker = Tracker(COCO, score_threshold=0.3, patience=2)
    see(tracker, tracker.confirm(found([100, 100, 150, 250])), 0.0)
    for round_, expected in enumerate((1, 1, 0)):
        people = tracker.confirm(found([300, 100, 350, 250]))
        assert len(people) == 1 + expected
        see(tracker, people, 0.1 * (round_ + 1))


def test_an_unsure_pose_does_not_outlive_a_detector_that_misses_it(tracker: Tracker) -> None:
    people = tracker.confirm(found([100, 100, 150, 250]))
    keypoints, scores = standing(people.boxes)
    scores[:, 5:] = 0.0
    tracker.update(people, keypoints, scores, 0.0)
    assert len(tracker.carried()) == 1
    assert len(tracker.confirm(found())) == 0


def test_nobody_is_ordinary(tracker: Tracker) -> None:
    for time_s in (0.0, 0.1):
        poses = see(tracker, tracker.confirm(Detections.none()), time_s)
        assert (len(poses), poses.keypoints.shape) == (0, (0, 17, 2))
    assert len(tracker.carried()) == 0


def test_forgetting_starts_new_people_with_new_ids(tracker: Tracker) -> None:
    see(tracker, found([0, 0, 50, 150]), 0.0)
    tracker.forget()
    assert see(tracker, found([0, 0, 50, 150]), 0.1).track_ids.tolist() == [2]


def test_box_iou_by_hand() -> None:
    one, other = np.array([[0.0, 0, 2, 2], [5, 5, 5, 5]]), np.array([[1.0, 0, 3, 2]])
    np.testing.assert_allclose(box_iou(one, other), np.array([[2 / 6], [0.0]]))


def test_greedy_match_takes_the_best_first() -> None:
    rows, columns = greedy_match(np.array([[0.5, 0.9], [0.1, 0.8]]), 0.2)
    assert (rows.tolist(), columns.tolist()) == ([0], [1])
