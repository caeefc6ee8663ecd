"""What a pose file costs against float32: AP, how far its keypoints move, milliseconds and megabytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engines.engine import Engine
from pipeline.pose import PoseEstimator
from pipeline.types import FloatArray, Image
from train.average_precision import average_precision
from train.datasets.pictures import Picture
from train.evaluate import Predictions, best_of, predict
from train.intervals import bootstrap_interval, resampled_precision
from train.truth import truth_of

BATCHES = (1, 8)
RUNS, WARM_UP = 30, 3
Interval = tuple[float, float]


@dataclass(frozen=True)
class Accuracy:
    """COCO's AP with its 95 % interval, and that of its difference from the AP of float32 (None: it is that)."""

    ap: float
    interval: Interval
    difference: Interval | None


@dataclass(frozen=True)
class Shift:
    """How far keypoints are from those of float32, in px of the picture and as a share of sqrt(box area).

    Of the keypoints whose score in float32 is at least the file's threshold.
    """

    median_px: float
    p99_px: float
    median_share: float
    p99_share: float


@dataclass(frozen=True)
class Row:
    """A line of the report. accuracy: None without annotations. shift: None of a detector, and of float32 itself.

    ms: milliseconds a person of each batch in OpenVINO; None of what only another runtime runs so. megabytes: the file.
    """

    name: str
    accuracy: Accuracy | None
    shift: Shift | None
    ms: Mapping[int, float] | None
    megabytes: float


class Judge:
    """Measures engines on the same people, against the first one that it is given, in float32."""

    def __init__(self, reference: Engine, pictures: Sequence[Picture], annotated: bool) -> None:
        """pictures: with the people to be estimated; annotated: they have joints, and AP is measured."""
        self.pictures = pictures
        self.annotated = annotated
        self.estimator = PoseEstimator(reference)
        self.expected = predict(self.estimator, pictures)
        if len(self.expected.keypoints) == 0:
            raise ValueError(f"nobody to measure by in {len(pictures)} pictures")
        if annotated:
            self.truth, skeleton = truth_of(pictures), self.estimator.skeleton
            self._expected_ap = resampled_precision(self.truth, best_of(self.expected, skeleton), skeleton)

    def __call__(self, engine: Engine) -> tuple[Accuracy | None, Shift | None]:
        """The AP and the shift of an engine; the reference has no shift."""
        is_reference = engine is self.estimator.engine
        found = self.expected if is_reference else predict(PoseEstimator(engine), self.pictures)
        return self._accuracy(found) if self.annotated else None, None if is_reference else self._shift(found)

    def _accuracy(self, found: Predictions) -> Accuracy:
        skeleton, pictures = self.estimator.skeleton, len(self.pictures)
        results = best_of(found, skeleton)
        ap = float(average_precision(self.truth, results, skeleton)["AP"])
        if found is self.expected:
            return Accuracy(ap, bootstrap_interval(self._expected_ap, pictures), None)
        again = resampled_precision(self.truth, results, skeleton)
        interval = bootstrap_interval(again, pictures)
        return Accuracy(
            ap, interval, bootstrap_interval(lambda drawn: again(drawn) - self._expected_ap(drawn), pictures)
        )

    def _shift(self, found: Predictions) -> Shift:
        sure = self.expected.keypoints[..., 2] >= self.estimator.engine.manifest.score_threshold
        if not sure.any():
            sure[:] = True
        corners = np.stack([person.box for picture in self.pictures for person in picture.people])
        sides = np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1))
        px = np.linalg.norm(found.keypoints[..., :2] - self.expected.keypoints[..., :2], axis=2)
        return Shift(*_middle_and_tail(px[sure]), *_middle_and_tail((px / sides[:, None])[sure]))


def _middle_and_tail(values: FloatArray) -> tuple[float, float]:
    return float(np.median(values)), float(np.percentile(values, 99))


def milliseconds(engines: Sequence[Engine], crops: Image) -> list[dict[int, float]]:
    """Each engine's median milliseconds for one of a batch, for each of BATCHES that its manifest allows.

    crops: uint8 [N, h, w, 3] BGR, repeated where a batch is larger. The engines take turns, so that what else the
    machine does falls on all of them.
    """
    result: list[dict[int, float]] = [{} for _ in engines]
    for batch in BATCHES:
        inputs = np.resize(crops, (batch, *crops.shape[1:]))
        chosen = [number for number, engine in enumerate(engines) if engine.manifest.largest_batch >= batch]
        times: dict[int, list[float]] = {number: [] for number in chosen}
        for _ in tqdm(range(RUNS + WARM_UP), f"time {batch}", leave=False, disable=None):
            for number in chosen:
                start = time.perf_counter()
                engines[number]({"crops": inputs})
                times[number].append(time.perf_counter() - start)
        for number in chosen:
            result[number][batch] = 1000 * statistics.median(times[number][WARM_UP:]) / batch
    return result


def megabytes(file: Path) -> float:
    """The size of a file."""
    return file.stat().st_size / 1e6
