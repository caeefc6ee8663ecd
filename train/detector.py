"""The person detector: EfficientNet-Lite0, a path aggregation neck and anchor-free heads of strides 8, 16 and 32."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from train.lite import LiteTrunk

STRIDES = (8, 16, 32)
LARGEST_LOG_DISTANCE = 5.0


class Separable(nn.Sequential):
    """5x5 depthwise and 1x1 convolution, each with batch normalisation and ReLU; stride 1 or 2."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 5, stride, 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
        )


class PersonDetectorNetwork(nn.Module):
    """Normalised RGB image [N, 3, h, w], h and w multiples of 32 -> raw predictions [N, A, 5].

    A = all cells of strides 8, 16 and 32, row by row. Columns: the logit of a person, then the logarithms of the
    distances from the cell's centre to the left, top, right and bottom of the box, in strides (FCOS, Tian et al. 2019).
    """

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        self.trunk = LiteTrunk()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in self.trunk.channels[1:])
        self.top_down = nn.ModuleList(Separable(width) for _ in range(2))
        self.down = nn.ModuleList(Separable(width, stride=2) for _ in range(2))
        self.bottom_up = nn.ModuleList(Separable(width) for _ in range(2))
        self.towers = nn.ModuleList(nn.Sequential(Separable(width), Separable(width)) for _ in STRIDES)
        self.outputs = nn.ModuleList(nn.Conv2d(width, 5, 1) for _ in STRIDES)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        for output in self.outputs:
            _start_output(output)

    def forward(self, image: Tensor) -> Tensor:
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, self.trunk(image)[1:], strict=True))
        middle = self.top_down[0](middle + self.upsample(coarse))
        fine = self.top_down[1](fine + self.upsample(middle))
        middle = self.bottom_up[0](middle + self.down[0](fine))
        coarse = self.bottom_up[1](coarse + self.down[1](middle))
        levels = zip(self.outputs, self.towers, (fine, middle, coarse), strict=True)
        return torch.cat([output(tower(x)).flatten(2).transpose(1, 2) for output, tower, x in levels], 1)


def _start_output(output: nn.Module) -> None:
    """Start where training is stable: a person is rare (1 %), a box reaches about 2 strides from its centre."""
    assert isinstance(output, nn.Conv2d) and output.bias is not None
    nn.init.normal_(output.weight, std=0.01)
    with torch.no_grad():
        output.bias[0] = -math.log(99)
        output.bias[1:] = math.log(2.0)


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
    """Boxes [N, A, 4] (x1 y1 x2 y2 px) of raw predictions [N, A, 5]."""
    distances = raw[..., 1:].clamp(max=LARGEST_LOG_DISTANCE).exp() * strides
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
