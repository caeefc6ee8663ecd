"""Simple shapes that people wear, hold and sit on: long hair, skirts, hats, bags, things, seats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.types import FloatArray, IntArray
from train.synthetic import appearance
from train.synthetic.appearance import Outfit
from train.synthetic.bodies import Body, BodyModel
from train.synthetic.poses import Pose, turn


@dataclass(frozen=True)
class Part:
    """points: float [n, 3], metres, beside the posed body. faces: int [f, 3]. material: of `appearance`."""

    points: FloatArray
    faces: IntArray
    material: int


def grid_faces(rows: int, columns: int, closed: bool) -> IntArray:
    """Triangles between the points of a grid, row by row; closed joins the last column to the first."""
    across = columns if closed else columns - 1
    row, column = np.mgrid[: rows - 1, :across].reshape(2, -1)
    following = (column + 1) % columns
    a, b, c, d = (
        row * columns + column,
        row * columns + following,
        (row + 1) * columns + column,
        (row + 1) * columns + following,
    )
    return np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])


def ellipsoid(radii: FloatArray, squareness: float, low: float = -90.0) -> tuple[FloatArray, IntArray]:
    """A ball (squareness 1) to a box (0.1) about the origin; low: the latitude that it begins at, degrees."""
    latitude, longitude = np.radians(np.linspace(low, 90, 12)), np.linspace(0, 2 * np.pi, 21)[:-1]

    def bent(values: FloatArray) -> FloatArray:
        return np.asarray(np.sign(values) * np.abs(values) ** squareness)

    wide, high = bent(np.cos(latitude))[:, None], bent(np.sin(latitude))[:, None]
    across, along, ones = bent(np.cos(longitude)), bent(np.sin(longitude)), np.ones(20)
    points = np.stack([wide * across, wide * along, high * ones], -1).reshape(-1, 3)
    return points * radii, grid_faces(12, 20, closed=True)


class Parts:
    """Makes the parts that belong to a body."""

    def __init__(self, model: BodyModel) -> None:
        self._heads = dict(zip(model.bone_names, model.rest_heads, strict=True))
        self._number = {name: i for i, name in enumerate(model.bone_names)}
        self._ears = model.rest_keypoints[3:5]
        above = (model.rest[:, 2] > self._ears[0, 2] + 0.03) & (np.abs(model.rest[:, 0]) < 0.2)
        low, high = model.rest[above].min(0), model.rest[above].max(0)
        self._skull, self._reach = (low + high) / 2, (high - low) / 2
        self._skull[2], self._reach[2] = self._ears[0, 2] + 0.03, high[2] - self._ears[0, 2] - 0.03
        self._torso = np.linalg.norm(model.rest_keypoints[5] - model.rest_keypoints[11])

    def of(self, rng: np.random.Generator, body: Body, pose: Pose, outfit: Outfit) -> list[Part]:
        """Random parts of a person."""
        parts: list[Part] = []
        if outfit.hair:
            parts.append(self._hair(rng, body, outfit.hair))
        if outfit.skirt:
            parts.append(self._skirt(rng, body, outfit.skirt))
        if rng.random() < 0.16:
            parts += self._hat(rng, body)
        if rng.random() < 0.12:
            parts.append(self._bag(rng, body))
        for side in "LR":
            if rng.random() < 0.17:
                parts.append(self._held(rng, body, side))
        if pose.seat and rng.random() < 0.75:
            parts += self._seat(rng, body, pose)
        return parts

    def _attach(self, body: Body, bone: str, points: FloatArray, scale: float) -> FloatArray:
        """Points beside the average body at rest, moved with a bone of this body."""
        matrix = body.bones[self._number[bone]]
        return np.asarray((points - self._heads[bone]) * scale @ matrix[:, :3].T + matrix[:, 3])

    def _head_scale(self, body: Body) -> float:
        ears = self._ears
        return float(np.linalg.norm(body.keypoints[3] - body.keypoints[4]) / np.linalg.norm(ears[0] - ears[1]))

    def _body_scale(self, body: Body) -> float:
        shoulders, hips = body.keypoints[5:7].mean(0), body.keypoints[11:13].mean(0)
        return float(np.clip(np.linalg.norm(shoulders - hips) / self._torso, 0.4, 1.2))

    def _hair(self, rng: np.random.Generator, body: Body, length: float) -> Part:
        rows, columns = 7, 17
        open_front = rng.uniform(55, 95)
        angle = np.radians(np.linspace(open_front, 360 - open_front, columns))
        down = np.linspace(0, 1, rows)[:, None]
        width = (1.06 + rng.uniform(-0.1, 0.5) * down * length / 0.3) * (1 + 0.05 * rng.normal(0, 1, (rows, columns)))
        x = np.sin(angle) * self._reach[0] * width
        y = -np.cos(angle) * self._reach[1] * width + 0.12 * down * length
        z = 0.02 - down * (length + 0.03) + 0.012 * rng.normal(0, 1, (rows, columns)) * down
        points = np.stack([x, y, z], -1).reshape(-1, 3) + self._skull
        return Part(
            self._attach(body, "head", points, self._head_scale(body)),
            grid_faces(rows, columns, False),
            appearance.HAIR,
        )

    def _skirt(self, rng: np.random.Generator, body: Body, length: float) -> Part:
        """Rings about both legs, from the waist down."""
        scale, flare = self._body_scale(body), rng.uniform(0.0, 0.1)
        joints = body.keypoints[11:17].reshape(3, 2, 3)  # hip, knee, ankle; left, right
        waist = joints[0] + 0.45 * (body.keypoints[5:7].mean(0) - joints[0].mean(0))
        path = np.stack([waist, *joints])
        left = joints[0, 0] - joints[0, 1]
        rings = []
        for place in np.linspace(-0.35, length, 9):
            first = int(np.clip(np.floor(place + 1), 0, 2))
            share = place + 1 - first
            legs = (1 - share) * path[first] + share * path[first + 1]
            along = (path[first + 1] - path[first]).mean(0)
            along /= np.linalg.norm(along)
            a = left - along * (left @ along)
            a /= np.linalg.norm(a)
            angle = np.linspace(0, 2 * np.pi, 25)[:-1, None]
            out = np.cos(angle) * a + np.sin(angle) * np.cross(along, a)
            radius = scale * (0.1 - 0.02 * max(place, 0) + flare * max(place, 0)) * (1 + 0.06 * np.sin(5 * angle))
            rings.append(np.where((out @ left)[:, None] > 0, legs[0], legs[1]) + radius * out)
        return Part(np.concatenate(rings), grid_faces(9, 24, True), appearance.TROUSERS)

    def _hat(self, rng: np.random.Generator, body: Body) -> list[Part]:
        scale = self._head_scale(body) * rng.uniform(1.08, 1.25)
        crown, faces = ellipsoid(self._reach * (1, 1, rng.uniform(0.9, 1.4)), rng.uniform(0.6, 1.0), low=5)
        parts = [Part(self._attach(body, "head", crown + self._skull + (0, 0, 0.01), scale), faces, appearance.HAT)]
        kind = rng.random()
        if kind < 0.7:
            brim, faces = ellipsoid(np.array([0.075, 0.09, 0.008]), 1.0)
            brim[:, 1] -= self._reach[1] * 0.8
            if kind < 0.25:
                brim = ellipsoid(self._reach * (1.6, 1.5, 0.1), 1.0)[0]
            parts.append(
                Part(self._attach(body, "head", brim + self._skull + (0, 0, 0.02), scale), faces, appearance.HAT)
            )
        return parts

    def _bag(self, rng: np.random.Generator, body: Body) -> Part:
        size = rng.uniform((0.1, 0.05, 0.12), (0.18, 0.12, 0.25))
        points, faces = ellipsoid(size, rng.uniform(0.3, 0.7))
        bone, place = "spine02", np.array([0.0, 0.1 + size[1], 0.32])
        if rng.random() < 0.4:
            bone, place = "root", np.array([rng.choice([-1, 1]) * (0.17 + size[1]), 0.0, -0.02])
            points = points[:, [1, 0, 2]]
        return Part(self._attach(body, bone, points + place, self._body_scale(body)), faces, appearance.BAG)

    def _held(self, rng: np.random.Generator, body: Body, side: str) -> Part:
        size = np.exp(rng.uniform(np.log(0.012), np.log(0.14), 3))
        if rng.random() < 0.3:
            size = np.array([0.012, rng.uniform(0.1, 0.6), 0.012])
        points, faces = ellipsoid(size, rng.uniform(0.2, 1.0))
        points = points @ turn(0, rng.uniform(-90, 90)).T
        place = self._heads[f"finger3-1.{side}"] + rng.normal(0, 0.02, 3) + (0, 0, -0.02)
        return Part(
            self._attach(body, f"wrist.{side}", points + place, self._body_scale(body)), faces, appearance.THING
        )

    def _seat(self, rng: np.random.Generator, body: Body, pose: Pose) -> list[Part]:
        """A seat under the hips, perhaps with legs and a back; a saddle, frame or animal under somebody riding."""
        scale, hips, ground = self._body_scale(body), body.keypoints[11:13].mean(0), body.vertices[:, 2].min()
        top = hips[2] - 0.1 * scale
        half = np.array(
            [rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.3), 0.02 + 0.5 * rng.choice([0.03, 0.1, top - ground]) / scale]
        )
        if pose.family == "ride":
            half = rng.uniform((0.03, 0.3, 0.05), (0.22, 0.75, 0.25))
        boxes = [(half, np.array([0, 0.05 - (0.3 if pose.family == "ride" else 0.0), -half[2]]))]
        if pose.family != "ride" and rng.random() < 0.6:
            boxes.append((np.array([half[0], 0.03, rng.uniform(0.15, 0.4)]), np.array([0, 0.05 + half[1], 0.25])))
        low = (top - ground) / scale
        if half[2] < 0.1 and rng.random() < 0.7:
            corners = [(x * half[0] * 0.9, 0.05 + y * half[1] * 0.9) for x in (-1, 1) for y in (-1, 1)]
            boxes += [(np.array([0.018, 0.018, low / 2]), np.array([x, y, -low / 2])) for x, y in corners]
        parts = []
        for size, place in boxes:
            points, faces = ellipsoid(size, 0.12 if pose.family != "ride" else 0.8)
            parts.append(Part((points + place) * scale + (hips[0], hips[1], top), faces, appearance.SEAT))
        return parts
