"""From a person's box to the network's crop and back: the geometry of top-down pose estimation.

Formulas: MMPose 0.29's top-down affine. A scale is a box's (width, height) in units of 200 px, padding included.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, Image

PIXELS_PER_SCALE = 200.0


def boxes_to_center_scale(
    boxes_xyxy: FloatArray, input_size: tuple[int, int], padding: float = 1.25
) -> tuple[FloatArray, FloatArray]:
    """Boxes [N, 4] px, grown to the aspect of (width, height) -> float32 centres [N, 2] px, scales [N, 2]."""
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    centers = boxes[:, :2] + sizes / 2
    aspect = input_size[0] / input_size[1]
    heights = np.maximum(sizes[:, 1], sizes[:, 0] / aspect)
    widths = np.maximum(sizes[:, 0], sizes[:, 1] * aspect)
    # float32 before the division and the padding: as the reference rounds.
    grown = np.stack([widths, heights], axis=1).astype(np.float32)
    return centers.astype(np.float32), grown / np.float32(PIXELS_PER_SCALE) * np.float32(padding)


def crop_matrix(
    center: FloatArray, scale: FloatArray, input_size: tuple[int, int], rotation_deg: float = 0.0
) -> npt.NDArray[np.float64]:
    """The affine map [2, 3] from frame px to crop px of a centre [2] and scale [2]; the zoom is that of the width.

    It goes through three float32 points, as the reference does: crops then agree with it to the bit.
    """
    width, height = input_size
    radius = float(np.float32(scale[0]) * np.float32(PIXELS_PER_SCALE)) / 2
    angle = math.radians(rotation_deg)
    up = np.array([radius * math.sin(angle), -radius * math.cos(angle)])
    middle = np.array([width / 2, height / 2])
    source = _three_points(np.asarray(center, np.float64), up)
    target = _three_points(middle, np.array([0.0, -width / 2]))
    matrix: npt.NDArray[np.float64] = cv2.getAffineTransform(source, target).astype(np.float64)
    return matrix


def crop_to_frame(centers: FloatArray, scales: FloatArray, input_size: tuple[int, int]) -> FloatArray:
    """The maps, float32 [N, 2, 3], from crop px to frame px: width and height zoom apart, no half pixel."""
    centers, sizes = np.asarray(centers, np.float32), np.asarray(scales, np.float32) * np.float32(PIXELS_PER_SCALE)
    matrices = np.zeros((len(centers), 2, 3), np.float32)
    matrices[:, 0, 0] = sizes[:, 0] / input_size[0]
    matrices[:, 1, 1] = sizes[:, 1] / input_size[1]
    matrices[:, :, 2] = centers - sizes / 2
    return matrices


def crop_people(image: Image, boxes: FloatArray, input_size: tuple[int, int]) -> tuple[Image, FloatArray]:
    """Crops of the boxes [N, 4] px of a BGR image [H, W, 3] -> (uint8 [N, h, w, 3] BGR, crop_to_frame [N, 2, 3])."""
    centers, scales = boxes_to_center_scale(boxes, input_size)
    x, y = _positions(_frame_matrices(centers, scales, input_size), input_size)
    return _resample_upright(image, x, y), crop_to_frame(centers, scales, input_size)


def crop_maps(boxes: FloatArray, input_size: tuple[int, int]) -> FloatArray:
    """The maps, float32 [N, 2, 3], from crop px to frame px for an engine that cuts the boxes [N, 4] px out itself.

    They are crop_to_frame's, to 1/1000 px, with the positions, in 1/32 px, of crop_people.
    """
    centers, scales = boxes_to_center_scale(boxes, input_size)
    backward = _frame_matrices(centers, scales, input_size)
    maps = crop_to_frame(centers, scales, input_size)
    sized = backward[:, 0, 0] > 0  # A box without a size has no inverse.
    for axis, positions in enumerate(_positions(backward, input_size)):
        line = _float32_line(backward[sized, axis, axis], backward[sized, axis, 2], positions[sized], axis == 0)
        maps[sized, axis, axis], maps[sized, axis, 2] = line
    return maps


def transform_points(points: FloatArray, matrices: FloatArray) -> FloatArray:
    """Points [N, K, 2], each person's by its own affine map [N, 2, 3] -> float32 [N, K, 2]."""
    moved: FloatArray = points @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
    return moved.astype(np.float32, copy=False)


def _frame_matrices(centers: FloatArray, scales: FloatArray, input_size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The inverses [N, 2, 3] of the people's crop matrices, as cv2.warpAffine takes them."""
    pairs = zip(centers, scales, strict=True)
    matrices = [cv2.invertAffineTransform(crop_matrix(center, scale, input_size)) for center, scale in pairs]
    return np.array(matrices, np.float64).reshape(-1, 2, 3)


def _positions(
    backward: npt.NDArray[np.float64], input_size: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the crops' columns [N, w] and rows [N, h] lie in the frame, in 1/32 px, by unrotated maps [N, 2, 3].

    As cv2.warpAffine computed them up to OpenCV 4.
    """
    width, height = input_size
    x = np.rint(np.arange(width) * backward[:, 0, :1] * 1024) + np.rint(backward[:, 0, 2:] * 1024)
    y = np.rint((np.arange(height) * backward[:, 1, 1:2] + backward[:, 1, 2:]) * 1024)
    return _fixed_point(x), _fixed_point(y)


def _float32_line(
    slopes: npt.NDArray[np.float64],
    shifts: npt.NDArray[np.float64],
    positions: npt.NDArray[np.int64],
    rounded_apart: bool,
) -> tuple[FloatArray, FloatArray]:
    """Float32 slopes [N] and shifts [N] of the same positions [N, M] in 1/32 px; rounded_apart as x is in _positions.

    The nearest float32 values may be on the other side of a rounding: of those beside them, the slope that leaves the
    shift most room, and a shift within it, at most 1/1024 px away.
    """
    nearest = slopes.astype(np.float32)
    candidates = nearest + np.spacing(nearest) * np.arange(-1, 2, dtype=np.float32)[:, None]
    products = np.arange(positions.shape[1]) * candidates[:, :, None].astype(np.float64) * 1024
    if rounded_apart:
        products = np.rint(products)
    least, most = (32 * positions - 16.5 - products).max(2), (32 * positions + 15.5 - products).min(2)
    best = (most - least).argmax(0), np.arange(len(slopes))
    least, most, shifts = least[best], most[best], shifts * 1024
    margins = np.minimum(np.spacing(np.abs(shifts).astype(np.float32)), (most - least) / 2)
    inside = np.clip(np.clip(shifts, least + margins, most - margins), shifts - 1, shifts + 1)
    return candidates[best], (np.where(least < most, inside, shifts) / 1024).astype(np.float32)


def _resample_upright(image: Image, x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> Image:
    """Crops uint8 [N, h, w, 3] of an image at columns [N, w] and rows [N, h] in 1/32 px: bilinear, black outside.

    They are what cv2.warpAffine computed up to OpenCV 4, to the bit. OpenCV 5 interpolates otherwise there (other in
    6 % of the values), but the same in cv2.remap with such positions.
    """
    crops = np.empty((*y.shape, x.shape[1], 3), np.uint8)
    whole = np.empty((*crops.shape[1:3], 2), np.int16)
    for crop, columns, rows in zip(crops, x, y, strict=True):
        whole[..., 0], whole[..., 1] = _whole(columns), _whole(rows)[:, None]
        fraction = ((rows & 31) << 5).astype(np.uint16)[:, None] | (columns & 31).astype(np.uint16)
        cv2.remap(image, whole, fraction, cv2.INTER_LINEAR, dst=crop)
    return crops


def _fixed_point(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Positions in units of 1/1024 px -> of 1/32 px, rounded half up."""
    return (positions.astype(np.int64) + 16) >> 5


def _whole(positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
    """The whole px of positions in 1/32 px; what lies beyond int16 stays outside of any image."""
    whole: npt.NDArray[np.int16] = np.clip(positions >> 5, -32768, 32767).astype(np.int16)
    return whole


def _three_points(first: npt.NDArray[np.float64], arm: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """A corner, the end of its arm, and the end of that arm turned by 90 degrees at the second point."""
    points = np.zeros((3, 2), np.float32)
    points[0], points[1] = first, first + arm
    spread = points[0] - points[1]
    points[2] = points[1] + np.array([-spread[1], spread[0]], np.float32)
    return points
