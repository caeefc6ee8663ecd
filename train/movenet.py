"""MoveNet, a single-person network that others trained, as a pose file of ours: to label people and to compare with.

MoveNet (Google, 2021; Apache-2.0; trained on COCO train2017 and an own data set) takes int32 RGB [1, S, S, 3] and gives
[1, 1, 17, 3]: y, x from 0 to 1 and a score, COCO's keypoints in COCO's order.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from engines.compose import sides_of, weights_sha256, with_manifest
from engines.manifest import Manifest

KEYPOINTS = 17
SCORE_THRESHOLD = 0.3


def movenet_pose(network: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """crops uint8 [N, S, S, 3] BGR -> keypoints float32 [N, 17, 2] crop px, scores float32 [N, 17], with a manifest.

    network: MoveNet as ONNX. N is 1 in every run, as the manifest says: engines split larger batches.
    Raises ValueError for a graph with other inputs or outputs.
    """
    side = _side(network)
    inner = compose.add_prefix(network, "movenet/")
    image, answer = inner.graph.input[0].name, inner.graph.output[0].name
    graph = inner.graph
    before = [
        helper.make_node("Gather", ["crops", "rgb"], ["crops_rgb"], axis=3),
        helper.make_node("Cast", ["crops_rgb"], [image], to=TensorProto.INT32),
    ]
    after = [
        helper.make_node("Gather", [answer, "x_y"], ["unit_points"], axis=3),
        helper.make_node("Mul", ["unit_points", "side"], ["points"]),
        helper.make_node("Squeeze", ["points", "first"], ["keypoints"]),
        helper.make_node("Gather", [answer, "score"], ["one_score"], axis=3),
        helper.make_node("Squeeze", ["one_score", "first_and_last"], ["scores"]),
    ]
    constants = {
        "rgb": np.array([2, 1, 0]),
        "x_y": np.array([1, 0]),
        "score": np.array([2]),
        "side": np.array(side, np.float32),
        "first": np.array([1]),
        "first_and_last": np.array([1, 3]),
    }
    model = helper.make_model(
        helper.make_graph(
            [*before, *graph.node, *after],
            name,
            [helper.make_tensor_value_info("crops", TensorProto.UINT8, ("N", side, side, 3))],
            [
                helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ("N", KEYPOINTS, 2)),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("N", KEYPOINTS)),
            ],
            [*graph.initializer, *(numpy_helper.from_array(array, key) for key, array in constants.items())],
        ),
        opset_imports=network.opset_import,
        ir_version=network.ir_version,
    )
    manifest = Manifest(
        name, "pose", "crops", (side, side), "coco", "float32", 1, SCORE_THRESHOLD, {}, weights_sha256(network)
    )
    return with_manifest(model, manifest)


def _side(network: onnx.ModelProto) -> int:
    """The side of MoveNet's square input, px."""
    inputs, outputs = ([sides_of(value) for value in values] for values in (network.graph.input, network.graph.output))
    match inputs, outputs:
        case [[1, int(height), width, 3]], [[1, 1, 17, 3]] if height == width:
            return height
    raise ValueError(f"expected MoveNet's input [1, S, S, 3] and output [1, 1, 17, 3], got {inputs} and {outputs}")
