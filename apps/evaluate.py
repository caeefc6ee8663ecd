"""The accuracy of a pose network, by the rules of the results tables: COCO AP and AR, WholeBody's parts, MPII's PCKh.

    python apps/evaluate.py --model models/edge_coco_256x192.onnx --annotations A.json --images DIR
    python apps/evaluate.py --model coco_hrnet_w32_256x192 --weights FILE.pth --annotations A.json --images DIR \\
        --detections D.json --flip-test --expect coco_hrnet_w32_256x192
    python apps/evaluate.py --model mpii_hrnet_w32_256x256 --weights FILE.pth --annotations mpii_val.json \\
        --images DIR --mpii-truth mpii_gt_val.mat --flip-test

Without --detections the boxes are the annotations'. With --expect it exits with 1 when a figure is further from the
reported one than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apps.command_line import tell, tell_mistake
from engines.engine import PRECISIONS
from pipeline.pose import PoseEstimator
from train.average_precision import average_precision
from train.datasets.annotations import load_annotations, with_detections
from train.datasets.pictures import Picture
from train.evaluate import best_of, evaluate_mpii, labelled, predict
from train.models import POSE_RUNTIMES, open_pose_model
from train.pckh import read_mpii_truth
from train.reported import Comparison, compare, reported_model
from train.truth import read_truth

TOLERANCE = 0.002


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if it was measured and, with --expect, is what is reported; 1 if not, or for a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (OSError, ValueError) as mistake:
        tell_mistake(mistake)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME|FILE", help="name in the zoo, checkpoint or network")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint for a name in the zoo")
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="in COCO, WholeBody or MPII layout"
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="the annotations' pictures")
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument("--detections", type=Path, metavar="JSON", help="a detector's boxes, COCO results")
    boxes.add_argument("--mpii-truth", type=Path, metavar="MAT", help="mpii_gt_val.mat, for MPII's annotations")
    parser.add_argument("--flip-test", action="store_true", help="also run the mirrored crops, as the tables do")
    parser.add_argument("--runtime", choices=POSE_RUNTIMES, default="auto", help="what runs the network")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="what the runtime computes in")
    parser.add_argument("--metrics", type=Path, metavar="JSON", help="also write the figures for machines")
    parser.add_argument("--expect", metavar="NAME", help="compare with what is reported for this model of the zoo")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help=f"largest difference ({TOLERANCE})")
    return parser


def _run(options: argparse.Namespace) -> int:
    expected = reported_model(options.expect) if options.expect else None
    if options.metrics and not options.metrics.parent.is_dir():
        raise NotADirectoryError(f"there is no folder {options.metrics.parent} for --metrics")
    engine = open_pose_model(
        options.model, options.weights, options.expect, options.runtime, options.precision, options.flip_test
    )
    estimator = PoseEstimator(engine)
    if expected and expected.skeleton.name != estimator.skeleton.name:
        raise ValueError(
            f"{options.expect} is measured on the skeleton {expected.skeleton.name!r}, "
            f"{options.model} has {estimator.skeleton.name!r}: expect a model of the same"
        )
    pictures = _pictures(options, estimator)
    figures = _measure(options, estimator, pictures)
    people = sum(len(picture.people) for picture in pictures)
    flip_test = "with flip test" if engine.manifest.flip_test else "without flip test"
    boxes = "a detector's" if options.detections else "the annotations'"
    print(f"{engine.manifest.name} {flip_test}: {len(pictures)} pictures, {people} boxes ({boxes})")
    print(table(figures))
    comparisons = compare(expected, figures) if expected else []
    failed = [comparison for comparison in comparisons if not comparison.within(options.tolerance)]
    if expected:
        print(comparison_table(expected.name, comparisons, options.tolerance))
        tell(_protocol(options, engine.manifest.flip_test))
    if options.metrics:
        content = {
            "model": engine.manifest.name,
            "flip_test": engine.manifest.flip_test,
            "pictures": len(pictures),
            "boxes": people,
            "figures": figures,
            "expected": [asdict(comparison) for comparison in comparisons],
        }
        options.metrics.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return int(bool(failed))


def _pictures(options: argparse.Namespace, estimator: PoseEstimator) -> list[Picture]:
    """The pictures, with the people to be estimated."""
    pictures = load_annotations(options.annotations, options.images, estimator.skeleton)
    if options.detections:
        return with_detections(pictures, options.detections)
    if options.mpii_truth:
        return pictures
    pictures = labelled(pictures)
    if not any(picture.people for picture in pictures):
        raise ValueError(f"{options.annotations} has nobody with keypoints and a box: nothing to measure by")
    return pictures


def _protocol(options: argparse.Namespace, flip_test: bool) -> str:
    """What of the protocol of the results tables was left out; nothing if it was followed."""
    left_out = [] if flip_test else ["--flip-test"]
    if not (options.detections or options.mpii_truth):
        left_out.append("--detections")
    return f"the reported figures are measured with {' and '.join(left_out)}" if left_out else ""


def _measure(options: argparse.Namespace, estimator: PoseEstimator, pictures: Sequence[Picture]) -> dict[str, Any]:
    """The figures. The truth is read first: what is wrong with it shows before the network has run."""
    skeleton = estimator.skeleton
    if options.mpii_truth:
        if skeleton.name != "mpii":
            raise ValueError(f"--mpii-truth is for networks of the skeleton 'mpii', this one has {skeleton.name!r}")
        heads = read_mpii_truth(options.mpii_truth, sum(len(picture.people) for picture in pictures))
        return evaluate_mpii(predict(estimator, pictures), heads)
    if skeleton.name == "mpii" and all(picture.width == 0 for picture in pictures):
        raise ValueError(f"{options.annotations} is MPII's: give its ground truth, --mpii-truth mpii_gt_val.mat")
    truth = read_truth(options.annotations, skeleton)
    return average_precision(truth, best_of(predict(estimator, pictures), skeleton), skeleton)


def table(figures: Mapping[str, Any]) -> str:
    """The figures of an evaluation for a person: a line a figure, or a line a part of the body."""
    if "parts" not in figures:
        return "\n".join(f"{name:<12}{value:>8.4f}" for name, value in figures.items())
    parts: Mapping[str, Mapping[str, float]] = figures["parts"]
    names = list(next(iter(parts.values())))
    lines = ["".join([f"{'':<12}", *(f"{name:>8}" for name in names)])]
    lines += ["".join([f"{part:<12}", *(f"{row[name]:>8.4f}" for name in names)]) for part, row in parts.items()]
    return "\n".join(lines)


def comparison_table(name: str, comparisons: Sequence[Comparison], tolerance: float) -> str:
    """Reported and measured figures side by side, and the verdict."""
    lines = [f"\n{name:<34}{'reported':>10}{'measured':>10}{'difference':>12}"]
    for comparison in comparisons:
        remark = "" if comparison.within(tolerance) else "  too far"
        if not comparison.judged:
            remark = "  not judged: measured is the mean of both hands, reported is not said how"
        numbers = f"{comparison.reported:>10.3f}{comparison.measured:>10.4f}{comparison.difference:>+12.4f}"
        lines.append(f"{comparison.column:<34}{numbers}{remark}")
    failed = [comparison.column for comparison in comparisons if not comparison.within(tolerance)]
    verdict = f"{', '.join(failed)}: further than {tolerance:g} from what is reported"
    return "\n".join([*lines, verdict if failed else f"all within {tolerance:g} of what is reported"])


if __name__ == "__main__":
    sys.exit(main())
