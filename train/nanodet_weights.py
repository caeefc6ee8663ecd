"""What the person detector starts from: NanoDet-g (RangiLyu, 2021; Apache-2.0), trained on COCO's boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from train.checkpoints import CheckpointError
from train.detector import BINS, PersonDetectorNetwork
from train.tfjs import Weights, read_graph, torch_kernel

CLASSES = 80  # of COCO; a person is the first
KERNEL = "PartitionedCall/split"
# The biases of the convolutions in the order of their kernels: of the trunk, of the laterals, of the heads.
BIASES = tuple(f"unknown_{number}" for number in (*range(0, 50, 2), 50, 52, 54, 60, 62, 66, 68, 70, 72))


def load_nanodet(network: PersonDetectorNetwork, path: Path) -> None:
    """Load nanodet.json, its .bin beside it: all of it but the other 79 classes.

    Raises OSError for a file that is not there, ValueError for one that is no TF.js graph, CheckpointError for another
    network.
    """
    _, weights = read_graph(path)
    convolutions = list(_convolutions(network))
    found = [_convolution(weights, number, path) for number in range(len(convolutions))]
    stem_kernel, stem_bias = found[0]
    found[0] = stem_kernel.flip(1), stem_bias  # It takes BGR; means and deviations are as ours.
    for ours, (kernel, bias) in zip(convolutions, found, strict=True):
        if len(kernel) == CLASSES + 4 * BINS:
            kernel, bias = (torch.cat((rows[:1], rows[CLASSES:])) for rows in (kernel, bias))
        if kernel.shape != ours.weight.shape:
            raise _other(path, f"a convolution {list(kernel.shape)} where {list(ours.weight.shape)} belongs")
        with torch.no_grad():
            ours.weight.copy_(kernel)
            assert ours.bias is not None
            ours.bias.copy_(bias)


def _convolutions(network: PersonDetectorNetwork) -> Iterator[nn.Conv2d]:
    """The convolutions in NanoDet's order: as they run, each tower before its output."""
    heads = [part for head in zip(network.towers, network.outputs, strict=True) for part in head]
    for part in (network.trunk, *network.lateral, *heads):
        yield from (module for module in part.modules() if isinstance(module, nn.Conv2d))


def _convolution(weights: Weights, number: int, path: Path) -> tuple[Tensor, Tensor]:
    """Kernel [outputs, inputs, height, width] and bias [outputs] of the convolution of that number."""
    try:
        kernel, bias = weights[f"{KERNEL}_{number}" if number else KERNEL], weights[BIASES[number]]
    except KeyError as error:
        raise _other(path, f"no weights {error}") from error
    return torch.from_numpy(torch_kernel(kernel)), torch.from_numpy(bias)


def _other(path: Path, found: str) -> CheckpointError:
    return CheckpointError(f"{path} has {found}: the person detector starts from nanodet.json, NanoDet-g")
