"""`python -m train pose|detector` trains our networks, `export` makes their files, `evaluate` measures the files."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from engines.engine import open_engine
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from train import export_command, training_command
from train.datasets.coco_layout import split
from train.evaluate import pose_figures
from train.evaluate_detector import detection_curve
from train.export import DETECTOR_NAME, EDGE_NAME
from train.models import open_pose_model

MODELS = export_command.MODELS


def main(arguments: list[str] | None = None) -> int:
    """Run one of the subcommands; 0 on success, 1 with one line on standard error for a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (OSError, ValueError) as error:
        # Of several processes, only one may have met it.
        number = os.environ.get("RANK")
        print(f"train{f' (process {number})' if number else ''}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train: interrupted; the same command goes on with a training", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="pose|detector|export|evaluate")
    training_command.add_pose_options(commands.add_parser("pose", help="train a pose network"))
    training_command.add_detector_options(commands.add_parser("detector", help="train the person detector"))
    export = commands.add_parser("export", help="make ONNX files of checkpoints")
    export_command.add_options(export)
    export.set_defaults(run=export_command.run)
    evaluate = commands.add_parser("evaluate", help="measure exported files on the held-out pictures")
    evaluate.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
    evaluate.add_argument("--pose", type=Path, default=MODELS / f"{EDGE_NAME}.onnx")
    evaluate.add_argument("--detector", type=Path, default=MODELS / f"{DETECTOR_NAME}.onnx")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _evaluate(options: argparse.Namespace) -> int:
    held_out = {name: split(options.data / name, validation=True) for name in ("coco_train", "lspet")}
    report: dict[str, object] = {}
    for flip_test in (True, False):
        engine = open_pose_model(options.pose, runtime="onnxruntime", flip_test=flip_test)
        report["pose, flip test" if flip_test else "pose"] = pose_figures(PoseEstimator(engine), held_out)
    engine = open_engine(options.detector)
    boxed = [picture for picture in held_out["coco_train"] if picture.all_boxed]
    for height in (0, 60):
        curve = detection_curve(PersonDetector(engine, 0.02), boxed, smallest_height=height)
        recall, precision = curve.at(engine.manifest.score_threshold)
        best_recall, threshold = curve.recall_at(0.85)
        report[f"detector, people from {height} px"] = {
            "AP .5": curve.average_precision,
            "threshold": engine.manifest.score_threshold,
            "recall": recall,
            "precision": precision,
            "recall at precision 0.85": best_recall,
            "threshold there": threshold,
        }
    print(json.dumps(report, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
