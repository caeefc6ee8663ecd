"""Top-down pose estimation as it is usually written: box by box by OpenCV, whole heatmaps by numpy.

The steps and their order are those of MMPose 0.29's top-down pipeline and its "unbiased" (DARK) decode.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.affine import PIXELS_PER_SCALE, boxes_to_center_scale, crop_matrix

FloatArray = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]
KERNEL = 11
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)


def network_inputs(image: Image, boxes: FloatArray, size: tuple[int, int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A BGR picture [H, W, 3] and boxes [N, 4] px -> normalised RGB [N, 3, h, w], centres [N, 2], scales [N, 2]."""
    centers, scales = boxes_to_center_scale(boxes, size)
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    inputs = []
    for center, scale in zip(centers, scales, strict=True):
        crop = cv2.warpAffine(rgb, crop_matrix(center, scale, size), size, flags=cv2.INTER_LINEAR)
        inputs.append(((crop.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1))
    return np.stack(inputs), centers, scales


def full_map_decode(heatmaps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[N, K, H, W] -> points [N, K, 2], scores [N, K]; blurs and renormalises whole maps, then steps joint by joint."""
    people, keypoints, _, width = heatmaps.shape
    flat = heatmaps.reshape(people, keypoints, -1)
    place = flat.argmax(2)
    scores = flat.max(2)
    points = np.stack((place % width, place // width), 2).astype(np.float32)
    points[scores <= 0] = -1
    for person in range(people):
        for joint in range(keypoints):
            log_map = np.log(np.maximum(_blur(heatmaps[person, joint]), 1e-10))
            points[person, joint] = _newton(log_map, points[person, joint])
    return points, scores


def to_frame(points: FloatArray, centers: FloatArray, scales: FloatArray, heatmap_size: tuple[int, int]) -> FloatArray:
    """Points [N, K, 2] in heatmap px -> in px of the picture, person by person."""
    found = np.empty_like(points)
    for row, (center, scale) in enumerate(zip(centers, scales, strict=True)):
        size = scale * np.float32(PIXELS_PER_SCALE)
        found[row] = points[row] * (size / np.array(heatmap_size, np.float32)) + center - size / 2
    return found


def _blur(heatmap: FloatArray) -> FloatArray:
    """The map behind a zero border, blurred, cut back, and scaled to its old maximum."""
    border = KERNEL // 2
    padded = np.zeros((heatmap.shape[0] + 2 * border, heatmap.shape[1] + 2 * border), np.float32)
    padded[border:-border, border:-border] = heatmap
    blurred = cv2.GaussianBlur(padded, (KERNEL, KERNEL), 0)[border:-border, border:-border]
    renormalised: FloatArray = blurred * (heatmap.max() / blurred.max())
    return renormalised


def _newton(log_map: FloatArray, point: FloatArray) -> FloatArray:
    """The point [2] moved by one Newton step; unchanged within 2 px of the border or with a singular Hessian."""
    height, width = log_map.shape
    x, y = int(point[0]), int(point[1])
    if not (2 <= x <= width - 3 and 2 <= y <= height - 3):
        return point
    dx = 0.5 * (log_map[y, x + 1] - log_map[y, x - 1])
    dy = 0.5 * (log_map[y + 1, x] - log_map[y - 1, x])
    dxx = 0.25 * (log_map[y, x + 2] - 2 * log_map[y, x] + log_map[y, x - 2])
    dyy = 0.25 * (log_map[y + 2, x] - 2 * log_map[y, x] + log_map[y - 2, x])
    dxy = 0.25 * (log_map[y + 1, x + 1] - log_map[y - 1, x + 1] - log_map[y + 1, x - 1] + log_map[y - 1, x - 1])
    if dxx * dyy - dxy * dxy == 0:
        return point
    hessian = np.array([[dxx, dxy], [dxy, dyy]])
    moved: FloatArray = point - np.linalg.inv(hessian) @ np.array([dx, dy])
    return moved
