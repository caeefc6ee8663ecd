"""Checkpoint files: ours and those of the projects that published the zoo's networks, recognised by their keys.

A file is read by torch's restricted unpickler, which makes tensors and plain values and runs no code of the file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import safe_globals

from pipeline.skeletons import definition_of, skeleton_from
from train.zoo import NETWORKS, ZooModel, zoo_model

OURS = "darkstream"
BATCHES_SEEN = ".num_batches_tracked"  # counts that nothing reads; files of old versions of PyTorch have none
NAMED = 3  # keys of each kind that an error names
MODEL_KEYS = {"name", "data", "network", "skeleton", "input_size", "sigma", "kernel"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what was expected, what came and how to mend it."""


class _LeftOut:
    """Stands where a file has an object that is no tensor: whatever it is made of is dropped, nothing is called."""

    def __new__(cls, *values: Any) -> _LeftOut:
        return super().__new__(cls)

    def __init__(self, *values: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


# What trainers keep beside the weights: logs of MMEngine, numbers and arrays of numpy, old and new.
LEFT_OUT: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_LeftOut, name)
    for name in (
        "mmengine.logging.history_buffer.HistoryBuffer",
        "builtins.getattr",
        *(
            f"{package}.multiarray.{name}"
            for package in ("numpy.core", "numpy._core")
            for name in ("scalar", "_reconstruct")
        ),
        "numpy._core.numeric._frombuffer",
        "numpy.core.numeric._frombuffer",
        "numpy.ndarray",
        "numpy.dtype",
        *(f"numpy.dtypes.{kind}DType" for kind in ("Bool", "Int32", "Int64", "Float32", "Float64")),
    )
]


@dataclass(frozen=True)
class Layout:
    """How a project names the weights: `name_in_file` takes one of our names."""

    project: str
    name_in_file: Callable[[str], str]


MMPOSE_0 = Layout("MMPose 0.x", lambda name: name)
MMPOSE_1 = Layout("MMPose 1.x", lambda name: re.sub(r"^keypoint_head\.", "head.", name))
HRNET = Layout("HRNet / DarkPose", lambda name: re.sub(r"^(backbone|keypoint_head)\.", "", name))
SIMPLE_BASELINE = Layout("SimpleBaseline", HRNET.name_in_file)
TORCHVISION = Layout("torchvision", HRNET.name_in_file)
OWN = Layout(OURS, lambda name: name)


@dataclass(frozen=True)
class CheckpointInfo:
    """Where weights came from: the project, and for our own the figures they were chosen by and their model."""

    project: str
    figures: Mapping[str, float] = field(default_factory=dict)
    model: ZooModel | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file by the names they have in it, and what else is known of them."""

    path: Path
    layout: Layout
    weights: Mapping[str, Tensor]
    info: CheckpointInfo

    def load_into(self, network: nn.Module) -> None:
        """Set all weights of a network, which is then in evaluation mode. Raises CheckpointError unless all fit."""
        own = network.state_dict()
        names = {self.layout.name_in_file(name): name for name in own}
        surplus = [key for key in self.weights if key not in names]
        missing = [key for key in names if key not in self.weights and not key.endswith(BATCHES_SEEN)]
        fitting = {key: name for key, name in names.items() if key in self.weights}
        misshapen = [
            f"{key} is {list(self.weights[key].shape)} and should be {list(own[name].shape)}"
            for key, name in fitting.items()
            if self.weights[key].shape != own[name].shape
        ]
        if missing or surplus or misshapen:
            found = {"missing": missing, "surplus": surplus, "of another shape": misshapen}
            parts = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in found.items() if keys]
            raise CheckpointError(
                f"{self.path} is a checkpoint of {self.layout.project}, but not of this network: of its keys "
                f"{', '.join(parts)}"
            )
        network.load_state_dict({name: self.weights[key] for key, name in fitting.items()}, strict=False)
        network.eval()


def load_checkpoint(network: nn.Module, path: str | Path) -> CheckpointInfo:
    """Load a file of any known project into the network. Raises CheckpointError for one that does not fit exactly."""
    checkpoint = read_checkpoint(path)
    checkpoint.load_into(network)
    return checkpoint.info


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The weights in a file. Raises CheckpointError for a file that is no checkpoint, or of no known project."""
    path = Path(path)
    content = _content(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a checkpoint: weights by name")
    if "network" in content:
        return _own_checkpoint(path, content)
    weights = _weights(path, content.get("state_dict", content))
    weights = {key: value for key, value in weights.items() if not key.startswith("data_preprocessor.")}
    layout = _layout(path, weights)
    return Checkpoint(path, layout, weights, CheckpointInfo(layout.project))


def model_entry(model: ZooModel) -> dict[str, Any]:
    """What our checkpoints say of their model, in plain values: enough to build, export and evaluate it."""
    return {
        "name": model.name,
        "data": model.data,
        "network": model.network,
        "skeleton": definition_of(model.skeleton),
        "input_size": list(model.input_size),
        "sigma": model.sigma,
        "kernel": model.kernel,
    }


def model_from_entry(entry: Mapping[str, Any]) -> ZooModel:
    """The model that `model_entry` described. Raises ValueError for one that this program does not know."""
    if entry.keys() != MODEL_KEYS:
        raise ValueError(f"expected a model of {', '.join(sorted(MODEL_KEYS))}, got {', '.join(sorted(entry))}")
    if entry["network"] not in NETWORKS:
        raise ValueError(f"expected a network of {', '.join(NETWORKS)}, got {entry['network']!r}")
    width, height = entry["input_size"]
    return ZooModel(
        entry["name"],
        entry["data"],
        entry["network"],
        skeleton_from(entry["skeleton"]),
        (width, height),
        entry["sigma"],
        entry["kernel"],
        {},
    )


def _content(path: Path) -> Any:
    """What is in the file, tensors and plain values only."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {kind}, expected a checkpoint file (.pt, .pth, .pth.tar)")
    try:
        with safe_globals(LEFT_OUT), warnings.catch_warnings():
            # The error says it all.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # A damaged file can end in any exception.
        if foreign := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise CheckpointError(
                f"{path} holds an object of {foreign[1]}, which is not loaded, as it might run code; "
                "save the state_dict alone, by torch.save(model.state_dict(), ...)"
            ) from error
        raise CheckpointError(f"{path} is not a PyTorch checkpoint, or only a part of one") from error


def _own_checkpoint(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    """A best.pt, or a last.pt, whose averaged weights are the ones to use."""
    weights = content["network"]
    if content.get("average"):
        average = content["average"]
        weights = {key.removeprefix("module."): value for key, value in average.items() if key != "n_averaged"}
    try:
        model = model_from_entry(content["model"]) if "model" in content else None
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is a checkpoint of {OURS} with an unknown model: {error}") from error
    info = CheckpointInfo(OURS, content.get("figures", {}), _of_the_zoo(model))
    return Checkpoint(path, OWN, _weights(path, weights), info)


def _of_the_zoo(model: ZooModel | None) -> ZooModel | None:
    """The zoo's own row, with its reported figures, if the model is one of the zoo's."""
    try:
        row = zoo_model(model.name) if model else None
    except ValueError:
        return model
    return row if row and model and model_entry(row) == model_entry(model) else model


def _weights(path: Path, state: Any) -> dict[str, Tensor]:
    """Weights by name, without the prefix that parallel training gives all of them."""
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is not a checkpoint: expected weights by name, alone or under 'state_dict'")
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _layout(path: Path, weights: Mapping[str, Tensor]) -> Layout:
    """Whose names these are."""
    rooms = {key.split(".")[0] for key in weights}
    if "backbone" in rooms:
        return MMPOSE_1 if "head" in rooms else MMPOSE_0
    if "deconv_layers" in rooms:
        return SIMPLE_BASELINE
    if "stage4" in rooms:
        return HRNET
    if {"layer4", "fc"} <= rooms:
        return TORCHVISION
    layouts = (MMPOSE_0, MMPOSE_1, HRNET, SIMPLE_BASELINE, TORCHVISION, OWN)
    known = ", ".join(layout.project for layout in layouts)
    raise CheckpointError(
        f"{path} holds weights of an unknown kind ({_first(list(weights))}); known are checkpoints of {known}"
    )


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")
