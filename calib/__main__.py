"""`python -m calib --model FILE --data DIR --out FILE`: an int8 copy of a network file, calibrated on pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import onnx

from calib.crops import detector_frames, pose_crops
from calib.quantize import quantize
from engines.engine import read_manifest
from train.datasets.coco_layout import split
from train.datasets.pictures import Picture


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments; 0 on success, 1 with one line on standard error for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m calib", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the network file to quantise")
    parser.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
    parser.add_argument("--out", type=Path, required=True, help="the int8 file to write")
    parser.add_argument("--crops", type=int, default=500, help="calibration inputs")
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (OSError, ValueError) as error:
        print(f"calib: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    manifest = read_manifest(options.model)
    pictures: list[Picture] = [p for name in ("coco_train", "lspet") for p in split(options.data / name, False)]
    if manifest.task == "pose":
        crops = pose_crops(pictures, manifest.input_size, options.crops)
    else:
        crops = detector_frames(pictures, manifest.input_size[0], options.crops)
    model = quantize(onnx.load(options.model), manifest, crops)
    onnx.save(model, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
