from __future__ import annotations

import numpy as np
import pytest

from benchmarks.moving_people import Labels
from benchmarks.tracking_figures import id_figures, keypoint_errors, precision
from pipeline.types import Poses
from tests.fakes import poses_at

BOXES = [[0.0, 0, 60, 180], [200.0, 0, 260, 180]]


def truth(ids: list[int], boxes: list[list[float]], counted: bool = True) -> Labels:
    poses = poses_at(boxes)
    keypoints = np.concatenate([poses.keypoints, np.full((len(boxes), 17, 1), 2)], axis=2)
    areas = np.full(len(boxes), 0.53 * 60 * 180)
    return Labels(keypoints, poses.boxes.astype(float), np.array(ids), np.full(len(boxes), counted), areas)


def found(ids: list[int], boxes: list[list[float]]) -> Poses:
    poses = poses_at(boxes)
    return Poses(poses.keypoints, poses.scores, poses.boxes, poses.box_scores, np.array(ids, np.int64))


def test_perfect_tracks_have_perfect_figures() -> None:
    labels = [truth([1, 2], BOXES)] * 5
    figures = id_figures(labels, [found([7, 9], BOXES)] * 5)
    assert (figures.mota, figures.idf1, figures.switches, figures.fragments) == (1.0, 1.0, 0, 0)
    assert precision(labels, [found([7, 9], BOXES)] * 5, 0.3) == pytest.approx(1.0)


def test_swapped_ids_are_two_switches_and_cost_idf1_but_no_recall() -> None:
    labels = [truth([1, 2], BOXES)] * 4
    figures = id_figures(labels, [found([7, 9], BOXES)] * 2 + [found([9, 7], BOXES)] * 2)
    assert (figures.switches, figures.fragments, figures.found, figures.false) == (2, 0, 8, 0)
    assert figures.idf1 == pytest.approx(0.5)
    assert figures.mota == pytest.approx(1 - 2 / 8)


def test_a_miss_is_a_fragment_and_a_false_one_counts() -> None:
    labels = [truth([1], BOXES[:1])] * 3
    figures = id_figures(labels, [found([7], BOXES[:1]), found([], []), found([7, 8], BOXES)])
    assert (figures.switches, figures.fragments, figures.found, figures.false) == (0, 1, 2, 1)


def test_who_is_covered_is_not_asked_for_and_nobody_there_is_false() -> None:
    labels = [truth([1], BOXES[:1]), truth([1], BOXES[:1], counted=False), truth([1], BOXES[:1])]
    absent = id_figures(labels, [found([7], BOXES[:1]), found([], []), found([7], BOXES[:1])])
    there = id_figures(labels, [found([7], BOXES[:1])] * 3)
    for figures in (absent, there):
        assert (figures.people, figures.found, figures.false, figures.fragments, figures.idf1) == (2, 2, 0, 0, 1.0)


def test_jitter_is_the_change_of_the_error_and_no_movement() -> None:
    moved = [[box[0] + 8, box[1], box[2] + 8, box[3]] for box in BOXES]
    labels = [truth([1, 2], BOXES), truth([1, 2], moved)]
    errors, changes = keypoint_errors(labels, [found([7, 9], BOXES), found([7, 9], moved)], 0.3)
    np.testing.assert_allclose([errors, changes[:17].repeat(4)], 0, atol=1e-6)
    errors, changes = keypoint_errors(labels, [found([7, 9], BOXES)] * 2, 0.3)
    np.testing.assert_allclose(changes, 8 / np.sqrt(0.53 * 60 * 180), rtol=1e-4)
    assert len(changes) == 34
