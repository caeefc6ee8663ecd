"""MobileNetV2 (Sandler et al., CVPR 2018) as MoveNet has it: the trunk of the edge pose networks."""

from __future__ import annotations

from torch import Tensor, nn

from train.inverted_residual import InvertedResidualTrunk, Stage

STAGES: tuple[Stage, ...] = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 3, 2, 32, 3),
    (6, 3, 2, 64, 4),
    (6, 3, 1, 96, 3),
    (6, 3, 2, 160, 3),
    (6, 3, 1, 320, 1),
)
STEM, LAST = 32, 1280
FEATURE_STAGES = (1, 2, 4, 6)  # the last of strides 4, 8, 16 and 32
BLOCKS = sum(count for *_, count in STAGES)
WIDTH_MULTIPLE = 8


class MobileTrunk(InvertedResidualTrunk):
    """image [N, 3, h, w] -> features of strides 4, 8, 16 and 32, the last by a 1x1 convolution to 1,280 channels.

    width: what all other numbers of channels are multiplied by. Biases stand for batch normalisations, which the
    published weights have folded away.
    """

    def __init__(self, width: float = 1.0) -> None:
        stages = [(*row[:3], _scaled(row[3] * width), row[4]) for row in STAGES]
        super().__init__(_scaled(STEM * width), stages, FEATURE_STAGES)
        self._conv_head = nn.Conv2d(self.channels[-1], LAST, 1)
        self.channels = (*self.channels[:-1], LAST)

    def forward(self, image: Tensor) -> list[Tensor]:
        *fine, coarse = super().forward(image)
        return [*fine, self.activation(self._conv_head(coarse))]


def _scaled(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller (MobileNetV2's rule)."""
    nearest = max(WIDTH_MULTIPLE, int(channels + WIDTH_MULTIPLE / 2) // WIDTH_MULTIPLE * WIDTH_MULTIPLE)
    return nearest + WIDTH_MULTIPLE if nearest < 0.9 * channels else nearest
