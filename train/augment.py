"""Augmentation of pictures and crops: geometry (scale, rotation, half body, mirror) and appearance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pipeline.affine import PIXELS_PER_SCALE
from pipeline.types import FloatArray, Image, Skeleton

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 5, 6, 11, 12
LOWER_BODY = np.arange(17) >= 11


@dataclass(frozen=True)
class View:
    """Where a crop looks. center: [2] px. scale: [2], box size / 200 px, padding included. rotation: degrees."""

    center: FloatArray
    scale: FloatArray
    rotation: float


def torch_seeded_rng() -> np.random.Generator:
    """A generator that follows torch's seed, which differs in every worker and epoch and repeats with a run's seed."""
    return np.random.default_rng(int(torch.randint(2**62, (1,)).item()))


def upright_angle(joints: FloatArray) -> float | None:
    """The rotation in degrees that turns a person's torso upright, from joints [17, 3]; None if a part is unknown."""
    torso = joints[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]]
    if (torso[:, 2] <= 0).any():
        return None
    x, y = torso[2:, :2].mean(0) - torso[:2, :2].mean(0)
    return math.degrees(math.atan2(-x, y))


def rotated_view(joints: FloatArray, rotation: float, aspect: float, padding: float) -> View:
    """The view of all known joints [K, 3] in a frame turned by `rotation` degrees; aspect is width / height."""
    angle = math.radians(rotation)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = joints[joints[:, 2] > 0, :2] @ turn.T
    low, high = points.min(0), points.max(0)
    center = turn.T @ ((low + high) / 2)
    return View(center.astype(np.float32), _fit(high - low, aspect, padding), rotation)


def half_body_view(joints: FloatArray, aspect: float, rng: np.random.Generator) -> View | None:
    """The view of only the upper or the lower body; None when fewer than 3 joints would be seen (MMPose's rule)."""
    known = joints[:, 2] > 0
    upper, lower = known & ~LOWER_BODY, known & LOWER_BODY
    chosen = upper if (rng.random() < 0.5 and upper.sum() > 2) or lower.sum() <= 2 else lower
    if chosen.sum() < 3:
        return None
    points = joints[chosen, :2]
    size = points.max(0) - points.min(0)
    return View(points.mean(0).astype(np.float32), _fit(size, aspect, 1.5), 0.0)


def _fit(size: FloatArray, aspect: float, padding: float) -> FloatArray:
    """The scale of the smallest box of that aspect that holds `size` [2] px."""
    width, height = max(float(size[0]), 8.0), max(float(size[1]), 8.0)
    width, height = max(width, height * aspect), max(height, width / aspect)
    return np.array([width, height], np.float32) * np.float32(padding / PIXELS_PER_SCALE)


def shaken(view: View, rng: np.random.Generator, scale: float, rotation: float, shift: float) -> View:
    """The view with random scale (1 +- scale), rotation (normal, +- 2 deviations, 60 % of the time) and shift."""
    factor = np.float32(np.clip(rng.normal() * scale * 0.5 + 1, 1 - scale, 1 + scale))
    angle = float(np.clip(rng.normal(), -2, 2)) * rotation if rng.random() < 0.6 else 0.0
    moved = view.center + rng.uniform(-shift, shift, 2) * view.scale * PIXELS_PER_SCALE
    return View(moved.astype(np.float32), view.scale * factor, view.rotation + angle)


def mirror(crop: Image, joints: FloatArray, skeleton: Skeleton) -> tuple[Image, FloatArray]:
    """The mirror image of a crop [h, w, 3] and of its joints [K, 3] in crop px, left and right swapped."""
    joints = joints.copy()
    joints[:, 0] = crop.shape[1] - 1 - joints[:, 0]
    return np.ascontiguousarray(crop[:, ::-1]), joints[skeleton.flip_order]


def change_appearance(image: Image, rng: np.random.Generator) -> Image:
    """Random colour, contrast, greyscale, blur by lower resolution, and noise; uint8 [h, w, 3] BGR."""
    if rng.random() < 0.8:
        gain, bias = rng.uniform(0.6, 1.4), rng.uniform(-30, 30)
        tint = rng.uniform(0.85, 1.15, 3)
        table = np.clip(np.arange(256)[:, None] * gain * tint + bias + 128 * (1 - gain), 0, 255).astype(np.uint8)
        image = cv2.LUT(image, table.reshape(1, 256, 3)).astype(np.uint8, copy=False)
    if rng.random() < 0.1:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[:, :, None], 3, 2)
    if rng.random() < 0.35:
        height, width = image.shape[:2]
        factor = rng.uniform(1.3, 4.0)
        small = cv2.resize(image, (int(width / factor), int(height / factor)), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image.astype(np.uint8, copy=False)


def cover_part(image: Image, rng: np.random.Generator) -> Image:
    """The picture with one random rectangle (up to half of each side) in a plain colour: an occluder."""
    height, width = image.shape[:2]
    w, h = (rng.uniform(0.1, 0.5, 2) * (width, height)).astype(int)
    x, y = int(rng.uniform(0, width - w)), int(rng.uniform(0, height - h))
    covered = image.copy()
    covered[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return covered
