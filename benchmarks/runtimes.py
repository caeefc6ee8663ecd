"""Milliseconds of the shipped networks in each runtime and precision: medians, all in one run.

    python benchmarks/runtimes.py [--people 1 8] [--runs 30] [FILE ...]

A pose network's figure is a person's share of one call; a detector's is a picture of 416x320 px.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from engines.engine import Engine, ModelError, open_engine

MODELS = Path(__file__).resolve().parent.parent / "models"
DETECTOR_SIZE = (320, 416)
RUNTIMES = (("openvino", "auto"), ("openvino", "bfloat16"), ("openvino", "float32"), ("onnxruntime", "auto"))


def median_ms(engine: Engine, count: int, runs: int) -> float:
    """The median time of a call on `count` random crops, in milliseconds for each, after three warm-up calls."""
    width, height = engine.manifest.input_size
    if engine.manifest.task == "person_detector":
        height, width = DETECTOR_SIZE
    crops = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        engine({"crops": crops})
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[3:]) / count


def main() -> None:
    """Prints one row for each file, runtime and number of inputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=sorted(MODELS.glob("*.onnx")), metavar="FILE")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 8], help="batch sizes (1 8)")
    parser.add_argument("--runs", type=int, default=30, help="timed calls of each (30)")
    args = parser.parse_args()
    print("file | runtime | precision | batch | ms each")
    for path in args.files:
        for runtime, precision in RUNTIMES:
            try:
                engine = open_engine(path, runtime, precision)
            except ModelError as error:
                print(f"{path.name} | {runtime} | {precision} | - | {error}")
                continue
            for count in args.people if engine.manifest.task == "pose" else [1]:
                print(f"{path.name} | {runtime} | {precision} | {count} | {median_ms(engine, count, args.runs):.2f}")


if __name__ == "__main__":
    main()
