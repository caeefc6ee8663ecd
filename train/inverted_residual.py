"""Inverted residuals (MobileNetV2, Sandler et al., CVPR 2018) and the convolutions that they are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """The rows (or columns) of zeros before and after, for an input whose size is a multiple of the stride."""
    return (kernel - stride) // 2, (kernel - stride + 1) // 2


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, as the checkpoint was trained: with stride 2 one pixel more after
    than before. [N, C, H, W] -> [N, C', H/stride, W/stride]; H and W are multiples of the stride.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        symmetric = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, symmetric, groups=groups)
        self.before, self.after = same_padding(kernel, stride) if stride > 1 else (0, 0)

    def forward(self, input: Tensor) -> Tensor:
        if self.after:
            input = nn.functional.pad(input, (self.before, self.after, self.before, self.after))
        return super().forward(input)


class DepthwiseConv2d(SameConv2d):
    """A depthwise convolution, [N, C, H, W] -> [N, C, H/stride, W/stride].

    On a CPU it trains in float32 inside an autocast region: the bfloat16 gradients of depthwise kernels are several
    times slower there than the float32 ones.
    """

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, channels)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection, [N, C, H, W] -> [N, C', H/s, W/s].

    Biases stand for batch normalisations, which the published weights have folded away.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self._expand_conv = nn.Conv2d(inputs, width, 1) if expansion > 1 else nn.Identity()
        self._depthwise_conv = DepthwiseConv2d(width, 3, stride)
        self._project_conv = nn.Conv2d(width, outputs, 1)
        self.activation = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        if isinstance(self._expand_conv, nn.Conv2d):
            y = self.activation(self._expand_conv(y))
        y = self.activation(self._depthwise_conv(y))
        y = self._project_conv(y)
        return x + y if self.residual else y
