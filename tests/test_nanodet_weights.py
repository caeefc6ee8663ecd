"""The person detector starts from NanoDet-g, of whose classes it keeps the person."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.tfjs_files import saved_graph
from train.checkpoints import CheckpointError
from train.detector import BINS, PersonDetectorNetwork
from train.initial_weights import starting_detector
from train.nanodet_weights import BIASES, CLASSES, KERNEL


def nanodet(network: PersonDetectorNetwork) -> dict[str, Tensor]:
    """NanoDet-g whose person is the network's: the other classes' rows are ones, the first layer takes BGR."""
    heads = [part for head in zip(network.towers, network.outputs, strict=True) for part in head]
    parts = [network.trunk, *network.lateral, *heads]
    convolutions = [module for part in parts for module in part.modules() if isinstance(module, nn.Conv2d)]
    weights: dict[str, Tensor] = {}
    for number, (convolution, bias_name) in enumerate(zip(convolutions, BIASES, strict=True)):
        kernel, bias = convolution.weight.detach(), convolution.bias
        assert bias is not None
        if number == 0:
            kernel = kernel.flip(1)
        if len(kernel) == 1 + 4 * BINS:
            kernel, bias = (
                torch.cat((rows[:1], torch.ones(CLASSES - 1, *rows.shape[1:]), rows[1:])) for rows in (kernel, bias)
            )
        weights |= {f"{KERNEL}_{number}" if number else KERNEL: kernel, bias_name: bias}
    return weights


def test_the_detector_computes_what_nanodet_does_for_people(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = PersonDetectorNetwork().eval()
    found = starting_detector(saved_graph(nanodet(published), tmp_path / "nanodet.json"))
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(found(image), published(image))
    still = {
        ".".join(name.split(".")[:2]) for name, weight in found.trunk.named_parameters() if not weight.requires_grad
    }
    assert still == {"stem.0", "stages.0", "stages.1"}


def test_what_is_not_nanodet_is_refused(tmp_path: Path) -> None:
    weights = nanodet(PersonDetectorNetwork())
    wide = {**weights, f"{KERNEL}_3": torch.zeros(8, 8, 3, 3)}
    with pytest.raises(CheckpointError, match=r"a convolution \[8, 8, 3, 3\] where \[16, 16, 3, 3\] belongs"):
        starting_detector(saved_graph(wide, tmp_path / "wide.json"))
    del weights[BIASES[7]]
    with pytest.raises(CheckpointError, match=r"no weights 'unknown_14': the person detector starts from nanodet"):
        starting_detector(saved_graph(weights, tmp_path / "part.json"))
