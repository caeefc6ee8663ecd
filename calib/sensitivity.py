"""What each int8 layer of a pose network costs alone: one model in which every layer can be switched to int8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from tqdm import tqdm

from engines.precision import expand_float32
from pipeline.types import FloatArray, Image
from train.parity import HEATMAPS

SWITCHES = "int8_layers"
BATCH = 8
# auto keeps no more layers than this share of all, and ends where the next one gains less than this share.
MOST_KEPT, LEAST_GAIN = 0.1, 0.1
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LayerCost:
    """What one layer in int8 alone costs. layer: the node's name. heatmaps: |difference| / |heatmaps| (norms).

    keypoints: median distance of the keypoints, crop px.
    """

    layer: str
    heatmaps: float
    keypoints: float


class SwitchedNetwork:
    """An int8 pose network in float32 arithmetic whose layers are int8 or float, each as it is asked for.

    layers: the names of the nodes that read int8 tensors, in the order of the run. Runs in ONNX Runtime.
    """

    def __init__(self, model: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
        """model, quantized: a composed pose file and its int8 form. ValueError if the latter has no int8 layers."""
        import onnxruntime

        switched, self.layers = with_switches(expand_float32(model), quantized)
        if not self.layers:
            raise ValueError("expected an int8 network, got one without int8 layers")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        content = switched.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, crops: Image, int8: Flags) -> tuple[FloatArray, FloatArray]:
        """crops uint8 [N, h, w, 3] BGR, int8 bool [layers] -> (heatmaps [N, K, H, W], keypoints [N, K, 2] crop px)."""
        parts = [
            self._session.run([HEATMAPS, "keypoints"], {"crops": crops[start : start + BATCH], SWITCHES: int8})
            for start in range(0, len(crops), BATCH)
        ]
        heatmaps, keypoints = (np.concatenate(part) for part in zip(*parts, strict=True))
        return heatmaps, keypoints

    def costs(self, crops: Image) -> list[LayerCost]:
        """What each layer costs when it alone is int8, the worst first. crops: uint8 [N, h, w, 3] BGR."""
        reference = self(crops, np.zeros(len(self.layers), np.bool_))
        alone = tqdm(np.eye(len(self.layers), dtype=np.bool_), "layers", leave=False, disable=None)
        pairs = zip(self.layers, alone, strict=True)
        found = [LayerCost(layer, *difference(reference, self(crops, flags))) for layer, flags in pairs]
        return sorted(found, key=lambda cost: -cost.heatmaps)

    def fewest(self, crops: Image, costs: Sequence[LayerCost]) -> list[str]:
        """The worst layers that are worth keeping in float: with each, the rest's error falls by LEAST_GAIN or more.

        costs: worst first. At most MOST_KEPT of all layers.
        """
        none = np.zeros(len(self.layers), np.bool_)
        reference, flags = self(crops, none), ~none
        error, kept = difference(reference, self(crops, flags))[0], list[str]()
        for cost in costs[: int(MOST_KEPT * len(costs))]:
            flags[self.layers.index(cost.layer)] = False
            less = difference(reference, self(crops, flags))[0]
            if less > (1 - LEAST_GAIN) * error:
                break
            error, kept = less, [*kept, cost.layer]
        return kept


def difference(reference: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> tuple[float, float]:
    """Of two (heatmaps, keypoints): |difference| / |heatmaps|, and the median distance of the keypoints in crop px."""
    heatmaps = float(np.linalg.norm(other[0] - reference[0]) / max(float(np.linalg.norm(reference[0])), 1e-12))
    return heatmaps, float(np.median(np.linalg.norm(other[1] - reference[1], axis=2)))


def with_switches(model: onnx.ModelProto, quantized: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The int8 file with an input `int8_layers` bool [layers] and the heatmaps as an output, and the layers' names.

    Where a layer is not to be int8 it reads what was there before rounding: the activations, and the weights and biases
    of `model`, the same file in float32.
    """
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    plain = {node.name: node for node in model.graph.node}
    floats = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in quantized.graph.node for name in node.output}
    added: dict[str, TensorProto] = {}
    nodes: list[NodeProto] = []
    layers: list[str] = []
    for node in result.graph.node:
        before = _before_rounding(node, makers) if not _is_rounding(node) else {}
        if before:
            twin = plain[node.name]
            before.update(
                {place: twin.input[place] for place in range(1, len(twin.input)) if twin.input[place] in floats}
            )
            for name in before.values():
                if name in floats:
                    added[f"{name}.plain"] = _renamed(floats[name])
            nodes.extend(_switches(node, before, floats, len(layers)))
            added[f"{SWITCHES}/{len(layers)}"] = numpy_helper.from_array(
                np.array(len(layers)), f"{SWITCHES}/{len(layers)}"
            )
            layers.append(node.name)
        nodes.append(node)
    inputs = [*result.graph.input, helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(layers)])]
    outputs = [*result.graph.output, helper.make_tensor_value_info(HEATMAPS, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "switched", inputs, outputs, [*result.graph.initializer, *added.values()])
    result.graph.CopyFrom(graph)
    return result, layers


def _is_rounding(node: NodeProto) -> bool:
    return node.op_type in ("QuantizeLinear", "DequantizeLinear")


def _before_rounding(node: NodeProto, makers: Mapping[str, NodeProto]) -> dict[int, str]:
    """The places of a node's int8 activations -> the tensors that were rounded to them."""
    found = {}
    for place, name in enumerate(node.input):
        maker = makers.get(name)
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in makers:
            found[place] = makers[maker.input[0]].input[0]
    return found


def _switches(
    node: NodeProto, before: Mapping[int, str], floats: Mapping[str, Any], number: int
) -> Iterator[NodeProto]:
    """Nodes that choose between what a layer reads in int8 and before; the layer is made to read the choice."""
    flag = f"{SWITCHES}/{number}/flag"
    yield helper.make_node("Gather", [SWITCHES, f"{SWITCHES}/{number}"], [flag])
    for place, name in before.items():
        chosen = f"{SWITCHES}/{number}/{place}"
        yield helper.make_node(
            "Where", [flag, node.input[place], f"{name}.plain" if name in floats else name], [chosen]
        )
        node.input[place] = chosen


def _renamed(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor), f"{tensor.name}.plain")
