"""Labels that a network gives: only where its views agree, in a folder that a training reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.pose import PoseEstimator
from tests.helpers import Arrays, FakeEngine, pose_manifest
from tests.tiny_data import make_folder
from tests.tiny_networks import pose_file
from train.__main__ import main
from train.datasets.coco_layout import load_pictures
from train.pseudo_labels import VIEWS, Agreement, agreed_keypoints, resized

BOXES = np.array([[40.0, 20, 100, 140], [40, 20, 100, 140]])
AREAS = np.array([5000.0, 5000.0])
IMAGE = np.zeros((200, 200, 3), np.uint8)
CENTRE = np.array([24.0, 32.0])


def estimator(shaky: int, unsure: int) -> PoseEstimator:
    """Finds all 17 keypoints at the centre of each box, but the first `shaky` somewhere else in each view, and the next
    `unsure` with a low score.
    """

    def answer(inputs: Arrays) -> Arrays:
        count = len(inputs["crops"])
        points = np.tile(CENTRE, (count, 17, 1)).astype(np.float32)
        points[:, :shaky, 0] += 8 * np.arange(count)[:, None]
        scores = np.full((count, 17), 0.8, np.float32)
        scores[:, shaky : shaky + unsure] = 0.1
        return {"keypoints": points, "scores": scores}

    return PoseEstimator(FakeEngine(pose_manifest(), answer))


def test_what_the_views_agree_on_is_a_label() -> None:
    labels = agreed_keypoints([estimator(shaky=3, unsure=2)], IMAGE, BOXES, AREAS, Agreement())
    assert labels.shape == (2, 17, 3) and labels.dtype == np.float32
    assert (labels[:, :5] == 0).all() and (labels[:, 5:, 2] == 2).all()
    np.testing.assert_allclose(labels[0, 5:, :2], np.tile([70, 80], (12, 1)), atol=0.01)


def test_the_mirrored_picture_is_looked_at_too() -> None:
    """All keypoints are where it is bright; a left one is always surer than a right one, as none can be if left and
    right are told apart.
    """
    image = IMAGE.copy()
    image[80:83, 90:93] = 255

    def answer(inputs: Arrays) -> Arrays:
        brightness = inputs["crops"][..., 0].astype(np.float32)
        rows, columns = np.arange(brightness.shape[1]), np.arange(brightness.shape[2])
        total = brightness.sum((1, 2))
        x, y = (brightness.sum(1) * columns).sum(1) / total, (brightness.sum(2) * rows).sum(1) / total
        points = np.repeat(np.stack((x, y), 1)[:, None], 17, 1).astype(np.float32)
        scores = np.full((len(points), 17), 0.5, np.float32)
        scores[:, 1::2], scores[:, 2::2] = 0.9, 0.1
        return {"keypoints": points, "scores": scores}

    sees = PoseEstimator(FakeEngine(pose_manifest(), answer))
    labels = agreed_keypoints([sees], image, BOXES[:1], AREAS[:1], Agreement(score=0.45))
    np.testing.assert_array_equal(labels[0, :, 2], 2)
    np.testing.assert_allclose(labels[0, :, :2], np.tile([91, 81], (17, 1)), atol=0.3)


def test_someone_with_few_labels_has_none() -> None:
    assert (agreed_keypoints([estimator(shaky=0, unsure=11)], IMAGE, BOXES, AREAS, Agreement()) == 0).all()


def test_views_are_the_box_at_other_sizes() -> None:
    np.testing.assert_array_equal(resized(np.array([[10.0, 20, 30, 60]]), 1.5), [[5, 10, 35, 70]])
    assert 1.0 in VIEWS and len(set(VIEWS)) == len(VIEWS)


def test_a_rule_that_nothing_meets_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="spread of agreeing views should be above 0, got -1"):
        Agreement(spread=-1)


def test_the_folder_holds_the_new_labels_and_is_read_as_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_folder(tmp_path / "lspet")
    command = ["pseudo-label", "--data", str(data), "--pose", str(pose_file(tmp_path)), "--out", str(tmp_path / "new")]
    assert main([*command, "--score", "0.001", "--spread", "1000"]) == 0
    assert "1 of 1 people labelled, 17.0 keypoints each" in capsys.readouterr().out
    (picture,) = load_pictures(tmp_path / "new")
    (person,) = picture.people
    assert person.annotation_id == 2 and person.keypoints_source == "pseudo" and person.joints is not None
    assert not picture.all_boxed and picture.read().shape == (140, 120, 3)
    assert main([*command, "--score", "0.99"]) == 0
    assert json.loads((tmp_path / "new" / "person_keypoints.json").read_text())["annotations"] == []


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, pose = make_folder(tmp_path / "lspet"), str(pose_file(tmp_path))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "images").mkdir()
    for arguments, message in (
        (["--data", str(data), "--pose", pose, "--out", str(tmp_path / "new")], "is of other pictures than"),
        (["--data", str(tmp_path / "a"), "--pose", pose, "--out", str(tmp_path / "b")], "expected coco_train or lspet"),
        (["--data", str(tmp_path / "coco_train"), "--pose", pose, "--out", str(tmp_path / "b")], "no annotations at"),
        (["--data", str(data), "--pose", "none.onnx", "--out", str(tmp_path / "b")], "no model 'none.onnx'"),
        (["--data", str(data), "--pose", pose, "--out", str(tmp_path / "b"), "--score", "0"], "score of agreeing"),
        (["--data", str(data), "--pose", pose, "--out", str(tmp_path / "b"), "--height", "70"], "less than 70 px tall"),
    ):
        assert main(["pseudo-label", *arguments]) == 1
        output = capsys.readouterr()
        assert message in output.err and output.err.count("\n") == 1, output.err
