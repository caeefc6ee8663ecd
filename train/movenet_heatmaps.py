"""The part of MoveNet that finds keypoints, as a teacher: its heatmaps of any crop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from train.checkpoints import CheckpointError
from train.mobile import STEM, MobileTrunk
from train.movenet_weights import TRUNK, load_trunk
from train.tfjs import Weights, read_graph, torch_kernel

STAGES = (1, 2, 3, 6)  # of the trunk, that the feature pyramid takes
SUMS = (64, 64, 32, 24)  # channels of its sums at strides 32, 16, 8 and 4
HIDDEN, KEYPOINTS = 96, 17
PYRAMID, HEAD = TRUNK.removesuffix("model/"), "StatefulPartitionedCall/kpt_heatmap_0/"


class MoveNetHeatmaps(nn.Module):
    """Normalised RGB crops [N, 3, h, w] -> heatmaps [N, 17, h/4, w/4], 0 to 1; h and w are multiples of 32.

    COCO's keypoints of everybody in the crop: what MoveNet chooses a person by is left out. Features of strides 32,
    16, 8 and 4 are added up from coarse to fine; a separable convolution follows each sum.
    """

    def __init__(self, width: float) -> None:
        """width: of the trunk; 1 for Lightning, 1.5 for MultiPose, 1.75 for Thunder."""
        super().__init__()
        self.trunk = MobileTrunk(width, STAGES)
        self.laterals = nn.ModuleList(
            nn.Conv2d(inputs, sums, 1) for inputs, sums in zip(reversed(self.trunk.channels), SUMS, strict=True)
        )
        self.smooths = nn.ModuleList(
            _Separable(inputs, outputs) for inputs, outputs in zip(SUMS[1:], (*SUMS[2:], SUMS[-1]), strict=True)
        )
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.hidden = _Separable(SUMS[-1], HIDDEN)
        self.final = nn.Conv2d(HIDDEN, KEYPOINTS, 1)

    def forward(self, image: Tensor) -> Tensor:
        coarsest, *finer = reversed(self.trunk(image))
        x = self.laterals[0](coarsest)
        for lateral, smooth, features in zip(list(self.laterals)[1:], self.smooths, finer, strict=True):
            x = smooth(self.upsample(x) + lateral(features))
        return torch.sigmoid(self.final(self.hidden(x)))


class _Separable(nn.Module):
    """A 3x3 convolution of each channel, a 1x1 convolution over them, ReLU; [N, C, H, W] -> [N, C', H, W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y.relu()


def read_movenet(path: Path) -> MoveNetHeatmaps:
    """The network in a MoveNet's TF.js graph, movenet-thunder.json say, its .bin beside it; ready to run.

    Raises OSError for a file that is not there, ValueError for one that is not MoveNet.
    """
    _, weights = read_graph(path)
    try:
        network = MoveNetHeatmaps(len(weights[f"{TRUNK}Conv1/Conv2D_bn_offset"]) / STEM)
        network.load_state_dict(_head(weights), strict=False)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not MoveNet ({error}): expected movenet-thunder.json, say") from error
    load_trunk(network.trunk, weights, path)
    return network.eval().requires_grad_(False)


def _head(weights: Weights) -> dict[str, Tensor]:
    """All but the trunk's weights, by our names. Raises KeyError for one that is not there."""
    return {ours: _as_torch(ours, weights[theirs]) for ours, theirs in _names(weights).items()}


def _as_torch(name: str, weight: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(weight if name.endswith("bias") else torch_kernel(weight, "depthwise" in name))


def _names(weights: Weights) -> dict[str, str]:
    """MoveNet's name of each. Raises KeyError for another graph.

    Layers are numbered over all of its heads, so that those of this one have other numbers in each MoveNet.
    """
    suffixes = ("", "_1", "_2", "_3")
    names: dict[str, str] = {}
    for number, suffix in enumerate(suffixes):
        names |= _convolution(f"laterals.{number}", f"{PYRAMID}conv2d{suffix}")
    for number, suffix in enumerate(suffixes[:-1]):
        layer = f"{PYRAMID}separable_conv2d{suffix}/separable_conv2d"
        names[f"smooths.{number}.depthwise.weight"] = f"{layer}/ReadVariableOp"
        names[f"smooths.{number}.pointwise.weight"] = f"{layer}_weights"
        names[f"smooths.{number}.pointwise.bias"] = f"{layer}_bn_offset"
    layers = sorted({name.removeprefix(HEAD).split("/")[0] for name in weights if name.startswith(HEAD)})
    if len(layers) != 2:
        raise KeyError(HEAD)
    final, hidden = (f"{HEAD}{layer}" for layer in layers)
    names["hidden.depthwise.weight"] = f"{hidden}/separable_conv2d/ReadVariableOp"
    names["hidden.pointwise.weight"] = f"{hidden}/separable_conv2d/ReadVariableOp_1"
    names["hidden.pointwise.bias"] = f"{hidden}/BiasAdd/ReadVariableOp"
    return names | _convolution("final", final)


def _convolution(ours: str, theirs: str) -> dict[str, str]:
    """Both names of a convolution's weights and biases."""
    return {f"{ours}.weight": f"{theirs}/Conv2D/ReadVariableOp", f"{ours}.bias": f"{theirs}/BiasAdd/ReadVariableOp"}
