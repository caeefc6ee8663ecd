"""The outputs of a network's convolutions, in PyTorch and in its files, to find the layer where two runs part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from engines.engine import Engine, open_engine
from pipeline.types import FloatArray, Image
from train.loop import normalise

CONVOLUTIONS = ("Conv", "ConvTranspose")
# Of the names in a composed file that belong to the network.
NETWORK_PREFIX = "network/"

Layers = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Departure:
    """A layer and how far its output is from the reference, as a share of the reference's norm."""

    layer: str
    error: float


def torch_layers(network: nn.Module, crops: Image) -> Layers:
    """The output [N, C, h, w] of every convolution of a PyTorch network by module name, in the order of the run.

    crops: uint8 [N, h, w, 3] BGR. Batch normalisation right behind a convolution counts as a part of it, as exporters
    fold the two.
    """
    names = {module: name for name, module in network.named_modules()}
    order: list[tuple[str, Tensor]] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d) and order and inputs[0] is order[-1][1]:
            order[-1] = (order[-1][0], output)
        elif not isinstance(module, nn.BatchNorm2d):
            order.append((names[module], output))

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    hooks = [module.register_forward_hook(record) for module in names if isinstance(module, kinds)]
    # In place, an activation would overwrite what is recorded.
    in_place = [module for module in names if getattr(module, "inplace", False)]
    try:
        for module in in_place:
            module.inplace = False
        with torch.inference_mode():
            network.eval()(normalise(torch.from_numpy(crops).to(next(network.parameters()).device)))
    finally:
        for module in in_place:
            module.inplace = True
        for hook in hooks:
            hook.remove()
    return {name: output.float().cpu().numpy() for name, output in order}


def file_layers(model: onnx.ModelProto, folder: Path, runtime: str, precision: str, crops: Image) -> Layers:
    """The same of a composed pose file, run in that runtime and precision; a copy is written into `folder`."""
    tensors = layer_tensors(model)
    path = folder / "layers.onnx"
    onnx.save(with_outputs(model, list(tensors.values())), path)
    outputs = answers(open_engine(path, runtime, precision), crops)
    return {name: np.asarray(outputs[tensor], np.float32) for name, tensor in tensors.items()}


def answers(engine: Engine, crops: Image) -> Mapping[str, npt.NDArray[Any]]:
    """What a pose network makes of crops uint8 [N, h, w, 3] BGR. One that takes the frame gets each crop as a frame,
    which is its own crop, so that frame px are crop px.
    """
    if engine.manifest.input == "crops":
        return engine({"crops": crops})
    as_it_is = np.eye(2, 3, dtype=np.float32)[None]
    found = [engine({"frame": crop, "crop_to_frame": as_it_is}) for crop in crops]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def layer_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """The name of each convolution of the network in a composed file -> the tensor that holds its output."""
    normalised = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "BatchNormalization"}
    return {
        _layer_name(node.name): normalised.get(node.output[0], node.output[0])
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS and node.name.startswith(NETWORK_PREFIX)
    }


def _layer_name(node: str) -> str:
    """The module's name in a node's: "network//trunk/stage.0/conv/Conv" -> "trunk/stage.0/conv"."""
    return node.removeprefix(NETWORK_PREFIX).strip("/").rpartition("/")[0]


def with_outputs(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """A copy of a composed file that gives these tensors [N, C, h, w], too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    sides = ("N", None, None, None)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides) for name in tensors]
    copy.graph.output.extend(values)
    return copy


def first_departure(reference: Layers, found: Layers, limit: float) -> Departure:
    """The first layer whose relative error passes the limit, or the one with the largest error if none does.

    The two runs are matched layer by layer in the order of the run; the names are those of `found`.
    Raises ValueError for another number of layers.
    """
    if len(reference) != len(found):
        raise ValueError(f"the networks differ: {len(reference)} convolutions in one, {len(found)} in the other")
    errors = [
        Departure(name, _relative_error(expected, output))
        for expected, (name, output) in zip(reference.values(), found.items(), strict=True)
    ]
    return next((e for e in errors if not e.error <= limit), max(errors, key=lambda e: e.error))


def _relative_error(expected: FloatArray, found: FloatArray) -> float:
    """|found - expected| / |expected|, infinite for another shape or values that are not finite."""
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-12))
