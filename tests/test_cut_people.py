"""People cut off by a picture's edge, and occluders: what is black, and what is learnt of what is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.affine import crop_matrix
from pipeline.skeletons import COCO
from tests.tiny_data import make_folder, standing_joints
from train.augment import EDGE, Augmentation, cover_part, cut_off, cut_view, lies_inside
from train.datasets.coco_layout import load_pictures
from train.datasets.people import PeopleDataset

# Nothing but the cut.
CUT = Augmentation(scale=0.0, scale_limit=0.0, rotation=0.0, flip_probability=0.0, cut_probability=1.0)
SQUARE = np.array([(10, 10), (30, 10), (30, 30), (10, 30)], float)


@pytest.mark.parametrize("corners", [SQUARE, SQUARE[::-1]], ids=["one way round", "the other"])
def test_what_is_inside_a_polygon_whichever_way_it_runs(corners: np.ndarray) -> None:
    points = np.array([(20, 20), (10, 10), (5, 20), (20, 31), (40, 40)], float)
    np.testing.assert_array_equal(lies_inside(points, corners), [True, True, False, False, False])


def test_what_is_cut_off_is_black_and_the_rest_as_it_was() -> None:
    crop = np.full((40, 40, 3), 200, np.uint8)
    left = cut_off(crop, SQUARE)
    assert (left[12:29, 12:29] == 200).all() and left[:9].max() == left[:, 32:].max() == 0
    assert (crop == 200).all()


@pytest.mark.parametrize("rotation", [0.0, 180.0, 90.0])
def test_a_cut_leaves_some_of_a_person_and_looks_at_that(rotation: float) -> None:
    """Upright, upside down and lying: the box of what is left is smaller than the person and ends at the cut."""
    angle = np.radians(rotation)
    joints = standing_joints()
    turned = joints[:, :2] @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    joints[:, :2] = turned + 300
    rng, kept_heads = np.random.default_rng(0), 0
    for _ in range(200):
        view = cut_view(joints, rotation, 0.75, rng)
        assert view.kept is not None
        inside = lies_inside(joints[:, :2], view.kept)
        assert 1 <= inside.sum() <= 17 and view.scale[1] * 200 < 1.6 * 113
        kept_heads += inside[0] and not inside[15:].any()
        points = joints[inside, :2] @ crop_matrix(view.center, view.scale, (192, 256), rotation)[:, :2].T
        points += crop_matrix(view.center, view.scale, (192, 256), rotation)[:, 2]
        assert (points > 0).all() and (points < (192, 256)).all()
    # Mostly the legs go.
    assert 100 < kept_heads < 180


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_joints_that_are_cut_off_have_empty_targets_and_the_recipes_weight(weight: float, tmp_path: Path) -> None:
    data = PeopleDataset(
        load_pictures(make_folder(tmp_path)), COCO, (192, 256), 2.0, replace(CUT, absent_weight=weight)
    )
    torch.manual_seed(0)
    gone = 0
    for _ in range(20):
        crop, heatmaps, weights = data[0]
        assert set(np.unique(weights)) <= {1.0, weight}
        absent = weights == weight
        gone += absent.sum()
        assert heatmaps[absent].max(initial=0) == 0 and (heatmaps[~absent].max((1, 2)) > 0.5).all()
        for heatmap in heatmaps[~absent]:
            y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
            assert crop[min(4 * y, 255), min(4 * x, 191)].max() > 0
        assert (crop.max(2) == 0).mean() > 0.05
    assert gone > 60


def test_an_occluder_is_a_part_of_another_picture() -> None:
    image, other = np.full((64, 48, 3), 10, np.uint8), np.zeros((30, 20, 3), np.uint8)
    other[:] = (200, 150, 100)
    for seed in range(20):
        covered = cover_part(image, np.random.default_rng(seed), other)
        changed = (covered != image).any(2)
        assert 0 < changed.mean() < 0.26 and (covered[changed] == (200, 150, 100)).all()
        x, y, w, h = cv2.boundingRect(changed.astype(np.uint8))
        assert changed[y : y + h, x : x + w].all()
    assert (image == 10).all()


def test_the_edge_recipe_cuts_and_teaches_what_is_absent() -> None:
    assert EDGE.cut_probability > 0 and EDGE.absent_weight > 0
