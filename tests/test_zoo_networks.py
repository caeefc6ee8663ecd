"""ResNet and HRNet against the reference: keys and shapes of every model, and heatmaps with deterministic weights."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers import golden_inputs, golden_path
from train.hrnet import HRNet
from train.resnet import SimpleBaseline


def network_of(arch: str, keypoints: int) -> nn.Module:
    """The network of a reference model's name, as in res50_coco_... or hrnet_w32_mpii_..."""
    if found := re.search(r"hrnet_w(\d+)", arch):
        return HRNet(int(found[1]), keypoints)
    found = re.search(r"res(\d+)", arch)
    assert found
    return SimpleBaseline(int(found[1]), keypoints)


def test_all_models_have_the_reference_s_keys_and_shapes() -> None:
    models: list[dict[str, Any]] = json.loads(golden_path("zoo.json").read_text())["models"]
    assert len(models) == 14
    for model in models:
        with torch.device("meta"):
            network = network_of(model["name"], model["num_joints"])
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        assert found == {key: shape for key, shape, _ in model["state_dict"]}, model["name"]
        assert sum(weight.numel() for weight in network.parameters()) == model["num_params"]


@pytest.mark.parametrize("name", ["res50_256x192", "hrnet_w32_256x192"])
def test_heatmaps_equal_the_reference(name: str) -> None:
    golden, regen = np.load(golden_path("network.npz")), golden_inputs()
    network = network_of(name, 17).eval()
    state = {key: torch.from_numpy(regen.fill(key, value.shape)) for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    with torch.inference_mode():
        heatmaps = network(torch.from_numpy(regen.net_input(1, 256, 192))).numpy()[0]
    np.testing.assert_allclose(heatmaps[[0, 8, 16]], golden[f"{name}/heat"], rtol=1e-4, atol=2e-4)
    np.testing.assert_array_equal(heatmaps.reshape(17, -1).argmax(1), golden[f"{name}/argmax"])


def test_unknown_depths_are_named() -> None:
    with pytest.raises(ValueError, match="50, 101, 152"):
        SimpleBaseline(18, 17)


def test_heatmaps_are_a_quarter_of_the_input() -> None:
    for network in (SimpleBaseline(50, 17), HRNet(32, 16)):
        network.eval()
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, 64, 96)).shape[2:] == (16, 24)
