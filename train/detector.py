"""The person detector: NanoDet-g's network (RangiLyu, 2021) for one class.

A CSPNet trunk, a path aggregation neck of additions alone, and anchor-free heads of strides 8, 16 and 32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.csp import ConvLeaky, CspTrunk

STRIDES = (8, 16, 32)
WIDTH = 128
BINS = 11  # of a distance: 0 to 10 strides


class PersonDetectorNetwork(nn.Module):
    """Normalised RGB image [N, 3, h, w], h and w multiples of 32 -> raw predictions [N, A, 1 + 4 * BINS].

    A = all cells of strides 8, 16 and 32, row by row. Columns: the logit of a person, then for the left, top, right and
    bottom of the box the logits of how many strides it lies from the cell's centre (generalized focal loss, Li et al.,
    NeurIPS 2020, section 3.1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = CspTrunk()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in self.trunk.channels)
        self.towers = nn.ModuleList(ConvLeaky(WIDTH, WIDTH) for _ in STRIDES)
        self.outputs = nn.ModuleList(nn.Conv2d(WIDTH, 1 + 4 * BINS, 1) for _ in STRIDES)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.down = nn.AvgPool2d(2)

    def forward(self, image: Tensor) -> Tensor:
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, self.trunk(image), strict=True))
        middle = middle + self.up(coarse)
        fine = fine + self.up(middle)
        middle = middle + self.down(fine)
        coarse = coarse + self.down(middle)
        levels = zip(self.outputs, self.towers, (fine, middle, coarse), strict=True)
        return torch.cat([output(tower(x)).flatten(2).transpose(1, 2) for output, tower, x in levels], 1)


def cells(height: int, width: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Centres [A, 2] (x, y px) and strides [A, 1] (px) of the cells of an image of that size."""
    centres, strides = [], []
    for stride in STRIDES:
        rows = torch.arange(height // stride, device=device)
        columns = torch.arange(width // stride, device=device)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append((torch.stack((x.flatten(), y.flatten()), 1).float() + 0.5) * stride)
        strides.append(torch.full_like(centres[-1][:, :1], stride))
    return torch.cat(centres), torch.cat(strides)


def decode_boxes(raw: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Boxes [N, A, 4] (x1 y1 x2 y2 px) of raw predictions [N, A, 1 + 4 * BINS]: the means of their distances."""
    chances = raw[..., 1:].unflatten(-1, (4, BINS)).softmax(-1)
    distances = (chances * torch.arange(BINS, device=raw.device)).sum(-1) * strides
    return torch.cat((centres - distances[..., :2], centres + distances[..., 2:]), -1)


class BoxesAndScores(nn.Module):
    """The detector as it is exported: image [N, 3, h, w] -> boxes [N, A, 4] px, scores [N, A] from 0 to 1."""

    def __init__(self, network: PersonDetectorNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.network(image).float()
        centres, strides = cells(image.shape[2], image.shape[3], image.device)
        return decode_boxes(raw, centres, strides), raw[..., 0].sigmoid()
