"""Inverted residuals (MobileNetV2, Sandler et al., CVPR 2018), and the trunk of small networks that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.compose import MEAN, STD

_Conv = TypeVar("_Conv", bound=nn.Conv2d)
# Expansion, kernel, stride of the first block, output channels, blocks.
Stage = tuple[int, int, int, int, int]


def accept_normalised(weight: Tensor, mean: float, deviation: float) -> Tensor:
    """Make a first layer, trained on (RGB - mean) / deviation, one for our images, which have ImageNet's.

    weight: [C, 3, h, w], changed in place. Returns what its outputs lack then, [C].
    """
    scale, offset = 255 / deviation * torch.tensor(STD), (255 * torch.tensor(MEAN) - mean) / deviation
    lacking = (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3))
    weight *= scale.view(1, 3, 1, 1)
    return lacking


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """The rows (or columns) of zeros before and after, for an input whose size is a multiple of the stride."""
    return (kernel - stride) // 2, (kernel - stride + 1) // 2


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, as the checkpoint was trained: with stride 2 one pixel more after
    than before. [N, C, H, W] -> [N, C', H/stride, W/stride]; H and W are multiples of the stride.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1, bias: bool = False
    ) -> None:
        symmetric = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, symmetric, groups=groups, bias=bias)
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

    def __init__(self, channels: int, kernel: int, stride: int, bias: bool) -> None:
        super().__init__(channels, channels, kernel, stride, channels, bias)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


def normalisation(channels: int, normalised: bool) -> nn.Module:
    """Batch normalisation with the constants of the EfficientNet checkpoints, or nothing."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01) if normalised else nn.Identity()


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection, [N, C, H, W] -> [N, C', H/s, W/s].

    normalised: each with a batch normalisation, or else with a bias.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, normalised: bool) -> None:
        super().__init__()
        width, expands, bias = inputs * expansion, expansion > 1, not normalised
        self.residual = stride == 1 and inputs == outputs
        self._expand_conv = nn.Conv2d(inputs, width, 1, bias=bias) if expands else nn.Identity()
        self._bn0 = normalisation(width, normalised and expands)
        self._depthwise_conv = DepthwiseConv2d(width, kernel, stride, bias)
        self._bn1 = normalisation(width, normalised)
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=bias)
        self._bn2 = normalisation(outputs, normalised)
        self.activation = nn.ReLU6(inplace=True)

    def fold(self) -> None:
        """Fold the batch normalisations, if any, as they are now into the convolutions."""
        if isinstance(self._expand_conv, nn.Conv2d):
            self._expand_conv, self._bn0 = _folded(self._expand_conv, self._bn0)
        self._depthwise_conv, self._bn1 = _folded(self._depthwise_conv, self._bn1)
        self._project_conv, self._bn2 = _folded(self._project_conv, self._bn2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        if isinstance(self._expand_conv, nn.Conv2d):
            y = self.activation(self._bn0(self._expand_conv(y)))
        y = self.activation(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


def _folded(convolution: _Conv, normalised: nn.Module) -> tuple[_Conv, nn.Module]:
    """The convolution with the normalisation, as it is in evaluation, folded into its weights, and what is left."""
    if isinstance(normalised, nn.BatchNorm2d):
        convolution = fuse_conv_bn_eval(convolution, normalised)
    return convolution, nn.Identity()


class InvertedResidualTrunk(nn.Module):
    """A stem and stages of inverted residuals: image [N, 3, h, w] -> features of strides 4, 8, 16 and 32.

    feature_stages: those whose last blocks are the four outputs. channels: of these. normalised: with batch
    normalisations, or with biases instead.
    """

    def __init__(self, stem: int, stages: Sequence[Stage], feature_stages: Sequence[int], normalised: bool) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, stem, 3, 2, bias=not normalised)
        self._bn0 = normalisation(stem, normalised)
        self.activation = nn.ReLU6(inplace=True)
        blocks: list[nn.Module] = []
        inputs, self._last_blocks = stem, list[int]()
        for number, (expansion, kernel, first_stride, outputs, count) in enumerate(stages):
            for block in range(count):
                stride = 1 if block else first_stride
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, stride, normalised))
                inputs = outputs
            if number in feature_stages:
                self._last_blocks.append(len(blocks) - 1)
        self.channels = tuple(stages[number][3] for number in feature_stages)
        self._blocks = nn.ModuleList(blocks)
        self.frozen_blocks = 0

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.activation(self._bn0(self._conv_stem(image)))
        features = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self._last_blocks:
                features.append(x)
        return features

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks as they are, for good: their normalisation is folded away."""
        self.frozen_blocks = blocks
        self.eval()
        self._conv_stem, self._bn0 = _folded(self._conv_stem, self._bn0)
        for block in self._blocks[:blocks]:
            assert isinstance(block, InvertedResidual)
            block.fold()
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> InvertedResidualTrunk:
        """As for any module; what is frozen stays in evaluation."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> Sequence[nn.Module]:
        return (self._conv_stem, *self._blocks[: self.frozen_blocks]) if self.frozen_blocks else ()
