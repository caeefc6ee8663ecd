"""Annotation files, the held-out split, crops and mosaics: what the networks are trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.affine import crop_matrix
from pipeline.skeletons import COCO, skeleton_from
from tests.helpers import Array, golden_path
from tests.tiny_data import HORSE, make_folder, make_horses, standing_joints
from train.augment import (
    EDGE,
    REFERENCE,
    REFERENCE_MPII,
    Augmentation,
    View,
    half_body_view,
    mirrored,
    random_view,
    rotated_view,
    upright_angle,
)
from train.dark import decode
from train.datasets import coco_layout
from train.datasets.annotations import load_annotations
from train.datasets.coco_layout import load_pictures, split
from train.datasets.crowds import CrowdDataset, boxes_with_ignore, clip_boxes, collate
from train.datasets.people import PeopleDataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "coco_train")


def test_pictures_are_read_with_clipped_boxes(folder: Path) -> None:
    pictures = load_pictures(folder)
    assert [len(picture.people) for picture in pictures] == [1, 2, 0]
    boxed, crowd = pictures[1].people
    np.testing.assert_array_equal(boxed.box, [0, 20, 40, 80])
    assert boxed.joints is None and not boxed.ignore and crowd.ignore
    assert pictures[0].read().shape == (140, 120, 3)


def test_wrong_folders_and_files_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"person_keypoints\.json and images"):
        load_pictures(folder / "images")
    (folder / "images" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(OSError, match=r"1\.png.*expected a JPEG or PNG"):
        load_pictures(folder)[0].read()
    (folder / "person_keypoints.json").write_text("[]")
    with pytest.raises(ValueError, match="not in COCO layout"):
        load_pictures(folder)


def test_the_split_is_by_picture(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    split_file = tmp_path / "split.json"
    split_file.write_text(json.dumps({folder.name: ["2.png"]}))
    monkeypatch.setattr(coco_layout, "SPLIT_FILE", split_file)
    assert [picture.path.name for picture in split(folder, validation=True)] == ["2.png"]
    assert [picture.path.name for picture in split(folder, validation=False)] == ["1.png", "3.png"]


def test_the_committed_split_names_both_data_sets() -> None:
    for name, at_least in (("coco_train", 70), ("lspet", 300)):
        names = coco_layout.held_out(name)
        assert len(names) >= at_least and all(file.endswith(".jpg") for file in names)


def test_a_crop_holds_the_person_and_the_targets_lie_on_the_joints(folder: Path) -> None:
    data = PeopleDataset(load_pictures(folder), COCO, (192, 256), 2.0, None)
    crop, heatmaps, weights = data[0]
    assert len(data) == 1 and crop.shape == (256, 192, 3) and heatmaps.shape == (17, 64, 48)
    assert (weights == 1).all()
    points, _ = decode(torch.from_numpy(heatmaps[None]), 11)
    # The box is 137.5 px tall with its padding, from y = 1.25; the crop 256.
    head = (20.0 - 1.25) * 256 / 137.5
    np.testing.assert_allclose(points[0, 0, 1] * 4, head, atol=0.01)


@pytest.mark.parametrize("how", [REFERENCE, REFERENCE_MPII, EDGE], ids=["reference", "mpii", "edge"])
def test_augmented_targets_stay_on_the_person(how: Augmentation, folder: Path) -> None:
    """The joints are painted as red dots; wherever the augmentation moves them, the target must be on red."""
    image = np.full((140, 120, 3), 90, np.uint8)
    for x, y, _ in standing_joints():
        cv2.circle(image, (round(float(x)), round(float(y))), 3, (0, 0, 255), -1)
    cv2.imwrite(str(folder / "images" / "1.png"), image)
    data = PeopleDataset(load_pictures(folder), COCO, (192, 256), 2.0, how)
    torch.manual_seed(0)
    seen = redder = 0
    for _ in range(30):
        crop, heatmaps, weights = data[0]
        for heatmap, weight in zip(heatmaps, weights, strict=True):
            y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
            if weight > 0 and 2 < x < 45 and 2 < y < 61:
                seen += 1
                blue, _, red = crop[y * 4, x * 4].astype(int)
                redder += red - blue > 25
    # Greyscale samples, covers and blur hide some.
    assert seen > 200 and redder > 0.7 * seen


def test_people_upside_down_are_turned_upright() -> None:
    joints = standing_joints()
    joints[:, :2] = -joints[:, :2] + 200
    angle = upright_angle(joints, COCO)
    assert angle is not None and abs(abs(angle) - 180) < 1
    view = rotated_view(joints, angle, 0.75, 1.25)
    assert view.scale[1] * 200 == pytest.approx(1.25 * 100, rel=0.01)
    joints[5, 2] = 0
    assert upright_angle(joints, COCO) is None
    assert upright_angle(joints[:4], skeleton_from(HORSE)) is None


def test_half_body_looks_at_half_of_the_body() -> None:
    joints = standing_joints()
    view = half_body_view(joints, COCO, 0.75, np.random.default_rng(0))
    assert view is not None
    whole = rotated_view(joints, 0.0, 0.75, 1.5)
    assert view.scale[1] < 0.7 * whole.scale[1]
    joints[1:, 2] = 0
    assert half_body_view(joints, COCO, 0.75, np.random.default_rng(0)) is None


def test_the_upper_body_is_taken_as_often_as_the_reference_takes_it() -> None:
    """A normal deviate is below 0.5 in 69.1 % of the cases."""
    rng, joints = np.random.default_rng(0), standing_joints()
    heights = np.array([view.center[1] for _ in range(4000) if (view := half_body_view(joints, COCO, 0.75, rng))])
    upper, lower = joints[:11, 1].mean(), joints[11:, 1].mean()
    assert set(np.unique(heights)) == {upper, lower}
    assert np.mean(heights == upper) == pytest.approx(0.691, abs=0.02)


def reference_views(how: Augmentation, joints: Array, count: int = 20000) -> list[View]:
    rng, box = np.random.default_rng(0), View(np.array([60, 70], np.float32), np.array([0.6, 0.8], np.float32))
    return [random_view(box, joints, COCO, 0.75, how, rng) for _ in range(count)]


def test_the_references_augmentation_has_its_distributions() -> None:
    """With 8 known joints there is no half body: shift, scale, rotation and mirror remain."""
    joints = standing_joints()
    joints[8:, 2] = 0
    views = reference_views(REFERENCE, joints)
    moved = np.array([(view.center - (60, 70)) / (120, 160) for view in views])
    shifted = (moved != 0).any(1)
    assert shifted.mean() == pytest.approx(0.3, abs=0.01)
    assert np.abs(moved).max() == pytest.approx(0.16, abs=0.001)
    assert moved[shifted].std(0) == pytest.approx(0.16 / np.sqrt(3), abs=0.002)
    factors = np.array([view.scale / (0.6, 0.8) for view in views])
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], rtol=1e-6)
    # A normal deviate beyond one deviation, 15.9 % on either side, is cut.
    for limit in (0.5, 1.5):
        assert np.isclose(factors[:, 0], limit).mean() == pytest.approx(0.159, abs=0.01)
    assert factors[:, 0].std() == pytest.approx(0.5 * np.sqrt(0.5161), abs=0.01)
    turns = np.array([view.rotation for view in views])
    assert (turns == 0).mean() == pytest.approx(0.4, abs=0.01) and np.abs(turns).max() == 80
    assert turns[turns != 0].std() == pytest.approx(40 * np.sqrt(0.9205), abs=0.5)
    assert np.mean([view.mirrored for view in views]) == pytest.approx(0.5, abs=0.01)


def test_half_a_body_is_looked_at_as_often_as_in_the_reference() -> None:
    joints = standing_joints()
    halves = {tuple(joints[:11, :2].mean(0)), tuple(joints[11:, :2].mean(0))}
    views = reference_views(REFERENCE, joints)
    assert np.mean([tuple(view.center) in halves for view in views]) == pytest.approx(0.3, abs=0.01)
    assert all(tuple(view.center) == (60, 70) for view in reference_views(REFERENCE_MPII, joints, 200))


def test_the_references_settings_are_those_of_its_pipelines() -> None:
    for model in json.loads(golden_path("zoo.json").read_text())["models"]:
        steps = {step.pop("type"): step for step in model["train_pipeline"]}
        how = REFERENCE_MPII if "mpii" in model["name"] else REFERENCE
        assert steps["TopDownGetRandomScaleRotation"] == {"rot_factor": how.rotation, "scale_factor": how.scale}
        assert steps["TopDownRandomFlip"] == {"flip_prob": how.flip_probability}
        assert ("TopDownRandomShiftBboxCenter" in steps) == (how.shift_probability > 0)
        assert ("TopDownHalfBodyTransform" in steps) == (how.half_body_probability > 0)


def test_the_mirror_is_that_of_the_whole_picture() -> None:
    """A crop of the mirrored picture round the mirrored box is the mirrored crop, joints included."""
    image = np.random.default_rng(0).integers(0, 256, (140, 120, 3), np.uint8)
    joints, center, scale = standing_joints(), np.array([60.5, 70], np.float32), np.array([0.5, 0.6], np.float32)
    matrix = crop_matrix(center, scale, (192, 256))
    there = np.array([119 - center[0], center[1]], np.float32)
    expected = cv2.warpAffine(image[:, ::-1], crop_matrix(there, scale, (192, 256)), (192, 256))
    flipped, swapped = mirrored(matrix, joints, 192, COCO)
    crop = cv2.warpAffine(image, flipped, (192, 256))
    assert np.abs(crop.astype(int) - expected).mean() < 1
    left_shoulder = flipped @ np.array([*swapped[5, :2], 1])
    mirrored_right = np.array([119 - joints[6, 0], joints[6, 1], 1])
    np.testing.assert_allclose(left_shoulder, crop_matrix(there, scale, (192, 256)) @ mirrored_right, atol=1e-3)


def test_a_skeleton_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    horse = skeleton_from(HORSE)
    pictures = load_annotations(*make_horses(tmp_path), horse)
    crop, heatmaps, weights = PeopleDataset(pictures, horse, (64, 64), 1.0, None, unbiased=False)[0]
    assert crop.shape == (64, 64, 3) and heatmaps.shape == (4, 16, 16)
    # The rounded encoding has its maxima on pixels.
    np.testing.assert_array_equal(weights, [1, 1, 1, 0])
    np.testing.assert_array_equal(heatmaps.max((1, 2)), weights)
    for how in (REFERENCE, EDGE):
        assert PeopleDataset(pictures, horse, (64, 64), 1.0, how)[0][1].shape == (4, 16, 16)


def test_pictures_without_keypoints_are_no_training_data(folder: Path) -> None:
    with pytest.raises(ValueError, match="nobody in the 2 pictures has keypoints"):
        PeopleDataset(load_pictures(folder)[1:], COCO, (192, 256), 2.0, None)


def test_boxes_cut_to_little_are_ignored() -> None:
    boxes = np.array([[10, 10, 50, 60, 0], [-80, 10, 20, 60, 0], [200, 0, 260, 40, 0]], np.float32)
    clipped = clip_boxes(boxes, 100, 100)
    np.testing.assert_array_equal(clipped, [[10, 10, 50, 60, 0], [0, 10, 20, 60, 1]])


def test_mosaics_have_their_boxes_on_the_people(folder: Path) -> None:
    image = np.full((140, 120, 3), 40, np.uint8)
    image[20:80, 0:30] = (0, 0, 255)
    cv2.imwrite(str(folder / "images" / "2.png"), image)
    data = CrowdDataset(load_pictures(folder)[1:2], 192)
    torch.manual_seed(0)
    redder = []
    for _ in range(20):
        mosaic, boxes = data[0]
        assert mosaic.shape == (192, 192, 3) and mosaic.dtype == np.uint8
        assert (boxes[:, :4] >= 0).all() and (boxes[:, :4] <= 192).all()
        for x1, y1, x2, y2, _ in boxes[boxes[:, 4] == 0]:
            blue, _, red = mosaic[int((y1 + y2) / 2), int((x1 + x2) / 2)].astype(int)
            redder.append(red - blue > 25)
    assert len(redder) > 30 and np.mean(redder) > 0.7


def test_a_picture_with_people_that_are_not_boxed_has_no_background(folder: Path) -> None:
    picture = load_pictures(folder)[0]
    np.testing.assert_array_equal(boxes_with_ignore(picture), [[40, 15, 80, 125, 0]])
    others = boxes_with_ignore(replace(picture, all_boxed=False))
    np.testing.assert_array_equal(others, [[40, 15, 80, 125, 0], [0, 0, 120, 140, 1]])


def test_batches_are_filled_up_with_nothing() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    images, boxes = collate([(image, np.ones((2, 5), np.float32)), (image, np.zeros((0, 5), np.float32))])
    assert images.shape == (2, 32, 32, 3) and boxes.shape == (2, 2, 5)
    assert (boxes[1, :, 4] == -1).all()
