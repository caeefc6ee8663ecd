"""`python -m train export`: checkpoints, and files that want the flip test or the frame, to network files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import nn

from engines.engine import read_manifest
from engines.frame_graph import frame_form
from engines.manifest import INPUTS
from pipeline.pose import PoseEstimator
from train.checkpoints import model_entry
from train.datasets.coco_layout import split
from train.export import (
    DETECTOR_NAME,
    DETECTOR_SIDE,
    KEYPOINT_THRESHOLD,
    MODELS,
    detector_model,
    pose_manifest,
    pose_model,
    with_flip_test,
)
from train.initial_weights import starting_detector
from train.models import TrainedModel, load_pose_model
from train.options import weighted_path
from train.score_calibration import Calibration, fitted, scored_keypoints
from train.torch_engine import PoseEngine
from train.zoo import ZooModel


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    command.add_argument("--model", metavar="NAME|FILE.onnx", help="name in the zoo, or a file to be changed")
    command.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint of the pose network, of any project")
    command.add_argument("--flip-test", action="store_true", help="run the flip test inside the file")
    command.add_argument(
        "--input", choices=INPUTS, default=INPUTS[0], help="crops, or for GPUs the whole frame (crops)"
    )
    command.add_argument(
        "--calibrate",
        type=Path,
        metavar="DATA",
        help="folder with coco_train/, whose held-out people tell what a score is worth: scores become chances",
    )
    command.add_argument("--store", choices=("float16", "float32"), default="float16", help="how weights are kept")
    command.add_argument(
        "--detector", type=Path, metavar="FILE", help="checkpoint of the person detector, or NanoDet-g's TF.js graph"
    )
    command.add_argument(
        "--detector-blend",
        type=weighted_path,
        metavar="FILE=SHARE",
        help="mix the detector's weights with this share of another's, what its training started from say",
    )
    command.add_argument("--keypoint-threshold", type=float, default=KEYPOINT_THRESHOLD, help="least score to be drawn")
    command.add_argument("--detection-threshold", type=float, default=0.4, help="least score of a person")
    command.add_argument("--out", type=Path, default=MODELS, help="folder for the files")
    command.add_argument(
        "--with-checkpoint", action="store_true", help="also write NAME.pt, weights as float16, to go on training from"
    )


def run(options: argparse.Namespace) -> int:
    """Make the files. Raises ValueError or OSError for a user's mistake."""
    if options.model is None and options.weights is None and options.detector is None:
        raise ValueError("nothing to export: give --model, --weights or --detector")
    if options.model is not None or options.weights is not None:
        _export_pose(options)
    if options.detector is not None:
        detector = starting_detector(options.detector).eval()
        if options.detector_blend is not None:
            other, share = options.detector_blend
            blend(detector, starting_detector(other), share)
        model = detector_model(detector, DETECTOR_SIDE, options.detection_threshold)
        _write(model, DETECTOR_NAME, options, {})
        _write_checkpoint(detector, None, DETECTOR_NAME, options, {})
    return 0


def blend(network: nn.Module, other: nn.Module, share: float) -> None:
    """Give each weight of the network that share of the other's, which is of the same shape.

    Of a network and what it was fine-tuned from, the mean does better than both (WiSE-FT, Wortsman et al., CVPR 2022).
    Raises ValueError for a share above 1.
    """
    if share > 1:
        raise ValueError(f"the share of the other's weights should be above 0 and at most 1, got {share}")
    theirs = other.state_dict()
    network.load_state_dict({name: torch.lerp(own, theirs[name], share) for name, own in network.state_dict().items()})


def _export_pose(options: argparse.Namespace) -> None:
    suffix = "_flip" if options.flip_test else ""
    if options.model is not None and options.model.endswith(".onnx"):
        file = Path(options.model)
        if options.weights is not None or not (options.flip_test or options.input == "frame"):
            raise ValueError(
                f"{file} is exported already: give --flip-test or --input frame, without --weights, to change it"
            )
        read_manifest(file)
        model = onnx.load(file)
        _write(with_flip_test(model) if options.flip_test else model, f"{file.stem}{suffix}", options, {})
        return
    trained = load_pose_model(options.model, options.weights)
    calibration = _calibration(trained, options.calibrate) if options.calibrate is not None else None
    model = pose_model(
        trained.network, trained.model, options.keypoint_threshold, options.store, options.flip_test, calibration
    )
    _write(model, f"{trained.model.name}{suffix}", options, trained.info.figures)
    _write_checkpoint(trained.network, trained.model, trained.model.name, options, trained.info.figures)


def _calibration(trained: TrainedModel, data: Path) -> Calibration:
    """What the network's scores are worth on the held-out people, without flip test, as the apps run it."""
    manifest = pose_manifest(trained.model, KEYPOINT_THRESHOLD, "float32")
    estimator = PoseEstimator(PoseEngine(trained.network, manifest, trained.model.kernel))
    calibration = fitted(scored_keypoints(estimator, split(data / "coco_train", validation=True)))
    print(f"scores: half are right at a peak of {calibration.half:.3f}, power {calibration.power:.2f}")
    return calibration


def _write(model: onnx.ModelProto, name: str, options: argparse.Namespace, figures: Mapping[str, float]) -> None:
    """Write a composed model, in the form that is asked for, into the folder for the files."""
    if options.input == "frame":
        model, name = frame_form(model), f"{name}_frame"
    path = options.out / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB" + (f", chosen by {dict(figures)}" if figures else ""))


def _write_checkpoint(
    network: nn.Module, model: ZooModel | None, name: str, options: argparse.Namespace, figures: Mapping[str, float]
) -> None:
    """Write the weights, as float16, if they are asked for: a checkpoint of ours that trainings start from."""
    if not options.with_checkpoint:
        return
    weights = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    described = {"figures": dict(figures)} | ({} if model is None else {"model": model_entry(model)})
    torch.save({"network": weights, **described}, options.out / f"{name}.pt")
    print(f"{options.out / name}.pt: to go on training from")
