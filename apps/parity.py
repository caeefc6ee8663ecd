"""One pose network through every runtime and precision: how far each is from PyTorch, and what it costs in accuracy.

    python apps/parity.py --model coco_hrnet_w32_256x192 --weights FILE.pth --annotations A.json --images DIR
    python apps/parity.py --model models/edge_coco_256x192.onnx --annotations A.json --images DIR

Rungs: PyTorch float32, ONNX Runtime, OpenVINO in float32 and bfloat16, then the float16 and int8 files of the same
weights that lie in models/ or are named by --files, whether they take crops or the frame. It stops at the first rung
that is further off than its limits allow, names the layer whose output departs first, and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from apps.command_line import MODELS, tell_mistake
from engines.engine import Engine
from pipeline.affine import crop_people
from pipeline.pose import PoseEstimator
from pipeline.types import Image
from train.datasets.annotations import load_annotations
from train.datasets.pictures import Picture
from train.evaluate import evaluate_pictures, labelled
from train.ladder import ladder_of
from train.parity import Result, Skipped, climb
from train.zoo import zoo_model

COLUMNS = f"{'rung':<34}{'heatmaps':>10}{'median px':>11}{'p99 px':>9}{'AP':>8}{'above':>8}{'reported':>10}"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every rung is within its limits, 1 otherwise or, with one line on stderr, for a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (OSError, ValueError) as error:
        tell_mistake(error)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name in the zoo, checkpoint of ours, or network file")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint for a name in the zoo")
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="people with keypoints and boxes"
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="the pictures")
    parser.add_argument("--files", type=Path, nargs="+", default=[], metavar="ONNX", help="more files of this network")
    parser.add_argument("--flip-test", action="store_true", help="measure AP with the flip test, as the tables do")
    parser.add_argument("--crops", type=int, default=64, help="people whose heatmaps and keypoints are compared (64)")
    parser.add_argument("--metrics", type=Path, metavar="JSON", help="also write the rungs for machines")
    return parser


def _run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        ladder = ladder_of(options.model, options.weights, options.files, MODELS, Path(folder), options.flip_test)
        pictures = labelled(load_annotations(options.annotations, options.images, ladder.skeleton))
        crops = first_crops(pictures, ladder.input_size, options.crops)
        columns = zoo_model(ladder.zoo_name).reported if ladder.zoo_name else {}
        reported = columns.get("AP", columns.get("Whole AP"))

        def measure(engine: Engine) -> float:
            return evaluate_pictures(PoseEstimator(engine), pictures)["AP"]

        print(COLUMNS)
        steps: list[Result | Skipped] = []
        people = sum(len(picture.people) for picture in pictures)
        for step in climb(ladder.rungs, crops, measure, people):
            print(_line(step, steps, reported), flush=True)
            steps.append(step)
    if options.metrics:
        options.metrics.write_text(json.dumps([asdict(step) for step in steps], indent=2) + "\n", encoding="utf-8")
    return _verdict(steps)


def first_crops(pictures: Sequence[Picture], input_size: tuple[int, int], count: int) -> Image:
    """Crops uint8 [N, h, w, 3] BGR of the first `count` people. Raises ValueError if there is nobody."""
    crops: list[Image] = []
    for picture in pictures:
        if picture.people and len(crops) < count:
            boxes = np.stack([person.box for person in picture.people])
            crops.extend(crop_people(picture.read(), boxes, input_size)[0])
    if not crops:
        raise ValueError(f"nobody with keypoints in {len(pictures)} pictures: there is nothing to compare by")
    return np.stack(crops[:count])


def _line(step: Result | Skipped, before: Sequence[Result | Skipped], reported: float | None) -> str:
    """A rung's row: its distance from the first rung, its AP, and the differences from the rung above and the table."""
    if isinstance(step, Skipped):
        return f"{step.rung:<34}not run: {step.reason}"
    above = next((other.figure for other in reversed(before) if isinstance(other, Result)), None)
    differences = [_difference(step.figure, above), _difference(step.figure, reported)]
    return (
        f"{step.rung:<34}{step.heatmaps:>10.1e}{step.keypoint_median:>11.4f}{step.keypoint_p99:>9.3f}{step.figure:>8.3f}"
        f"{differences[0]:>8}{differences[1]:>10}"
    )


def _difference(figure: float, other: float | None) -> str:
    return "-" if other is None else f"{figure - other:+.3f}"


def _verdict(steps: Sequence[Result | Skipped]) -> int:
    """Says how it ended; the exit code."""
    last = steps[-1]
    if isinstance(last, Result) and last.complaint:
        print(f"bad: {last.rung}: {last.complaint}")
        if last.departure:
            print(f"the first layer that departs: {last.departure.layer}, relative error {last.departure.error:.2g}")
        return 1
    print("every rung that was run is within its limits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
