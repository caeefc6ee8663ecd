"""From what a user calls a model (a name of the zoo, a checkpoint, a network file) to something that runs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from engines.engine import RUNTIMES, Engine, open_engine, read_manifest
from train.checkpoints import CheckpointInfo, read_checkpoint
from train.export import KEYPOINT_THRESHOLD, pose_manifest, pose_model, with_flip_test
from train.torch_engine import PoseEngine
from train.zoo import ZooModel, zoo, zoo_model

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".tar", ".ckpt", ".bin")
POSE_RUNTIMES = (*RUNTIMES, "torch")


@dataclass(frozen=True)
class TrainedModel:
    """A pose network with its weights, in evaluation mode, and where they came from."""

    model: ZooModel
    network: nn.Module
    info: CheckpointInfo


def load_pose_model(model: str | None, weights: Path | None) -> TrainedModel:
    """A network of the zoo with the weights of a checkpoint; our own checkpoints say themselves what they are of.

    Raises ValueError (CheckpointError) that says what is missing or does not fit.
    """
    row = zoo_model(model) if model is not None else None
    if weights is None:
        raise ValueError(f"{model} has no weights of its own: give a checkpoint file for it (--weights FILE)")
    checkpoint = read_checkpoint(weights)
    row = row or checkpoint.info.model
    if row is None:
        raise ValueError(f"{weights} is a checkpoint of {checkpoint.info.project} that names no model: give its name")
    network = row.build()
    checkpoint.load_into(network)
    return TrainedModel(row, network, checkpoint.info)


def trained_model(model: str | Path, weights: Path | None, expect: str | None = None) -> TrainedModel:
    """What `model` names: one of the zoo with `weights`, or a checkpoint, which is `expect` if it does not say itself.

    Raises ValueError as load_pose_model does, and for a checkpoint with weights beside it.
    """
    if str(model) in zoo():
        return load_pose_model(str(model), weights)
    if weights is not None:
        raise ValueError(f"{model} is a checkpoint itself: leave out {weights}, or give a name of the zoo")
    return load_pose_model(expect, Path(model))


def open_pose_model(
    model: str | Path,
    weights: Path | None = None,
    expect: str | None = None,
    runtime: str = "auto",
    precision: str = "auto",
    flip_test: bool = False,
) -> Engine:
    """What `model` names, ready to run: a name of the zoo (with `weights`), a checkpoint, or a network file.

    expect: the name in the zoo of a checkpoint that does not say it. runtime: one of POSE_RUNTIMES; "auto" is PyTorch
    for weights. flip_test: run it, also where the file does not hold it. Raises ValueError for what cannot be used.
    """
    if runtime not in POSE_RUNTIMES:
        raise ValueError(f"runtime should be one of {', '.join(POSE_RUNTIMES)}, got {runtime!r}")
    if str(model) not in zoo() and Path(model).suffix not in CHECKPOINT_SUFFIXES:
        return _open_file(Path(model), weights, runtime, precision, flip_test)
    trained = trained_model(model, weights, expect)
    if runtime in ("auto", "torch"):
        if precision not in ("auto", "float32"):
            raise ValueError(f"PyTorch runs in float32: choose another runtime for {precision}")
        manifest = pose_manifest(trained.model, KEYPOINT_THRESHOLD, "float32", flip_test)
        return PoseEngine(trained.network, manifest, trained.model.kernel)
    composed = pose_model(trained.network, trained.model, precision="float32", flip_test=flip_test)
    return _open(composed, runtime, precision)


def _open_file(file: Path, weights: Path | None, runtime: str, precision: str, flip_test: bool) -> Engine:
    """The engine of a network file, with the flip test added if it is asked for and missing."""
    if not file.exists():
        raise ValueError(f"no model {str(file)!r}: expected a file (.onnx, .pt, .pth) or one of {', '.join(zoo())}")
    if weights is not None:
        raise ValueError(f"{file} holds its weights: leave out {weights}, or give a name of the zoo")
    if runtime == "torch":
        raise ValueError(f"PyTorch does not run {file}: give a checkpoint, or choose another runtime")
    if not flip_test or read_manifest(file).flip_test:
        return open_engine(file, runtime, precision)
    return _open(with_flip_test(onnx.load(file)), runtime, precision)


def _open(model: onnx.ModelProto, runtime: str, precision: str) -> Engine:
    """The engine of a model that has no file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(model, file)
        return open_engine(file, runtime, precision)
