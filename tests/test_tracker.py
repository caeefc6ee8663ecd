from __future__ import annotations

import numpy as np
import pytest

from pipeline.association import assign, box_iou
from pipeline.skeletons import COCO
from pipeline.tracker import Tracker
from pipeline.types import Detections, Poses
from tests.fakes import standing


def found(*boxes: list[float], score: float = 0.9) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32))


def see(tracker: Tracker, people: Detections, time_s: float, score: float = 0.9) -> Poses:
    """One frame in which everyone stands in their box."""
    keypoints, scores = standing(people.boxes, score)
    return tracker.update(people, keypoints, scores, time_s)


def detect(tracker: Tracker, people: Detections, time_s: float, score: float = 0.9) -> Poses:
    """One frame in which the detector finds these, and everyone stands in their box."""
    return see(tracker, tracker.confirm(people, time_s), time_s, score)


def walk(tracker: Tracker, speeds: list[float], frames: int = 50, fps: float = 25.0) -> list[dict[int, int]]:
    """People of equal size who walk at these speeds, px/s, meet at x = 400 half-way; each frame's person -> id."""
    ids = []
    for frame in range(frames):
        x = 400 + np.array(speeds) * (frame - frames / 2) / fps
        order = np.roll(np.arange(len(x)), frame)
        poses = detect(tracker, found(*[[x[k] - 30, 100, x[k] + 30, 280] for k in order]), frame / fps)
        places = poses.boxes[:, [0, 2]].mean(axis=1)
        nearest = np.abs(places[:, None] - x[None]).argmin(axis=1)
        ids.append(dict(zip(nearest.tolist(), poses.track_ids.tolist(), strict=True)))
    return ids


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(COCO, score_threshold=0.3)


def test_ids_stay_with_people_who_walk_past_each_other(tracker: Tracker) -> None:
    ids = []
    for step in range(30):
        right, left = 100.0 + 8 * step, 340.0 - 8 * step
        people = found([right, 100, right + 50, 250], [left, 170, left + 60, 350])
        people = people if step % 2 else Detections(people.boxes[::-1], people.scores)
        poses = detect(tracker, people, step / 10)
        tall = poses.boxes[:, 3] - poses.boxes[:, 1] > 160
        ids.append((poses.track_ids[~tall].tolist(), poses.track_ids[tall].tolist()))
    assert all(each == ids[0] for each in ids)
    assert sorted(ids[0][0] + ids[0][1]) == [1, 2]


@pytest.mark.parametrize(
    "speeds",
    [
        [120, -120],
        [60, -60],
        [250, -250],
        [150, 0],
        [200, -40],
        [180, 60],
        [150, 0, -150],
        [250, -30, -120],
        [90, -60, 20],
    ],
)
def test_people_who_walk_through_each_other_keep_their_ids(tracker: Tracker, speeds: list[float]) -> None:
    ids = walk(tracker, speeds)
    assert len(ids[0]) == len(speeds)
    assert ids[-1] == ids[0]
    assert set().union(*(each.values() for each in ids)) == set(ids[0].values())


def test_two_poses_in_one_place_are_shown_as_one_while_people_cross(tracker: Tracker) -> None:
    seen = [len(each) for each in walk(tracker, [60, -60])]
    assert (seen[0], min(seen), seen[-1]) == (2, 1, 2)
    assert 1 < seen.count(1) < 10


def test_the_best_sum_of_similarities_wins_over_the_best_pair() -> None:
    rows, columns = assign(np.array([[0.9, 0.8], [0.8, 0.1]]), 0.05)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_pairs_below_the_least_similarity_are_left_out() -> None:
    rows, columns = assign(np.array([[0.5, 0.9, 0.0], [0.1, 0.8, 0.0]]), 0.2)
    assert (rows.tolist(), columns.tolist()) in (([0, 1], [0, 1]),)
    rows, columns = assign(np.array([[0.1, 0.0], [0.0, 0.0]]), 0.2)
    assert len(rows) == len(columns) == 0
    assert len(assign(np.zeros((0, 3)), 0.2)[0]) == 0


def test_someone_hidden_for_a_while_is_met_where_they_walk_to(tracker: Tracker) -> None:
    for frame in range(40):
        x = 100 + 6.0 * frame
        people = found() if 20 <= frame < 30 else found([x, 100, x + 50, 250])
        poses = see(tracker, people, frame / 25)
        assert poses.track_ids.tolist() == [1] * len(people)


@pytest.mark.parametrize(("away_s", "expected"), [(0.3, 1), (0.8, 1), (1.5, 2)])
def test_a_short_absence_keeps_the_id_and_a_long_one_does_not(tracker: Tracker, away_s: float, expected: int) -> None:
    box = [100.0, 100, 150, 250]
    see(tracker, found(box), 0.0)
    for time_s in np.arange(0.04, away_s, 0.04).tolist():
        see(tracker, found(), time_s)
    assert see(tracker, found(box), away_s).track_ids.tolist() == [expected]


def test_a_newcomer_gets_the_next_id_and_a_short_absence_keeps_the_old(tracker: Tracker) -> None:
    one, other = [0.0, 0, 50, 150], [200.0, 0, 250, 150]
    assert detect(tracker, found(one), 0.0).track_ids.tolist() == [1]
    assert detect(tracker, found(other), 0.5).track_ids.tolist()[0] == 2
    assert see(tracker, found(one), 0.9).track_ids.tolist() == [1]
    assert see(tracker, found(), 1.5).track_ids.tolist() == []
    assert see(tracker, found(one), 3.0).track_ids.tolist() == [3]


def test_carried_boxes_follow_the_keypoints(tracker: Tracker) -> None:
    detect(tracker, found([100, 100, 150, 250]), 0.0)
    for step in range(1, 10):
        carried = tracker.carried(step / 10)
        keypoints, scores = standing([[100.0 + 5 * step, 100, 150 + 5 * step, 250]])
        tracker.update(carried, keypoints, scores, step / 10)
    box = tracker.carried(0.9).boxes[0]
    assert np.abs(box - [145, 100, 195, 250]).max() < 10


def test_hidden_legs_do_not_shrink_a_carried_box(tracker: Tracker) -> None:
    detect(tracker, found([100, 100, 150, 250]), 0.0)
    for step in range(1, 10):
        keypoints, scores = standing([[100, 100, 150, 250]])
        scores[:, 11:] = 0.0
        tracker.update(tracker.carried(step / 10), keypoints, scores, step / 10)
    np.testing.assert_allclose(tracker.carried(0.9).boxes, [[100, 100, 150, 250]], atol=1e-3)


def test_a_pose_without_sure_keypoints_dies(tracker: Tracker) -> None:
    detect(tracker, found([0, 0, 50, 150], [200, 0, 250, 150]), 0.0)
    carried = tracker.carried(0.1)
    keypoints, scores = standing(carried.boxes)
    scores[0] = 0.1
    poses = tracker.update(carried, keypoints, scores, 0.1)
    assert poses.track_ids.tolist() == [2]
    assert len(tracker.carried(0.1)) == 1


def test_two_poses_on_one_person_become_one_with_the_older_id(tracker: Tracker) -> None:
    detect(tracker, found([100, 100, 150, 250]), 0.0)
    people = found([100, 100, 150, 250], [95, 90, 165, 260])
    keypoints, scores = standing([[100, 100, 150, 250], [101, 100, 151, 251]])
    scores[0] -= 0.2
    poses = tracker.update(people, keypoints, scores, 0.1)
    assert poses.track_ids.tolist() == [1]
    np.testing.assert_allclose(poses.scores, 0.9)


def test_a_person_the_detector_misses_survives_its_patience_only() -> None:
    tracker = Tracker(COCO, score_threshold=0.3, patience=2)
    detect(tracker, found([100, 100, 150, 250]), 0.0)
    for round_, expected in enumerate((1, 1, 0)):
        people = tracker.confirm(found([300, 100, 350, 250]), 0.1 * (round_ + 1))
        assert len(people) == 1 + expected
        see(tracker, people, 0.1 * (round_ + 1))


def test_an_unsure_pose_does_not_outlive_a_detector_that_misses_it(tracker: Tracker) -> None:
    people = tracker.confirm(found([100, 100, 150, 250]), 0.0)
    keypoints, scores = standing(people.boxes)
    scores[:, 5:] = 0.0
    tracker.update(people, keypoints, scores, 0.0)
    assert len(tracker.carried(0.1)) == 1
    assert len(tracker.confirm(found(), 0.1)) == 0


def test_nobody_is_ordinary(tracker: Tracker) -> None:
    for time_s in (0.0, 0.1):
        poses = detect(tracker, Detections.none(), time_s)
        assert (len(poses), poses.keypoints.shape) == (0, (0, 17, 2))
    assert len(tracker.carried(0.1)) == 0


def test_forgetting_starts_new_people_with_new_ids(tracker: Tracker) -> None:
    see(tracker, found([0, 0, 50, 150]), 0.0)
    tracker.forget()
    assert see(tracker, found([0, 0, 50, 150]), 0.1).track_ids.tolist() == [2]


def test_box_iou_by_hand() -> None:
    one, other = np.array([[0.0, 0, 2, 2], [5, 5, 5, 5]]), np.array([[1.0, 0, 3, 2]])
    np.testing.assert_allclose(box_iou(one, other), np.array([[2 / 6], [0.0]]))


def unsure(tracker: Tracker, people: Detections, time_s: float) -> Poses:
    """One frame in which only the face of each person is sure: less than half of the pose."""
    keypoints, scores = standing(people.boxes)
    scores[:, 5:] = 0.0
    return tracker.update(people, keypoints, scores, time_s)


def test_one_false_detection_is_not_shown_and_takes_no_id(tracker: Tracker) -> None:
    person, thing = [100.0, 100, 150, 250], [400.0, 100, 450, 250]
    detect(tracker, found(person), 0.0)
    keypoints, scores = standing([person, thing])
    scores[1, 5:] = 0.0
    people = tracker.confirm(found(person, thing), 0.04)
    assert tracker.update(people, keypoints, scores, 0.04).track_ids.tolist() == [1]
    assert tracker.wants_detector
    assert detect(tracker, found(person), 0.08).track_ids.tolist() == [1]
    assert not tracker.wants_detector
    assert detect(tracker, found(person, [600.0, 100, 650, 250]), 0.12).track_ids.tolist() == [1, 2]


def test_someone_in_doubt_is_shown_when_the_detector_finds_them_again(tracker: Tracker) -> None:
    box = [100.0, 100, 150, 250]
    assert len(unsure(tracker, tracker.confirm(found(box), 0.0), 0.0)) == 0
    assert unsure(tracker, tracker.confirm(found(box), 0.04), 0.04).track_ids.tolist() == [1]
    assert not tracker.wants_detector


def test_stills_show_everyone_at_once() -> None:
    tracker = Tracker(COCO, score_threshold=0.3, at_once=True)
    assert unsure(tracker, tracker.confirm(found([100, 100, 150, 250]), 0.0), 0.0).track_ids.tolist() == [1]


def test_the_loss_of_a_sure_pose_asks_for_the_detector_once(tracker: Tracker) -> None:
    box = [100.0, 100, 150, 250]
    detect(tracker, found(box), 0.0)
    for frame in range(1, 10):
        see(tracker, tracker.carried(frame / 25), frame / 25)
        assert not tracker.wants_detector
    see(tracker, tracker.carried(0.4), 0.4, score=0.1)
    assert tracker.wants_detector
    detect(tracker, found(), 0.44)
    assert not tracker.wants_detector


def test_a_pose_that_becomes_unsure_asks_for_the_detector_once(tracker: Tracker) -> None:
    detect(tracker, found([100.0, 100, 150, 250]), 0.0)
    for frame in range(1, 10):
        see(tracker, tracker.carried(frame / 25), frame / 25)
    asked = []
    for frame in range(10, 20):
        unsure(tracker, tracker.carried(frame / 25), frame / 25)
        asked.append(tracker.wants_detector)
    assert asked == [True] + [False] * 9


def test_after_a_change_of_the_picture_only_the_same_keep_their_ids(tracker: Tracker) -> None:
    boxes = [100.0, 100, 150, 250], [300.0, 100, 350, 250]
    detect(tracker, found(*boxes), 0.0)
    tracker.doubt()
    assert tracker.wants_detector
    assert detect(tracker, found(boxes[0], [325.0, 100, 375, 250]), 0.04).track_ids.tolist() == [1, 3]
    assert not tracker.wants_detector


@pytest.mark.parametrize("times", [[5.0, 4.0, 3.0, 2.0], [1.0] * 4, [0.0, 0.0, 100.0, 50.0], [0.0, 1e9, 0.0, 1.0]])
def test_any_time_will_do(tracker: Tracker, times: list[float]) -> None:
    for time_s in times:
        poses = detect(tracker, found([100, 100, 150, 250]), time_s)
        assert poses.track_ids.tolist() == [1]
        assert np.isfinite(tracker.carried(time_s + 1).boxes).all()
    see(tracker, found(), times[-1] + 0.04)
    see(tracker, found(), times[-1] + 2.0)
    assert detect(tracker, found([100, 100, 150, 250]), times[-1] + 2.04).track_ids.tolist() == [2]


@pytest.mark.parametrize(("box_score", "joint", "shown"), [(0.45, 0.05, 0), (0.45, 0.4, 1), (0.6, 0.05, 1)])
def test_a_likely_box_or_a_joint_makes_a_person_of_a_face(
    tracker: Tracker, box_score: float, joint: float, shown: int
) -> None:
    """A traffic cone, say, in which the detector is not sure and the pose network sees a face and nothing else."""
    for frame in range(4):
        people = tracker.confirm(found([100, 100, 120, 130], score=box_score), frame / 25)
        keypoints, scores = standing(people.boxes, 0.05)
        scores[:, :5] = 0.4
        scores[:, 5] = joint
        poses = tracker.update(people, keypoints, scores, frame / 25)
    assert len(poses) == shown
    assert not tracker.wants_detector
