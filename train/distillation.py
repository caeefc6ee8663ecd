"""Learning from larger networks: their heatmaps are targets beside the labels (FPD: Zhang, Zhu, Ye, CVPR 2019).

Several can teach better than the best of them, where their mistakes differ (Hinton, Vinyals, Dean, 2015, section 3).
They see what the student sees in other colours, blurred or covered as it was, and its mirror image (easy and hard
views: Xie et al., ICCV 2021, section 3.3).
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
    """A trained pose network. share: its part of the loss, 0 to 1; the labels have the rest. source: its files.

    flip_order: of its K keypoints, which one each is in the mirror image. times: how many times as wide and as high its
    crops are as the student's.
    """

    network: nn.Module
    share: float
    source: str
    flip_order: Sequence[int]
    times: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a share that is none."""
        if not 0 < self.share <= 1:
            raise ValueError(f"the teacher's share of the loss should be above 0 and at most 1, got {self.share}")

    @torch.no_grad()
    def heatmaps(self, images: Tensor) -> Tensor:
        """The student's heatmaps [N, K, h/4, w/4] of the teacher's normalised RGB crops, by the flip test.

        images: [N, 3, times h, times w]. Of the teacher's heatmaps those px are taken that lie on the student's.
        """
        network = self.network.to(images.device)
        heatmaps = flip_merge(network(images).float(), network(images.flip(3)).float(), self.flip_order)
        return heatmaps[..., :: self.times, :: self.times]


class MeanHeatmaps(nn.Module):
    """Networks as one: crops [N, 3, h, w] -> the weighted mean of their heatmaps, float32 [N, K, h/4, w/4]."""

    def __init__(self, networks: Sequence[nn.Module], weights: Sequence[float]) -> None:
        """weights: of any sum above 0."""
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.weights = [weight / sum(weights) for weight in weights]

    def forward(self, image: Tensor) -> Tensor:
        parts = [weight * network(image).float() for network, weight in zip(self.networks, self.weights, strict=True)]
        return torch.stack(parts).sum(0)


def read_teacher(files: Sequence[tuple[Path, float]], student: ZooModel, share: float = SHARE) -> Teacher:
    """The teacher in one or more checkpoints of ours and TF.js graphs of MoveNet, each with its weight in their mean.

    A checkpoint's crops may be a whole number of times as large as the student's, the same for all; MoveNet takes any.
    Raises ValueError for a checkpoint of other crops or keypoints, OSError for a file that is not there.
    """
    read = [_read_network(path, student) for path, _ in files]
    sizes = {times for _, times in read if times is not None} or {1}
    if len(sizes) > 1:
        raise ValueError(
            f"the checkpoints that are to teach {student.name} have crops of different sizes: give such of one size"
        )
    mean = MeanHeatmaps([network for network, _ in read], [weight for _, weight in files])
    source = ", ".join(f"{path}={weight:g}" for path, weight in files)
    return Teacher(mean, share, source, student.skeleton.flip_order, *sizes)


def _read_network(path: Path, student: ZooModel) -> tuple[nn.Module, int | None]:
    """A network, and how many times as large as the student's its crops are; None: any."""
    if path.suffix == ".json":
        if definition_of(student.skeleton) != COCO.name:
            raise ValueError(
                f"{path} cannot teach {student.name}: MoveNet has COCO's 17 keypoints, not skeleton "
                f"{student.skeleton.name!r}"
            )
        return read_movenet(path), None
    trained = load_pose_model(None, path)
    model = trained.model
    (width, height), (own_width, own_height) = model.input_size, student.input_size
    fits = width % own_width == 0 and width * own_height == height * own_width
    if not fits or definition_of(model.skeleton) != definition_of(student.skeleton):
        raise ValueError(
            f"{path} cannot teach {student.name}: it has crops of {_size(model)} and skeleton "
            f"{model.skeleton.name!r}, expected {_size(student)}, or twice that say, and {student.skeleton.name!r}"
        )
    return trained.network.eval().requires_grad_(False), width // own_width


def _size(model: ZooModel) -> str:
    return f"{model.input_size[1]}x{model.input_size[0]} px"
