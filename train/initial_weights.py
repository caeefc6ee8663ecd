"""What a network starts from: weights of its backbone, or those of another such network."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from train.checkpoints import BATCHES_SEEN, CheckpointError, load_checkpoint, read_checkpoint
from train.detector import PersonDetectorNetwork
from train.export import DETECTOR_NAME, EDGE_NAME, LARGE_EDGE_NAME, MODELS
from train.mobile import MobileTrunk
from train.movenet_weights import load_movenet
from train.nanodet_weights import load_nanodet
from train.recipes import DETECTOR_FROZEN_STAGES, Recipe
from train.zoo import ZooModel

HEAD = re.compile(r"(keypoint_head|final)\.")
# What HRNet has for classification beside its backbone: the lower resolutions of its last exchange.
CLASSIFICATION = re.compile(r"(backbone\.)?stage4\.\d+\.fuse_layers\.[1-3]\.")
NAMED = 3
SHIPPED = {"edge": EDGE_NAME, "edge_large": LARGE_EDGE_NAME}


def starting_network(model: ZooModel, recipe: Recipe, init: Path | None = None) -> nn.Module:
    """The network as its training begins: weights of the file `init`, else those that ship, else random ones.

    init: a checkpoint, or for an edge network MoveNet's TF.js graph. The first blocks of a trunk are frozen as the
    recipe says. Random weights repeat with the recipe's seed.
    """
    init = init or shipped_weights(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.schedule.seed)
        network = model.build()
        _start_head(network)
    trunk = getattr(network, "trunk", None)
    if init is not None and init.suffix == ".json" and isinstance(trunk, MobileTrunk):
        load_movenet(trunk, init)
    elif init is not None:
        load_initial(network, init)
    if isinstance(trunk, MobileTrunk) and recipe.frozen_blocks:
        trunk.freeze(recipe.frozen_blocks)
    return network


def starting_detector(init: Path | None = None) -> PersonDetectorNetwork:
    """The person detector as its training begins: weights of the file `init`, else those that ship.

    init: a checkpoint, or NanoDet-g's TF.js graph. The trunk's first stages are frozen.
    """
    network = PersonDetectorNetwork()
    if init is not None and init.suffix == ".json":
        load_nanodet(network, init)
    else:
        load_checkpoint(network, init or MODELS / f"{DETECTOR_NAME}.pt")
    network.trunk.freeze(DETECTOR_FROZEN_STAGES)
    return network


def shipped_weights(model: ZooModel) -> Path | None:
    """The file that the project ships to start such a network from: there is one for each edge network."""
    name = SHIPPED.get(model.network)
    return MODELS / f"{name}.pt" if name else None


def _start_head(network: nn.Module) -> None:
    """Small weights in the head, so that heatmaps start near zero (MMPose 0.29's: deviation 0.001, no bias)."""
    for module in getattr(network, "keypoint_head", nn.Identity()).modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=0.001)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def load_initial(network: nn.Module, path: Path) -> None:
    """Load all that fits of a checkpoint: the whole backbone, and of the head what has the same shape.

    For pose networks of any known project and ImageNet networks of torchvision and HRNet. Raises CheckpointError
    unless the backbone of the file is the network's.
    """
    checkpoint = read_checkpoint(path)
    own = network.state_dict()
    names = {checkpoint.layout.name_in_file(name): name for name in own}
    fitting = {
        names[key]: value
        for key, value in checkpoint.weights.items()
        if key in names and own[names[key]].shape == value.shape
    }
    backbone = {key for key, name in names.items() if not HEAD.match(name)}
    rooms = {_room(key) for key in backbone}
    missing = [key for key in backbone if names[key] not in fitting and not key.endswith(BATCHES_SEEN)]
    surplus = [
        key for key in checkpoint.weights if key not in names and _room(key) in rooms and not CLASSIFICATION.match(key)
    ]
    if missing or surplus:
        parts = [f"{len(keys)} {kind} ({', '.join(sorted(keys)[:NAMED])}, ...)" for keys, kind in (
            (missing, "of its weights missing there or of another shape"), (surplus, "there that it has not")
        ) if keys]  # fmt: skip
        raise CheckpointError(
            f"{path} ({checkpoint.layout.project}) does not start this network: its backbone has {' and '.join(parts)};"
            " expected a file of the same network"
        )
    network.load_state_dict(fitting, strict=False)


def _room(key: str) -> str:
    """The first part of a key, and the second inside a backbone."""
    return ".".join(key.split(".")[: 2 if key.startswith("backbone.") else 1])
