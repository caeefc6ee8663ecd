"""The edge network: its size, and what of its trunk learns."""

from __future__ import annotations

import torch

from train.edge import EdgePose
from train.mobile import MobileTrunk


def test_the_edge_network_is_small_and_a_quarter_of_the_input() -> None:
    network = EdgePose().eval()
    assert sum(weight.numel() for weight in network.parameters()) <= 6_000_000
    assert network(torch.zeros(2, 3, 256, 192)).shape == (2, 17, 64, 48)


def test_what_is_frozen_does_not_learn() -> None:
    trunk = MobileTrunk().eval()
    trunk.freeze(6)
    learning = {name.split(".")[1] for name, weight in trunk.named_parameters() if weight.requires_grad}
    assert learning == {"weight", "bias", *map(str, range(6, 17))}  # of _conv_head, and of the later blocks
