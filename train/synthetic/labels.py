"""The annotations of people whose meshes are known: boxes, areas, and which keypoints are seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.types import FloatArray, IntArray
from train.synthetic.camera import Camera, Placed
from train.synthetic.render import View

# How far behind the surface of its own body a keypoint may lie and still be seen, m: face, shoulders, elbows, wrists,
# hips, knees, ankles.
_DEPTHS = np.repeat((0.045, 0.13, 0.09, 0.07, 0.17, 0.11, 0.09), (5, 2, 2, 2, 2, 2, 2))
_VERTEX_DEPTH = 0.04  # m
_FACE = 5  # keypoints, the first


def rows(camera: Camera, placed: Sequence[Placed], view: View) -> list[dict[str, Any]]:
    """Annotations in COCO layout of those who are in the picture, and "visible", the share of them that is seen."""
    found = (_row(camera, each, view, number) for number, each in enumerate(placed))
    return [row for row in found if row is not None]


def least_visible(found: Sequence[dict[str, Any]]) -> float:
    """The smallest share of a person that is seen, 0 to 1; 0 if there is nobody."""
    return min((row["visible"] for row in found), default=0.0)


def _row(camera: Camera, person: Placed, view: View, number: int) -> dict[str, Any] | None:
    width, height = camera.size
    figure = person.figure
    points = person.at(figure.points[figure.own])
    pixels = camera.project(points)
    inside = (points[:, 2] > 0.1) & camera.inside(pixels)
    area = int(np.count_nonzero(view.owner == number))
    if inside.sum() < 20 or area < 30:
        return None
    facing = np.einsum("nd,nd->n", figure.normals[figure.own] @ person.rotation.T, points) < 0
    tested = inside & facing
    seen = _seen(view, pixels[tested], points[tested, 2], np.full(tested.sum(), _VERTEX_DEPTH), number)
    low, high = pixels[inside].min(0), pixels[inside].max(0) + 1
    low, high = np.clip(low, 0, None), np.clip(high, None, (width, height))
    keypoints = _keypoints(camera, person, view, number)
    return {
        "bbox": [round(float(value), 2) for value in (*low, *(high - low))],
        "area": area,
        "iscrowd": 0,
        "keypoints": [round(float(value), 2) for value in keypoints.ravel()],
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        "keypoints_source": "synthetic",
        "visible": float(seen.mean()) if len(seen) else 0.0,
    }


def _keypoints(camera: Camera, person: Placed, view: View, number: int) -> FloatArray:
    """Float [17, 3]: x, y, v; zeros outside the picture, and for what of a face is not seen, as COCO has it."""
    points = person.at(person.figure.keypoints)
    pixels = camera.project(points)
    inside = (points[:, 2] > 0.1) & camera.inside(pixels)
    seen = _seen(view, pixels, points[:, 2], _DEPTHS, number)
    visibility = 1 + seen
    labelled = inside & (seen | (np.arange(len(points)) >= _FACE))
    return np.where(labelled[:, None], np.concatenate([pixels, visibility[:, None]], 1), 0.0)


def _seen(view: View, pixels: FloatArray, depths: FloatArray, tolerance: FloatArray, number: int) -> IntArray:
    """Bool [n]: whether a person's points [n, 2] px at depths [n] m are on or shortly behind its visible surface."""
    height, width = view.owner.shape
    seen = np.zeros(len(pixels), bool)
    for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        x = np.clip(np.rint(pixels[:, 0]).astype(int) + dx, 0, width - 1)
        y = np.clip(np.rint(pixels[:, 1]).astype(int) + dy, 0, height - 1)
        seen |= (view.owner[y, x] == number) & (view.depth[y, x] > depths - tolerance)
    return seen
