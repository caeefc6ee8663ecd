"""The parity ladder: one network from PyTorch through every runtime and precision, each rung held against the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from engines.engine import Engine, ModelError, open_engine
from pipeline.types import FloatArray, Image
from train.layers import Departure, Layers, answers, file_layers, first_departure, torch_layers, with_outputs
from train.torch_engine import PoseEngine

HEATMAPS = "network/heatmaps"


@dataclass(frozen=True)
class Limits:
    """What a rung may differ by from the first one.

    heatmaps: largest error as a share of the largest value. keypoints: median error, crop px. figure: of AP or PCKh,
    0 to 1. layer: relative error of a convolution's output, used to name the first bad one.
    """

    heatmaps: float
    keypoints: float
    figure: float
    layer: float


FLOAT32 = Limits(1e-3, 0.01, 0.001, 1e-3)
FLOAT16 = Limits(1e-2, 0.1, 0.001, 1e-2)
BFLOAT16 = Limits(0.2, 0.5, 0.005, 0.1)
INT8 = Limits(0.4, 1.0, 0.01, 0.3)


@dataclass(frozen=True)
class Sample:
    """What a network makes of N crops: heatmaps [N, K, H, W], keypoints [N, K, 2] crop px."""

    heatmaps: FloatArray
    keypoints: FloatArray


@dataclass(frozen=True)
class Rung:
    """A way to run the network.

    sample and layers: crops uint8 [N, h, w, 3] BGR -> what it makes of them, without flip test. engine: opens what
    the figure is measured with.
    """

    name: str
    limits: Limits
    sample: Callable[[Image], Sample]
    layers: Callable[[Image], Layers]
    engine: Callable[[], Engine]


@dataclass(frozen=True)
class Result:
    """How far a rung is from the first one (heatmaps: share of the largest value; keypoints: crop px), its figure,
    what is wrong with it, if anything is, and the layer where it departs then.
    """

    rung: str
    heatmaps: float
    keypoint_median: float
    keypoint_p99: float
    figure: float
    complaint: str | None
    departure: Departure | None


@dataclass(frozen=True)
class Skipped:
    """A rung that cannot be run here, and why."""

    rung: str
    reason: str


def torch_rung(engine: PoseEngine, measured: PoseEngine) -> Rung:
    """PyTorch in float32. measured: the same network, with the flip test if the figure is to have it."""

    def sample(crops: Image) -> Sample:
        return Sample(engine.heatmaps(crops).cpu().numpy(), engine({"crops": crops})["keypoints"])

    return Rung("PyTorch float32", FLOAT32, sample, lambda crops: torch_layers(engine.network, crops), lambda: measured)


def file_rung(
    name: str,
    limits: Limits,
    model: onnx.ModelProto,
    folder: Path,
    runtime: str,
    precision: str,
    engine: Callable[[], Engine],
) -> Rung:
    """A composed pose file, of crops or frames, in a runtime and precision; `folder` is for copies with outputs."""

    def sample(crops: Image) -> Sample:
        path = folder / "heatmaps.onnx"
        onnx.save(with_outputs(model, [HEATMAPS]), path)
        found = answers(open_engine(path, runtime, precision), crops)
        return Sample(found[HEATMAPS], found["keypoints"])

    return Rung(name, limits, sample, lambda crops: file_layers(model, folder, runtime, precision, crops), engine)


def climb(
    rungs: Sequence[Rung], crops: Image, measure: Callable[[Engine], float], people: int
) -> Iterator[Result | Skipped]:
    """Every rung's result in turn, up to the first bad one. A rung whose runtime is not to be had is skipped.

    crops: uint8 [N, h, w, 3] BGR. measure: the figure of an engine over `people` people. Of few people it is coarse,
    and half a person's worth of difference is allowed on top of the limit.
    """
    top: tuple[Rung, Sample, float] | None = None
    for rung in rungs:
        try:
            sample, figure = rung.sample(crops), measure(rung.engine())
        except ModelError as error:
            yield Skipped(rung.name, str(error))
            continue
        if top is None:
            top = rung, sample, figure
        result = _compared(rung, sample, figure, *top[1:], 0.5 / people)
        if result.complaint:
            departure = first_departure(top[0].layers(crops), rung.layers(crops), rung.limits.layer)
            yield replace(result, departure=departure)
            return
        yield result


def _compared(rung: Rung, sample: Sample, figure: float, reference: Sample, expected: float, grain: float) -> Result:
    """The rung against the first one. Raises ValueError for heatmaps of another shape."""
    if sample.heatmaps.shape != reference.heatmaps.shape:
        shapes = f"{list(reference.heatmaps.shape)} before, {list(sample.heatmaps.shape)} in {rung.name}"
        raise ValueError(f"the heatmaps [N, K, H, W] differ in shape, these are two networks: {shapes}")
    heatmaps = float(np.abs(sample.heatmaps - reference.heatmaps).max() / np.abs(reference.heatmaps).max())
    apart = np.linalg.norm(sample.keypoints - reference.keypoints, axis=2)
    median, p99 = float(np.median(apart)), float(np.percentile(apart, 99))
    complaints = [
        f"{what} differ by {value:.3g}, at most {limit:g} is allowed"
        for what, value, limit in (
            ("the heatmaps", heatmaps, rung.limits.heatmaps),
            ("the keypoints' median px", median, rung.limits.keypoints),
            ("the figures", abs(figure - expected), rung.limits.figure + grain),
        )
        if not value <= limit
    ]
    return Result(rung.name, heatmaps, median, p99, figure, "; ".join(complaints) or None, None)
