"""Whole people: a body in its clothes with what it wears, holds and sits on, as one mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.types import FloatArray, IntArray
from train.synthetic import appearance
from train.synthetic.appearance import Outfit, Wardrobe
from train.synthetic.bodies import Body, BodyModel, random_shape
from train.synthetic.parts import Part, Parts
from train.synthetic.poses import Pose, random_pose, turn
from train.synthetic.render import Mesh


@dataclass(frozen=True)
class Figure:
    """A person standing on the ground z = 0 about the origin, facing -y before a turn about z; metres.

    points, normals, rest, tint: float32 [n, 3]. material: int [n]. own: bool [n], of the person, no thing.
    faces: int32 [f, 3]. keypoints: float32 [17, 3]. looks: float32 [14, 16].
    """

    points: FloatArray
    normals: FloatArray
    rest: FloatArray
    tint: FloatArray
    material: IntArray
    own: IntArray
    faces: IntArray
    keypoints: FloatArray
    looks: FloatArray

    def mesh(self, rotation: FloatArray, place: FloatArray, owner: int) -> Mesh:
        """The mesh before a camera: points are turned by `rotation` [3, 3], then moved by `place` [3]."""
        columns = (
            self.points @ rotation.T + place,
            self.normals @ rotation.T,
            self.rest,
            self.tint,
            self.material[:, None],
            np.where(self.own, owner, -1)[:, None],
        )
        return Mesh(np.concatenate(columns, 1).astype(np.float32), self.faces, self.looks)


class Crowd:
    """Makes random people."""

    def __init__(self, model: BodyModel) -> None:
        self._model, self._wardrobe, self._parts = model, Wardrobe(model), Parts(model)

    def figures(self, rng: np.random.Generator, count: int, layers: int) -> list[Figure]:
        """Random people. layers: number of textures that there will be."""
        shapes = np.array([random_shape(rng) for _ in range(count)])
        # Of two poses, that whose arms go less through the trunk.
        poses = [random_pose(rng) for _ in range(2 * count)]
        bodies = self._model.pose(np.tile(shapes, (2, 1)), poses)
        best = [min((i, i + count), key=lambda k: _inside_trunk(bodies[k])) for i in range(count)]
        poses, bodies = [poses[i] for i in best], [bodies[i] for i in best]
        return [self._figure(rng, body, pose, layers) for body, pose in zip(bodies, poses, strict=True)]

    def _figure(self, rng: np.random.Generator, body: Body, pose: Pose, layers: int) -> Figure:
        outfit = self._wardrobe.outfit(rng, layers)
        dressed = body.vertices + outfit.offset[:, None] * body.normals
        parts = self._parts.of(rng, body, pose, outfit)
        points, faces = [dressed], [self._model.faces]
        for part in parts:
            faces.append(part.faces + sum(map(len, points)))
            points.append(part.points.astype(np.float32))
        normals = [self._model.normals(dressed), *map(_normals, parts)]
        turned = turn(0, -90) @ turn(2, pose.roll) if pose.lying else np.eye(3)
        return _grounded(
            np.concatenate(points), np.concatenate(normals), np.concatenate(faces), body.keypoints, turned, outfit,
            [self._model.rest, *(part.points - part.points.mean(0) for part in parts)], parts,
        )  # fmt: skip


def _inside_trunk(body: Body) -> float:
    """How deep elbows, wrists and forearms are in the trunk, taken as an elliptic tube; 0 is outside."""
    left, right, *arms = body.keypoints[5:11]
    hips = body.keypoints[11:13]
    low, high = hips.mean(0), (left + right) / 2
    up = (high - low) / np.linalg.norm(high - low)
    across = left - right - up * ((left - right) @ up)
    width = np.linalg.norm(across)
    x = across / width
    forearms = [arms[i] + share * (arms[i + 2] - arms[i]) for i in (0, 1) for share in (0.5, 1.0, 1.3)]
    offsets = np.array([*arms[:2], *forearms]) - low
    height = offsets @ up / np.linalg.norm(high - low)
    reach = np.hypot(offsets @ x / (0.45 * width), offsets @ np.cross(up, x) / (0.36 * width))
    return float(np.maximum(0, 1 - reach)[(height > -0.3) & (height < 1.0)].sum())


def _grounded(
    points: FloatArray,
    normals: FloatArray,
    faces: IntArray,
    keypoints: FloatArray,
    rotation: FloatArray,
    outfit: Outfit,
    rest: list[FloatArray],
    parts: list[Part],
) -> Figure:
    """The figure, turned and put on the ground at the origin."""
    points, normals, keypoints = (array @ rotation.T for array in (points, normals, keypoints))
    body = points[: len(outfit.material)]
    origin = np.array([*((body.min(0) + body.max(0)) / 2)[:2], body[:, 2].min()])
    material = np.concatenate([outfit.material, *(np.full(len(part.points), part.material) for part in parts)])
    own = (material < appearance.FIRST_THING) | (material == appearance.JACKET)
    tint = np.ones((len(points), 3), np.float32)
    tint[: len(outfit.tint)] = outfit.tint
    return Figure(
        points - origin,
        normals,
        np.concatenate(rest),
        tint,
        material,
        own,
        faces.astype(np.int32),
        keypoints - origin,
        outfit.looks,
    )


def _normals(part: Part) -> FloatArray:
    """Unit normals of a part's points, float32 [n, 3]."""
    corners = part.points[part.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.zeros_like(part.points)
    for corner in range(3):
        np.add.at(summed, part.faces[:, corner], across)
    return np.asarray(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12), np.float32)
