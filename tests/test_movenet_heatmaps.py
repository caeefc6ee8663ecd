"""MoveNet's heatmaps, to learn from: the network that its TF.js graph holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.test_movenet_weights import PLACE, movenet_names
from tests.tfjs_files import saved_graph
from train.checkpoints import CheckpointError
from train.loop import normalise
from train.movenet_heatmaps import MoveNetHeatmaps, read_movenet

PYRAMID, HEAD = PLACE.removesuffix("/model"), "StatefulPartitionedCall/kpt_heatmap_0"
PARTS = ("depthwise", "pointwise")


def random_movenet(width: float) -> MoveNetHeatmaps:
    torch.manual_seed(2)
    return MoveNetHeatmaps(width).eval()


def saved_movenet(network: MoveNetHeatmaps, folder: Path, first: int) -> Path:
    """Its TF.js graph. first: the number of the first layer of the head, which differs from one MoveNet to another."""
    weights: dict[str, Tensor] = dict(movenet_names(network.trunk))
    suffixes = ["", "_1", "_2", "_3"]
    for suffix, lateral in zip(suffixes, network.laterals, strict=True):
        weights |= convolution(f"{PYRAMID}/conv2d{suffix}", lateral)
    for suffix, smooth in zip(suffixes, network.smooths, strict=False):
        place = f"{PYRAMID}/separable_conv2d{suffix}/separable_conv2d"
        depthwise, pointwise = (smooth.get_submodule(part).state_dict() for part in PARTS)
        weights[f"{place}/depthwise_ReadVariableOp"] = depthwise["weight"]
        weights |= {f"{place}_weights": pointwise["weight"], f"{place}_bn_offset": pointwise["bias"]}
    place = f"{HEAD}/separable_conv2d_{first}"
    depthwise, pointwise = (network.hidden.get_submodule(part).state_dict() for part in PARTS)
    weights[f"{place}/separable_conv2d/depthwise_ReadVariableOp"] = depthwise["weight"]
    weights[f"{place}/separable_conv2d/ReadVariableOp_1"] = pointwise["weight"]
    weights[f"{place}/BiasAdd/ReadVariableOp"] = pointwise["bias"]
    weights |= convolution(f"{HEAD}/conv2d_{first + 1}", network.final)
    weights["StatefulPartitionedCall/kpt_offset_0/conv2d_9/BiasAdd/ReadVariableOp"] = torch.zeros(34)
    file = saved_graph(weights, folder / "movenet.json")
    file.write_text(file.read_text().replace("depthwise_ReadVariableOp", "ReadVariableOp"))
    return file


def convolution(place: str, module: torch.nn.Module) -> dict[str, Tensor]:
    state = module.state_dict()
    return {f"{place}/Conv2D/ReadVariableOp": state["weight"], f"{place}/BiasAdd/ReadVariableOp": state["bias"]}


@pytest.mark.parametrize(("width", "first"), [(0.5, 4), (0.75, 6)])
def test_the_heatmaps_are_movenets(tmp_path: Path, width: float, first: int) -> None:
    published = random_movenet(width)
    network = read_movenet(saved_movenet(published, tmp_path, first))
    bgr = torch.randint(0, 256, (2, 96, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = network(normalise(bgr))
        expected = published(bgr.flip(3).permute(0, 3, 1, 2) / 127.5 - 1)
    assert found.shape == (2, 17, 24, 16) and not network.training
    spread = float(expected.std((2, 3)).mean())
    # At the far border the padding means another colour.
    torch.testing.assert_close(found[..., :8, :4], expected[..., :8, :4], atol=0.05 * spread, rtol=0)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    file = saved_movenet(random_movenet(0.5), tmp_path, 4)
    content = json.loads(file.read_text())
    entries = content["weightsManifest"][0]["weights"]
    entries[:] = [{**entry, "name": entry["name"].replace("kpt_heatmap_0/conv2d", "other")} for entry in entries]
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"is not MoveNet .*: expected movenet-thunder\.json, say"):
        read_movenet(file)
    with pytest.raises(FileNotFoundError):
        read_movenet(tmp_path / "none.json")
