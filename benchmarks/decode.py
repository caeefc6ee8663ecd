"""DARK decode as the engines run it, against the usual full-map decode of numpy and OpenCV, in milliseconds.

    python -m benchmarks.decode [--people 1 8 32] [--runs 200]

Both get the same heatmaps, 17 of 64x48 px a person, and their largest difference is printed beside the times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from benchmarks.conventional import KERNEL, full_map_decode
from train.dark import encode
from train.export import export_decode

KEYPOINTS, HEIGHT, WIDTH = 17, 64, 48

FloatArray = npt.NDArray[np.floating[Any]]
Decode = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def noisy_heatmaps(people: int, rng: np.random.Generator) -> FloatArray:
    """Gaussians of sigma 2 px at random places, with a little noise: float32 [people, 17, 64, 48]."""
    joints = rng.uniform((8, 8), (4 * WIDTH - 8, 4 * HEIGHT - 8), (people, KEYPOINTS, 2))
    seen = np.ones(KEYPOINTS)
    maps = np.stack([encode(person, seen, (4 * WIDTH, 4 * HEIGHT), (WIDTH, HEIGHT), 2.0)[0] for person in joints])
    return (0.8 * maps + rng.uniform(0, 0.02, maps.shape)).astype(np.float32)


def engine_decode(graph: bytes, threads: int | None) -> Decode:
    """The exported decode in OpenVINO, with the settings of the CPU engine; threads None: all cores."""
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()

    def run(heatmaps: FloatArray) -> tuple[FloatArray, FloatArray]:
        results = request.infer({"heatmaps": heatmaps}, share_inputs=True)
        return results["points"], results["scores"]

    return run


def median_ms(decode: Decode, heatmaps: FloatArray, runs: int) -> float:
    """The median time of one call in milliseconds, after a tenth as many warm-up calls."""
    for _ in range(max(3, runs // 10)):
        decode(heatmaps)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        decode(heatmaps)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Prints one row for each number of people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[1, 8, 32], help="batch sizes (default: 1 8 32)")
    parser.add_argument("--runs", type=int, default=200, help="timed calls of each (default: 200)")
    args = parser.parse_args()
    graph = export_decode(KEYPOINTS, (WIDTH, HEIGHT), KERNEL).SerializeToString()
    engine, engine_on_one_thread = engine_decode(graph, None), engine_decode(graph, 1)
    decoders = {"full map": full_map_decode, "engine, 1 thread": engine_on_one_thread, "engine": engine}
    rng = np.random.default_rng(0)
    print("ms, medians | " + " | ".join(decoders) + " | largest difference, heatmap px")
    for people in args.people:
        heatmaps = noisy_heatmaps(people, rng)
        times = [f"{median_ms(decode, heatmaps, args.runs):.3f}" for decode in decoders.values()]
        difference = np.abs(full_map_decode(heatmaps)[0] - engine(heatmaps)[0]).max()
        print(f"{people} people | " + " | ".join(times) + f" | {difference:.1e}")


if __name__ == "__main__":
    main()
