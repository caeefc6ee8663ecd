"""Augmentation of pictures and crops: geometry (shift, half body, scale, rotation, mirror) and appearance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pipeline.affine import PIXELS_PER_SCALE
from pipeline.types import FloatArray, Image, Skeleton

TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
# Someone tilted further than this may be turned upright.
UPRIGHT_DEGREES = 30.0
# Half a body is only taken of people with more known joints than this (MMPose 0.29's rule).
HALF_BODY_JOINTS = 8
HALF_BODY_PADDING = 1.5
UPRIGHT_PADDING = 1.25 * 1.15
# How people are cut off: the axis, whether its upper end, the least and most of their size; and how often each way is.
CUTS = ((1, True, 0.2, 0.88), (1, False, 0.1, 0.5), (0, False, 0.1, 0.5), (0, True, 0.1, 0.5))
CUT_SIDES = (0.7, 0.06, 0.12, 0.12)
# How far someone's outline is from the joints, in sizes, and the padding of the box.
CUT_MARGIN = 0.06
CUT_PADDING = 1.25


@dataclass(frozen=True)
class Augmentation:
    """How training crops differ from people's boxes.

    scale: standard deviation of the factor of the size, normal round 1. scale_limit: furthest that it goes from 1.
    rotation: standard deviation in degrees, normal, cut at twice that; 60 % of the crops are rotated.
    shift: furthest that the centre moves, uniformly, in sizes of the padded box.
    upright: how often someone tilted is first turned upright. Other names ending in `probability` say how often.
    cut: how often a side of the person (mostly from the neck, chest, hips or knees down) is cut off, as the edge of a
    picture does with people near the camera.
    appearance: colours, blur, noise and covers change as well.
    absent_weight: of joints that are known to lie outside the crop, whose heatmap should be empty; 0 as in the
    reference: nothing is learnt from them.
    """

    scale: float
    scale_limit: float
    rotation: float
    shift: float = 0.0
    shift_probability: float = 0.0
    half_body_probability: float = 0.0
    rotation_probability: float = 0.6
    flip_probability: float = 0.5
    upright_probability: float = 0.0
    cut_probability: float = 0.0
    appearance: bool = False
    absent_weight: float = 0.0


# MMPose 0.29's training pipelines: of COCO and COCO-WholeBody, and of MPII.
REFERENCE = Augmentation(
    scale=0.5, scale_limit=0.5, rotation=40.0, shift=0.16, shift_probability=0.3, half_body_probability=0.3
)
REFERENCE_MPII = replace(REFERENCE, shift_probability=0.0, half_body_probability=0.0)
# For small networks and people of any attitude, as in sports pictures.
EDGE = Augmentation(
    scale=0.2,
    scale_limit=0.4,
    rotation=22.0,
    shift=0.08,
    shift_probability=1.0,
    half_body_probability=0.3,
    upright_probability=0.7,
    cut_probability=0.3,
    appearance=True,
    absent_weight=0.5,
)


@dataclass(frozen=True)
class View:
    """Where a crop looks. center: [2] px. scale: [2], box size / 200 px, padding included. rotation: degrees.

    mirrored: the crop is the mirror image. kept: [4, 2] px, corners of what of the picture is not cut off; None: all.
    """

    center: FloatArray
    scale: FloatArray
    rotation: float = 0.0
    mirrored: bool = False
    kept: FloatArray | None = None


def torch_seeded_rng() -> np.random.Generator:
    """A generator that follows torch's seed, which differs in every worker and epoch and repeats with a run's seed."""
    return np.random.default_rng(int(torch.randint(2**62, (1,)).item()))


def random_view(
    box: View, joints: FloatArray, skeleton: Skeleton, aspect: float, how: Augmentation, rng: np.random.Generator
) -> View:
    """A view of the person with joints [K, 3] px and the padded `box`; aspect is that of the crop, width / height.

    The order is MMPose 0.29's: shift, half body (which forgets the shift), scale and rotation, mirror.
    """
    angle = upright_angle(joints, skeleton) if how.upright_probability else None
    upright = angle is not None and abs(angle) > UPRIGHT_DEGREES and rng.random() < how.upright_probability
    view = rotated_view(joints, angle, aspect, UPRIGHT_PADDING) if angle is not None and upright else box
    if rng.random() < how.shift_probability:
        moved = view.center + rng.uniform(-how.shift, how.shift, 2) * view.scale * PIXELS_PER_SCALE
        view = replace(view, center=moved.astype(np.float32))
    known = int((joints[:, 2] > 0).sum())
    if known > HALF_BODY_JOINTS and rng.random() < how.cut_probability:
        view = cut_view(joints, angle if angle is not None else 0.0, aspect, rng)
    elif not upright and known > HALF_BODY_JOINTS and rng.random() < how.half_body_probability:
        view = half_body_view(joints, skeleton, aspect, rng) or view
    factor = np.clip(1 + rng.normal() * how.scale, 1 - how.scale_limit, 1 + how.scale_limit)
    turn = float(np.clip(rng.normal(), -2, 2)) * how.rotation if rng.random() < how.rotation_probability else 0.0
    mirror = bool(rng.random() < how.flip_probability)
    return replace(view, scale=view.scale * np.float32(factor), rotation=view.rotation + turn, mirrored=mirror)


def upright_angle(joints: FloatArray, skeleton: Skeleton) -> float | None:
    """The rotation in degrees that turns a person's torso upright, from joints [K, 3]; None if a part is unknown."""
    if not set(TORSO) <= set(skeleton.keypoint_names):
        return None
    torso = joints[[skeleton.keypoint_names.index(name) for name in TORSO]]
    if (torso[:, 2] <= 0).any():
        return None
    x, y = torso[2:, :2].mean(0) - torso[:2, :2].mean(0)
    return math.degrees(math.atan2(-x, y))


def rotated_view(joints: FloatArray, rotation: float, aspect: float, padding: float) -> View:
    """The view of all known joints [K, 3] in a frame turned by `rotation` degrees; aspect is width / height."""
    turn = _turn(rotation)
    points = joints[joints[:, 2] > 0, :2] @ turn.T
    low, high = points.min(0), points.max(0)
    center = turn.T @ ((low + high) / 2)
    return View(center.astype(np.float32), _fit(high - low, aspect, padding), rotation)


def _turn(rotation: float) -> FloatArray:
    """The matrix [2, 2] from the picture into a frame turned by `rotation` degrees."""
    angle = math.radians(rotation)
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def cut_view(joints: FloatArray, rotation: float, aspect: float, rng: np.random.Generator) -> View:
    """The view of what is left of a person, joints [K, 3], of whom one side is cut off, as by the edge of a picture.

    rotation: degrees of the frame in which the person is upright. Mostly the lower side is cut, from the shins up to
    all but the head; at times the upper, left or right one, less of it.
    """
    turn = _turn(rotation)
    points = joints[joints[:, 2] > 0, :2] @ turn.T
    low, high = points.min(0), points.max(0)
    margin = CUT_MARGIN * (high - low).max()
    low, high = low - margin, high + margin
    size = high - low
    axis, upper, least, most = CUTS[rng.choice(len(CUTS), p=CUT_SIDES)]
    picture = np.stack((low, high)) + 20 * size.max() * np.array([[-1], [1]])
    # The box ends where the picture does.
    end = high if upper else low
    end[axis] -= (1 if upper else -1) * rng.uniform(least, most) * size[axis]
    picture[int(upper), axis] = end[axis]
    inside = ((points >= low) & (points <= high)).all(1)
    if inside.any():  # and across it is as wide as what is left of the joints.
        across = points[inside, 1 - axis]
        low[1 - axis], high[1 - axis] = across.min() - margin, across.max() + margin
    corners = np.stack((picture[[0, 1, 1, 0], 0], picture[[0, 0, 1, 1], 1]), 1)
    center = turn.T @ ((low + high) / 2)
    scale = _fit(high - low, aspect, CUT_PADDING)
    return View(center.astype(np.float32), scale, rotation, kept=corners @ turn)


def half_body_view(joints: FloatArray, skeleton: Skeleton, aspect: float, rng: np.random.Generator) -> View | None:
    """The view of only the upper or the lower body; None when fewer than 2 joints would be seen.

    MMPose 0.29's rule, which asks a normal deviate, so that it is the upper body in 69 % of the cases.
    """
    is_upper = np.isin(np.arange(len(joints)), skeleton.upper_body)
    known = joints[:, 2] > 0
    upper, lower = known & is_upper, known & ~is_upper
    chosen = upper if (rng.normal() < 0.5 and upper.sum() > 2) or lower.sum() <= 2 else lower
    if chosen.sum() < 2:
        return None
    points = joints[chosen, :2]
    size = points.max(0) - points.min(0)
    return View(points.mean(0).astype(np.float32), _fit(size, aspect, HALF_BODY_PADDING))


def _fit(size: FloatArray, aspect: float, padding: float) -> FloatArray:
    """The scale of the smallest box of that aspect that holds `size` [2] px, which is a pixel at least."""
    width = max(float(size[0]), float(size[1]) * aspect, 1.0)
    return np.array([width, width / aspect], np.float32) * np.float32(padding / PIXELS_PER_SCALE)


def mirrored(matrix: FloatArray, joints: FloatArray, width: int, skeleton: Skeleton) -> tuple[FloatArray, FloatArray]:
    """The affine map [2, 3] to the mirror image of a crop of that width, and the joints [K, 3], left and right swapped.

    The mirror stands where mirroring the whole picture and its box, as MMPose 0.29 does, has it: x becomes width - x.
    """
    flipped = matrix.copy()
    flipped[0] *= -1
    flipped[0, 2] += width
    return flipped, joints[skeleton.flip_order]


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


def cover_part(image: Image, rng: np.random.Generator, other: Image | None = None) -> Image:
    """The crop [h, w, 3] with a random rectangle (up to half of each side) covered: an occluder.

    It has a plain colour, or is a part of the picture `other`, of any size, at the size of that rectangle.
    """
    height, width = image.shape[:2]
    w, h = (rng.uniform(0.1, 0.5, 2) * (width, height)).astype(int)
    x, y = int(rng.uniform(0, width - w)), int(rng.uniform(0, height - h))
    covered = image.copy()
    if other is None:
        covered[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        return covered
    part = np.maximum(1, (rng.uniform(0.3, 0.9, 2) * other.shape[1::-1]).astype(int))
    left, top = (int(rng.uniform(0, free + 1)) for free in other.shape[1::-1] - part)
    patch = other[top : top + part[1], left : left + part[0]]
    covered[y : y + h, x : x + w] = cv2.resize(patch, (w, h), interpolation=cv2.INTER_AREA)
    return covered


def cut_off(crop: Image, corners: FloatArray) -> Image:
    """The crop [h, w, 3] with everything black outside the polygon [4, 2] px."""
    mask = np.zeros(crop.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 255)
    return cv2.bitwise_and(crop, crop, mask=mask).astype(np.uint8, copy=False)


def lies_inside(points: FloatArray, corners: FloatArray) -> npt.NDArray[np.bool_]:
    """Which of the points [K, 2] are inside the convex polygon [4, 2], whichever way round it runs; bool [K]."""
    edges = np.roll(corners, -1, axis=0) - corners
    offsets = points[:, None] - corners
    sides = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    return np.asarray((sides >= 0).all(1) | (sides <= 0).all(1))
