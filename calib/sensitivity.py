"""What each int8 layer of a network costs alone: one model in which every layer can be switched to int8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from tqdm import tqdm

from engines.compose import manifest_of
from engines.precision import expand_float32
from pipeline.types import FloatArray, Image
from train.parity import HEATMAPS

SWITCHES = "int8_layers"
# By whose error the layers are judged: the network's own answer, and behind it a pose network's keypoints.
JUDGED = {"pose": (HEATMAPS, "keypoints"), "person_detector": ("network/scores",)}
# auto keeps no more layers than this share of the convolutions, and ends where the next one gains less than this share.
AUTO = "auto"
MOST_KEPT, LEAST_GAIN = 0.1, 0.1
Flags = npt.NDArray[np.bool_]
# What hands on rounded values, so that NNCF rounds before it what convolutions behind it read.
HANDS_ON = ("Concat", "MaxPool", "AveragePool", "Resize")


@dataclass(frozen=True)
class LayerCost:
    """What one layer in int8 alone costs. layer: the node's name. answer: |difference| / |answer| (norms).

    The answer is the heatmaps, or a detector's scores. keypoints: their median distance, crop px; 0 of a detector.
    """

    layer: str
    answer: float
    keypoints: float


class SwitchedNetwork:
    """An int8 network in float32 arithmetic whose layers are int8 or float, each as it is asked for.

    layers: the names of the nodes that read int8 tensors, in the order of the run; convolutions: of those that are
    convolutions. Runs in ONNX Runtime.
    """

    def __init__(self, model: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
        """model, quantized: a composed file and its int8 form. ValueError if the latter has no int8 layers."""
        import onnxruntime

        self._judged = JUDGED[manifest_of(model).task]
        switched, self.layers = with_switches(expand_float32(model), quantized, self._judged[0])
        if not self.layers:
            raise ValueError("expected an int8 network, got one without int8 layers")
        kinds = {node.name: node.op_type for node in quantized.graph.node}
        self.convolutions = [layer for layer in self.layers if kinds[layer] == "Conv"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        content = switched.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, batches: Sequence[Image], int8: Flags) -> list[list[FloatArray]]:
        """The network's answer to each batch, uint8 [n, h, w, 3] BGR, and a pose network's keypoints [n, K, 2] crop px.

        int8: bool [layers].
        """
        return [self._session.run(list(self._judged), {"crops": batch, SWITCHES: int8}) for batch in batches]

    def worst(self, batches: Sequence[Image], keep_float: int | str) -> tuple[list[str], list[LayerCost]]:
        """The layers to keep in float, so many or as AUTO finds, and what each layer costs in int8, the worst first."""
        costs = self.costs(batches)
        if keep_float == AUTO:
            return self.fewest(batches, costs), costs
        return [cost.layer for cost in costs[: int(keep_float)]], costs

    def costs(self, batches: Sequence[Image]) -> list[LayerCost]:
        """What each convolution costs when it alone is int8, the worst first.

        What else reads int8 (sums, joins, maxima) rounds what convolutions beside it round as well.
        """
        reference = self(batches, np.zeros(len(self.layers), np.bool_))
        names = np.array(self.layers)
        found = [
            LayerCost(layer, *difference(reference, self(batches, names == layer)))
            for layer in tqdm(self.convolutions, "layers", leave=False, disable=None)
        ]
        return sorted(found, key=lambda cost: -cost.answer)

    def fewest(self, batches: Sequence[Image], costs: Sequence[LayerCost]) -> list[str]:
        """The worst layers that are worth keeping in float: with each, the rest's error falls by LEAST_GAIN or more.

        costs: worst first. At most MOST_KEPT of them.
        """
        none = np.zeros(len(self.layers), np.bool_)
        reference, flags = self(batches, none), ~none
        error, kept = difference(reference, self(batches, flags))[0], list[str]()
        for cost in costs[: int(MOST_KEPT * len(costs))]:
            flags[self.layers.index(cost.layer)] = False
            less = difference(reference, self(batches, flags))[0]
            if less > (1 - LEAST_GAIN) * error:
                break
            error, kept = less, [*kept, cost.layer]
        return kept


def some_batches(inputs: Sequence[Image], count: int, largest: int) -> list[Image]:
    """`count` of the inputs, uint8 [1, h, w, 3], evenly spread, in batches of `largest` (of one size)."""
    some = [inputs[i] for i in np.linspace(0, len(inputs) - 1, min(count, len(inputs))).astype(int)]
    return [np.concatenate(some[start : start + largest]) for start in range(0, len(some), largest)]


def difference(reference: Sequence[Sequence[FloatArray]], other: Sequence[Sequence[FloatArray]]) -> tuple[float, float]:
    """Of what a SwitchedNetwork says: |difference| / |answer|, and the keypoints' median distance in crop px, or 0."""
    answer, changed = (np.concatenate([batch[0].ravel() for batch in all_of]) for all_of in (reference, other))
    error = float(np.linalg.norm(changed - answer) / max(float(np.linalg.norm(answer)), 1e-12))
    apart = [
        np.linalg.norm(there - here, axis=2)
        for before, after in zip(reference, other, strict=True)
        for here, there in zip(before[1:], after[1:], strict=True)
    ]
    return error, float(np.median(np.concatenate(apart))) if apart else 0.0


def with_switches(model: onnx.ModelProto, quantized: onnx.ModelProto, answer: str) -> tuple[onnx.ModelProto, list[str]]:
    """The int8 file with an input `int8_layers` bool [layers] and its `answer` as an output, and the layers' names.

    Where a layer is not to be int8 it reads what was there before rounding: the activations, and the weights and biases
    of `model`, the same file in float32.
    """
    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    plain = {node.name: node for node in model.graph.node}
    floats = {tensor.name: tensor for tensor in model.graph.initializer}
    before: dict[str, str] = {}  # of a tensor behind a rounding: what it would be without
    added: dict[str, TensorProto] = {}
    nodes: list[NodeProto] = []
    layers: list[str] = []
    for node in result.graph.node:
        unrounded = {place: before[name] for place, name in enumerate(node.input) if name in before}
        if node.op_type == "QuantizeLinear":
            before[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and unrounded:
            before[node.output[0]] = unrounded[0]
        elif node.op_type in HANDS_ON and unrounded:
            twin = _reading(node, unrounded, f"{node.output[0]}.unrounded")
            before[node.output[0]] = twin.output[0]
            nodes.append(twin)
        elif node.op_type != "Shape" and unrounded:
            kernel = {place: name for place, name in enumerate(plain[node.name].input) if place and name in floats}
            unrounded |= kernel
            for name in unrounded.values():
                if name in floats:
                    added[f"{name}.plain"] = _renamed(floats[name])
            nodes.extend(_switches(node, unrounded, floats, len(layers)))
            added[f"{SWITCHES}/{len(layers)}"] = numpy_helper.from_array(
                np.array(len(layers)), f"{SWITCHES}/{len(layers)}"
            )
            layers.append(node.name)
        nodes.append(node)
    inputs = [*result.graph.input, helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(layers)])]
    outputs = [*result.graph.output, helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "switched", inputs, outputs, [*result.graph.initializer, *added.values()])
    result.graph.CopyFrom(graph)
    return result, layers


def _reading(node: NodeProto, inputs: Mapping[int, str], output: str) -> NodeProto:
    """A copy of a node with these of its inputs, by place, and that one output."""
    twin = NodeProto()
    twin.CopyFrom(node)
    twin.name, twin.output[0] = output, output
    for place, tensor in inputs.items():
        twin.input[place] = tensor
    return twin


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
