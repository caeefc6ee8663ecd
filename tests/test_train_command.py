"""`python -m train` from data to measured files, on a few drawn pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from engines.engine import read_manifest
from pipeline.skeletons import SKELETONS, skeleton_from
from tests.tiny_data import HORSE, make_folder, make_horses
from tests.tiny_tasks import drawn_data, quick, tiny_model
from train.__main__ import main
from train.checkpoints import read_checkpoint
from train.datasets import coco_layout
from train.datasets.pictures import Picture
from train.export import MODELS
from train.loop import fit
from train.tasks import PoseTask

QUICK = ["--epochs", "1", "--workers", "0", "--device", "cpu"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both data sets; as their own held-out part, too, for want of pictures."""
    for name in ("coco_train", "lspet"):
        make_folder(tmp_path / name)

    def all_pictures(folder: Path, validation: bool, keep: object = None) -> list[Picture]:
        return coco_layout.load_pictures(folder)

    for module in ("train.tasks", "train.training_command", "train.evaluate_command"):
        monkeypatch.setattr(f"{module}.split", all_pictures)
    return tmp_path


@pytest.fixture
def horses(tmp_path: Path) -> Path:
    """The YAML file of a data set of a user's own; its one picture validates, too."""
    annotations, images = make_horses(tmp_path / "horses")
    part = {"annotations": str(annotations), "images": str(images)}
    own = {key: value for key, value in HORSE.items() if key != "name"}
    file = tmp_path / "horse.yaml"
    file.write_text(yaml.safe_dump({**own, "train": part, "validation": part}))
    return file


def test_train_export_and_evaluate(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for network in ("pose", "detector"):
        assert main([network, "--data", str(data), "--out", str(data / network), "--batch", "2", *QUICK]) == 0
    assert "PCK@0.2" in capsys.readouterr().out
    models = data / "models"
    checkpoints = ["--weights", str(data / "pose" / "best.pt"), "--detector", str(data / "detector" / "best.pt")]
    assert main(["export", *checkpoints, "--detection-threshold", "0.3", "--out", str(models)]) == 0
    pose, detector = models / "edge_coco_256x192.onnx", models / "person_detector.onnx"
    assert read_manifest(pose).input_size == (192, 256) and read_manifest(detector).score_threshold == 0.3
    capsys.readouterr()
    assert main(["evaluate", "--data", str(data), "--pose", str(pose), "--detector", str(detector)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["pose, flip test"]) == {"AP", "AP, 95 %", "AP .5", "AP .75", "AR", "PCK@0.2"}
    assert report["detector, people from 0 px"]["threshold"] == 0.3


def test_a_users_own_data_set_trains_and_exports(
    horses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    training = ["pose", "--data", str(horses), "--out", str(out), "--batch", "1", *QUICK]
    assert main([*training, "--seed", "3"]) == 0
    shipped = MODELS / "edge_coco_256x192.pt"
    assert f"horse_edge_256x192 on 1 people of horse, from {shipped}: 1 epochs" in capsys.readouterr().out
    model = read_checkpoint(out / "best.pt").info.model
    assert model is not None and (model.name, model.data) == ("horse_edge_256x192", "horse")
    assert model.skeleton.keypoint_names == skeleton_from(HORSE).keypoint_names
    assert main(["export", "--weights", str(out / "best.pt"), "--out", str(tmp_path)]) == 0
    manifest = read_manifest(tmp_path / "horse_edge_256x192.onnx")
    assert isinstance(manifest.skeleton, dict) and manifest.skeleton["keypoint_names"] == HORSE["keypoint_names"]
    # Resumed with another seed, and finished before.
    capsys.readouterr()
    assert main([*training, "--seed", "4"]) == 1
    assert "seed 3 there and 4 here" in capsys.readouterr().err
    assert main([*training, "--seed", "3"]) == 0
    # Another run goes on from its weights.
    assert main([*training, "--out", str(tmp_path / "next"), "--init", str(out / "best.pt")]) == 0


@pytest.mark.parametrize("name", ["wholebody", "mpii"])
def test_networks_of_133_and_16_keypoints_train(name: str, tmp_path: Path) -> None:
    skeleton = SKELETONS[name]
    recipe = quick(epochs=1, batch=12, mixed_precision=False)
    task = PoseTask(tiny_model(skeleton), drawn_data(tmp_path / "data", skeleton), recipe)
    figures = read_checkpoint(fit(task, recipe.schedule, tmp_path / "run", torch.device("cpu"))).info.figures
    assert {"AP", "AP .5", "AP .75", "AR"} <= figures.keys()
    assert task.picture(task.network).shape == (2 * 64, 4 * 48, 3)


def test_mistakes_are_one_line(horses: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = data / "coco.yaml"
    part = {"annotations": "coco_train/person_keypoints.json", "images": "coco_train/images"}
    coco.write_text(yaml.safe_dump({"skeleton": "coco", "train": part, "validation": part}))
    for arguments, message in (
        (["--data", str(data / "nothing")], "there is no file"),
        (["--data", str(data / "models")], "there is no file"),
        (["--data", str(horses.parent / "horses")], "person_keypoints.json"),
        (["--data", str(coco), "--batch", "2"], "an epoch has 1 samples, a batch 2 (1 x 2)"),
        (["--data", str(coco), "--batch", "0"], "expected a batch of 1 or more"),
        (["--data", str(coco), "--epochs", "0"], "epochs should be above 0, got 0"),
        (["--data", str(coco), "--model", "coco_res18"], "no model 'coco_res18' in the zoo; valid are"),
        (["--data", str(coco), "--model", "mpii_hrnet_w32_256x256"], "give such data, or one of coco_res50_256x192"),
        (["--data", str(data), "--model", "mpii_hrnet_w32_256x256"], "has the 16 keypoints of skeleton 'mpii'"),
        (["--data", str(coco), "--init", str(data / "none.pth")], "none.pth does not exist"),
        (["--data", str(coco), "--device", "tpu"], "device should be cpu or cuda"),
    ):
        assert main(["pose", *QUICK, *arguments, "--out", str(data / "run")]) == 1
        output = capsys.readouterr()
        assert output.err.count("\n") == 1 and message in output.err, output.err
    with pytest.raises(SystemExit):
        main(["pose"])


def test_a_written_checkpoint_is_gone_on_from(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the trained weights, as float16, and both networks start from theirs."""
    trained = {name: tmp_path / name / "best.pt" for name in ("pose", "detector")}
    for name, checkpoint in trained.items():
        assert main([name, "--data", str(data), "--out", str(checkpoint.parent), "--batch", "2", *QUICK]) == 0
    exported = ["--weights", str(trained["pose"]), "--detector", str(trained["detector"]), "--out", str(tmp_path)]
    assert main(["export", *exported, "--with-checkpoint"]) == 0
    for name, file in (("pose", "edge_coco_256x192.pt"), ("detector", "person_detector.pt")):
        kept, before = (read_checkpoint(path).weights for path in (tmp_path / file, trained[name]))
        assert (tmp_path / file).stat().st_size < 0.7 * trained[name].stat().st_size
        for key, value in before.items():
            torch.testing.assert_close(kept[key].float(), value.float(), rtol=2e-3, atol=1e-4)
        on = ["--init", str(tmp_path / file), "--out", str(tmp_path / f"{name} on")]
        assert main([name, "--data", str(data), "--batch", "2", *QUICK, *on]) == 0
    assert "to go on training from" in capsys.readouterr().out


def test_more_folders_are_trained_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = make_folder(tmp_path / "more")
    for command in ("pose", "detector"):
        arguments = [command, "--data", str(data), "--batch", "2", *QUICK, "--more"]
        assert main([*arguments, f"{more}=4", "--out", str(tmp_path / command)]) == 0
        init = ["--init", str(tmp_path / command / "best.pt")]
        assert main([*arguments, str(more), *init, "--out", str(tmp_path / f"{command} on")]) == 0
        assert main([*arguments, str(tmp_path), "--out", str(tmp_path / "none")]) == 1
        assert "no annotations at" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main([*arguments, f"{more}=-1", "--out", str(tmp_path / "none")])
        assert "expected PATH or PATH=WEIGHT, a number above 0" in capsys.readouterr().err


def test_more_folders_beside_a_data_file_are_a_mistake(horses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pose", "--data", str(horses), "--more", "there", "--out", str(horses.parent / "run"), *QUICK]) == 1
    assert "--more goes with a folder of data: add there under train:" in capsys.readouterr().err


def test_exporting_nothing_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--out", str(tmp_path)]) == 1
    assert "nothing to export" in capsys.readouterr().err
