"""`python -m train evaluate`: exported files on the held-out pictures, with intervals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from engines.engine import Engine, open_engine
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from train.average_precision import average_precision
from train.datasets.coco_layout import split
from train.datasets.pictures import Picture
from train.evaluate import FIGURES, estimates_of, sports_pck
from train.evaluate_detector import LOWEST_SCORE, PRECISION, curve_of, detection_matches
from train.export import DETECTOR_NAME, EDGE_NAME, MODELS
from train.intervals import average_precision_interval, detection_interval
from train.models import open_pose_model

LEAST_HEIGHTS = (0, 60)  # px: everyone, and those whom a detector has to find


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    command.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
    command.add_argument("--pose", type=Path, default=MODELS / f"{EDGE_NAME}.onnx")
    command.add_argument("--detector", type=Path, default=MODELS / f"{DETECTOR_NAME}.onnx")


def run(options: argparse.Namespace) -> int:
    """Print the figures as JSON; those with an interval are followed by it, 95 % by bootstrap over the pictures.

    ONNX Runtime has no bfloat16, so that every CPU finds the same.
    """
    held_out = {name: split(options.data / name, validation=True) for name in ("coco_train", "lspet")}
    report: dict[str, object] = {}
    for flip_test in (True, False):
        engine = open_pose_model(options.pose, runtime="onnxruntime", flip_test=flip_test)
        report["pose, flip test" if flip_test else "pose"] = pose_report(PoseEstimator(engine), held_out)
    boxed = [picture for picture in held_out["coco_train"] if picture.all_boxed]
    detector = open_engine(options.detector, "onnxruntime")
    for height in LEAST_HEIGHTS:
        report[f"detector, people from {height} px"] = detector_report(detector, boxed, height)
    print(json.dumps(report, indent=2))
    return 0


def pose_report(estimator: PoseEstimator, held_out: Mapping[str, Sequence[Picture]]) -> dict[str, object]:
    """AP of the COCO people and PCK of the Leeds people, from annotated boxes."""
    truth, found = estimates_of(estimator, held_out["coco_train"])
    figures = average_precision(truth, found, estimator.skeleton)
    return {
        "AP": figures["AP"],
        "AP, 95 %": average_precision_interval(truth, found, estimator.skeleton),
        **{name: figures[name] for name in FIGURES[1:]},
        "PCK@0.2": sports_pck(estimator, held_out["lspet"]),
    }


def detector_report(engine: Engine, pictures: Sequence[Picture], height: int) -> dict[str, object]:
    """Recall and precision at the file's own threshold, and the recall at 85 % precision."""
    threshold = engine.manifest.score_threshold
    matches = detection_matches(PersonDetector(engine, LOWEST_SCORE), pictures, smallest_height=height)
    curve = curve_of(matches)
    recall, precision = curve.at(threshold)
    best_recall, best_threshold = curve.recall_at(PRECISION)
    return {
        "AP .5": curve.average_precision,
        "threshold": threshold,
        "recall": recall,
        "precision": precision,
        f"recall at precision {PRECISION}": best_recall,
        f"recall at precision {PRECISION}, 95 %": detection_interval(
            matches, lambda each: each.recall_at(PRECISION)[0]
        ),
        "threshold there": best_threshold,
    }
