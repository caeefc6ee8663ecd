"""CSPNet (Wang et al., CVPRW 2020) as NanoDet-g has it: the trunk of the person detector.

Only plain 3x3 convolutions, which processors and accelerators run fastest. Biases stand for batch normalisations, which
the published weights have folded away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEM = 32
STAGES = ((32, 1, 1), (64, 2, 2), (128, 2, 2), (256, 3, 2))  # channels, blocks and stride of strides 4, 8, 16 and 32
LEAK = 0.1


class ConvLeaky(nn.Sequential):
    """3x3 convolution and leaky ReLU, [N, C, H, W] -> [N, C', H/stride, W/stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(LEAK, True))


class HalvedBlock(nn.Module):
    """Two convolutions to half of the channels, one after the other, both kept; [N, C, H, W] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvLeaky(channels, channels // 2)
        self.second = ConvLeaky(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        return torch.cat((self.second(first), first), 1)


class CspStage(nn.Module):
    """Blocks beside a connection that leaves them out, [N, C, H, W] -> [N, 2C, H/stride, W/stride]."""

    def __init__(self, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.enter = ConvLeaky(channels, channels, stride)
        self.blocks = nn.Sequential(*(HalvedBlock(channels) for _ in range(blocks)))
        self.leave = ConvLeaky(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.cat((self.leave(self.blocks(x)), x), 1)


class CspTrunk(nn.Module):
    """image [N, 3, h, w], h and w multiples of 32 -> features of strides 8, 16 and 32. channels: of these."""

    channels = tuple(2 * channels for channels, *_ in STAGES[1:])

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvLeaky(3, STEM, stride=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(CspStage(*stage) for stage in STAGES)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.pool(self.stem(image))
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[1:]

    def freeze(self, stages: int) -> None:
        """Keep the stem and the first `stages` stages as they are."""
        for module in (self.stem, *self.stages[:stages]):
            module.requires_grad_(False)
