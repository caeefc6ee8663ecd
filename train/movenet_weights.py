"""What our small networks start from: the weights of MoveNet's MobileNetV2, which was trained on people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from engines.compose import MEAN, STD
from train.checkpoints import CheckpointError
from train.mobile import BLOCKS, MobileTrunk
from train.tfjs import Weights, read_graph, torch_kernel

TRUNK = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/model/"
HALF_RANGE = 127.5  # MoveNet takes (RGB - 127.5) / 127.5.


def load_movenet(trunk: MobileTrunk, path: Path) -> None:
    """Load the trunk of movenet-lightning.json (width 1) or movenet-thunder.json (width 1.75), its .bin beside it.

    Raises OSError for a file that is not there, ValueError for one that is not MoveNet, CheckpointError for MoveNet of
    another width.
    """
    load_trunk(trunk, read_graph(path)[1], path)


def load_trunk(trunk: MobileTrunk, weights: Weights, path: Path) -> None:
    """Load the trunk in the weights of a MoveNet's graph, which came from `path`.

    Raises CheckpointError for weights that are not MoveNet's, or of another width.
    """
    named: dict[str, Tensor] = {}
    for ours, theirs in _names().items():
        kind = "depthwise" if "depthwise" in theirs else "Conv2D"
        try:
            kernel, bias = weights[f"{TRUNK}{theirs}/{kind}_weights"], weights[f"{TRUNK}{theirs}/{kind}_bn_offset"]
        except KeyError as error:
            raise CheckpointError(
                f"{path} has no weights {error}: expected movenet-lightning.json or movenet-thunder.json"
            ) from error
        named[f"{ours}.weight"] = torch.from_numpy(torch_kernel(kernel, kind == "depthwise"))
        named[f"{ours}.bias"] = torch.from_numpy(bias)
    _check_width(trunk, named, path)
    trunk.load_state_dict(named)
    with torch.no_grad():
        stem_bias = trunk._conv_stem.bias
        assert stem_bias is not None
        stem_bias += _accept_normalised(trunk._conv_stem.weight, HALF_RANGE, HALF_RANGE)


def _accept_normalised(weight: Tensor, mean: float, deviation: float) -> Tensor:
    """Make a first layer, trained on (RGB - mean) / deviation, one for our images, which have ImageNet's.

    weight: [C, 3, h, w], changed in place. Returns what its outputs lack then, [C].
    """
    scale, offset = 255 / deviation * torch.tensor(STD), (255 * torch.tensor(MEAN) - mean) / deviation
    lacking = (weight * offset.view(1, 3, 1, 1)).sum((1, 2, 3))
    weight *= scale.view(1, 3, 1, 1)
    return lacking


def _names() -> dict[str, str]:
    """MoveNet's name of every convolution of ours."""
    names = {"_conv_stem": "Conv1", "_conv_head": "Conv_1"}
    for number in range(BLOCKS):
        theirs = f"block_{number}" if number else "expanded_conv"
        parts = ("expand", "depthwise", "project") if number else ("depthwise", "project")
        names |= {f"_blocks.{number}._{part}_conv": f"{theirs}_{part}" for part in parts}
    return names


def _check_width(trunk: MobileTrunk, named: Mapping[str, Tensor], path: Path) -> None:
    found, expected = (len(weights["_conv_stem.weight"]) for weights in (named, trunk.state_dict()))
    if found != expected:
        raise CheckpointError(
            f"{path} has {found} channels in its first layer, this network {expected}: the edge network "
            "starts from movenet-lightning.json, the large edge network from movenet-thunder.json"
        )
