"""Small networks start from MoveNet's trunk, in the layout and for the range of colours that it has there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tfjs_files import saved_graph
from train.checkpoints import CheckpointError
from train.initial_weights import starting_network
from train.loop import normalise
from train.mobile import MobileTrunk
from train.movenet_weights import load_movenet
from train.recipes import recipe_of
from train.zoo import zoo_model

EDGE, LARGE = zoo_model("edge_coco_256x192"), zoo_model("coco_edge_large_256x192")
PLACE = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/model"


def random_trunk(width: float = 1.0) -> MobileTrunk:
    torch.manual_seed(1)
    return MobileTrunk(width).eval()


def movenet_names(trunk: MobileTrunk) -> dict[str, Tensor]:
    """The trunk's weights by MoveNet's names."""
    weights = {}
    for name, weight in trunk.state_dict().items():
        *room, layer, kind = name.split(".")
        place = {"_conv_stem": "Conv1", "_conv_head": "Conv_1"}.get(layer)
        if place is None:
            step = layer.removeprefix("_").removesuffix("_conv")
            place = f"expanded_conv_{step}" if room[1] == "0" else f"block_{room[1]}_{step}"
        op = "depthwise" if "depthwise" in layer else "Conv2D"
        weights[f"{PLACE}/{place}/{op}_{'weights' if kind == 'weight' else 'bn_offset'}"] = weight
    return weights


def saved_movenet(trunk: MobileTrunk, folder: Path, stored: str = "float32") -> Path:
    """A TF.js graph with the trunk's weights as MoveNet keeps them."""
    return saved_graph(movenet_names(trunk), folder / "movenet.json", stored)


@pytest.mark.parametrize(("stored", "tolerance"), [("float32", 1e-4), ("float16", 1e-2)])
def test_the_trunk_computes_what_movenet_does(tmp_path: Path, stored: str, tolerance: float) -> None:
    published, trunk = random_trunk(), MobileTrunk().eval()
    load_movenet(trunk, saved_movenet(published, tmp_path, stored))
    bgr = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = trunk(normalise(bgr))
        expected = published(bgr.flip(3).permute(0, 3, 1, 2) / 127.5 - 1)
    shapes = [(1, 24, 16, 24), (1, 32, 8, 12), (1, 96, 4, 6), (1, 1280, 2, 3)]
    assert [tuple(feature.shape) for feature in found] == shapes
    # At the far border the padding means another colour.
    inner = expected[0][..., :-4, :-4]
    torch.testing.assert_close(found[0][..., :-4, :-4], inner, atol=tolerance * float(inner.abs().max()), rtol=0)


def test_a_network_starts_with_the_trunk_and_a_head_of_its_own(tmp_path: Path) -> None:
    file = saved_movenet(random_trunk(1.75), tmp_path)
    network = starting_network(LARGE, recipe_of(LARGE), file)
    trunk = network.get_submodule("trunk")
    torch.testing.assert_close(trunk.state_dict()["_conv_head.weight"], random_trunk(1.75)._conv_head.weight.detach())
    still = [name for name, weight in trunk.named_parameters() if not weight.requires_grad]
    assert {name.removeprefix("_blocks.").split(".")[0] for name in still} == {"_conv_stem", *map(str, range(6))}


def test_what_is_not_that_network_is_refused(tmp_path: Path) -> None:
    file = saved_movenet(random_trunk(), tmp_path)
    with pytest.raises(CheckpointError, match=r"32 channels in its first layer, this network 56: .*movenet-thunder"):
        starting_network(LARGE, recipe_of(LARGE), file)
    content = json.loads(file.read_text())
    content["weightsManifest"][0]["weights"].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"no weights .*: expected movenet-lightning\.json"):
        starting_network(EDGE, recipe_of(EDGE), file)
    (tmp_path / "movenet.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"not a TF\.js graph"):
        starting_network(EDGE, recipe_of(EDGE), file)
    (tmp_path / "movenet.bin").unlink()
    with pytest.raises(FileNotFoundError):
        starting_network(EDGE, recipe_of(EDGE), file)
