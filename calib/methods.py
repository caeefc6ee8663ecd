"""How the range of values that int8 holds is chosen: the ways that NNCF offers, and entropy, which it does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

# mean: of each crop's least and largest value. minmax: of all crops. percentile: the largest of each crop's 99.99th.
# mse: the range of least square error. entropy: of least Kullback-Leibler divergence (Migacz, GTC 2017).
METHODS = ("mean", "minmax", "percentile", "mse", "entropy")
DEFAULT = "minmax"
OUTLIERS = 1e-4
BINS, STRIDE = 2048, 8

FloatArray = npt.NDArray[np.floating[Any]]
Images = Iterable[dict[str, FloatArray]]


def range_estimator(method: str) -> Any:
    """NNCF's parameters of a method for activations; for entropy those that it starts from. ValueError for others."""
    from nncf.quantization import range_estimator as nncf

    if method not in METHODS:
        raise ValueError(f"method should be one of {', '.join(METHODS)}, got {method!r}")
    quantiles = [
        nncf.StatisticsCollectorParameters(nncf.StatisticsType.QUANTILE, aggregator, quantile_outlier_prob=OUTLIERS)
        for aggregator in (nncf.AggregatorType.MIN, nncf.AggregatorType.MAX)
    ]
    ready = nncf.RangeEstimatorParametersSet
    return {
        "mean": ready.MEAN_MINMAX,
        "minmax": ready.MINMAX,
        "percentile": nncf.RangeEstimatorParameters(*quantiles),
        "mse": ready.HISTOGRAM,
        "entropy": ready.MINMAX,
    }[method]


def set_entropy_ranges(quantized: onnx.ModelProto, network: onnx.ModelProto, images: Images) -> None:
    """Narrow the ranges of an int8 network, which hold all values, to those of least entropy lost, in place.

    network: the same in float32. Ranges of single channels stay as they are, as TensorRT's entropy has none either.
    """
    tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
    steps = [node for node in quantized.graph.node if _rounds_whole_tensor(node, tensors)]
    levels = {node.input[1]: _levels(tensors[node.input[2]]) for node in steps}
    tops = {scale: float(numpy_helper.to_array(tensors[scale]).item()) * count for scale, count in levels.items()}
    counts = _histograms(network, {node.input[1]: node.input[0] for node in steps}, tops, images)
    for scale, histogram in counts.items():
        top = tops[scale] * kept_bins(histogram, levels[scale] + 1) / len(histogram)
        shape = list(tensors[scale].dims)
        tensors[scale].CopyFrom(numpy_helper.from_array(np.full(shape, top / levels[scale], np.float32), scale))


def kept_bins(histogram: FloatArray, levels: int) -> int:
    """How many of the first bins of a histogram [B] to keep, so that rounding to as many levels loses least entropy.

    What is beyond them counts as the last one's. At least as many bins are kept as there are levels.
    """
    sizes = range(levels, len(histogram) + 1, STRIDE)
    losses = [_divergence(histogram, size, levels) for size in sizes]
    return sizes[int(np.argmin(losses))]


def _divergence(histogram: FloatArray, size: int, levels: int) -> float:
    """How much the first bins, rounded to the levels, tell less than the whole histogram, in nat."""
    inside = histogram[:size]
    whole = inside.copy()
    whole[-1] += histogram[size:].sum()
    if whole.sum() == 0:
        return 0.0
    level = np.arange(size) * levels // size
    filled = inside > 0
    totals = np.bincount(level, inside, levels) / np.maximum(np.bincount(level, filled, levels), 1)
    rounded = np.where(filled, totals[level], 0)
    share, rounded = whole / whole.sum(), rounded / max(rounded.sum(), 1)
    seen = share > 0
    return float(np.sum(share[seen] * np.log(share[seen] / np.maximum(rounded[seen], 1e-9))))


def _histograms(
    network: onnx.ModelProto, names: dict[str, str], tops: dict[str, float], images: Images
) -> dict[str, FloatArray]:
    """Counts [BINS] of the sizes from 0 to the top, zeros left out, of each of these tensors of the network."""
    import onnxruntime

    copy = onnx.ModelProto()
    copy.CopyFrom(network)
    outside = {value.name for value in (*copy.graph.input, *copy.graph.output)}
    wanted = sorted(set(names.values()) - outside)
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = [value.name for value in session.get_outputs()]
    counts: dict[str, FloatArray] = {key: np.zeros(BINS) for key in names}
    for image in images:
        values = {**image, **dict(zip(outputs, session.run(outputs, image), strict=True))}
        for key, name in names.items():
            sizes = np.abs(values[name][values[name] != 0])
            bins = np.minimum(sizes * (BINS / max(tops[key], 1e-12)), BINS - 1).astype(np.int64)
            counts[key] += np.bincount(bins, minlength=BINS)
    return counts


def _rounds_whole_tensor(node: NodeProto, tensors: dict[str, TensorProto]) -> bool:
    if node.op_type != "QuantizeLinear" or node.input[0] in tensors:
        return False
    return bool(np.prod(tensors[node.input[1]].dims, dtype=int) == 1)


def _levels(zero_point: TensorProto) -> int:
    """The steps from 0 to the top."""
    return 255 if zero_point.data_type == TensorProto.UINT8 else 127
