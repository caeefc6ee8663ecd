"""Networks of one convolution, built in a moment, that are composed and opened like real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engines.compose import compose_detector, compose_pose
from tests.helpers import detector_manifest, pose_manifest

Shapes = dict[str, tuple[int | str, ...]]
WIDTH, HEIGHT = 48, 64


def graph(
    nodes: list[NodeProto], inputs: Shapes, outputs: Shapes, constants: dict[str, np.ndarray], opset: int = 17
) -> onnx.ModelProto:
    """A model of float32 inputs and outputs."""
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def pose_network(batch: int | str = "N", keypoints: int = 17) -> onnx.ModelProto:
    """image [N, 3, 64, 48] -> heatmaps [N, 17, 16, 12] by a convolution of stride 4 with random weights."""
    random = np.random.default_rng(7)
    constants = {
        "weight": random.normal(0, 0.05, (keypoints, 3, 7, 7)).astype(np.float32),
        "bias": random.normal(0.3, 0.05, keypoints).astype(np.float32),
    }
    nodes = [helper.make_node("Conv", ["image", "weight", "bias"], ["heatmaps"], strides=[4, 4], pads=[3, 3, 2, 2])]
    inputs: Shapes = {"image": (batch, 3, HEIGHT, WIDTH)}
    return graph(nodes, inputs, {"heatmaps": (batch, keypoints, HEIGHT // 4, WIDTH // 4)}, constants)


def argmax_decode(keypoints: int = 17, opset: int = 17) -> onnx.ModelProto:
    """heatmaps [N, 17, 16, 12] -> points, the places of the maxima, and scores; it has a tensor named weight too."""
    constants = {
        "weight": np.array(WIDTH // 4),
        "flat": np.array([0, keypoints, -1]),
        "last": np.array([-1]),
    }
    nodes = [
        helper.make_node("Reshape", ["heatmaps", "flat"], ["map"]),
        helper.make_node("ReduceMax", ["map"], ["scores"], axes=[2], keepdims=0),
        helper.make_node("ArgMax", ["map"], ["place"], axis=2, keepdims=1),
        helper.make_node("Mod", ["place", "weight"], ["x"]),
        helper.make_node("Div", ["place", "weight"], ["y"]),
        helper.make_node("Concat", ["x", "y"], ["whole"], axis=2),
        helper.make_node("Cast", ["whole"], ["points"], to=TensorProto.FLOAT),
    ]
    inputs: Shapes = {"heatmaps": ("N", keypoints, HEIGHT // 4, WIDTH // 4)}
    outputs: Shapes = {"points": ("N", keypoints, 2), "scores": ("N", keypoints)}
    return graph(nodes, inputs, outputs, constants, opset)


def detector_network() -> onnx.ModelProto:
    """image [1, 3, h, w] -> a box of 32x32 px at each cell of 32 px, its score the brightness there."""
    constants = {
        "weight": np.full((1, 3, 32, 32), 1 / (3 * 32 * 32), np.float32),
        "flat": np.array([1, -1]),
        "flat_last": np.array([1, -1, 1]),
        "one": np.array(1, np.float32),
        "size": np.array(32, np.float32),
        "axis": np.array(2),
    }
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["map"], strides=[32, 32]),
        helper.make_node("Sigmoid", ["map"], ["score_map"]),
        helper.make_node("Reshape", ["score_map", "flat"], ["scores"]),
        # Cell numbers along x and y: running sums of ones.
        helper.make_node("Sub", ["map", "map"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["ones"]),
        helper.make_node("CumSum", ["ones", "axis_x"], ["right_cells"]),
        helper.make_node("CumSum", ["ones", "axis"], ["bottom_cells"]),
        *(helper.make_node("Mul", [f"{side}_cells", "size"], [f"{side}_map"]) for side in ("right", "bottom")),
        *(helper.make_node("Reshape", [f"{side}_map", "flat_last"], [side]) for side in ("right", "bottom")),
        helper.make_node("Sub", ["right", "size"], ["left"]),
        helper.make_node("Sub", ["bottom", "size"], ["top"]),
        helper.make_node("Concat", ["left", "top", "right", "bottom"], ["boxes"], axis=2),
    ]
    outputs: Shapes = {"boxes": (1, "A", 4), "scores": (1, "A")}
    return graph(nodes, {"image": (1, 3, "h", "w")}, outputs, {**constants, "axis_x": np.array(3)})


def pose_file(folder: Path, largest_batch: int = 32) -> Path:
    """A composed pose network, 48x64 px."""
    file = folder / "pose.onnx"
    onnx.save(compose_pose(pose_network(), argmax_decode(), pose_manifest(largest_batch=largest_batch)), file)
    return file


def detector_file(folder: Path, top_k: int = 5) -> Path:
    """A composed detector, 96 px, of the top_k brightest cells; what it gives a black picture is below 0.4."""
    file = folder / "detector.onnx"
    onnx.save(compose_detector(detector_network(), replace(detector_manifest(), score_threshold=0.5), top_k), file)
    return file


def layered_pose_network(outlier: float = 1.0) -> onnx.ModelProto:
    """image [N, 3, 64, 48] -> heatmaps [N, 17, 16, 12] by four named convolutions, first to last.

    outlier: how much larger than the others the first channel between `first` and `second` is, to no use; large, it
    leaves `second` next to nothing of int8's steps for the rest.
    """
    random = np.random.default_rng(5)
    shapes = {"first": (8, 3, 3, 3), "second": (8, 8, 3, 3), "third": (8, 8, 1, 1), "last": (17, 8, 1, 1)}
    weights = {
        name: random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    weights["first"][0] = np.abs(weights["first"][0]) * outlier
    weights["second"][:, 0] = 0
    nodes, before = [], "image"
    for name in shapes:
        stride, after = (2 if name in ("first", "second") else 1), "heatmaps" if name == "last" else f"{name}/sum"
        padding = [1, 1, 1, 1] if name in ("first", "second") else [0, 0, 0, 0]
        nodes.append(
            helper.make_node("Conv", [before, f"{name}/weight"], [after], name, strides=[stride] * 2, pads=padding)
        )
        if name != "last":
            nodes.append(helper.make_node("Relu", [after], [f"{name}/relu"], f"{name}/relu"))
        before = f"{name}/relu"
    inputs: Shapes = {"image": ("N", 3, HEIGHT, WIDTH)}
    constants = {f"{name}/weight": array for name, array in weights.items()}
    return graph(nodes, inputs, {"heatmaps": ("N", 17, HEIGHT // 4, WIDTH // 4)}, constants)


def layered_pose_model(outlier: float = 1.0) -> onnx.ModelProto:
    """The same, composed: crops uint8 [N, 64, 48, 3] -> keypoints, scores."""
    return compose_pose(layered_pose_network(outlier), argmax_decode(), pose_manifest())
