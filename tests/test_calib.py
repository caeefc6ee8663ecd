"""int8 by explicit Q/DQ: what is quantised, what stays float, and that the file still gives the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

pytest.importorskip("nncf", reason="nncf is not installed: pip install -e '.[calib]'")

from calib.__main__ import main
from calib.crops import detector_frames, pose_crops
from calib.quantize import quantize
from engines.compose import MEAN, STD
from engines.engine import open_engine, read_manifest
from train.datasets.pictures import Person, Picture
from train.detector import PersonDetectorNetwork
from train.edge import EdgePose
from train.export import detector_model, pose_model
from train.loop import normalise
from train.zoo import zoo_model

SIZE = (64, 64)


def noise(count: int, height: int, width: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (1, height, width, 3), np.uint8) for _ in range(count)]


def pose_file(path: Path) -> Path:
    torch.manual_seed(0)
    network = EdgePose()
    torch.nn.init.normal_(network.final.weight, std=0.3)
    onnx.save(pose_model(network, replace(zoo_model("edge_coco_256x192"), input_size=SIZE)), path)
    return path


def convolutions(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Names of the convolutions whose inputs are dequantised, and of the others."""
    dequantised = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    found: tuple[set[str], set[str]] = (set(), set())
    for node in model.graph.node:
        if node.op_type == "Conv":
            found[not dequantised.issuperset(node.input[:2])].add(node.name)
    return found


def test_all_convolutions_of_the_pose_network_but_the_last_are_int8(tmp_path: Path) -> None:
    path = pose_file(tmp_path / "pose.onnx")
    model = quantize(onnx.load(path), read_manifest(path), noise(8, *SIZE))
    int8, float32 = convolutions(model)
    assert float32 == {"network//final/Conv"} and len(int8) > 40
    decode = [node for node in model.graph.node if node.name.startswith("decode/")]
    assert decode and not any("QuantizeLinear" in node.op_type for node in decode)


def test_the_int8_file_says_so_and_gives_nearly_the_same_heatmap_maxima(tmp_path: Path) -> None:
    path = pose_file(tmp_path / "pose.onnx")
    onnx.save(quantize(onnx.load(path), read_manifest(path), noise(16, *SIZE)), tmp_path / "int8.onnx")
    manifest = read_manifest(tmp_path / "int8.onnx")
    assert manifest.precision == "int8" and "nncf" in manifest.versions
    crops = np.concatenate(noise(4, *SIZE))
    for runtime in ("openvino", "onnxruntime"):
        before = open_engine(path, runtime, "float32" if runtime == "openvino" else "auto")({"crops": crops})
        after = open_engine(tmp_path / "int8.onnx", runtime)({"crops": crops})
        error = np.abs(after["scores"] - before["scores"]).mean()
        assert error < 0.1 * np.abs(before["scores"]).mean()


def test_boxes_of_the_detector_stay_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "detector.onnx"
    onnx.save(detector_model(PersonDetectorNetwork(), 96, 0.4), path)
    model = quantize(onnx.load(path), read_manifest(path), noise(8, 64, 96))
    int8, float32 = convolutions(model)
    assert len(float32) == 3 and all("/outputs." in name for name in float32) and len(int8) > 40


def test_normalisation_is_that_of_the_composed_graph() -> None:
    (crop,) = noise(1, 32, 32)
    rgb = crop[..., ::-1].astype(np.float32) / 255
    expected = ((rgb - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(normalise(torch.from_numpy(crop)).numpy(), expected, atol=1e-5)


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((100, 200, 3), 200, np.uint8))
    box, crowd = np.array([10, 10, 50, 90], np.float32), np.array([0, 0, 200, 100], np.float32)
    people = (Person(1, box, None, False, 1.0, "labelled"), Person(2, crowd, None, True, 1.0, "labelled"))
    return Picture(1, path, 200, 100, True, people)


def test_calibration_pictures_are_those_of_production(picture: Picture) -> None:
    crops = list(pose_crops([picture, picture], (48, 64), 10))
    assert [crop.shape for crop in crops] == [(1, 64, 48, 3)] * 2
    assert crops[0].max() == 200
    frames = list(detector_frames([picture] * 5, 96, 3))
    assert [frame.shape for frame in frames] == [(1, 64, 96, 3)] * 3


def test_mistakes_end_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", str(tmp_path / "none.onnx"), "--data", str(tmp_path), "--out", str(tmp_path / "out.onnx")]
    assert main(given) == 1
    assert capsys.readouterr().err.count("\n") == 1
