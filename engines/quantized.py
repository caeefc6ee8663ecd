"""Quantised ONNX files as OpenVINO and TensorRT read them right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

QUANTISING = ("QuantizeLinear", "DequantizeLinear")
UNSIGNED_TO_SIGNED = np.float32(255 / 127)
MIDDLE = 128  # of uint8


def is_quantized(model: ModelProto) -> bool:
    """Whether the file holds an int8 network by explicit Q/DQ."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def unsigned_uint8(model: ModelProto) -> ModelProto:
    """A copy in which activations in int8 are uint8 with the zero point 128: the same values.

    Without AMX OpenVINO 2026.4 turns int8 into that by itself, and is wrong by a fifth where a Concat comes before the
    convolution.
    """
    result = ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    for name in {node.input[2] for node in result.graph.node if node.op_type == "QuantizeLinear"}:
        if tensors[name].data_type == TensorProto.INT8:
            middle = np.full(numpy_helper.to_array(tensors[name]).shape, MIDDLE, np.uint8)
            tensors[name].CopyFrom(numpy_helper.from_array(middle, name))
    onnx.checker.check_model(result, full_check=True)
    return result


def signed_int8(model: ModelProto) -> ModelProto:
    """A copy in which all Q/DQ are int8, as TensorRT knows no uint8 between layers.

    uint8 with the zero point 128 becomes the same values in int8, uint8 from 0 on the positive half of int8: TensorRT
    would read it as int8 with the same scale, and cut off the upper half of the range without an error. Here the step
    doubles instead. Raises ValueError for another zero point.
    """
    result = ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    scales: dict[str, str] = {}
    for node in result.graph.node:
        if node.op_type not in QUANTISING or len(node.input) < 3:
            continue
        zero = tensors.get(node.input[2])
        if zero is None or zero.data_type != TensorProto.UINT8:
            continue
        points = numpy_helper.to_array(zero)
        if points.any() and (points != MIDDLE).any():
            raise ValueError(
                f"{node.name} has zero points other than 0 and 128, which TensorRT cannot run: quantise anew"
            )
        if node.input[0] in tensors:
            raise ValueError(f"{node.name} has weights in uint8, which TensorRT cannot run: quantise anew to int8")
        scales.setdefault(node.input[1], node.input[2])
        node.input[1] += ".signed"
        node.input[2] += ".signed"
    for scale, zero_point in scales.items():
        points = numpy_helper.to_array(tensors[zero_point])
        values = numpy_helper.to_array(tensors[scale]) * (1 if points.any() else UNSIGNED_TO_SIGNED)
        zeros = np.zeros(points.shape, np.int8)
        result.graph.initializer.append(numpy_helper.from_array(values, f"{scale}.signed"))
        result.graph.initializer.append(numpy_helper.from_array(zeros, f"{zero_point}.signed"))
    _drop_unused(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def without_emulated_int8(model: ModelProto) -> ModelProto:
    """A copy whose convolutions are floats where TensorRT has no int8 ones: transposed ones, and depthwise ones behind
    activations with a scale for each channel, which it has for weights only.

    It would round in kernels of their own, dequantise the weights in every run, and compute in float32.
    """
    result = ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    makers = {name: node for node in result.graph.node for name in node.output}
    for node in result.graph.node:
        step = makers.get(node.input[0]) if node.input else None
        rounded = makers.get(step.input[0]) if step is not None and step.op_type == "DequantizeLinear" else None
        if step is None or rounded is None:
            continue
        if node.op_type != "ConvTranspose" and np.prod(tensors[step.input[1]].dims, dtype=int) == 1:
            continue
        node.input[0] = rounded.input[0]
        weight = makers.get(node.input[1]) if node.op_type in ("Conv", "ConvTranspose") else None
        if weight is not None and weight.op_type == "DequantizeLinear":
            node.input[1] = f"{weight.output[0]}.plain"
            values = _dequantized(weight, tensors)
            result.graph.initializer.append(numpy_helper.from_array(values, node.input[1]))
    _drop_unused(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def _dequantized(node: NodeProto, tensors: Mapping[str, TensorProto]) -> npt.NDArray[np.float32]:
    """The weights [out, ...] that a DequantizeLinear makes; its zero points are 0."""
    values, scale = (numpy_helper.to_array(tensors[name]).astype(np.float32) for name in node.input[:2])
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
    return values * (scale.reshape(shape) if scale.size > 1 else scale)


def _drop_unused(model: ModelProto) -> None:
    """Take out the Q/DQ nodes that nobody reads any more, and their constants."""
    wanted = {value.name for value in model.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if node.op_type not in QUANTISING or wanted.intersection(node.output):
            wanted.update(node.input)
            wanted.update(name for attribute in node.attribute for name in _reads(attribute.g))
            kept.append(node)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(tensors)


def _reads(graph: GraphProto) -> list[str]:
    """The tensors that the nodes of a branch read."""
    return [name for node in graph.node for name in node.input]
