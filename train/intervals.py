"""How far a figure that was measured on few pictures can be trusted: the bootstrap over pictures (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.types import IntArray, Skeleton
from train.average_precision import Results, average_precision
from train.evaluate_detector import DetectionCurve, Matches, curve_of
from train.truth import Truth

RESAMPLES = 200
CONFIDENCE = 0.95


def bootstrap_interval(
    figure: Callable[[IntArray], float], pictures: int, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The interval that holds 95 % of a figure's values over as many pictures drawn again, with repetition.

    figure: of the pictures with these numbers, int [pictures], from 0. Pictures, not people, are drawn: the people of
    one picture have much in common.
    """
    random = np.random.default_rng(seed)
    values = [figure(random.integers(0, pictures, pictures)) for _ in range(resamples)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return float(low), float(high)


def average_precision_interval(truth: Truth, results: Results, skeleton: Skeleton) -> tuple[float, float]:
    """The interval of COCO's AP."""
    figure = resampled_precision(truth, results, skeleton)
    return bootstrap_interval(figure, len(truth.pictures))


def average_precision_difference(
    truth: Truth, results: Results, others: Results, skeleton: Skeleton
) -> tuple[float, float]:
    """The interval of how much higher the AP of `results` is than that of `others`, on the same pictures each time."""
    ours, theirs = (resampled_precision(truth, each, skeleton) for each in (results, others))
    return bootstrap_interval(lambda picked: ours(picked) - theirs(picked), len(truth.pictures))


def resampled_precision(truth: Truth, results: Results, skeleton: Skeleton) -> Callable[[IntArray], float]:
    """COCO's AP over pictures drawn again, of their places in truth.pictures; the same draw is computed once."""
    ids = np.asarray(truth.pictures)
    truth_rows = [np.flatnonzero(truth.image_ids == image_id) for image_id in ids]
    result_rows = [np.flatnonzero(results.image_ids == image_id) for image_id in ids]

    values: dict[bytes, float] = {}

    def figure(picked: IntArray) -> float:
        if picked.tobytes() not in values:
            values[picked.tobytes()] = drawn(picked)
        return values[picked.tobytes()]

    def drawn(picked: IntArray) -> float:
        expected, found = _rows(truth_rows, picked), _rows(result_rows, picked)
        again = Truth(
            range(len(picked)),
            expected[1],
            truth.keypoints[expected[0]],
            truth.boxes[expected[0]],
            truth.areas[expected[0]],
            truth.crowd[expected[0]],
        )
        estimates = Results(found[1], results.keypoints[found[0]], results.scores[found[0]])
        return float(average_precision(again, estimates, skeleton)["AP"])

    return figure


def _rows(rows_of_pictures: Sequence[IntArray], picked: IntArray) -> tuple[IntArray, IntArray]:
    """The rows of the picked pictures, and the number of the pick that each belongs to."""
    rows = [rows_of_pictures[picture] for picture in picked]
    return np.concatenate(rows), np.repeat(np.arange(len(picked)), [len(part) for part in rows])


def detection_interval(matches: Sequence[Matches], figure: Callable[[DetectionCurve], float]) -> tuple[float, float]:
    """The interval of a figure of the curve over these pictures' matches."""
    return bootstrap_interval(lambda picked: figure(curve_of([matches[i] for i in picked])), len(matches))
