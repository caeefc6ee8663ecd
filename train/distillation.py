"""Learning from larger networks: their heatmaps are targets beside the labels (FPD: Zhang, Zhu, Ye, CVPR 2019).

Several teach better than the best of them, as their mistakes differ (Hinton, Vinyals, Dean, 2015, section 3). They see
what the student sees in other colours, blurred or covered as it was, and its mirror image (easy and hard views: Xie et
al., ICCV 2021, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.skeletons import COCO, definition_of
from train.models import load_pose_model
from train.movenet_heatmaps import read_movenet
from train.torch_engine import flip_merge
from train.zoo import ZooModel

SHARE = 0.5


@dataclass(frozen=True)
class Teacher:
    """Trained pose networks whose heatmaps are averaged, each with the weight of its part.

    share: the teacher's part of the loss, 0 to 1; the labels have the rest. sources: the networks' files.
    flip_order: of its K keypoints, which one each is in the mirror image.
    """

    networks: Sequence[nn.Module]
    weights: Sequence[float]
    share: float
    sources: Sequence[Path]
    flip_order: Sequence[int]

    def __post_init__(self) -> None:
        """Raises ValueError for a share that is none."""
        if not 0 < self.share <= 1:
            raise ValueError(f"the teacher's share of the loss should be above 0 and at most 1, got {self.share}")

    @property
    def described(self) -> str:
        """Its files and their weights, as they were given."""
        return ", ".join(f"{path}={weight:g}" for path, weight in zip(self.sources, self.weights, strict=True))

    @torch.no_grad()
    def heatmaps(self, images: Tensor) -> Tensor:
        """Heatmaps [N, K, h/4, w/4] of normalised RGB crops [N, 3, h, w], by the flip test."""
        upright, mirrored = self._mean(images), self._mean(images.flip(3))
        return flip_merge(upright, mirrored, self.flip_order)

    def _mean(self, images: Tensor) -> Tensor:
        """The networks' weighted mean, float32."""
        total = torch.zeros((), device=images.device)
        for network, weight in zip(self.networks, self.weights, strict=True):
            total = total + weight / sum(self.weights) * network.to(images.device)(images).float()
        return total


def read_teacher(files: Sequence[tuple[Path, float]], student: ZooModel, share: float = SHARE) -> Teacher:
    """The teacher in checkpoints of ours and MoveNet's TF.js graphs, each with its weight.

    Raises ValueError for a checkpoint without the student's crops and keypoints, OSError for a file that is not there.
    """
    networks = [_read_network(path, student) for path, _ in files]
    weights, sources = [weight for _, weight in files], [path for path, _ in files]
    return Teacher(networks, weights, share, sources, student.skeleton.flip_order)


def _read_network(path: Path, student: ZooModel) -> nn.Module:
    if path.suffix == ".json":
        if definition_of(student.skeleton) != COCO.name:
            raise ValueError(
                f"{path} cannot teach {student.name}: MoveNet has COCO's 17 keypoints, not skeleton "
                f"{student.skeleton.name!r}"
            )
        return read_movenet(path)
    trained = load_pose_model(None, path)
    model = trained.model
    if definition_of(model.skeleton) != definition_of(student.skeleton) or model.input_size != student.input_size:
        raise ValueError(
            f"{path} cannot teach {student.name}: it has crops of {_size(model)} and skeleton "
            f"{model.skeleton.name!r}, expected {_size(student)} and {student.skeleton.name!r}"
        )
    return trained.network.eval().requires_grad_(False)


def _size(model: ZooModel) -> str:
    return f"{model.input_size[1]}x{model.input_size[0]} px"
