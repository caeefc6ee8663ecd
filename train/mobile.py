"""MobileNetV2 (Sandler et al., CVPR 2018) as MoveNet has it: the trunk of the edge pose networks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from train.inverted_residual import InvertedResidual, SameConv2d

# Expansion, stride of the first block, output channels, blocks.
STAGES = (
    (1, 1, 16, 1),
    (6, 2, 24, 2),
    (6, 2, 32, 3),
    (6, 2, 64, 4),
    (6, 1, 96, 3),
    (6, 2, 160, 3),
    (6, 1, 320, 1),
)
STEM, LAST = 32, 1280
FEATURE_STAGES = (1, 2, 4, 6)  # the last of strides 4, 8, 16 and 32
BLOCKS = sum(count for *_, count in STAGES)
WIDTH_MULTIPLE = 8


class MobileTrunk(nn.Module):
    """image [N, 3, h, w] -> features of strides 4, 8, 16 and 32, the last by a 1x1 convolution to 1,280 channels.

    width: what all other numbers of channels are multiplied by. stages: whose last blocks give the features. Biases
    stand for batch normalisations, which the published weights have folded away. channels: of the features.
    """

    def __init__(self, width: float = 1.0, stages: Sequence[int] = FEATURE_STAGES) -> None:
        super().__init__()
        inputs = _scaled(STEM * width)
        self._conv_stem = SameConv2d(3, inputs, 3, 2)
        self.activation = nn.ReLU6(inplace=True)
        blocks: list[nn.Module] = []
        self._last_blocks: list[int] = []
        for number, (expansion, first_stride, channels, count) in enumerate(STAGES):
            outputs = _scaled(channels * width)
            for block in range(count):
                blocks.append(InvertedResidual(inputs, outputs, expansion, 1 if block else first_stride))
                inputs = outputs
            if number in stages:
                self._last_blocks.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, LAST, 1)
        self.channels = (*(_scaled(STAGES[number][2] * width) for number in stages[:-1]), LAST)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.activation(self._conv_stem(image))
        features = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._last_blocks:
                features.append(x)
        return [*features[:-1], self.activation(self._conv_head(x))]

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks as they are."""
        for module in (self._conv_stem, *self._blocks[:blocks]):
            module.requires_grad_(False)


def _scaled(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller (MobileNetV2's rule)."""
    nearest = max(WIDTH_MULTIPLE, int(channels + WIDTH_MULTIPLE / 2) // WIDTH_MULTIPLE * WIDTH_MULTIPLE)
    return nearest + WIDTH_MULTIPLE if nearest < 0.9 * channels else nearest
