"""What holds of crops, letterboxes and overlapping boxes whatever the numbers are."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.affine import (
    boxes_to_center_scale,
    crop_maps,
    crop_matrix,
    crop_people,
    crop_to_frame,
    transform_points,
)
from pipeline.association import box_iou
from pipeline.detector import PersonDetector, distinct, letterbox
from pipeline.types import Detections, FloatArray
from tests.helpers import FakeEngine, detector_manifest

quick = settings(derandomize=True, max_examples=60, deadline=None)
few = settings(quick, max_examples=25)

input_sizes = st.sampled_from([(192, 256), (288, 384), (256, 256), (48, 64), (96, 128)])
places = st.floats(-4000, 8000, width=32)
sides = st.floats(0.5, 6000, width=32)
answers = st.one_of(st.floats(-50, 450, width=32), st.floats(width=32))
eighths = st.integers(-4000, 32000).map(lambda number: number / 8)  # exact in float32, and so are their sums


@st.composite
def boxes_of(draw: st.DrawFn, least: int = 1, most: int = 6) -> npt.NDArray[np.float32]:
    """Boxes of people in and far round a frame."""
    rows = draw(st.lists(st.tuples(places, places, sides, sides), min_size=least, max_size=most))
    return np.array([(x, y, x + width, y + height) for x, y, width, height in rows], np.float32).reshape(-1, 4)


def spacing(boxes: FloatArray) -> npt.NDArray[np.float64]:
    """What float32 can tell apart at the far side of each box [N], in px."""
    return np.asarray(np.spacing(np.abs(boxes).max(1).astype(np.float32)), np.float64)


@quick
@given(boxes=boxes_of(), size=input_sizes)
def test_the_grown_box_has_the_aspect_of_the_input_and_holds_the_person(
    boxes: npt.NDArray[np.float32], size: tuple[int, int]
) -> None:
    centers, scales = boxes_to_center_scale(boxes, size)
    np.testing.assert_allclose(scales[:, 0] / scales[:, 1], size[0] / size[1], rtol=1e-5)
    half = scales * 100
    slack = 4 * spacing(boxes)[:, None]
    assert (centers - half <= boxes[:, :2] + slack).all() and (centers + half >= boxes[:, 2:] - slack).all()


@quick
@given(boxes=boxes_of(), size=input_sizes, shares=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_from_the_frame_to_the_crop_and_back_is_the_same_place(
    boxes: npt.NDArray[np.float32], size: tuple[int, int], shares: list[tuple[float, float]]
) -> None:
    centers, scales = boxes_to_center_scale(boxes, size)
    low, extent = boxes[:, None, :2].astype(np.float64), (boxes[:, None, 2:] - boxes[:, None, :2]).astype(np.float64)
    points = low + np.array(shares)[None] * extent
    matrices = np.stack([crop_matrix(center, scale, size) for center, scale in zip(centers, scales, strict=True)])
    in_crop = transform_points(points, matrices)
    back = transform_points(in_crop, crop_to_frame(centers, scales, size))
    # The reference's matrix goes through float32 points: their spacing, as far as the crop is zoomed, is its error.
    allowed = 1e-3 + 16 * spacing(boxes) + 1e-4 * scales.max(1) * 200
    assert (np.abs(back - points).max((1, 2)) <= allowed).all()


@quick
@given(boxes=boxes_of(), size=input_sizes)
def test_maps_for_an_engine_are_those_of_the_keypoints(boxes: npt.NDArray[np.float32], size: tuple[int, int]) -> None:
    corners = np.array([[[0, 0], [*size]]] * len(boxes), np.float64)
    maps = crop_maps(boxes, size)
    expected = transform_points(corners, crop_to_frame(*boxes_to_center_scale(boxes, size), size))
    apart = np.abs(transform_points(corners, maps) - expected).max((1, 2))
    assert np.isfinite(maps).all()
    assert (apart <= 2e-3 + 16 * spacing(boxes)).all()


@quick
@given(boxes=boxes_of(), size=input_sizes, power=st.integers(-3, 3))
def test_twice_the_frame_is_twice_the_geometry(
    boxes: npt.NDArray[np.float32], size: tuple[int, int], power: int
) -> None:
    zoom = np.float32(2.0**power)
    centers, scales = boxes_to_center_scale(boxes, size)
    zoomed_centers, zoomed_scales = boxes_to_center_scale(boxes * zoom, size)
    np.testing.assert_array_equal(zoomed_centers, centers * zoom)
    np.testing.assert_array_equal(zoomed_scales, scales * zoom)
    np.testing.assert_array_equal(
        crop_to_frame(zoomed_centers, zoomed_scales, size), crop_to_frame(centers, scales, size) * zoom
    )


@few
@given(left=st.integers(0, 200), top=st.integers(0, 120), x=eighths, y=eighths, width=st.integers(8, 120))
def test_a_crop_moves_with_the_picture(left: int, top: int, x: float, y: float, width: int) -> None:
    """The same person elsewhere in a larger picture gives the same crop, to a rounding of 1/32 px."""
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)
    canvas = np.zeros((90 + 120, 120 + 200, 3), np.uint8)
    canvas[top : top + 90, left : left + 120] = image
    x, y = x % 120, y % 90
    box = np.array([[x, y, x + width, y + 2 * width]], np.float32)
    moved = box + np.array([left, top, left, top], np.float32)
    (here,), _ = crop_people(image, box, (48, 64))
    (there,), _ = crop_people(canvas, moved, (48, 64))
    assert np.abs(here.astype(int) - there).max() <= 12  # of 255: at the picture's edge 1/32 px are as much


@few
@given(
    boxes=boxes_of(most=3),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=input_sizes,
    away=st.sampled_from([0, 1 << 16, -(1 << 16), 1 << 20]),
)
def test_any_boxes_of_any_picture_give_crops_and_finite_maps(
    boxes: npt.NDArray[np.float32], height: int, width: int, size: tuple[int, int], away: int
) -> None:
    boxes += away  # so far that a position in 16 bits would come round to the picture again
    image = np.full((height, width, 3), 255, np.uint8)
    image.flags.writeable = False
    crops, maps = crop_people(image, boxes, size)
    assert crops.shape == (len(boxes), size[1], size[0], 3)
    assert np.isfinite(maps).all()
    centers, scales = boxes_to_center_scale(boxes, size)
    low, high = centers - scales * 100, centers + scales * 100
    outside = (low > [width + 1, height + 1]).any(1) | (high < -1).any(1)
    assert not crops[outside].any(), "black outside of the picture"
    slices = np.zeros((height, 2 * width, 3), np.uint8)
    slices[:, ::2] = image
    np.testing.assert_array_equal(crop_people(slices[:, ::2], boxes, size)[0], crops)  # not contiguous


@quick
@given(
    box=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False, width=32, min_value=-1e6, max_value=1e6)] * 4),
    size=input_sizes,
)
def test_degenerate_boxes_are_no_error(box: tuple[float, ...], size: tuple[int, int]) -> None:
    """Empty, turned inside out, huge: the geometry is finite."""
    boxes = np.array([box], np.float32)
    assert np.isfinite(crop_maps(boxes, size)).all()
    crops, maps = crop_people(np.zeros((20, 30, 3), np.uint8), boxes, size)
    assert crops.shape[1:] == (size[1], size[0], 3) and np.isfinite(maps).all()


@few
@given(height=st.integers(1, 1500), width=st.integers(1, 1500), longest=st.sampled_from([32, 96, 320, 416]))
@pytest.mark.filterwarnings("error")
def test_a_letterbox_fits_and_leads_back(height: int, width: int, longest: int) -> None:
    canvas, zoom = letterbox(np.full((height, width, 3), 200, np.uint8), longest)
    assert canvas.shape[0] % 32 == canvas.shape[1] % 32 == 0 and canvas.shape[2] == 3
    assert max(canvas.shape[:2]) == longest
    right, bottom = zoom[:2] * [width, height]
    assert round(right) == pytest.approx(right) and round(bottom) == pytest.approx(bottom)
    assert 1 <= right <= canvas.shape[1] and 1 <= bottom <= canvas.shape[0]
    assert max(right, bottom) == pytest.approx(longest)
    inside = canvas[: round(bottom), : round(right)]
    assert (inside == 200).all()
    factor = longest / max(height, width)
    assert abs(right - max(1, width * factor)) <= 0.5 and abs(bottom - max(1, height * factor)) <= 0.5


@quick
@given(
    boxes=boxes_of(least=0, most=12),
    scores=st.lists(st.floats(0.125, 1, width=32), min_size=12, max_size=12),
    threshold=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_what_remains_of_overlapping_boxes(
    boxes: npt.NDArray[np.float32], scores: list[float], threshold: float
) -> None:
    people = Detections(boxes, np.array(scores[: len(boxes)], np.float32))
    kept = distinct(people, threshold)
    assert (np.diff(kept.scores) <= 0).all(), "best first"
    overlap = box_iou(kept.boxes, kept.boxes) - np.eye(len(kept))
    assert (overlap <= threshold + 1e-3).all()
    again = distinct(kept, threshold)
    np.testing.assert_array_equal(again.boxes, kept.boxes)
    for box, score in zip(boxes, people.scores, strict=True):  # whoever is gone lies on someone better
        better = kept.boxes[kept.scores >= score]
        assert (len(better) and box_iou(box[None], better).max() >= min(threshold, 1) - 1e-3) or box in kept.boxes


@quick
@given(
    rows=st.lists(st.tuples(*[answers] * 4, st.sampled_from([0.1, 0.5, 0.9, np.nan])), min_size=1, max_size=8),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_whatever_a_network_answers_people_are_inside_of_the_frame(
    rows: list[tuple[float, ...]], height: int, width: int
) -> None:
    """Also not-a-number and infinity."""
    found = np.array(rows, np.float32)
    engine = FakeEngine(detector_manifest(96), lambda _: {"boxes": found[:, :4], "scores": found[:, 4]})
    people = PersonDetector(engine)(np.zeros((height, width, 3), np.uint8))
    assert np.isfinite(people.boxes).all()
    assert (people.boxes >= 0).all() and (people.boxes <= [width, height, width, height]).all()
    assert (people.boxes[:, 2:] > people.boxes[:, :2]).all()
    assert (people.scores >= 0.4).all()
