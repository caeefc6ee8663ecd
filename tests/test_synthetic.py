"""Synthetic training pictures: bodies that bend the right way, true labels, and a command that can go on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.skeletons import COCO
from pipeline.types import FloatArray
from train.__main__ import main
from train.datasets.coco_layout import load_pictures
from train.datasets.pictures import Picture
from train.synthetic.backgrounds import Backgrounds
from train.synthetic.bodies import PHENOTYPES, Body, BodyModel
from train.synthetic.camera import Camera, Placed
from train.synthetic.labels import rows
from train.synthetic.occluders import random_shape
from train.synthetic.people import Crowd, Figure
from train.synthetic.poses import FAMILIES, Pose, between, random_pose, turn
from train.synthetic.render import PATCH, Light, Renderer
from train.synthetic.scenes import LAYERS, Scenes

AVERAGE = np.full((1, len(PHENOTYPES)), 0.6)
POINT = {name: number for number, name in enumerate(COCO.keypoint_names)}
PEOPLE = [0, 1, 2]  # numbers of the random pictures that are looked at


@pytest.fixture(scope="module")
def model() -> BodyModel:
    pytest.importorskip("anny")
    return BodyModel()


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    pytest.importorskip("moderngl")
    try:
        return Renderer()
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose coco_train/ has three pictures of noise without people, and one with somebody."""
    folder = tmp_path_factory.mktemp("data")
    images = folder / "coco_train" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries = []
    for number in range(4):
        coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(images / f"{number}.png"), cv2.resize(coarse, (640, 480)))
        entries.append(
            {"id": number, "file_name": f"{number}.png", "width": 640, "height": 480, "all_people_boxed": True}
        )
    row = {"id": 1, "image_id": 3, "bbox": [9, 9, 50, 90], "area": 4000, "iscrowd": 0, "keypoints": [20, 20, 2] * 17}
    content = {"images": entries, "annotations": [row | {"num_keypoints": 17}]}
    (folder / "coco_train" / "person_keypoints.json").write_text(json.dumps(content))
    return folder


def pose(arm: FloatArray | None = None, leg: FloatArray | None = None) -> Pose:
    """Somebody who stands with hanging arms, or the given angles of both arms or legs."""
    arms, legs = np.zeros((2, 6)), np.zeros((2, 5))
    arms[:] = 0 if arm is None else arm
    legs[:] = 0 if leg is None else leg
    return Pose(arms, legs, np.zeros(3), np.zeros(3), np.zeros(2), 0.0, 0.0, seat=False, lying=False)


def points(model: BodyModel, posed: Pose) -> dict[str, FloatArray]:
    body: Body = model.pose(AVERAGE, [posed])[0]
    return {name: body.keypoints[number] for name, number in POINT.items()}


def test_turns_are_rotations() -> None:
    np.testing.assert_allclose(turn(2, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    direction = np.array([0.3, -0.5, 0.8])
    np.testing.assert_allclose(
        between(direction, np.array([0, 0, -2.0])) @ direction, [0, 0, -np.sqrt(0.98)], atol=1e-12
    )


def test_poses_lean_to_neither_side() -> None:
    rng = np.random.default_rng(0)
    poses = [random_pose(rng) for _ in range(3000)]
    arms, legs = np.array([each.arms for each in poses]), np.array([each.legs for each in poses])
    assert {each.family for each in poses} == set(FAMILIES)
    assert np.abs(arms.mean(0)[0] - arms.mean(0)[1]).max() < 5
    assert np.abs(legs.mean(0)[0] - legs.mean(0)[1]).max() < 5


def test_limbs_hang_and_bend_the_right_way(model: BodyModel) -> None:
    standing = points(model, pose())
    assert standing["left_shoulder"][0] > 0.1 > -0.1 > standing["right_shoulder"][0]
    assert standing["nose"][1] < standing["left_ear"][1] - 0.05  # the front is to -y
    for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        limb = standing[f"left_{lower}"] - standing[f"left_{upper}"]
        assert limb[2] / np.linalg.norm(limb) < -0.95
    bent = points(model, pose(np.array([0, 0, 0, 90, 0, 0]), np.array([0, 0, 0, 90, 0])))
    for side in ("left", "right"):
        assert bent[f"{side}_wrist"][1] < bent[f"{side}_elbow"][1] - 0.15
        assert bent[f"{side}_ankle"][1] > bent[f"{side}_knee"][1] + 0.25
    raised = points(model, pose(np.array([90, 90, 0, 0, 0, 0]), np.array([90, 0, 0, 90, 0])))
    assert raised["left_wrist"][0] > raised["left_shoulder"][0] + 0.35
    assert raised["right_wrist"][0] < raised["right_shoulder"][0] - 0.35
    assert raised["left_knee"][1] < raised["left_hip"][1] - 0.25


def standing_figure(model: BodyModel, monkeypatch: pytest.MonkeyPatch) -> Figure:
    monkeypatch.setattr("train.synthetic.people.random_pose", lambda rng: pose(np.array([25, 90, 0, 5, 0, 0])))
    monkeypatch.setattr("train.synthetic.people.random_shape", lambda rng: AVERAGE[0])
    monkeypatch.setattr("train.synthetic.parts.Parts.of", lambda *arguments: [])
    return Crowd(model).figures(np.random.default_rng(0), 1, LAYERS)[0]


def test_a_person_who_faces_the_camera_has_the_left_at_the_right(
    model: BodyModel, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = standing_figure(model, monkeypatch)
    camera = Camera(600, 1.0, 0, 0, (300, 400))
    light = Light(np.array([0, 0, 1.0]), np.ones(3), np.ones(3))
    patches = np.zeros((LAYERS, PATCH, PATCH, 3), np.uint8)
    found = []
    for heading in (0, 180):
        rotation = camera.rotation @ turn(2, heading)
        person = Placed(figure, rotation, camera.rotation @ np.array([0, 3.5, -1.0]))
        view = renderer.draw([figure.mesh(rotation, person.place, 0)], camera.size, camera.focal, light, patches, 0.0)
        found.append((rows(camera, [person], view)[0], view))
    (front, view), (back, _) = found
    x, y, seen = np.array(front["keypoints"]).reshape(17, 3).T
    assert (x[1::2] > x[2::2]).all()
    assert (seen == 2).all()
    assert (view.owner[np.rint(y).astype(int), np.rint(x).astype(int)] == 0).mean() > 0.9
    drawn_y, drawn_x = np.nonzero(view.owner == 0)
    left, top, width, height = front["bbox"]
    np.testing.assert_allclose([left, left + width - 1], [drawn_x.min(), drawn_x.max()], atol=2)
    np.testing.assert_allclose([top, top + height - 1], [drawn_y.min(), drawn_y.max()], atol=2)
    assert front["area"] == len(drawn_x)
    behind = np.array(back["keypoints"]).reshape(17, 3)
    assert (behind[5::2, 0] < behind[6::2, 0]).all()
    assert (behind[:3] == 0).all()  # nose and eyes are hidden by the head, and have no label then


def test_things_in_front_hide_keypoints(model: BodyModel, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = standing_figure(model, monkeypatch)
    camera = Camera(600, 1.0, 0, 0, (300, 400))
    light = Light(np.array([0, 0, 1.0]), np.ones(3), np.ones(3))
    patches = np.zeros((LAYERS, PATCH, PATCH, 3), np.uint8)
    placed = [Placed(figure, camera.rotation, camera.rotation @ np.array([0, away, -1.0])) for away in (4.5, 3.5)]
    meshes = [each.figure.mesh(each.rotation, each.place, number) for number, each in enumerate(placed)]
    view = renderer.draw(meshes, camera.size, camera.focal, light, patches, 0.0)
    view.owner[:200] = -1
    far, near = rows(camera, placed, view)
    assert far["visible"] < near["visible"]
    near_points = np.array(near["keypoints"]).reshape(17, 3)
    assert (near_points[:5] == 0).all()
    body = near_points[5:]
    assert (body[body[:, 1] < 195, 2] == 1).all()
    assert (body[body[:, 1] > 205, 2] == 2).all()
    assert np.array(far["keypoints"]).reshape(17, 3)[11:13, 2].max() == 1


def test_random_pictures_have_true_labels(model: BodyModel, renderer: Renderer, data: Path) -> None:
    pictures = [Picture(0, data / "coco_train" / "images" / "0.png", 640, 480, True, ())]
    scenes = Scenes(Crowd(model), renderer, Backgrounds(pictures))
    people = 0
    for number in PEOPLE:
        image, labels = scenes.picture(np.random.default_rng([0, number]))
        height, width = image.shape[:2]
        for row in labels:
            left, top, wide, high = row["bbox"]
            assert left >= 0 and top >= 0 and left + wide <= width and top + high <= height
            assert 0 < row["area"] <= wide * high
            x, y, seen = np.array(row["keypoints"]).reshape(17, 3).T
            assert row["num_keypoints"] == np.count_nonzero(seen)
            known = seen > 0
            assert not x[~known].any() and not y[~known].any()
            assert (x[known] > left - 3).all() and (x[known] < left + wide + 3).all()
            assert (y[known] > top - 3).all() and (y[known] < top + high + 3).all()
            people += 1
    assert people >= len(PEOPLE)


def test_an_occluder_lies_on_its_person() -> None:
    for seed in range(20):
        low, high = np.array([100.0, 50.0]), np.array([180.0, 250.0])
        mask = random_shape(np.random.default_rng(seed), low, high, (320, 280))
        assert mask.shape == (280, 320)
        assert 0 < mask[40:260, 90:190].mean() < 1


def test_the_command_goes_on_and_repeats_itself(
    model: BodyModel, renderer: Renderer, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "synthetic"
    command = ["synthesize", "--data", str(data), "--out", str(out), "--workers", "1"]
    assert main([*command, "--count", "2"]) == 0
    pictures = [out / "images" / f"{number:06d}.jpg" for number in range(3)]
    first = [path.read_bytes() for path in pictures[:2]]
    time = pictures[1].stat().st_mtime_ns
    pictures[0].unlink()
    assert main([*command, "--count", "3"]) == 0
    assert [path.read_bytes() for path in pictures[:2]] == first
    assert pictures[1].stat().st_mtime_ns == time
    loaded = load_pictures(out)
    assert [picture.path for picture in loaded] == pictures
    for picture in loaded:
        assert picture.all_boxed
        assert picture.read().shape == (picture.height, picture.width, 3)
        assert {person.keypoints_source for person in picture.people} <= {"synthetic"}
    assert any(picture.people for picture in loaded)
    assert main([*command, "--count", "3", "--seed", "5"]) == 1
    assert "holds pictures of seed 0, not 5" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["anny", "moderngl"])
def test_a_missing_library_is_named(
    library: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if library == "moderngl":
        pytest.importorskip("anny")
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["synthesize", "--data", str(data), "--out", str(tmp_path), "--count", "1"]) == 1
    error = capsys.readouterr().err
    assert library in error and 'pip install "darkstream[synthetic]"' in error


def test_wrong_data_and_options_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "coco_train" / "images").mkdir(parents=True)
    annotations = tmp_path / "coco_train" / "person_keypoints.json"
    command = ["synthesize", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "no annotations at" in capsys.readouterr().err
    annotations.write_text(json.dumps({"images": [], "annotations": []}))
    assert main(command) == 1
    assert "has no picture without people" in capsys.readouterr().err
    assert main(["synthesize", "--data", str(data), "--out", str(tmp_path / "out"), "--count", "0"]) == 1
    assert "expected --count" in capsys.readouterr().err
