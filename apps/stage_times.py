"""What each stage of a frame takes by the number of people in it, the median of several runs with their range."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.engine import Engine, open_engine
from pipeline.drawing import PoseDrawing
from pipeline.pose_pipeline import Networks
from pipeline.stats import NETWORKS
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Poses

STEP = 1.13  # widths between boxes of the same person: they do not overlap, and their crops lie at any part of a px
STRIDE = 4  # of all pose networks: crop px a heatmap px
FRAME_S = 0.04  # between two frames, for the tracker
HEATMAP_SIGMA, LEAST_HEIGHT = 2.0, 1e-6  # px, of the peaks that the decode is measured on, and where they end
DETECT, CROP, NETWORK, DECODE, TRACK, DRAW = "detect", "pose crop", "pose network", "decode", "track", "draw"
FRAME, FRAME_DETECTED = "frame", "frame with detector"
PEOPLE_STAGES = (DETECT, CROP, NETWORK, DECODE, TRACK, DRAW, FRAME, FRAME_DETECTED)


@dataclass(frozen=True)
class Spread:
    """A figure of several runs."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one run."""
        return Spread(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        """Median and range, with three digits or so."""
        digits = 1 if self.median >= 10 else 2
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


StageTimes = dict[str, Spread]  # by stage, ms


def given_boxes(found: FloatArray, count: int, shape: Sequence[int]) -> FloatArray:
    """As many boxes, float32 [count, 4] px: those found [M, 4], best first, and then the same again beside them.

    Where nobody is found there is one of a third of the picture's height in its middle. shape: (height, width, ...).
    """
    if not len(found):
        height, width = shape[:2]
        found = np.array([[width / 2 - height / 12, height / 3, width / 2 + height / 12, 2 * height / 3]])
    rows = np.arange(count)
    boxes = found[rows % len(found)].astype(np.float32)
    widths = boxes[:, 2] - boxes[:, 0]
    left = (boxes[:, 0] + STEP * widths * (rows // len(found))) % np.maximum(shape[1] - widths, 1)
    again = rows >= len(found)
    boxes[again, 0], boxes[again, 2] = left[again], (left + widths)[again]
    return boxes


@contextmanager
def decode_engine(pose: Path) -> Iterator[Engine | None]:
    """The decode of a composed ONNX file alone: `whole_heatmaps` [N, K, H, W] in, keypoints and scores out.

    None where it cannot be told apart: in built engines and other files, and without the package onnx.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
        from onnx.utils import Extractor

        from engines.compose import manifest_of, with_manifest
    except ImportError:
        yield None
        return
    if pose.suffix != ".onnx":
        yield None
        return
    model = onnx.load(pose)
    if not any("whole_heatmaps" in node.output for node in model.graph.node):
        yield None
        return
    manifest = manifest_of(model)
    keypoints = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = ["N", keypoints, *heatmap_size(manifest.input_size)]
    if not any(value.name == "whole_heatmaps" for value in model.graph.value_info):
        model.graph.value_info.append(helper.make_tensor_value_info("whole_heatmaps", TensorProto.FLOAT, shape))
    decode = Extractor(model).extract_model(["whole_heatmaps"], ["keypoints", "scores"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "decode.onnx"
        onnx.save(with_manifest(decode, manifest), file)
        # Within the whole file the decode is float32, whatever the network is.
        yield open_engine(file, precision="float32")


class PeopleTimes:
    """The stages of one frame with any number of people in it.

    frame: what the boxes are cut from; the detector's boxes of it are what `given_boxes` repeats.
    """

    def __init__(self, networks: Networks, decode: Engine | None, frame: Frame, repeats: int) -> None:
        self._detector, self._estimator, self._stats = networks.detector, networks.estimator, networks.stats
        self._threshold = networks.score_threshold
        self._decode, self._frame, self._repeats = decode, frame, repeats
        self._found = self._detector(frame.image).boxes

    def __call__(self, count: int) -> dict[str, float]:
        """Milliseconds of each stage, medians of the repeats; the first two calls are warm-up."""
        boxes = given_boxes(self._found, count, self._frame.image.shape)
        rows = [self._once(boxes) for _ in range(2 + self._repeats)][2:]
        medians = {stage: 1000 * statistics.median(row[stage] for row in rows) for stage in rows[0]}
        if self._decode is not None:
            medians[DECODE] = self._decode_ms(self._decode, count)
        return medians

    def _once(self, boxes: FloatArray) -> dict[str, float]:
        people = Detections(boxes, np.full(len(boxes), 0.9, np.float32))
        skeleton = self._estimator.skeleton
        tracker, draw = Tracker(skeleton, self._threshold, at_once=True), PoseDrawing(skeleton, self._threshold)
        _, detect = _timed(self._detector, self._frame.image)
        self._stats.clear()
        (keypoints, scores), pose = _timed(self._estimator, self._frame.image, boxes)
        network = self._stats.stages_ms()[NETWORKS[1]]["total"] / 1000
        tracker.update(people, keypoints, scores, 0.0)
        _, track = _timed(tracker.update, people, keypoints, scores, FRAME_S)
        poses = Poses(keypoints, scores, people.boxes, people.scores, np.arange(len(people)))
        copy = Frame(self._frame.image.copy(), 0, 0.0, self._frame.source, 0.0)
        _, drawing = _timed(draw, copy, poses)
        frame = pose + track
        return {
            DETECT: detect, CROP: pose - network, NETWORK: network, TRACK: track, DRAW: drawing,
            FRAME: frame, FRAME_DETECTED: detect + frame,
        }  # fmt: skip

    def _decode_ms(self, decode: Engine, count: int) -> float:
        heatmaps = peaked_heatmaps(count, len(self._estimator.skeleton), self._estimator.input_size)
        times = [_timed(decode, {"whole_heatmaps": heatmaps})[1] for _ in range(2 + self._repeats)][2:]
        return 1000 * statistics.median(times)


def measure_people(times: Callable[[int], dict[str, float]], counts: Sequence[int], runs: int) -> dict[int, StageTimes]:
    """For each number of people the stages' spread over the runs; the numbers take turns, so that noise hits all."""
    rows: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    for _ in range(runs):
        for count in counts:
            rows[count].append(times(count))
    return {
        count: {stage: Spread.of([row[stage] for row in some]) for stage in PEOPLE_STAGES if stage in some[0]}
        for count, some in rows.items()
    }


def heatmap_size(input_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) px of the heatmaps for crops of (width, height) px."""
    return input_size[1] // STRIDE, input_size[0] // STRIDE


def peaked_heatmaps(people: int, keypoints: int, input_size: tuple[int, int]) -> FloatArray:
    """Heatmaps [N, K, H, W] with one Gaussian peak each, at random places.

    The tails end in zeros. A network has no denormal numbers there, with which some CPUs compute many times as slowly.
    """
    height, width = heatmap_size(input_size)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(4, width - 4, (people, keypoints, 1)), rng.uniform(4, height - 4, (people, keypoints, 1))
    columns = np.exp(-((np.arange(width) - x) ** 2) / (2 * HEATMAP_SIGMA**2))
    rows = np.exp(-((np.arange(height) - y) ** 2) / (2 * HEATMAP_SIGMA**2))
    maps: FloatArray = rows[..., None] * columns[..., None, :]
    return np.where(maps < LEAST_HEIGHT, 0, maps).astype(np.float32)


def people_table(times: dict[int, StageTimes]) -> str:
    """One line a stage, ms, and a column for each number of people; a network's time has the decode's in it."""
    stages = [stage for stage in PEOPLE_STAGES if stage in next(iter(times.values()))]
    names = [f"{count} {'person' if count == 1 else 'people'}" for count in times]
    rows = [("", names), *((stage, [str(row[stage]) for row in times.values()]) for stage in stages)]
    width = 2 + max(len(cell) for _, cells in rows for cell in cells)
    return "\n".join(f"{name:<20}" + "".join(f"{cell:>{width}}" for cell in cells) for name, cells in rows)


def _timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call(*arguments)
    return result, time.perf_counter() - start
