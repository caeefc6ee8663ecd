"""`python -m calib`: the report of pose networks, detectors, and mistakes that end with one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

pytest.importorskip("nncf", reason="nncf is not installed: pip install -e '.[calib]'")

from calib.__main__ import main
from calib.study import SIGNED
from engines.engine import read_manifest
from engines.onnx_facts import calibration_of
from tests.test_calib import convolutions, layered
from tests.test_parity import SmallNetwork
from tests.tiny_data import make_folder, squares_folder
from tests.tiny_networks import detector_file, layered_pose_model
from train.checkpoints import model_entry
from train.detector import PersonDetectorNetwork
from train.export import detector_model
from train.zoo import NETWORKS, zoo_model


def write_model(path: Path, outlier: float = 1.0) -> Path:
    onnx.save(layered_pose_model(outlier), path)
    return path


def test_the_report_has_every_method_layer_and_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ("minmax", "entropy")
    monkeypatch.setattr("calib.__main__.METHODS", methods)
    data = make_folder(tmp_path / "data")
    model, out, report = write_model(tmp_path / "pose.onnx", 1000.0), tmp_path / "int8.onnx", tmp_path / "report.json"
    given = ["--model", str(model), "--images", str(data / "images"), "--out", str(out), "--report", str(report)]
    given += ["--annotations", str(data / "person_keypoints.json"), "--boxes", "annotations"]
    assert main([*given, "--method", "all", "--keep-float", "1"]) == 0
    said, content = capsys.readouterr(), json.loads(report.read_text())
    assert "only 2 crops" in said.err
    names = [row["name"] for row in content["rows"] if row["name"] != "bfloat16"]
    best = content["method"]
    assert names == ["float32", "float16", *(f"int8 {m}" for m in methods), f"int8 {best}, 1 in float", SIGNED]
    for row in content["rows"]:
        assert row["accuracy"]["interval"][0] <= row["accuracy"]["ap"] <= row["accuracy"]["interval"][1]
        assert (row["shift"] is None) == (row["name"] == "float32") and row["megabytes"] > 0
        assert row["name"] == "float16" or set(row["ms"]) == {"1", "8"}
    assert content["kept"] == [content["layers"][0]["layer"]] and len(content["layers"]) == 3
    assert (content["crops"], content["measured"], content["overlap"]) == (2, 1, True)
    assert content["calibration_sha256"] == calibration_of(onnx.load(out))
    assert content["kept"][0] in said.out and "median px" in said.out
    assert read_manifest(out).precision == "int8"


def test_without_annotations_the_detector_says_who_is_measured(tmp_path: Path) -> None:
    model, report = write_model(tmp_path / "pose.onnx"), tmp_path / "report.json"
    detector = detector_file(tmp_path)
    given = ["--model", str(model), "--images", str(squares_folder(tmp_path)), "--detector", str(detector)]
    given += ["--out", str(tmp_path / "int8.onnx"), "--report", str(report), "--keep-float", "0", "--crops", "3"]
    assert main(given) == 0
    content = json.loads(report.read_text())
    assert content["crops"] == 3 and content["measured"] >= 4 and content["kept"] == []
    assert all(row["accuracy"] is None for row in content["rows"])


def test_a_network_of_the_zoo_with_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "edge", SmallNetwork)
    torch.manual_seed(0)
    weights, out = tmp_path / "weights.pth", tmp_path / "int8.onnx"
    described = {"figures": {}, "model": model_entry(zoo_model("edge_coco_256x192"))}
    torch.save({"network": SmallNetwork().state_dict(), **described}, weights)
    data = make_folder(tmp_path / "data")
    given = ["--model", "edge_coco_256x192", "--weights", str(weights), "--images", str(data / "images")]
    given += ["--annotations", str(data / "person_keypoints.json"), "--boxes", "annotations", "--keep-float", "0"]
    assert main([*given, "--out", str(out)]) == 0
    manifest = read_manifest(out)
    assert (manifest.name, manifest.precision, manifest.skeleton) == ("edge_coco_256x192", "int8", "coco")


MISTAKES = {
    "no such network": ("--model", "none.onnx"),
    "no such folder": ("--images", "nowhere"),
    "no pictures": ("--images", "empty"),
    "no ONNX": ("--model", "people/0.png.onnx"),
    "int8 already": ("--model", "int8.onnx"),
    "no such detector": ("--detector", "none.onnx"),
    "nobody": ("--images", "dark"),
    "no crops": ("--crops", "0"),
    "no folder for the report": ("--report", "nowhere/report.json"),
    "onto itself": ("--out", "pose.onnx"),
    "boxes without annotations": ("--boxes", "annotations"),
    "weights for a file": ("--weights", "pose.onnx"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "dark").mkdir()
    cv2.imwrite(str(tmp_path / "dark" / "0.png"), np.zeros((96, 96, 3), np.uint8))
    (squares_folder(tmp_path) / "0.png.onnx").write_bytes(b"no network")
    onnx.save(layered(), tmp_path / "int8.onnx")
    detector_file(tmp_path)
    write_model(tmp_path / "pose.onnx")
    given = {"--model": "pose.onnx", "--images": "people", "--detector": "detector.onnx", "--out": "out.onnx"}
    option, value = MISTAKES[mistake]
    given[option] = value
    plain = {"--crops", "--boxes"}
    words = [word for o, v in given.items() for word in (o, v if o in plain else str(tmp_path / v))]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("calib: ") and "Traceback" not in said.err
    assert not (tmp_path / "out.onnx").exists()


def test_a_detector_is_calibrated_on_whole_pictures_and_its_boxes_stay_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    path, out = tmp_path / "detector.onnx", tmp_path / "int8.onnx"
    onnx.save(detector_model(PersonDetectorNetwork(), 96, 0.4), path)
    given = ["--model", str(path), "--images", str(squares_folder(tmp_path)), "--out", str(out)]
    assert main([*given, "--keep-float", "0"]) == 0
    int8, float32 = convolutions(onnx.load(out))
    assert len(float32) == 3 and all("/outputs." in name for name in float32) and len(int8) == 31
    tensors = {tensor.name: tensor for tensor in onnx.load(out).graph.initializer}
    rounding = [node for node in onnx.load(out).graph.node if node.op_type == "QuantizeLinear"]
    assert {tensors[node.input[2]].data_type for node in rounding} == {onnx.TensorProto.UINT8}
    assert main([*given, "--keep-float", "1"]) == 0
    (kept,) = convolutions(onnx.load(out))[1] - float32
    assert kept in int8 and f"layers stay float: {kept}" in capsys.readouterr().out
    assert main([*given, "--method", "all"]) == 1
