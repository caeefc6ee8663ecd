"""What the flip test costs: milliseconds a person with and without it, and their ratio; medians of interleaved calls.

    python benchmarks/flip_test.py [--people 8] [--runs 30] [--precision auto|float32|bfloat16] [FILE ...]

Each file is run as it is and with the flip test inside, in OpenVINO, in turns. What it gives in AP is printed by
`python apps/evaluate.py --model FILE ... --flip-test`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from engines.engine import PRECISIONS, Engine
from train.models import open_pose_model

MODELS = Path(__file__).resolve().parent.parent / "models"
WARM_UP = 3


def interleaved_ms(engines: list[Engine], people: int, runs: int) -> list[float]:
    """The median time of each engine's call on the same random crops, in milliseconds a person."""
    width, height = engines[0].manifest.input_size
    crops = np.random.default_rng(0).integers(0, 256, (people, height, width, 3), np.uint8)
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(runs + WARM_UP):
        for engine, series in zip(engines, times, strict=True):
            start = time.perf_counter()
            engine({"crops": crops})
            series.append(time.perf_counter() - start)
    return [1000 * statistics.median(series[WARM_UP:]) / people for series in times]


def main() -> None:
    """Prints one row for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=sorted(MODELS.glob("*edge*.onnx")), metavar="FILE")
    parser.add_argument("--people", type=int, default=8, help="people at once (8)")
    parser.add_argument("--runs", type=int, default=30, help="timed calls of each (30)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of OpenVINO (auto)")
    args = parser.parse_args()
    print(f"file | ms a person, {args.people} at once | with flip test | ratio")
    for path in args.files:
        engines = [open_pose_model(path, None, None, "openvino", args.precision, flip) for flip in (False, True)]
        plain, flipped = interleaved_ms(engines, args.people, args.runs)
        print(f"{path.name} | {plain:.2f} | {flipped:.2f} | {flipped / plain:.2f}")


if __name__ == "__main__":
    main()
