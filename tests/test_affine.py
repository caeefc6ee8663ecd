"""The crop geometry agrees with the reference, and with itself there and back."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.affine import (
    boxes_to_center_scale,
    crop_maps,
    crop_matrix,
    crop_people,
    crop_to_frame,
    transform_points,
)
from tests.helpers import golden_path

Cases = dict[str, npt.NDArray[Any]]
SIZE = (192, 256)
# Boxes of a synthetic picture cropped to 24x32 px by cv2.warpAffine of OpenCV 4.13, from the formulas one by one.
OPENCV4 = Path(__file__).parent / "data" / "crops_opencv4.npz"


def picture() -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:90, 0:120]
    return np.stack([(x * 7 + y * 3) % 251, (x * x // 9 + y * 5) % 253, (x * y // 4) % 255], 2).astype(np.uint8)


@pytest.fixture(scope="module")
def golden() -> Cases:
    return {key.removeprefix("256x192/"): value for key, value in np.load(golden_path("affine.npz")).items()}


def golden_boxes(golden: Cases) -> npt.NDArray[np.float64]:
    x, y, width, height = golden["boxes"].T
    return np.stack([x, y, x + width, y + height], 1)


def test_crops_are_those_of_opencv_4_in_every_version() -> None:
    case = np.load(OPENCV4)
    centers, scales = boxes_to_center_scale(case["boxes"], (24, 32))
    crops, _ = crop_people(picture(), case["boxes"], (24, 32))
    np.testing.assert_array_equal(centers, case["centers"])
    np.testing.assert_array_equal(scales, case["scales"])
    for center, scale, matrix in zip(centers, scales, case["matrices"], strict=True):
        np.testing.assert_array_equal(crop_matrix(center, scale, (24, 32)), matrix)
    np.testing.assert_array_equal(crops, case["crops"])


def test_center_and_scale_are_the_reference_s(golden: Cases) -> None:
    centers, scales = boxes_to_center_scale(golden_boxes(golden), SIZE)
    np.testing.assert_array_equal(centers, golden["center"])
    np.testing.assert_array_equal(scales, golden["scale"])
    assert centers.dtype == scales.dtype == np.float32


def test_matrices_are_the_reference_s_turned_or_not(golden: Cases) -> None:
    for i, (center, scale) in enumerate(zip(golden["center"], golden["scale"], strict=True)):
        np.testing.assert_array_equal(crop_matrix(center, scale, SIZE), golden["trans"][i])
        turned = crop_matrix(center, scale, SIZE, golden["rot"][i])
        np.testing.assert_array_equal(turned, golden["trans_rot"][i])


def test_crops_are_the_reference_s_to_the_bit(golden: Cases) -> None:
    for number in (0, 1):
        mine = golden["img_idx"] == number
        bgr = np.ascontiguousarray(golden[f"img{number}_rgb"][..., ::-1])
        crops, _ = crop_people(bgr, golden_boxes(golden)[mine], SIZE)
        rgb = np.ascontiguousarray(crops[..., ::-1])
        np.testing.assert_array_equal(rgb, golden["crops"][mine])
        assert [zlib.crc32(crop.tobytes()) for crop in rgb] == golden["crop_crc"][mine].tolist()


def test_keypoints_return_to_the_frame_as_in_the_reference(golden: Cases) -> None:
    in_crop = golden["heat_coords"] * 4
    back = transform_points(in_crop, crop_to_frame(golden["center"], golden["scale"], SIZE))
    np.testing.assert_allclose(back, golden["image_coords"], atol=1e-4)
    assert back.dtype == np.float32


def test_there_and_back_is_the_same_place() -> None:
    boxes = np.array([[10.0, 20.0, 110.0, 220.0], [-30.0, 5.0, 400.0, 60.0]], np.float32)
    centers, scales = boxes_to_center_scale(boxes, SIZE)
    frame_points = np.random.default_rng(0).uniform(0, 200, (2, 5, 2))
    matrices = np.stack([crop_matrix(center, scale, SIZE) for center, scale in zip(centers, scales, strict=True)])
    there = transform_points(frame_points, matrices)
    back = transform_points(there, crop_to_frame(centers, scales, SIZE))
    np.testing.assert_allclose(back, frame_points, atol=1e-3)


def many_boxes(width: int, height: int, count: int = 1000) -> npt.NDArray[np.float32]:
    """Boxes all over a frame of that size; some reach out of it."""
    random, sides = np.random.default_rng(width), np.array([width, height])
    centers, sizes = random.uniform(-0.1, 1.1, (count, 2)) * sides, random.uniform(0.05, 0.8, (count, 2)) * sides
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], 1).astype(np.float32)


def steps(matrices: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Where cv2.warpAffine reads the columns and rows of crops by crop-to-frame maps [N, 2, 3]: [N, w + h] 1/32 px."""
    (x_slope, _, x_shift), (_, y_slope, y_shift) = matrices.astype(np.float64).transpose(1, 2, 0)[..., None]
    x = np.rint(np.arange(SIZE[0]) * x_slope * 1024) + np.rint(x_shift * 1024)
    y = np.rint((np.arange(SIZE[1]) * y_slope + y_shift) * 1024)
    places: npt.NDArray[np.float64] = np.floor((np.concatenate([x, y], 1) + 16) / 32)
    return places


@pytest.mark.parametrize(("size", "share"), [((640, 429), 0.005), ((1920, 1080), 0.02), ((3840, 2160), 0.1)])
def test_float32_maps_read_where_the_crops_do(size: tuple[int, int], share: float) -> None:
    """In all boxes but that share of them, and there but in a few columns or rows, by 1/32 px."""
    boxes = many_boxes(*size)
    pairs = zip(*boxes_to_center_scale(boxes, SIZE), strict=True)
    exact = np.array([cv2.invertAffineTransform(crop_matrix(center, scale, SIZE)) for center, scale in pairs])
    apart = np.abs(steps(crop_maps(boxes, SIZE)) - steps(exact))
    assert (apart > 0).any(1).mean() <= share
    assert apart.max() <= 1 and (apart > 0).sum(1).max() <= 10


def test_float32_maps_are_the_mapping_of_keypoints() -> None:
    boxes = np.concatenate([many_boxes(1920, 1080), [[50, 40, 50, 40], [-1e6, -1e6, 1e6, 1e6]]])
    maps = crop_maps(boxes, SIZE)
    corners = np.array([[[0, 0], [*SIZE]]] * len(boxes), np.float64)
    expected = transform_points(corners, crop_to_frame(*boxes_to_center_scale(boxes, SIZE), SIZE))
    apart = np.abs(transform_points(corners, maps) - expected)
    assert apart[:-1].max() < 2e-3 and apart[-1].max() < 1
    assert maps.dtype == np.float32 and crop_maps(boxes[:0], SIZE).shape == (0, 2, 3)


def test_a_crop_shows_what_warp_affine_shows() -> None:
    """Whatever the version of OpenCV interpolates, the crop is at the right place."""
    noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 4), np.uint8)
    box = np.array([[100.5, 50.25, 300.0, 420.0]])
    (crop,), _ = crop_people(image, box, SIZE)
    (center,), (scale,) = boxes_to_center_scale(box, SIZE)
    warped = cv2.warpAffine(image, crop_matrix(center, scale, SIZE), SIZE, flags=cv2.INTER_LINEAR)
    assert np.abs(crop.astype(int) - warped).max() <= 2


def test_no_people_give_no_crops() -> None:
    crops, matrices = crop_people(picture(), np.zeros((0, 4), np.float32), SIZE)
    assert crops.shape == (0, 256, 192, 3) and crops.dtype == np.uint8
    assert transform_points(np.zeros((0, 17, 2), np.float32), matrices).shape == (0, 17, 2)


@pytest.mark.parametrize(
    "box", [[50, 40, 50, 40], [-1e6, -1e6, 1e6, 1e6], [500, 400, 600, 700], [119.5, 89.5, 119.9, 89.9]]
)
def test_odd_boxes_give_crops_of_the_right_size(box: list[float]) -> None:
    """Empty, huge, outside of the picture, tiny: black where there is no picture, and no error."""
    crops, matrices = crop_people(picture(), np.array([box], np.float32), SIZE)
    assert crops.shape == (1, 256, 192, 3)
    assert np.isfinite(matrices).all()


def test_outside_of_the_picture_is_black() -> None:
    crops, _ = crop_people(np.full((90, 120, 3), 255, np.uint8), np.array([[-400, -400, -300, -300]]), SIZE)
    assert not crops.any()
