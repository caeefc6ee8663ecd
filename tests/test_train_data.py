"""Annotation files, the held-out split, crops and mosaics: what the networks are trained on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.skeletons import COCO
from tests.tiny_data import make_folder, standing_joints
from train.augment import half_body_view, mirror, rotated_view, upright_angle
from train.dark import decode
from train.datasets import coco_layout
from train.datasets.coco_layout import load_pictures, split
from train.datasets.crowds import CrowdDataset, clip_boxes, collate
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
    data = PeopleDataset(load_pictures(folder), (192, 256), 2.0, augment=False)
    crop, heatmaps, weights = data[0]
    assert len(data) == 1 and crop.shape == (256, 192, 3) and heatmaps.shape == (17, 64, 48)
    assert (weights == 1).all()
    points, _ = decode(torch.from_numpy(heatmaps[None]), 11)
    # The box is 137.5 px tall with its padding, from y = 1.25; the crop 256.
    head = (20.0 - 1.25) * 256 / 137.5
    np.testing.assert_allclose(points[0, 0, 1] * 4, head, atol=0.01)


def test_augmented_targets_stay_on_the_person(folder: Path) -> None:
    """The joints are painted as red dots; wherever the augmentation moves them, the target must be on red."""
    image = np.full((140, 120, 3), 90, np.uint8)
    for x, y, _ in standing_joints():
        cv2.circle(image, (round(float(x)), round(float(y))), 3, (0, 0, 255), -1)
    cv2.imwrite(str(folder / "images" / "1.png"), image)
    data = PeopleDataset(load_pictures(folder), (192, 256), 2.0, augment=True)
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
    angle = upright_angle(joints)
    assert angle is not None and abs(abs(angle) - 180) < 1
    view = rotated_view(joints, angle, 0.75, 1.25)
    assert view.scale[1] * 200 == pytest.approx(1.25 * 100, rel=0.01)
    joints[5, 2] = 0
    assert upright_angle(joints) is None


def test_half_body_looks_at_half_of_the_body() -> None:
    joints = standing_joints()
    view = half_body_view(joints, 0.75, np.random.default_rng(0))
    assert view is not None
    whole = rotated_view(joints, 0.0, 0.75, 1.5)
    assert view.scale[1] < 0.7 * whole.scale[1]
    joints[2:, 2] = 0
    assert half_body_view(joints, 0.75, np.random.default_rng(0)) is None


def test_mirror_swaps_sides_and_is_its_own_inverse() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (256, 192, 3), np.uint8)
    joints = standing_joints()
    mirrored, moved = mirror(crop, joints, COCO)
    np.testing.assert_allclose(moved[5, 0], 191 - joints[6, 0])
    back, again = mirror(mirrored, moved, COCO)
    np.testing.assert_array_equal(back, crop)
    np.testing.assert_allclose(again, joints)


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


def test_batches_are_filled_up_with_nothing() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    images, boxes = collate([(image, np.ones((2, 5), np.float32)), (image, np.zeros((0, 5), np.float32))])
    assert images.shape == (2, 32, 32, 3) and boxes.shape == (2, 2, 5)
    assert (boxes[1, :, 4] == -1).all()
