"""Noisy labels mended where networks agree against them; what is held out stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.pose import PoseEstimator
from tests.helpers import Arrays, FakeEngine, pose_manifest
from tests.tiny_data import make_folder
from train import pseudo_label_command, relabel_command
from train.__main__ import main
from train.datasets.coco_layout import held_out, load_pictures
from train.pseudo_labels import Agreement, agreed_keypoints, second_opinion

BOX, AREA = np.array([[40.0, 20, 100, 140]]), np.array([5000.0])
RULE = Agreement(spread=1.0, keypoints=1)


def estimator(x: float = 24.0, score: float = 0.8) -> PoseEstimator:
    """Finds all 17 keypoints there in each crop of 48 x 64 px, halfway down; the mirrored view agrees at 24."""

    def answer(inputs: Arrays) -> Arrays:
        count = len(inputs["crops"])
        points = np.tile(np.array([x, 32.0], np.float32), (count, 17, 1))
        return {"keypoints": points, "scores": np.full((count, 17), score, np.float32)}

    return PoseEstimator(FakeEngine(pose_manifest(), answer))


def test_two_networks_have_to_agree() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    same = agreed_keypoints([estimator(), estimator()], image, BOX, AREA, RULE)
    assert (same[..., 2] == 2).all()
    np.testing.assert_allclose(same[0, :, :2], np.tile([70, 80], (17, 1)), atol=0.01)
    assert not agreed_keypoints([estimator(), estimator(x=40)], image, BOX, AREA, RULE).any()
    unsure = [estimator(score=0.3), estimator(score=0.2)]
    assert not agreed_keypoints(unsure, image, BOX, AREA, RULE).any()


def test_a_missing_label_is_filled_in_and_one_that_contradicts_gives_way() -> None:
    deviation = np.full((1, 4), 5.0)
    agreed = np.array([[[50, 50, 2], [50, 50, 2], [50, 50, 2], [0, 0, 0]]], np.float32)
    joints = np.array([[[0, 0, 0], [61, 50, 1], [59, 50, 1], [90, 90, 2]]], np.float32)
    labels, filled, replaced = second_opinion(joints, agreed, deviation)
    assert (filled, replaced) == (1, 1) and labels.dtype == np.float32
    np.testing.assert_array_equal(labels[0], [[50, 50, 2], [50, 50, 2], [59, 50, 1], [90, 90, 2]])


def test_the_folder_is_one_to_train_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All points are found in the middle of the box, so that the far ones give way; nobody has been labelled anew."""
    monkeypatch.setattr(relabel_command, "coco_estimator", lambda path: estimator())
    data, out = tmp_path / "data", tmp_path / "mended"
    for name in ("lspet", "coco_train"):
        make_folder(data / name)
    command = ["relabel", "--data", str(data), "--pose", "a.onnx", "--pose", "b.onnx", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 people: 0 keypoints filled in, ") and "0 replaced" not in printed
    before, after = (load_pictures(folder / "lspet") for folder in (data, out))
    (old,), (new,) = before[0].people, after[0].people
    assert old.joints is not None and new.joints is not None
    far = (new.joints != old.joints).any(1)
    assert 5 < far.sum() < 17
    np.testing.assert_allclose(new.joints[far, :2], np.tile([60, 70], (int(far.sum()), 1)), atol=0.6)
    assert [len(picture.people) for picture in after] == [len(picture.people) for picture in before]
    assert load_pictures(out / "coco_train")[0].read().shape == (140, 120, 3)


def test_held_out_people_keep_their_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relabel_command, "coco_estimator", lambda path: estimator())
    for name in ("lspet", "coco_train"):
        make_folder(tmp_path / name)
    path, kept = tmp_path / "lspet" / "person_keypoints.json", min(held_out("lspet"))
    (tmp_path / "lspet" / "images" / "1.png").rename(tmp_path / "lspet" / "images" / kept)
    path.write_text(path.read_text().replace("1.png", kept))
    assert main(["relabel", "--data", str(tmp_path), "--pose", "a.onnx", "--out", str(tmp_path / "mended")]) == 0
    assert "0 people: 0 keypoints filled in, 0 replaced" in capsys.readouterr().out
    new = json.loads((tmp_path / "mended" / "lspet" / "person_keypoints.json").read_text())
    assert new == json.loads(path.read_text())


def test_the_labels_that_are_there_are_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lspet", "coco_train"):
        make_folder(tmp_path / name)
    monkeypatch.setattr(relabel_command, "coco_estimator", lambda path: estimator())
    monkeypatch.setattr(pseudo_label_command, "coco_estimator", lambda path: estimator())
    path = tmp_path / "lspet" / "person_keypoints.json"
    before = path.read_bytes()
    for command, folder in (("relabel", tmp_path), ("pseudo-label", tmp_path / "lspet")):
        assert main([command, "--data", str(folder), "--pose", "a.onnx", "--out", str(folder)]) == 1
        assert "holds the labels that are there already" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "lspet")
    for arguments, message in (
        (["--data", str(tmp_path / "none"), "--pose", "a.onnx"], "no annotations at"),
        (["--data", str(tmp_path), "--pose", "none.onnx"], "no model 'none.onnx'"),
        (["--data", str(tmp_path), "--pose", "none.onnx", "--score", "0"], "score of agreeing views should be above 0"),
    ):
        assert main(["relabel", *arguments, "--out", str(tmp_path / "mended")]) == 1
        output = capsys.readouterr()
        assert message in output.err and output.err.count("\n") == 1, output.err
