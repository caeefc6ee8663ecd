"""A synthetic picture: people before a background, with light, things in front, and the camera's faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from pipeline.types import FloatArray, Image
from train.synthetic.backgrounds import Backgrounds
from train.synthetic.camera import Camera, Placed, framed, stage
from train.synthetic.labels import least_visible, rows
from train.synthetic.occluders import random_shape
from train.synthetic.people import Crowd
from train.synthetic.render import Light, Renderer, View

LAYERS = 8  # textures of a picture
OCCLUDER = -1  # a thing, as owner of a pixel
_ATTEMPTS = 8


class Scenes:
    """Makes pictures, each from its own random numbers."""

    def __init__(self, crowd: Crowd, renderer: Renderer, backgrounds: Backgrounds) -> None:
        self._crowd, self._renderer, self._backgrounds = crowd, renderer, backgrounds

    def picture(self, rng: np.random.Generator) -> tuple[Image, list[dict[str, Any]]]:
        """A picture, uint8 [H, W, 3] BGR, and the annotations of its people without their numbers."""
        size = int(rng.integers(380, 561)), int(rng.integers(320, 481))
        background = self._backgrounds.cut(rng, size)
        people = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.46, 0.24, 0.13, 0.08, 0.05, 0.04]))
        figures = self._crowd.figures(rng, people, LAYERS)
        patches = self._backgrounds.patches(rng, LAYERS)
        light, phase = _light(rng, background), float(rng.uniform(0, 6.3))
        wild = rng.random() < 0.12  # anything may be outside
        for _ in range(_ATTEMPTS):
            camera, placed = stage(rng, figures, size)
            for _ in range(0 if wild else 30):
                if framed(camera, placed):
                    break
                camera, placed = stage(rng, figures, size)
            meshes = [each.figure.mesh(each.rotation, each.place, number) for number, each in enumerate(placed)]
            view = self._renderer.draw(meshes, size, camera.focal, light, patches, phase)
            cover = self._occluder(rng, view, placed, camera)
            if cover is not None:
                view.owner[cover[1] > 0.5] = OCCLUDER
            found = rows(camera, placed, view)
            if least_visible(found) > 0.25:
                break
        kept = [row for row in found if row.pop("visible") > 0.08]
        return self._composed(rng, background, view, placed, camera, cover), kept

    def _occluder(
        self, rng: np.random.Generator, view: View, placed: Sequence[Placed], camera: Camera
    ) -> tuple[Image, FloatArray] | None:
        """A piece of another picture before the people, uint8 [H, W, 3] BGR and its cover float [H, W]; or none."""
        if rng.random() > 0.35:
            return None
        victim = placed[int(rng.integers(len(placed)))]
        pixels = camera.project(victim.at(victim.figure.points[victim.figure.own]))
        low, high = np.clip(pixels.min(0), 0, camera.size), np.clip(pixels.max(0), 0, camera.size)
        mask = random_shape(rng, low, high, camera.size)
        return self._backgrounds.cut(rng, camera.size), mask

    def _composed(
        self,
        rng: np.random.Generator,
        background: Image,
        view: View,
        placed: Sequence[Placed],
        camera: Camera,
        cover: tuple[Image, FloatArray] | None,
    ) -> Image:
        """The picture of background, shadows, people and occluder."""
        below = background.astype(np.float32) / 255
        below *= 1 - rng.uniform(0.1, 0.6) * _shadows(placed, camera)[..., None]
        people = view.colour
        if rng.random() < 0.5:
            people = np.asarray(cv2.GaussianBlur(people, (0, 0), float(rng.uniform(0.3, 0.8))), np.float32)
        picture = below * (1 - people[..., 3:]) + people[..., :3]
        if cover is not None:
            texture, mask = cover[0].astype(np.float32) / 255 * rng.uniform(0.6, 1.2), cover[1][..., None]
            picture = picture * (1 - mask) + texture * mask
        return _photographed(rng, picture)


def _light(rng: np.random.Generator, background: Image) -> Light:
    """Light of about the background's brightness and colour."""
    mean = np.square(background.reshape(-1, 3)[:, ::-1].mean(0) / 255) + 0.02
    tint = (mean / mean.mean()) ** rng.uniform(0.0, 0.7)
    level = float(np.clip(mean.mean() / 0.2, 0.35, 1.6)) ** rng.uniform(0.3, 1.0)
    direction = np.array([rng.normal(0, 1), rng.uniform(0.1, 1.6), rng.normal(0.5, 0.8)])
    share = rng.uniform(0.25, 0.8)
    warm = 1 + rng.normal(0, 0.06) * np.array([1, 0, -1])
    strength = level * rng.uniform(0.85, 1.3)
    return Light(direction / np.linalg.norm(direction), 1.5 * strength * share * warm, strength * (1 - share) * tint)


def _shadows(placed: Sequence[Placed], camera: Camera) -> FloatArray:
    """Soft dark spots on the ground under everyone, float32 [H, W], 0 to 1."""
    width, height = camera.size
    mask = np.zeros((height, width), np.float32)
    for each in placed:
        points = each.figure.points[:: max(1, len(each.figure.points) // 800)].copy()
        points[:, 2] *= 0.04
        seen = each.at(points)
        if seen[:, 2].min() > 0.3:
            hull = cv2.convexHull(np.clip(camera.project(seen), -4000, 4000).astype(np.float32))
            cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), height / 90), np.float32)


def _photographed(rng: np.random.Generator, picture: FloatArray) -> Image:
    """What a camera makes of float [H, W, 3]: blur, contrast, noise; uint8."""
    if rng.random() < 0.35:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.1))))
    gain, power = rng.uniform(0.85, 1.15), np.exp(rng.normal(0, 0.12))
    picture = gain * np.clip(picture, 0, 1) ** power
    if rng.random() < 0.03:
        picture = picture.mean(2, keepdims=True).repeat(3, 2)
    noise = rng.normal(0, 1, picture.shape) * rng.uniform(0, 0.025)
    return np.asarray(np.rint(np.clip(picture + noise, 0, 1) * 255), np.uint8)
