"""Bodies of the parametric model anny: shapes and poses in, vertices and COCO keypoints out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch

from pipeline.skeletons import COCO
from pipeline.types import FloatArray, IntArray
from train.synthetic.poses import Pose
from train.synthetic.skeleton import Skeleton

# The order that the shapes' columns have.
PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")
_ADULT = 2 / 3  # anny's age: 0 baby, 1/3 child, 2/3 young, 1 old


@dataclass(frozen=True)
class Body:
    """A posed body: its back is to +y, its left to +x, z is up, metres.

    vertices, normals: float32 [V, 3]. keypoints: float32 [17, 3], COCO's order. bones: float32 [bones, 3, 4], the turn
    of a bone from rest and, in the last column, where it begins.
    """

    vertices: FloatArray
    normals: FloatArray
    keypoints: FloatArray
    bones: FloatArray


def random_shape(rng: np.random.Generator) -> FloatArray:
    """A random phenotype, float64 [6] in the order of PHENOTYPES, each 0 to 1; nine adults to one child."""
    child = rng.random() < 0.1
    age = rng.uniform(0.2, 0.5) if child else rng.uniform(0.56, 1.0)
    gender = np.clip(rng.choice([0.08, 0.92]) + rng.normal(0, 0.08), 0, 1)
    return np.array([gender, age, *np.clip(rng.normal(0.5, (0.18, 0.22, 0.18, 0.2)), 0.02, 0.98)])


class BodyModel:
    """anny with its mesh. faces: int32 [F, 3]. rest: float32 [V, 3], the average body at rest, metres.

    bone_of: int [V], the bone that moves a vertex most. Raises ValueError if anny is not installed.
    """

    def __init__(self) -> None:
        try:
            import anny
        except ImportError:
            raise ValueError('synthetic people need the body model anny: pip install "darkstream[synthetic]"') from None
        self._model: Any = anny.Anny().to(torch.float32)
        self._regressor: Any = anny.KeypointsRegressor.coco(self._model, list(COCO.keypoint_names))
        self.bone_names: list[str] = list(self._model.bone_labels)
        self.faces: IntArray = self._model.get_triangular_faces().numpy().astype(np.int32)
        weights, bones = self._model.vertex_bone_weights, self._model.vertex_bone_indices
        self.bone_of: IntArray = bones.gather(1, weights.argmax(1, keepdim=True))[:, 0].numpy()
        average = np.full((1, len(PHENOTYPES)), 0.5)
        average[:, 1] = _ADULT
        output = self._forward(average, np.eye(3)[None, None].repeat(len(self.bone_names), 1))
        self.rest: FloatArray = output["vertices"][0].numpy()
        self.rest_keypoints: FloatArray = self._regressor(output)[0].numpy()
        self.rest_heads: FloatArray = output["bone_poses"][0, :, :3, 3].numpy()
        self._incidence = self._corners()
        self.skeleton = Skeleton(self.bone_names, dict(zip(self.bone_names, self.rest_heads, strict=True)))

    def pose(self, shapes: FloatArray, poses: Sequence[Pose]) -> list[Body]:
        """Bodies of the shapes, float [N, 6], in the poses."""
        output = self._forward(shapes, np.stack([self.skeleton.rotations(pose) for pose in poses]))
        keypoints = self._regressor(output).numpy()
        turns = output["bone_poses"][..., :3, :3] @ output["rest_bone_poses"][..., :3, :3].mT
        bones = torch.cat([turns, output["bone_poses"][..., :3, 3:]], -1).numpy()
        vertices = output["vertices"].numpy()
        return [Body(*parts) for parts in zip(vertices, map(self.normals, vertices), keypoints, bones, strict=True)]

    def normals(self, vertices: FloatArray) -> FloatArray:
        """Unit normals of vertices [V, 3], float32 [V, 3], outwards."""
        a, b, c = (vertices[self.faces[:, corner]] for corner in range(3))
        summed: FloatArray = self._incidence @ np.cross(b - a, c - a)
        return np.asarray(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12), np.float32)

    def _corners(self) -> Any:
        """Sparse float32 [V, F]: 1 where a face has the vertex."""
        count = len(self.faces)
        rows, columns = self.faces.ravel(), np.repeat(np.arange(count), 3)
        return scipy.sparse.csr_matrix((np.ones(3 * count, np.float32), (rows, columns)), shape=(len(self.rest), count))

    @torch.no_grad()
    def _forward(self, shapes: FloatArray, rotations: FloatArray) -> dict[str, torch.Tensor]:
        """anny's output for shapes [N, 6] and rotations [N, bones, 3, 3]."""
        parameters = torch.eye(4).repeat(*rotations.shape[:2], 1, 1)
        parameters[..., :3, :3] = torch.from_numpy(rotations.astype(np.float32))
        columns = {name: torch.from_numpy(shapes[:, i].astype(np.float32)) for i, name in enumerate(PHENOTYPES)}
        output: dict[str, torch.Tensor] = self._model(pose_parameters=parameters, phenotype_kwargs=columns)
        return output
