"""Someone else's single-person network as a pose file of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.compose import add_flip_test
from engines.engine import open_engine
from engines.manifest import METADATA_KEY, Manifest
from pipeline.pose import PoseEstimator
from pipeline.skeletons import COCO
from tests.helpers import REPOSITORY
from train.movenet import movenet_pose

SIDE = 64


def fake_movenet(side: int = SIDE, keypoints: int = 17) -> onnx.ModelProto:
    """Its y, x and score of every keypoint are the means of red, green and blue over 255: int32 RGB in."""
    nodes = [
        helper.make_node("Cast", ["input"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=1),
        helper.make_node("Div", ["mean", "white"], ["unit"]),
        helper.make_node("Expand", ["unit", "shape"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(255, np.float32), "white"),
        numpy_helper.from_array(np.array([1, 1, keypoints, 3]), "shape"),
    ]
    graph = helper.make_graph(
        nodes,
        "fake",
        [helper.make_tensor_value_info("input", TensorProto.INT32, (1, side, side, 3))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 1, keypoints, 3))],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_it_runs_as_any_pose_file(tmp_path: Path) -> None:
    file = tmp_path / "movenet.onnx"
    onnx.save(movenet_pose(fake_movenet(), "movenet_fake"), file)
    estimator = PoseEstimator(open_engine(file, "onnxruntime"))
    assert estimator.input_size == (SIDE, SIDE) and estimator.skeleton.name == "coco"
    # Blue, green, red: the score, x and y of the fake.
    image = np.full((400, 400, 3), (204, 51, 102), np.uint8)
    boxes = np.array([[100, 100, 180, 180], [200, 60, 280, 140]], np.float32)
    points, scores = estimator(image, boxes)
    np.testing.assert_allclose(scores, 0.8, atol=1e-6)
    # 80 px and a quarter more: the crops begin 10 px outside the boxes.
    expected = boxes[:, :2] - 10 + 100 * np.array([0.2, 0.4])
    np.testing.assert_allclose(points, np.repeat(expected[:, None], 17, 1), atol=0.01)


def test_the_flip_test_is_for_networks_of_ours() -> None:
    model = movenet_pose(fake_movenet(), "movenet_fake")
    manifest = Manifest.from_json({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    with pytest.raises(ValueError, match="the flip test cannot be added: 'movenet_fake' has no heatmaps of ours"):
        add_flip_test(model, manifest, COCO.flip_order)


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \[\[1, 64, 64, 3\]\] and \[\[1, 1, 33, 3\]\]"):
        movenet_pose(fake_movenet(keypoints=33), "other")


def test_its_script_needs_no_pytorch() -> None:
    # TensorFlow, which reads the graph, gets an environment without it.
    program = "import sys; sys.modules['torch'] = None; import train.movenet, train.tfjs"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True)
