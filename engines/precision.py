"""ONNX in float32 -> the same with float16 weights, or with a network that runs in float16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from engines.compose import with_manifest
from engines.manifest import Manifest
from engines.quantized import is_quantized, signed_int8, without_emulated_int8

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# In composed files: what the network takes, and how the names of its tensors begin.
IMAGE, NETWORK = "image", "network/"
FLOAT16_MAX = float(np.finfo(np.float16).max)


def store_float16(network: ModelProto) -> ModelProto:
    """A copy that keeps the weights of convolutions and matrix products as float16, each with a Cast to float32.

    Runtimes fold the casts away when they load the file. Biases and all other constants stay float32. To be used on
    the network before it is composed. Raises ValueError for a weight beyond float16's range.
    """
    model = _copy(network)
    weights = {name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input[1:2]}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in weights or tensor.data_type != TensorProto.FLOAT:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        _check_range(name, values)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def expand_float32(model: ModelProto) -> ModelProto:
    """A copy whose stored float16 weights are float32 constants: store_float16 undone, but for the rounding."""
    result = _copy(model)
    stored = {tensor.name: tensor for tensor in result.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    kept = []
    for node in result.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
            stored[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def to_float16(model: ModelProto) -> ModelProto:
    """A copy of a composed file whose network computes in float16, from its input to its last convolutions.

    All around stays float32, with casts between: the inputs, the normalisation, a detector's boxes, the decode and the
    coordinates. Raises ValueError for a weight beyond float16's range, a quantised network, or a file that is not
    composed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if is_quantized(model):
        raise ValueError("expected a network of floats to convert to float16, got a quantised one: give the float file")
    result = expand_float32(model)
    made = _convolutional_part(result)
    if not made:
        raise ValueError(f"expected convolutions named {NETWORK}..., got none: compose the network with a decode first")
    inputs, outputs = _boundary(result, made)
    part = Extractor(onnx.shape_inference.infer_shapes(result)).extract_model(inputs, outputs)
    for tensor in part.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            _check_range(tensor.name, numpy_helper.to_array(tensor))
    # The converter leaves Resize in float32 by default, between two casts; only its scales have to be.
    converted = convert_float_to_float16(part, keep_io_types=True, op_block_list=[])
    _replace(result, made, converted)
    onnx.checker.check_model(result, full_check=True)
    return result


def for_tensorrt(model: ModelProto) -> ModelProto:
    """A quantised file as TensorRT runs it best: signed, and what is not quantised, depthwise and transposed
    convolutions and the last ones, in float16. Raises ValueError for what TensorRT cannot run, and for weights beyond
    float16's range.
    """
    result = without_emulated_int8(signed_int8(model))
    quantized = {name for node in result.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    nodes: list[NodeProto] = []
    for node in result.graph.node:
        weighted = node.op_type in WEIGHTED and node.output[0].startswith(NETWORK)
        plain = weighted and not quantized.intersection(node.input)
        nodes.extend(_in_half(node, tensors) if plain else [node])
    read = {name for node in nodes for name in _reads(node)}
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(tensor for name, tensor in tensors.items() if name in read)
    onnx.checker.check_model(result, full_check=True)
    return result


def in_precision(model: ModelProto, manifest: Manifest, precision: str) -> tuple[ModelProto, Manifest]:
    """A composed file and its manifest, the network in one of the manifest's precisions.

    float32 is what the file holds, float16 converts it; int8 needs a file that is quantised. Raises ValueError for
    int8 without one, another precision with one, and what cannot be converted.
    """
    quantized = is_quantized(model)
    if (precision == "int8") != quantized:
        state = "is quantised to int8 already" if quantized else "is not quantised"
        cure = "give the float file for it" if quantized else "quantise it first: python -m calib --model FILE.onnx ..."
        raise ValueError(f"expected a network for {precision}, got {manifest.name}, which {state}: {cure}")
    if precision == "float16":
        model = to_float16(model)
    elif precision == "float32":
        model = expand_float32(model)
    manifest = replace(manifest, precision=precision)
    return with_manifest(model, manifest), manifest


def _copy(model: ModelProto) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    return result


def _check_range(name: str, values: np.ndarray) -> None:
    if np.abs(values).max(initial=0) > FLOAT16_MAX:
        raise ValueError(f"the weight {name} reaches {np.abs(values).max():g}, more than float16 can hold")


def _in_half(node: NodeProto, tensors: dict[str, TensorProto]) -> list[NodeProto]:
    """A convolution in float16 between casts; its weights are put among the tensors."""
    half = NodeProto()
    half.CopyFrom(node)
    casts = []
    for place, name in enumerate(node.input):
        half.input[place] = f"{name}.half"
        if name in tensors:
            values = numpy_helper.to_array(tensors[name])
            _check_range(name, values)
            tensors[f"{name}.half"] = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        else:
            half.input[place] = f"{node.output[0]}.input{place}"
            casts.append(helper.make_node("Cast", [name], [half.input[place]], to=TensorProto.FLOAT16))
    half.output[0] = f"{node.output[0]}.half"
    back = helper.make_node("Cast", [half.output[0]], [node.output[0]], to=TensorProto.FLOAT)
    return [*casts, half, back]


def _convolutional_part(model: ModelProto) -> set[str]:
    """The tensors that the network's convolutions make, and those between its input and them."""
    leads_to_image, leads = {IMAGE}, set[str]()
    made: set[str] = set()
    for node in reversed(model.graph.node):
        if leads_to_image.intersection(node.output):
            leads_to_image.update(node.input)
            continue
        weighted = node.op_type in WEIGHTED and node.output[0].startswith(NETWORK)
        if weighted or leads.intersection(node.output):
            leads.update(node.input)
            made.update(node.output)
    return made


def _boundary(model: ModelProto, made: set[str]) -> tuple[list[str], list[str]]:
    """Of the nodes that make these tensors: what comes in from other nodes or inputs, and what others read of them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inside = [node for node in model.graph.node if made.issuperset(node.output)]
    read = dict.fromkeys(name for node in inside for name in node.input if name)
    others = {name for node in model.graph.node if not made.issuperset(node.output) for name in node.input}
    others.update(value.name for value in model.graph.output)
    inputs = [name for name in read if name not in made and name not in constants]
    return inputs, [name for node in inside for name in node.output if name in others]


def _replace(model: ModelProto, made: set[str], other: ModelProto) -> None:
    """Put another graph in place of the nodes that make these tensors; it makes the same from the same."""
    places = [place for place, node in enumerate(model.graph.node) if made.issuperset(node.output)]
    kept = [node for node in model.graph.node if not made.issuperset(node.output)]
    nodes = _in_order([*kept[: places[0]], *other.graph.node, *kept[places[0] :]])
    tensors = {tensor.name: tensor for tensor in (*model.graph.initializer, *other.graph.initializer)}
    graph = helper.make_graph(
        nodes, model.graph.name, model.graph.input, model.graph.output, list(tensors.values()), model.graph.doc_string
    )
    model.graph.CopyFrom(graph)


def _in_order(nodes: list[NodeProto]) -> list[NodeProto]:
    """The nodes, each behind those whose tensors it reads, else as they were."""
    makers = {name: node for node in nodes for name in node.output}
    placed: dict[str, NodeProto] = {}

    def place(node: NodeProto) -> None:
        if node.output[0] not in placed:
            for name in _reads(node):
                if name in makers:
                    place(makers[name])
            placed[node.output[0]] = node

    for node in nodes:
        place(node)
    return list(placed.values())


def _reads(node: NodeProto) -> list[str]:
    """The tensors that a node reads, those of its branches too."""
    branches = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    return [*node.input, *(name for branch in branches for inner in branch.node for name in _reads(inner))]
