"""Bootstrap intervals: exact where nothing varies, near the known spread where something does, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.skeletons import COCO
from train.average_precision import Results, average_precision
from train.evaluate_detector import Matches, curve_of
from train.intervals import (
    average_precision_difference,
    average_precision_interval,
    bootstrap_interval,
    detection_interval,
)
from train.truth import Truth

PICTURES = 40


def people(wrong: int) -> tuple[Truth, Results]:
    """One person a picture, found exactly but in the first `wrong` pictures."""
    random = np.random.default_rng(0)
    keypoints = np.full((PICTURES, 17, 3), 2.0)
    keypoints[..., :2] = random.uniform(10, 90, (PICTURES, 17, 2))
    boxes = np.tile([0.0, 0, 100, 100], (PICTURES, 1))
    numbers, areas = np.arange(PICTURES), np.full(PICTURES, 5000.0)
    truth = Truth(range(PICTURES), numbers, keypoints, boxes, areas, np.zeros(PICTURES, bool))
    found = keypoints.copy()
    found[..., 2] = 0.9
    found[:wrong, :, :2] += 500
    return truth, Results(numbers, found, random.uniform(0.5, 1, PICTURES))


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    low, high = bootstrap_interval(lambda picked: float(values[picked].mean()), len(values), resamples=1000)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_what_does_not_vary_has_no_width() -> None:
    assert average_precision_interval(*people(wrong=0), COCO) == (1.0, 1.0)


def test_the_interval_holds_the_figure_and_repeats() -> None:
    truth, results = people(wrong=20)
    low, high = average_precision_interval(truth, results, COCO)
    assert 0 < low < average_precision(truth, results, COCO)["AP"] < high < 1
    assert average_precision_interval(truth, results, COCO) == (low, high)


def test_the_same_pictures_tell_two_results_apart() -> None:
    """The worse of two that differ in a few pictures is worse in every draw, although their own intervals overlap."""
    (truth, better), (_, worse) = people(wrong=16), people(wrong=24)
    low, high = average_precision_difference(truth, better, worse, COCO)
    assert 0 < low < high < 0.5
    assert average_precision_interval(truth, worse, COCO)[1] > average_precision_interval(truth, better, COCO)[0]
    assert average_precision_difference(truth, better, better, COCO) == (0.0, 0.0)


def test_the_interval_of_a_detector_holds_its_recall() -> None:
    matches = [Matches(np.array([0.9]), np.array([number % 4 != 0]), 1) for number in range(PICTURES)]
    low, high = detection_interval(matches, lambda curve: curve.at(0.5)[0])
    assert low < curve_of(matches).at(0.5)[0] == 0.75 < high
    assert 0.1 < high - low < 0.4
