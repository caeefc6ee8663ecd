"""Networks start from ImageNet weights of their backbone or from other pose networks, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.skeletons import SKELETONS, skeleton_from
from tests.tiny_data import HORSE
from train.checkpoints import CheckpointError, load_checkpoint, model_entry
from train.initial_weights import load_initial, shipped_weights, starting_network
from train.recipes import recipe_of
from train.zoo import zoo_model

RES50, EDGE = zoo_model("coco_res50_256x192"), zoo_model("edge_coco_256x192")


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    """All weights of a SimpleBaseline ResNet-50, none of them as they begin."""
    return changed(RES50.build())


def changed(network: nn.Module) -> dict[str, Tensor]:
    return {name: value + 0.5 if value.is_floating_point() else value for name, value in network.state_dict().items()}


def imagenet(weights: dict[str, Tensor], *more: str) -> dict[str, Tensor]:
    """What a backbone's own project keeps of it: without prefix, and with a classifier's weights."""
    names = [name for name in weights if name.startswith("backbone.")]
    return {name.removeprefix("backbone."): weights[name] for name in names} | {name: torch.ones(2) for name in more}


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def equal(network: nn.Module, weights: dict[str, Tensor], prefix: str) -> bool:
    own = network.state_dict()
    return all(torch.equal(own[name], value) for name, value in weights.items() if name.startswith(prefix))


def test_a_resnet_starts_from_torchvisions_file(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    file = saved(imagenet(resnet, "fc.weight", "fc.bias"), tmp_path)
    network = starting_network(RES50, recipe_of(RES50), file)
    assert equal(network, resnet, "backbone.") and not equal(network, resnet, "keypoint_head.")
    final = network.get_submodule("keypoint_head.final_layer").state_dict()
    assert 0.0008 < float(final["weight"].std()) < 0.0012 and not final["bias"].any()


def test_an_hrnet_starts_from_its_projects_classification_file(tmp_path: Path) -> None:
    network = zoo_model("mpii_hrnet_w32_256x256").build()
    weights = changed(network)
    others = ("incre_modules.0.conv1.weight", "downsamp_modules.0.0.weight", "final_layer.0.weight", "classifier.bias")
    file = saved({"state_dict": imagenet(weights, *others, "stage4.2.fuse_layers.3.0.0.0.weight")}, tmp_path)
    load_initial(network, file)
    assert equal(network, weights, "backbone.")


def test_a_network_starts_from_one_of_other_keypoints(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    model = replace(RES50, name="mpii", skeleton=SKELETONS["mpii"])
    network = starting_network(model, recipe_of(RES50), saved({"state_dict": resnet}, tmp_path))
    assert equal(network, resnet, "backbone.") and equal(network, resnet, "keypoint_head.deconv_layers.")
    assert len(network.get_parameter("keypoint_head.final_layer.weight")) == 16


def test_an_edge_network_starts_from_one_of_ours(tmp_path: Path) -> None:
    trained = starting_network(EDGE, recipe_of(EDGE))
    with torch.no_grad():
        for weight in trained.parameters():
            weight.add_(0.5)
    file = saved({"network": trained.state_dict(), "figures": {}, "model": model_entry(EDGE)}, tmp_path)
    horse = EDGE.for_data("horse", skeleton_from(HORSE))
    network = starting_network(horse, recipe_of(horse), file)
    assert all(equal(network, trained.state_dict(), name) for name in ("trunk.", "lateral", "smooth"))
    assert not network.get_parameter("trunk._blocks.5._project_conv.weight").requires_grad
    assert network.get_parameter("trunk._blocks.6._project_conv.weight").requires_grad
    assert len(network.get_parameter("final.weight")) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer3.6.conv1.weight": torch.ones(1)}, r"1 there that it has not \(layer3\.6\.conv1\.weight, \.\.\.\)"),
        ({"layer4.0.conv1.weight": torch.ones(1)}, r"1 of its weights missing there or of another shape \(layer4\.0"),
        ({"layer2.0.bn1.bias": None}, r"missing there .*\(layer2\.0\.bn1\.bias"),
    ],
)
def test_the_backbone_of_another_network_is_refused(
    tmp_path: Path, resnet: dict[str, Tensor], change: dict[str, Tensor | None], message: str
) -> None:
    weights = imagenet(resnet, "fc.weight") | change
    file = saved({name: value for name, value in weights.items() if value is not None}, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_initial(RES50.build(), file)


def test_other_files_are_refused(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_initial(RES50.build(), tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="does not start this network"):
        load_initial(EDGE.build(), saved(imagenet(resnet, "fc.weight"), tmp_path))


def test_random_weights_repeat_with_the_seed() -> None:
    recipe = recipe_of(RES50)
    first, again = (starting_network(RES50, recipe).state_dict() for _ in range(2))
    other = starting_network(RES50, replace(recipe, schedule=replace(recipe.schedule, seed=1))).state_dict()
    name = "backbone.layer1.0.conv1.weight"
    assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])


@pytest.mark.parametrize("name", ["edge_coco_256x192", "edge_coco_128x96", "coco_edge_large_256x192"])
def test_edge_networks_start_from_what_ships(name: str) -> None:
    model = zoo_model(name)
    network, shipped = starting_network(model, recipe_of(model)), model.build()
    file = shipped_weights(model)
    assert file is not None
    load_checkpoint(shipped, file)
    assert equal(network, shipped.state_dict(), "")
    assert shipped_weights(RES50) is None
