"""Pre-processing + network + post-processing -> one ONNX graph that takes pixels and returns what users want.

The network's and the decode's names get a prefix each, so that they cannot collide; the network itself stays as given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, compose, helper, numpy_helper

from engines.manifest import METADATA_KEY, Manifest

# ImageNet's statistics of RGB values from 0 to 1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
Side = int | str
# The flip test's nodes: crops and their mirror images in one batch, and the mean of their heatmaps. The batch is
# doubled before the normalisation: OpenVINO 2026.4 is wrong by a third in an int8 network right behind a Concat.
FLIP_BEFORE = (
    helper.make_node("Gather", ["normalise/bgr", "flip/columns"], ["flip/mirrored"], axis=2),
    helper.make_node("Concat", ["normalise/bgr", "flip/mirrored"], ["flip/crops"], axis=0),
)
FLIP_AFTER = (
    helper.make_node("Reshape", ["whole_heatmaps", "flip/pairs"], ["flip/halves"]),
    helper.make_node("Gather", ["flip/halves", "flip/first"], ["flip/upright"], axis=0),
    helper.make_node("Gather", ["flip/halves", "flip/second"], ["flip/flipped"], axis=0),
    helper.make_node("Gather", ["flip/flipped", "flip/order"], ["flip/swapped"], axis=1),
    helper.make_node("Gather", ["flip/swapped", "flip/back"], ["flip/shifted"], axis=3),
    helper.make_node("Add", ["flip/upright", "flip/shifted"], ["flip/sum"]),
    helper.make_node("Mul", ["flip/sum", "flip/half"], ["flip/heatmaps"]),
)


def compose_pose(network: onnx.ModelProto, decode: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """crops uint8 [N, h, w, 3] BGR -> keypoints [N, K, 2] crop px, scores [N, K].

    network: image float32 [N, 3, h, w], normalised RGB -> heatmaps [N, K, H, W].
    decode: heatmaps -> points [N, K, 2] heatmap px, scores [N, K].
    The manifest goes into the metadata, with the hash of the network. Raises ValueError for other graphs.
    """
    _expect(network, ["image"], ["heatmaps"])
    _expect(decode, ["heatmaps"], ["points", "scores"])
    width, height = manifest.input_size
    batch = sides_of(network.graph.input[0])[0]
    if isinstance(batch, int):
        raise ValueError(f"the network has a fixed batch of {batch}: export it with a dynamic batch dimension")
    # The decode's shape, as exporters lose the network's output shape at an upsampling.
    _, keypoints, *heatmap_size = sides_of(decode.graph.input[0])
    stride = width / heatmap_size[1] if isinstance(heatmap_size[1], int) else 0
    if not stride or heatmap_size != [height / stride, width / stride]:
        raise ValueError(f"heatmaps [h, w] = {heatmap_size} px do not fit crops of {width}x{height} px")
    to_crop = _part(
        "to_crop",
        network,
        [helper.make_node("Mul", ["points", "to_crop/stride"], ["keypoints"])],
        {"points": (batch, keypoints, 2)},
        {"keypoints": (batch, keypoints, 2)},
        {"to_crop/stride": np.array(stride, np.float32)},
    )
    model = _join(_normalisation(network, (batch, height, width)), _prefixed(network, network, "network/"), ["image"])
    model = _join(model, _keep_float32(network), ["network/heatmaps"], ["heatmaps"])
    model = _join(model, _prefixed(decode, network, "decode/"), ["whole_heatmaps"], ["decode/heatmaps"])
    _rename_output(model, "decode/scores", "scores")
    model = _join(model, to_crop, ["decode/points"], ["points"])
    return _finished(model, network, manifest, {"keypoints": (batch, keypoints, 2), "scores": (batch, keypoints)})


def add_flip_test(model: onnx.ModelProto, manifest: Manifest, flip_order: Sequence[int]) -> onnx.ModelProto:
    """A composed pose file -> the same with the flip test inside (MMPose 0.29's rule), whatever its precision.

    The network runs once on the crops and their mirror images; of the mirrored heatmaps left and right swap by
    flip_order [K], they are mirrored back, moved by one column (the first keeps its value) and averaged with the
    others. Raises ValueError for a file that has it, one that is no pose network of ours, or an order of other
    keypoints.
    """
    if manifest.task != "pose" or manifest.flip_test:
        state = "has the flip test already" if manifest.flip_test else "is no pose network"
        raise ValueError(f"the flip test cannot be added: {manifest.name!r} {state}")
    keypoints = sides_of(model.graph.output[0])[1]
    if sorted(flip_order) != list(range(keypoints if isinstance(keypoints, int) else 0)):
        raise ValueError(f"the flip test wants the {keypoints} keypoints in another order, got {list(flip_order)}")
    strides = [tensor for tensor in model.graph.initializer if tensor.name == "to_crop/stride"]
    if not strides:
        raise ValueError(f"the flip test cannot be added: {manifest.name!r} has no heatmaps of ours inside")
    width, height = (round(side / float(numpy_helper.to_array(strides[0]))) for side in manifest.input_size)
    constants = {
        "flip/columns": np.arange(manifest.input_size[0])[::-1].copy(),
        "flip/pairs": np.array([2, -1, keypoints, height, width]),
        "flip/first": np.array(0),
        "flip/second": np.array(1),
        "flip/order": np.array(flip_order),
        # Mirrored back and moved at once: column x takes W - x, and column 0 the last one.
        "flip/back": np.array([width - 1, *range(width - 1, 0, -1)]),
        "flip/half": np.array(0.5, np.float32),
    }
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _insert(result, "normalise/bgr", FLIP_BEFORE)
    _insert(result, "whole_heatmaps", FLIP_AFTER)
    result.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    flipped = replace(manifest, flip_test=True, largest_batch=max(1, manifest.largest_batch // 2))
    return with_manifest(result, flipped)


def compose_detector(network: onnx.ModelProto, manifest: Manifest, top_k: int = 200) -> onnx.ModelProto:
    """crops uint8 [1, h, w, 3] BGR -> boxes [top_k, 4] x1 y1 x2 y2 px of the input, scores [top_k], best first.

    network: image float32 [1, 3, h, w], normalised RGB -> boxes [1, A, 4], scores [1, A] from 0 to 1.
    Where A is less than top_k, the rest are zeros. The manifest goes into the metadata, with the hash of the network.
    Raises ValueError for other graphs.
    """
    _expect(network, ["image"], ["boxes", "scores"])
    _, _, height, width = sides_of(network.graph.input[0])
    model = _join(_normalisation(network, (1, height, width)), _prefixed(network, network, "network/"), ["image"])
    model = _join(model, _best(network, top_k), ["network/boxes", "network/scores"], ["all_boxes", "all_scores"])
    return _finished(model, network, manifest, {"boxes": (top_k, 4), "scores": (top_k,)})


def weights_sha256(network: onnx.ModelProto) -> str:
    """Hash of a network's weights: names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for tensor in sorted(network.graph.initializer, key=lambda tensor: tensor.name):
        array = numpy_helper.to_array(tensor)
        digest.update(f"{tensor.name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _normalisation(network: onnx.ModelProto, sides: tuple[Side, Side, Side]) -> onnx.ModelProto:
    """crops uint8 [N, h, w, 3] BGR -> image float32 [N, 3, h, w], normalised RGB."""
    batch, height, width = sides
    # To float first: some runtimes have no Transpose of uint8, or a slow one. Normalised plane by plane: three channels
    # side by side take OpenVINO ten times as long. RGB last: right before an int8 network, with sides that vary,
    # OpenVINO 2026.4 might round with the wrong mean.
    nodes = [
        helper.make_node("Cast", ["crops"], ["normalise/bgr"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["normalise/bgr"], ["normalise/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["normalise/planes", "normalise/factor"], ["normalise/scaled"]),
        helper.make_node("Add", ["normalise/scaled", "normalise/shift"], ["normalise/shifted"]),
        helper.make_node("Gather", ["normalise/shifted", "normalise/rgb"], ["image"], axis=1),
    ]
    constants = {
        "normalise/rgb": np.array([2, 1, 0]),
        "normalise/factor": (1 / (255 * np.array(STD[::-1]))).astype(np.float32).reshape(3, 1, 1),
        "normalise/shift": (-np.array(MEAN[::-1]) / np.array(STD[::-1])).astype(np.float32).reshape(3, 1, 1),
    }
    model = _part("normalise", network, nodes, {}, {"image": (batch, 3, height, width)}, constants)
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, (batch, height, width, 3))
    model.graph.input.append(crops)
    return model


def _keep_float32(network: onnx.ModelProto) -> onnx.ModelProto:
    """heatmaps -> the same, in float32 where the network itself runs in bfloat16.

    A convolution whose output has several readers, as the decode's are, hands it on in bfloat16 in OpenVINO. With one
    elementwise reader it does both at once and keeps float32, at no cost. The bound is out of reach.
    """
    nodes = [helper.make_node("Clip", ["heatmaps", "keep/least"], ["whole_heatmaps"])]
    shape = ("N", "K", "H", "W")
    constants = {"keep/least": np.array(-1e30, np.float32)}
    return _part("keep", network, nodes, {"heatmaps": shape}, {"whole_heatmaps": shape}, constants)


def _best(network: onnx.ModelProto, top_k: int) -> onnx.ModelProto:
    """all_boxes [1, A, 4], all_scores [1, A] -> the top_k of both without the first dimension, best first."""
    # Empty rows at the end make the count a constant in the smallest picture too, as TensorRT wants it.
    nodes = [
        helper.make_node("Squeeze", ["all_boxes", "best/first"], ["best/found_boxes"]),
        helper.make_node("Squeeze", ["all_scores", "best/first"], ["best/found_scores"]),
        helper.make_node("Concat", ["best/found_boxes", "best/no_boxes"], ["best/boxes"], axis=0),
        helper.make_node("Concat", ["best/found_scores", "best/no_scores"], ["best/scores"], axis=0),
        helper.make_node("TopK", ["best/scores", "best/count"], ["scores", "best/places"], axis=0),
        helper.make_node("Gather", ["best/boxes", "best/places"], ["boxes"], axis=0),
    ]
    constants = {
        "best/first": np.array([0]),
        "best/count": np.array([top_k]),
        "best/no_boxes": np.zeros((top_k, 4), np.float32),
        "best/no_scores": np.zeros(top_k, np.float32),
    }
    inputs: dict[str, Sequence[Side]] = {"all_boxes": (1, "A", 4), "all_scores": (1, "A")}
    return _part("best", network, nodes, inputs, {"boxes": (top_k, 4), "scores": (top_k,)}, constants)


def _part(
    name: str,
    network: onnx.ModelProto,
    nodes: list[NodeProto],
    inputs: Mapping[str, Sequence[Side]],
    outputs: Mapping[str, Sequence[Side]],
    constants: Mapping[str, npt.NDArray[Any]],
) -> onnx.ModelProto:
    """A graph of float32 inputs and outputs, of the network's versions of ONNX."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=list(network.opset_import), ir_version=network.ir_version)


def _prefixed(part: onnx.ModelProto, network: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """A copy of a part with all names prefixed. Raises ValueError if it is of another opset than the network."""
    wanted, found = ({entry.domain: entry.version for entry in model.opset_import} for model in (network, part))
    if found != wanted:
        raise ValueError(f"the opsets differ: the network has {wanted}, {part.graph.name} {found}")
    prefixed = compose.add_prefix(part, prefix)
    prefixed.ir_version = network.ir_version
    del prefixed.metadata_props[:]
    return prefixed


def _join(
    first: onnx.ModelProto, second: onnx.ModelProto, outputs: list[str], inputs: list[str] | None = None
) -> onnx.ModelProto:
    """The second graph after the first; inputs are by default the outputs with the prefix of the network."""
    inputs = inputs or [f"network/{name}" for name in outputs]
    joined = compose.merge_models(first, second, io_map=list(zip(outputs, inputs, strict=True)))
    del joined.opset_import[:]
    joined.opset_import.extend(first.opset_import)
    return joined


def _rename_output(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in model.graph.output:
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _insert(model: onnx.ModelProto, tensor: str, nodes: Sequence[NodeProto]) -> None:
    """Put nodes behind a tensor: what read it reads the last node's output instead."""
    graph = model.graph
    (place,) = (place for place, node in enumerate(graph.node, 1) if tensor in node.output)
    after = list(graph.node[place:])
    for node in after:
        node.input[:] = [nodes[-1].output[0] if name == tensor else name for name in node.input]
    del graph.node[place:]
    graph.node.extend([*nodes, *after])


def _finished(
    model: onnx.ModelProto, network: onnx.ModelProto, manifest: Manifest, outputs: Mapping[str, Sequence[Side]]
) -> onnx.ModelProto:
    """The model with its manifest, its name and its outputs in this order, checked."""
    del model.graph.output[:]
    for name, shape in outputs.items():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model.graph.name = manifest.name
    model.graph.doc_string = f"{manifest.task} network {manifest.name}"
    model.producer_name, model.producer_version = "darkstream", ""
    return with_manifest(model, replace(manifest, network_sha256=weights_sha256(network)))


def manifest_of(model: onnx.ModelProto) -> Manifest:
    """The manifest in a model's metadata. Raises ValueError for one without, or with a damaged one."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return Manifest.from_json(entry.value)
    raise ValueError("expected a composed network with a manifest, got none: export it with python -m train export")


def with_manifest(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """The model, checked, with this manifest in place of any other."""
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    helper.set_model_props(model, {**kept, METADATA_KEY: manifest.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _expect(model: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> None:
    """Raises ValueError if a graph has other inputs or outputs."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    found_inputs = [value.name for value in model.graph.input if value.name not in initializers]
    found_outputs = [value.name for value in model.graph.output]
    if found_inputs != inputs or found_outputs != outputs:
        raise ValueError(f"expected a graph {inputs} -> {outputs}, got {found_inputs} -> {found_outputs}")


def sides_of(value: ValueInfoProto) -> list[Side]:
    """The sides of a tensor; one that varies is a name."""
    sides = enumerate(value.type.tensor_type.shape.dim)
    return [side.dim_value if side.HasField("dim_value") else side.dim_param or f"side{i}" for i, side in sides]
