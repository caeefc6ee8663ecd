"""apps/evaluate.py from annotations and pictures to figures, a verdict and an exit code, with networks of one layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from scipy.io import savemat

from apps.evaluate import main
from engines.compose import compose_pose
from pipeline.pose import PoseEstimator
from pipeline.skeletons import SKELETONS
from tests.helpers import Arrays, FakeEngine, pose_manifest
from tests.tiny_data import make_folder, make_horses
from tests.tiny_networks import argmax_decode, pose_network
from train.average_precision import FIGURES
from train.datasets.coco_layout import load_pictures
from train.datasets.pictures import Person
from train.evaluate import evaluate_pictures, labelled, pck, predict
from train.reported import compare, reported_model
from train.zoo import zoo_model

PICTURE = np.zeros((140, 120, 3), np.uint8)


def network_file(folder: Path, skeleton: str | dict[str, Any], keypoints: int) -> Path:
    """A network of that skeleton, 48x64 px."""
    file = folder / "network.onnx"
    manifest = replace(pose_manifest(), skeleton=skeleton)
    onnx.save(compose_pose(pose_network(keypoints=keypoints), argmax_decode(keypoints), manifest), file)
    return file


def middle_of_the_crop(inputs: Arrays) -> Arrays:
    """The centre of each crop of 48x64 px, with scores of a half."""
    people = len(inputs["crops"])
    return {
        "keypoints": np.tile(np.array([24, 32], np.float32), (people, 17, 1)),
        "scores": np.full((people, 17), 0.5, np.float32),
    }


@pytest.fixture
def coco(tmp_path: Path) -> list[str]:
    """Options for three pictures and a COCO network."""
    data = make_folder(tmp_path / "data")
    files = ["--annotations", str(data / "person_keypoints.json"), "--images", str(data / "images")]
    return ["--model", str(network_file(tmp_path, "coco", 17)), *files]


def test_figures_for_people_and_machines(coco: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = tmp_path / "metrics.json"
    assert main([*coco, "--metrics", str(metrics)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "tiny_pose without flip test: 3 pictures, 1 boxes (the annotations')"
    assert [line[:12].strip() for line in lines] == list(FIGURES)
    written = json.loads(metrics.read_text())
    assert list(written["figures"]) == list(FIGURES) and written["expected"] == []
    assert (written["model"], written["flip_test"], written["boxes"]) == ("tiny_pose", False, 1)


def test_the_flip_test_can_be_added(coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*coco, "--flip-test", "--runtime", "onnxruntime"]) == 0
    assert "tiny_pose with flip test" in capsys.readouterr().out


def test_boxes_of_a_detector(coco: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [{"image_id": n, "category_id": 1, "bbox": [10, 10, 40, 60], "score": 0.5} for n in (1, 1, 3)]
    (tmp_path / "detections.json").write_text(json.dumps(found))
    assert main([*coco, "--detections", str(tmp_path / "detections.json")]) == 0
    assert "3 pictures, 3 boxes (a detector's)" in capsys.readouterr().out


def test_expectations_decide_the_exit_code(coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*coco, "--expect", "coco_res50_256x192"]) == 1
    captured = capsys.readouterr()
    assert "AP50                                   0.898" in captured.out and "too far" in captured.out
    assert "further than 0.002 from what is reported" in captured.out
    assert captured.err == "the reported figures are measured with --flip-test and --detections\n"
    assert main([*coco, "--expect", "coco_res50_256x192", "--tolerance", "2"]) == 0
    assert "all within 2 of what is reported" in capsys.readouterr().out


def test_a_whole_body_and_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_folder(tmp_path / "data")
    file = data / "person_keypoints.json"
    content = json.loads(file.read_text())
    points = {"foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    for row in content["annotations"]:
        row["keypoints"] = row.get("keypoints", [0] * 51)
        row.update({key: [60, 70, 1] * count for key, count in points.items()})
    file.write_text(json.dumps(content))
    model = ["--model", str(network_file(tmp_path, "wholebody", 133))]
    files = ["--annotations", str(file), "--images", str(data / "images")]
    expected = ["--expect", "wholebody_hrnet_w32_256x192", "--metrics", str(tmp_path / "metrics.json")]
    assert main([*model, *files, *expected]) == 1
    out = capsys.readouterr().out
    assert all(f"\n{part} " in out for part in ("body", "foot", "face", "lefthand", "righthand", "wholebody"))
    judged = {row["column"]: row["judged"] for row in json.loads((tmp_path / "metrics.json").read_text())["expected"]}
    assert [column for column in judged if not judged[column]] == ["Hand AP", "Hand AR"]
    assert "not judged" in out and "Hand" not in out.splitlines()[-1]


def test_mpii(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two people of a picture and one of another: PCKh of its own ground truth."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), PICTURE)
    row = {"center": [60.0, 60.0], "scale": 0.5, "joints": [[50.0, 60.0]] * 16, "joints_vis": [1] * 16}
    (tmp_path / "mpii_val.json").write_text(
        json.dumps([{"image": name, **row} for name in ("a.png", "b.png", "a.png")])
    )
    heads = np.zeros((2, 2, 3))
    heads[1] = 1e4
    joints = np.full((16, 2, 3), 50.0)
    savemat(tmp_path / "gt.mat", {"jnt_missing": np.zeros((16, 3)), "pos_gt_src": joints, "headboxes_src": heads})
    options = ["--model", str(network_file(tmp_path, "mpii", 16)), "--images", str(tmp_path)]
    options += ["--annotations", str(tmp_path / "mpii_val.json")]
    assert main(options) == 1
    assert "give its ground truth, --mpii-truth mpii_gt_val.mat" in capsys.readouterr().err
    options += ["--mpii-truth", str(tmp_path / "gt.mat")]
    assert main([*options, "--expect", "mpii_hrnet_w32_256x256", "--tolerance", "1"]) == 0
    out = capsys.readouterr().out
    assert "2 pictures, 3 boxes" in out and "PCKh@0.1    100.0000" in out and "Mean@0.1" in out


def test_a_skeleton_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, images = make_horses(tmp_path)
    names = ["nose", "withers", "tail", "hoof"]
    horse = {"name": "horse", "keypoint_names": names, "flip_pairs": [], "oks_sigmas": [0.05] * 4}
    model = network_file(tmp_path, horse, 4)
    assert main(["--model", str(model), "--annotations", str(annotations), "--images", str(images)]) == 0
    assert "AP .75" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--annotations", "{}/none.json"], "there is no file"),
        (["--images", "{}/none"], "none does not exist"),
        (["--images", "{}"], "3 of 3 pictures"),
        (["--model", "{}/none.onnx"], "no model"),
        (["--model", "coco_res50_256x192"], "no weights"),
        (["--detections", "{}/data/person_keypoints.json"], "not boxes"),
        (["--detections", "{}/others.json"], "no box of a person"),
        (["--mpii-truth", "{}/none.mat"], "--mpii-truth is for networks of the skeleton 'mpii'"),
        (["--expect", "coco_res18_256x192"], "no model 'coco_res18_256x192' in the zoo"),
        (["--expect", "edge_coco_256x192"], "report nothing"),
        (["--expect", "mpii_hrnet_w32_256x256"], "is measured on the skeleton 'mpii'"),
        (["--metrics", "{}/none/metrics.json"], "no folder"),
        (["--annotations", "{}/boxes.json"], "no keypoints"),
        (["--annotations", "{}/sixteen.json"], "16 keypoints"),
        (["--annotations", "{}/crowd.json"], "nobody with keypoints"),
    ],
)
def test_mistakes_end_with_one_line(
    coco: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    other = [{"image_id": 99, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]
    (tmp_path / "others.json").write_text(json.dumps(other))
    content = json.loads((tmp_path / "data" / "person_keypoints.json").read_text())
    person = content["annotations"][0]
    changed = {"boxes": {"keypoints": []}, "sixteen": {"keypoints": [1] * 48}, "crowd": {"iscrowd": 1}}
    for name, change in changed.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**content, "annotations": [person | change]}))
    assert main([*coco, *(option.format(tmp_path) for option in options)]) == 1
    captured = capsys.readouterr()
    assert not captured.out and captured.err.count("\n") == 1
    assert captured.err.startswith("error: ") and message in captured.err


def test_predictions_hold_the_padded_box(tmp_path: Path) -> None:
    estimator = PoseEstimator(FakeEngine(pose_manifest(), middle_of_the_crop))
    pictures = labelled(load_pictures(make_folder(tmp_path / "data")))
    predictions = predict(estimator, pictures)
    # The box 40..80 x 15..125 grows to 82.5x110, the crop's 3:4, and by a quarter.
    scale = np.array([82.5, 110]) * 1.25 / 200
    area = scale.prod() * 200 * 200
    np.testing.assert_allclose(predictions.boxes, [[60, 70, *scale, area, 1]], rtol=1e-6)
    np.testing.assert_allclose(predictions.keypoints[0], np.tile([60, 70, 0.5], (17, 1)), atol=1e-4)
    assert (predictions.image_ids.tolist(), predictions.box_ids.tolist()) == ([1], [1])
    assert predict(estimator, pictures[1:]).keypoints.shape == (0, 17, 3)


def test_pictures_of_several_sets_are_told_apart(tmp_path: Path) -> None:
    """The same ids twice are two people, found both; people without keypoints are left out."""
    estimator = PoseEstimator(FakeEngine(pose_manifest(), middle_of_the_crop))
    data = make_folder(tmp_path / "data")
    joints = np.tile(np.array([60, 70, 2], np.float32), (17, 1))
    first, *others = load_pictures(data)
    pictures = [replace(first, people=(replace(first.people[0], joints=joints),)), *others]
    assert sum(len(picture.people) for picture in pictures) > 1
    figures = evaluate_pictures(estimator, [*pictures, *pictures])
    assert [figures["AP"], figures["AR"]] == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="no annotated people among 2 pictures"):
        evaluate_pictures(estimator, pictures[1:])


def test_pck_counts_limb_joints_within_a_fifth_of_the_torso() -> None:
    joints = np.full((17, 3), 2, np.float32)
    joints[:, :2] = 50
    joints[5, :2], joints[12, :2] = (50, 20), (50, 70)
    estimate = joints.copy()
    estimate[9, 0] += 9
    estimate[10, 0] += 11
    person = Person(1, np.array([0.0, 0, 99, 99]), joints, False, 1000.0, "labelled")
    assert pck([person], estimate[None]) == pytest.approx(11 / 12)
    assert pck([replace(person, keypoints_source="predicted")], estimate[None]) == 0


def test_reported_columns_are_found_and_hands_are_not_judged() -> None:
    model = zoo_model("wholebody_hrnet_w32_256x192")
    names = ("body", "foot", "face", "lefthand", "righthand", "wholebody")
    parts = {name: {"AP": 0.1 * number, "AR": 0.05 * number} for number, name in enumerate(names, 1)}
    rows = {row.column: row for row in compare(model, {"parts": parts})}
    assert list(rows) == list(model.reported)
    assert rows["Hand AP"].measured == pytest.approx(0.45) and rows["Hand AP"].within(0)
    assert rows["Whole AR"].measured == pytest.approx(0.3) and not rows["Whole AR"].within(0.3)
    exact = compare(zoo_model("mpii_hrnet_w32_256x256"), {"PCKh": 90.6, "PCKh@0.1": 35.4})
    assert [row.within(0.002) for row in exact] == [True, True]
    assert not compare(zoo_model("mpii_hrnet_w32_256x256"), {"PCKh": 90.61, "PCKh@0.1": 35.4})[0].within(0.002)


def test_every_reported_column_has_a_figure() -> None:
    figures = dict.fromkeys([*FIGURES, "PCKh", "PCKh@0.1"], 0.5)
    parts = dict.fromkeys(("body", "foot", "face", "lefthand", "righthand", "wholebody"), figures)
    for name in ("coco_hrnet_w48_384x288", "mpii_hrnet_w48_256x256", "wholebody_hrnet_w48_384x288"):
        model = reported_model(name)
        assert len(compare(model, {**figures, "parts": parts})) == len(model.reported)
        assert model.skeleton == SKELETONS[model.data]
