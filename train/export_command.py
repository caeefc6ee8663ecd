"""`python -m train export`: checkpoints, and files that want the flip test, to network files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import onnx

from engines.engine import read_manifest
from train.checkpoints import load_checkpoint
from train.detector import PersonDetectorNetwork
from train.export import (
    DETECTOR_NAME,
    DETECTOR_SIDE,
    KEYPOINT_THRESHOLD,
    detector_model,
    pose_model,
    with_flip_test,
)
from train.models import load_pose_model

MODELS = Path(__file__).resolve().parent.parent / "models"


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    command.add_argument("--model", metavar="NAME|FILE.onnx", help="name in the zoo, or a file to add the flip test to")
    command.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint of the pose network, of any project")
    command.add_argument("--flip-test", action="store_true", help="run the flip test inside the file")
    command.add_argument("--store", choices=("float16", "float32"), default="float16", help="how weights are kept")
    command.add_argument("--detector", type=Path, metavar="best.pt", help="checkpoint of the person detector")
    command.add_argument("--keypoint-threshold", type=float, default=KEYPOINT_THRESHOLD, help="least score to be drawn")
    command.add_argument("--detection-threshold", type=float, default=0.25, help="least score of a person")
    command.add_argument("--out", type=Path, default=MODELS, help="folder for the files")


def run(options: argparse.Namespace) -> int:
    """Make the files. Raises ValueError or OSError for a user's mistake."""
    if options.model is None and options.weights is None and options.detector is None:
        raise ValueError("nothing to export: give --model, --weights or --detector")
    if options.model is not None or options.weights is not None:
        _export_pose(options)
    if options.detector is not None:
        detector = PersonDetectorNetwork()
        figures = load_checkpoint(detector, options.detector).figures
        model = detector_model(detector, DETECTOR_SIDE, options.detection_threshold)
        _write(model, options.out / f"{DETECTOR_NAME}.onnx", figures)
    return 0


def _export_pose(options: argparse.Namespace) -> None:
    suffix = "_flip" if options.flip_test else ""
    if options.model is not None and options.model.endswith(".onnx"):
        file = Path(options.model)
        if options.weights is not None or not options.flip_test:
            raise ValueError(f"{file} is exported already: give --flip-test, without --weights, to add the flip test")
        read_manifest(file)
        _write(with_flip_test(onnx.load(file)), options.out / f"{file.stem}{suffix}.onnx", {})
        return
    trained = load_pose_model(options.model, options.weights)
    model = pose_model(
        trained.network, trained.model, options.keypoint_threshold, options.store, flip_test=options.flip_test
    )
    _write(model, options.out / f"{trained.model.name}{suffix}.onnx", trained.info.figures)


def _write(model: onnx.ModelProto, path: Path, figures: Mapping[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB" + (f", chosen by {dict(figures)}" if figures else ""))
