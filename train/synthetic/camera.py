"""Where the camera stands and where the people stand before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.types import FloatArray, IntArray
from train.synthetic.people import Figure
from train.synthetic.poses import turn


@dataclass(frozen=True)
class Camera:
    """A pinhole above the ground. focal: px. height: m. pitch: downwards, roll: degrees. size: width, height px."""

    focal: float
    height: float
    pitch: float
    roll: float
    size: tuple[int, int]

    @property
    def rotation(self) -> FloatArray:
        """From the ground's axes (x right, y away, z up) to the camera's (x right, y down, z away), float [3, 3]."""
        level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        return np.asarray(turn(2, self.roll) @ turn(0, self.pitch) @ level)

    def project(self, points: FloatArray) -> FloatArray:
        """Camera coordinates [..., 3], m, to float [..., 2], px; pixel centres are at whole numbers."""
        depth = np.maximum(points[..., 2:], 1e-3)
        centre = (np.array(self.size) - 1) / 2
        return np.asarray(points[..., :2] / depth * self.focal + centre)

    def inside(self, pixels: FloatArray) -> IntArray:
        """Bool [n]: which pixels [n, 2] are in the picture."""
        return np.asarray(((pixels >= 0) & (pixels <= np.array(self.size) - 1)).all(1))


@dataclass(frozen=True)
class Placed:
    """A person before the camera: camera coordinates are points @ rotation.T + place, m."""

    figure: Figure
    rotation: FloatArray
    place: FloatArray

    def at(self, points: FloatArray) -> FloatArray:
        """Camera coordinates of the figure's points [n, 3]."""
        return np.asarray(points @ self.rotation.T + self.place)


def stage(rng: np.random.Generator, figures: Sequence[Figure], size: tuple[int, int]) -> tuple[Camera, list[Placed]]:
    """A camera that sees the first figure at a random size, and the others about it or anywhere."""
    width, height = size
    main = figures[0]
    top = main.points[main.own, 2].max()
    reach = float(np.ptp(main.points[main.own], axis=0).max())
    focal = float(np.exp(rng.uniform(np.log(0.75), np.log(3.5)))) * height
    tall, column, row = _framing(rng, width, height, len(figures))
    distance = max(focal * reach / tall, 0.9)
    kind = rng.random()
    eye = (
        rng.normal(1.5, 0.2)
        if kind < 0.68
        else rng.uniform(1.8, 1.8 + 0.6 * distance)
        if kind < 0.9
        else rng.uniform(0.2, 1.1)
    )
    aim = top * (0.5 if tall < height else rng.uniform(0.6, 0.9))
    pitch = float(np.degrees(np.arctan2(eye - aim, distance) - np.arctan2(row - height / 2, focal)))
    roll = float(rng.normal(0, 2) if rng.random() < 0.9 else rng.normal(0, 14))
    camera = Camera(focal, eye, pitch, roll, size)
    places = [(column, distance)]
    together = rng.random() < 0.6
    for _ in figures[1:]:
        places.append(_beside(rng, places, focal, width, together))
    return camera, [
        _placed(camera, figure, _heading(rng), (u - width / 2) / focal * away, away)
        for figure, (u, away) in zip(figures, places, strict=True)
    ]


def framed(camera: Camera, placed: Sequence[Placed]) -> bool:
    """Whether everyone has half of the keypoints, and a part of the head, in the picture."""
    for person in placed:
        points = person.at(person.figure.keypoints)
        inside = (points[:, 2] > 0.3) & camera.inside(camera.project(points))
        if inside.sum() < 8 or not inside[:5].any():
            return False
    return True


def _framing(rng: np.random.Generator, width: int, height: int, people: int) -> tuple[float, float, float]:
    """How many pixels the largest extent of the main person has, and the column and row of its middle."""
    kind = rng.random()
    if kind < 0.16:  # close up
        tall = height * rng.uniform(1.1, 2.1)
        return tall, rng.uniform(0.2, 0.8) * width, rng.uniform(0.35, 0.6) * height
    highest = np.log(0.98 * height) - 0.12 * (people > 3)
    tall = float(np.exp(rng.uniform(np.log(75 if rng.random() < 0.3 else 130), highest)))
    if kind < 0.32:  # over a border
        column = rng.choice([rng.uniform(-0.05, 0.08), rng.uniform(0.92, 1.05)])
        return tall, column * width, rng.uniform(0.4, 0.7) * height
    margin = min(tall * 0.25, width * 0.4)
    middle = rng.uniform(tall / 2, height - tall / 2) if rng.random() < 0.85 else rng.uniform(0.2, 0.8) * height
    return tall, rng.uniform(margin, width - margin), middle


def _beside(
    rng: np.random.Generator, places: Sequence[tuple[float, float]], focal: float, width: int, together: bool
) -> tuple[float, float]:
    """Column and distance of one more person; not inside another where that can be had."""
    column, distance = 0.0, 1.0
    for _ in range(12):
        near_column, near = places[int(rng.integers(len(places)))]
        distance = max(near * float(np.exp(rng.uniform(-0.3, 0.45 if together else 1.4))), 0.9)
        step = rng.choice([-1, 1]) * rng.uniform(0.3, 1.1) * focal / near
        column = near_column + step if together else rng.uniform(0, width)
        spots = [((u - width / 2) / focal * away, away) for u, away in places]
        x = (column - width / 2) / focal * distance
        if min(np.hypot(x - a, distance - b) for a, b in spots) > 0.45 and -0.05 < column / width < 1.05:
            break
    return column, distance


def _heading(rng: np.random.Generator) -> float:
    """Turn about the vertical, degrees; 0 looks at the camera."""
    kind = rng.random()
    if kind < 0.45:
        return float(rng.normal(0, 28))
    return float(rng.normal(180, 30) if kind < 0.6 else rng.uniform(0, 360))


def _placed(camera: Camera, figure: Figure, heading: float, x: float, away: float) -> Placed:
    to_camera = camera.rotation
    return Placed(figure, to_camera @ turn(2, heading), to_camera @ np.array([x, away, -camera.height]))
