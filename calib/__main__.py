"""An int8 copy of a network, calibrated on pictures, and what it costs.

    python -m calib --model models/edge_coco_256x192.onnx --images DIR --out int8.onnx
    python -m calib --model coco_res50_256x192 --weights FILE.pth --images DIR --annotations A.json --method all \\
        --keep-float auto --report report.json --out int8.onnx

Pose networks are calibrated on the production crops of the people that the detector finds. Where DIR is DATA_SET/images
of a data set with held-out pictures (train/datasets/validation_split.json), it is calibrated on the others and measured
on those. With --annotations the report has AP, from the annotated boxes. Detectors are calibrated on whole pictures and
have no report.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx

from calib.crops import (
    calibrated_and_measured,
    detector_frames,
    folder_pictures,
    pose_crops,
    with_found_people,
)
from calib.methods import DEFAULT, METHODS
from calib.quantize import Form, quantize
from calib.report import Report
from calib.sensitivity import AUTO, SwitchedNetwork, some_batches
from calib.study import Study
from engines.compose import manifest_of
from engines.engine import open_engine
from engines.manifest import Manifest
from engines.onnx_facts import calibration_of
from engines.quantized import is_quantized
from pipeline.detector import PersonDetector
from pipeline.skeletons import skeleton_from
from train.datasets.annotations import load_annotations
from train.datasets.pictures import Picture
from train.evaluate import labelled, numbered
from train.export import pose_model
from train.models import trained_model

DETECTOR = Path(__file__).resolve().parent.parent / "models" / "person_detector.onnx"
ENOUGH = 500
MEASURED = 100  # pictures, where no annotations say on which
SENSITIVITY_FRAMES = 4  # of a detector
ALL = "all"
BOXES = ("detector", "annotations")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the file was written; 1 with one line on standard error for a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        _run(options)
    except (OSError, ValueError) as error:
        _tell(str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m calib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="NAME|FILE", help="name in the zoo, checkpoint or network")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint for a name in the zoo")
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pictures")
    parser.add_argument("--annotations", type=Path, metavar="JSON", help="of the first folder: the report has AP then")
    parser.add_argument("--boxes", choices=BOXES, default=BOXES[0], help="whose boxes the crops are of (detector)")
    parser.add_argument("--detector", type=Path, default=DETECTOR, metavar="FILE", help="(models/person_detector.onnx)")
    parser.add_argument("--crops", type=int, default=ENOUGH, help=f"calibration inputs ({ENOUGH})")
    parser.add_argument("--method", choices=(*METHODS, ALL), default=DEFAULT, help=f"of the ranges ({DEFAULT})")
    parser.add_argument("--keep-float", type=_keep, metavar="N|auto", help="worst layers left float (auto)")
    parser.add_argument("--signed", action="store_true", help="int8 without uint8, for readers that know none")
    parser.add_argument("--half-range", action="store_true", help="weights of 7 bits, for CPUs without VNNI")
    parser.add_argument("--report", type=Path, metavar="JSON", help="write the report, with the cost of every layer")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the int8 file to write")
    return parser


def _keep(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number of layers or {AUTO}, got {text!r}")
    return int(text)


def _form(options: argparse.Namespace) -> Form:
    return Form(options.signed, options.half_range)


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError or OSError for what would only show after the work."""
    if options.crops < 1:
        raise ValueError(f"--crops should be a positive number, got {options.crops}")
    if options.boxes == "annotations" and options.annotations is None:
        raise ValueError("--boxes annotations needs --annotations")
    for file in (options.out, options.report):
        if file is not None and not file.parent.is_dir():
            raise NotADirectoryError(f"there is no folder {file.parent} for {file.name}")
    if options.out.resolve() == Path(options.model).resolve():
        raise ValueError(f"{options.out} is the network itself: give another --out")


def _run(options: argparse.Namespace) -> None:
    model = _model(options.model, options.weights)
    manifest = manifest_of(model)
    if manifest.input != "crops":
        raise ValueError(f"{manifest.name} takes the {manifest.input}: quantise the file that takes crops")
    if is_quantized(model):
        raise ValueError(f"{options.model} is int8 already: give the float file that it was made of")
    if manifest.task == "pose":
        _quantize_pose(options, model, manifest)
    else:
        _quantize_detector(options, model, manifest)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


def _quantize_pose(options: argparse.Namespace, model: onnx.ModelProto, manifest: Manifest) -> None:
    pictures, measured = _pictures(options, manifest)
    find = PersonDetector(open_engine(options.detector)) if options.boxes == "detector" else None
    crops, used = pose_crops(pictures, find, manifest.input_size, options.crops)
    if len(crops) < min(ENOUGH, options.crops):
        _tell(f"warning: only {len(crops)} crops of people in {len(pictures)} pictures, {options.crops} were asked for")
    if find is not None and options.annotations is None:
        measured = list(with_found_people(measured[:MEASURED], find))
    with tempfile.TemporaryDirectory() as folder:
        study = Study(model, manifest, crops, measured, options.annotations is not None, Path(folder))
        methods = METHODS if options.method == ALL else (options.method,)
        outcome = study.run(
            methods,
            AUTO if options.keep_float is None else options.keep_float,
            _form(options),
            options.report is not None,
        )
    onnx.save(outcome.model, options.out)
    report = Report(
        manifest.name,
        manifest.network_sha256,
        len(crops),
        len(used),
        "boxes of the detector" if find else "annotated boxes",
        sum(len(picture.people) for picture in measured),
        bool({picture.path for picture in used} & {picture.path for picture in measured}),
        outcome.method,
        outcome.kept,
        calibration_of(outcome.model) or "",
        outcome.rows,
        outcome.layers,
    )
    print(report.table())
    if options.report:
        report.write(options.report)


def _quantize_detector(options: argparse.Namespace, model: onnx.ModelProto, manifest: Manifest) -> None:
    """Of a person detector, on whole pictures; the layers are chosen by the error of its scores."""
    if options.method == ALL or options.report or options.annotations:
        raise ValueError(f"{manifest.name} is no pose network: leave out --annotations, --report and --method all")
    pictures, _ = _pictures(options, manifest)
    frames = list(detector_frames(pictures, manifest.input_size[0], options.crops))
    made = quantize(model, manifest, frames, options.method, form=_form(options))
    if options.keep_float != 0:
        keep = AUTO if options.keep_float is None else options.keep_float
        kept, costs = SwitchedNetwork(model, made).worst(some_batches(frames, SENSITIVITY_FRAMES, 1), keep)
        made = quantize(model, manifest, frames, options.method, kept, _form(options))
        print(f"{len(kept)} of {len(costs)} layers stay float: {', '.join(kept) or 'none'}")
    onnx.save(made, options.out)


def _pictures(options: argparse.Namespace, manifest: Manifest) -> tuple[list[Picture], list[Picture]]:
    """(those to calibrate on, those to measure on). Raises ValueError if there are none."""
    if options.annotations is None:
        own, measured = calibrated_and_measured([p for folder in options.images for p in folder_pictures(folder)])
    else:
        assert manifest.skeleton is not None
        annotated = load_annotations(options.annotations, options.images[0], skeleton_from(manifest.skeleton))
        own, measured = calibrated_and_measured(annotated)
        measured = labelled(numbered(measured))
        if not any(picture.people for picture in measured):
            raise ValueError(f"{options.annotations} has nobody with keypoints and a box: nothing to measure by")
        if options.boxes == "detector":
            more = [picture for folder in options.images for picture in folder_pictures(folder)]
            own = calibrated_and_measured(more)[0]
    if not own:
        raise ValueError("all pictures are held out for measuring: give others to calibrate on")
    return own, measured


def _model(name: str, weights: Path | None) -> onnx.ModelProto:
    """The composed network that `name` means, in float."""
    if not name.endswith(".onnx"):
        trained = trained_model(name, weights)
        return pose_model(trained.network, trained.model, precision="float32")
    if weights is not None:
        raise ValueError(f"{name} holds its weights: leave out {weights}, or give a name of the zoo")
    content = Path(name).read_bytes()
    try:
        return onnx.load_from_string(content)
    except Exception as error:  # The parser's exceptions have no class in common.
        raise ValueError(f"{name} is not an ONNX network, or only a part of one") from error


def _tell(text: str) -> None:
    print(f"calib: {' '.join(text.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
