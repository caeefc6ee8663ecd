"""Learning from a larger network: its heatmaps are targets beside the labels (FPD: Zhang, Zhu, Ye, CVPR 2019).

The teacher sees what the student sees in other colours, blurred or covered as it was, and its mirror image (easy and
hard views: Xie et al., ICCV 2021, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.skeletons import definition_of
from train.models import load_pose_model
from train.torch_engine import flip_merge
from train.zoo import ZooModel

SHARE = 0.5


@dataclass(frozen=True)
class Teacher:
    """A trained pose network. share: its part of the loss, 0 to 1; the labels have the rest. source: its file.

    flip_order: of its K keypoints, which one each is in the mirror image.
    """

    network: nn.Module
    share: float
    source: Path
    flip_order: Sequence[int]

    def __post_init__(self) -> None:
        """Raises ValueError for a share that is none."""
        if not 0 < self.share <= 1:
            raise ValueError(f"the teacher's share of the loss should be above 0 and at most 1, got {self.share}")

    @torch.no_grad()
    def heatmaps(self, images: Tensor) -> Tensor:
        """Heatmaps [N, K, h/4, w/4] of normalised RGB crops [N, 3, h, w], by the flip test."""
        network = self.network.to(images.device)
        return flip_merge(network(images).float(), network(images.flip(3)).float(), self.flip_order)


def read_teacher(checkpoint: Path, student: ZooModel, share: float = SHARE) -> Teacher:
    """The teacher in one of our checkpoints. Raises ValueError unless it has the student's crops and keypoints."""
    trained = load_pose_model(None, checkpoint)
    model = trained.model
    if definition_of(model.skeleton) != definition_of(student.skeleton) or model.input_size != student.input_size:
        raise ValueError(
            f"{checkpoint} cannot teach {student.name}: it has crops of {_size(model)} and skeleton "
            f"{model.skeleton.name!r}, expected {_size(student)} and {student.skeleton.name!r}"
        )
    return Teacher(trained.network.requires_grad_(False), share, checkpoint, model.skeleton.flip_order)


def _size(model: ZooModel) -> str:
    return f"{model.input_size[1]}x{model.input_size[0]} px"
