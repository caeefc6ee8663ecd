"""Things before the people: shapes cut out of other pictures."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.types import FloatArray


def random_shape(rng: np.random.Generator, low: FloatArray, high: FloatArray, size: tuple[int, int]) -> FloatArray:
    """What something covers of a person whose box is from `low` to `high`, float [2], px.

    Float32 [H, W], 0 to 1; size: width and height px of the picture.
    """
    width, height = size
    extent = np.maximum(high - low, 8)
    outline = _counter(rng, low, high, extent) if rng.random() < 0.45 else _blob(rng, low, extent)
    mask = np.zeros((height, width), np.float32)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.6), np.float32)


def _counter(rng: np.random.Generator, low: FloatArray, high: FloatArray, extent: FloatArray) -> FloatArray:
    """The outline [4, 2] of a table, wall or counter before the legs."""
    left, right = low[0] - rng.uniform(-0.2, 1.5) * extent[0], high[0] + rng.uniform(-0.2, 1.5) * extent[0]
    top, below = low[1] + rng.uniform(0.45, 0.85) * extent[1], high[1] + rng.uniform(0, 0.4) * extent[1]
    return np.array([[left, top], [right, top + rng.normal(0, 0.03) * extent[1]], [right, below], [left, below]])


def _blob(rng: np.random.Generator, low: FloatArray, extent: FloatArray) -> FloatArray:
    """The outline [40, 2] of something round or square with a rough edge, anywhere on the person."""
    centre, radii = low + rng.uniform(0, 1, 2) * extent, rng.uniform(0.08, 0.32, 2) * extent + 3
    angle = np.linspace(0, 2 * np.pi, 40)
    squareness = rng.uniform(0.15, 1.2)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    edge = np.sign(circle) * np.abs(circle) ** squareness * radii * (1 + 0.08 * rng.normal(0, 1, (40, 1)))
    tilt = rng.uniform(-0.6, 0.6)
    return np.asarray(edge @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]]) + centre)
