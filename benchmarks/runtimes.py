"""Milliseconds on the CPU, in one run, of networks in float32, bfloat16 and int8 by OpenVINO, ONNX Runtime and PyTorch.

    python benchmarks/runtimes.py [NAME|FILE.onnx ...] [--people 1 8] [--runs 30] [--base "PyTorch float32"] [--compile]

By default the shipped networks and HRNet-W32. All take turns, call by call, so that what else the machine does falls on
all of them; each figure is a median, beside it how many times as fast as --base that is. A pose network's figure is a
person's share of a call; a detector's is a picture of 448x352 px. Files that take the frame get one of 1280x720 px and
as many people in it, and are run by OpenVINO and ONNX Runtime only.

int8 is NAME_int8.onnx beside the file, or else is calibrated on noise. PyTorch's networks, and those that are given by
name, have random weights, and no int8. Times do not depend on weights. --compile adds torch.compile, which needs a C++
compiler and minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from tqdm import tqdm

from calib.crops import noise
from calib.quantize import quantize
from engines.batching import Arrays
from engines.compose import manifest_of
from engines.engine import Engine, ModelError, open_engine
from engines.manifest import Manifest
from pipeline.affine import crop_maps
from train.detector import PersonDetectorNetwork
from train.export import pose_model
from train.torch_engine import DetectorEngine, PoseEngine
from train.zoo import zoo

MODELS = Path(__file__).resolve().parent.parent / "models"
NETWORKS = (
    *(str(MODELS / f"{name}.onnx") for name in ("edge_coco_256x192", "person_detector")),
    "coco_hrnet_w32_256x192",
)
DETECTOR_SIZE = (352, 448)
FRAME_SIZE = (720, 1280)
# What runs a file: its name, runtime and precision.
OF_FLOATS = (
    ("OpenVINO float32", "openvino", "float32"),
    ("OpenVINO bfloat16", "openvino", "bfloat16"),
    ("ONNX Runtime float32", "onnxruntime", "float32"),
)
OF_INT8 = (("OpenVINO int8", "openvino", "auto"), ("ONNX Runtime int8", "onnxruntime", "auto"))
WARM_UP = 3
Named = tuple[str, Engine]


class Autocast(nn.Module):
    """A network in bfloat16 or float32; float32 out."""

    def __init__(self, network: nn.Module, bfloat16: bool) -> None:
        super().__init__()
        self.network, self.rounded = network, bfloat16

    def forward(self, image: Tensor) -> Tensor:
        """image [N, 3, h, w] -> what the network makes of it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.rounded):
            output: Tensor = self.network(image)
        return output.float()


def engines(subject: str, folder: Path, compiled: bool) -> Iterator[Named]:
    """All that a network, by its name in the zoo or its file, can be run by here; what cannot is said on stderr."""
    file = Path(subject)
    if subject in zoo():
        torch.manual_seed(0)
        file = folder / f"{subject}.onnx"
        onnx.save(pose_model(zoo()[subject].build(), zoo()[subject], precision="float32"), file)
    model = onnx.load(file)
    manifest = manifest_of(model)
    if manifest.precision == "int8":
        yield from _opened(file, OF_INT8)
        return
    yield from _opened(file, OF_FLOATS)
    if manifest.input == "frame":
        return
    quantized = file.with_name(f"{file.stem}_int8.onnx")
    if not quantized.exists():
        quantized = folder / quantized.name
        with redirect_stdout(sys.stderr):  # NNCF shows its progress.
            onnx.save(quantize(model, manifest, noise(manifest)), quantized)
    yield from _opened(quantized, OF_INT8)
    yield from _by_pytorch(manifest, compiled)


def _opened(file: Path, ways: Sequence[tuple[str, str, str]]) -> Iterator[Named]:
    for name, runtime, precision in ways:
        engine = _engine(file, runtime, precision)
        if engine is not None:
            yield name, engine


def _engine(file: Path, runtime: str, precision: str) -> Engine | None:
    try:
        return open_engine(file, runtime, precision)
    except ModelError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None


def _by_pytorch(manifest: Manifest, compiled: bool) -> Iterator[Named]:
    """The network of a manifest in PyTorch, eager, and if wanted by torch.compile."""
    detects = manifest.task == "person_detector"
    if not detects and manifest.name not in zoo():
        print(f"left out: {manifest.name} is no network of the zoo that PyTorch could run", file=sys.stderr)
        return
    network: nn.Module = PersonDetectorNetwork() if detects else zoo()[manifest.name].build()
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for title, compile_it in (("PyTorch", False), ("torch.compile", True))[: 1 + compiled]:
        for precision in ("float32", "bfloat16"):
            module: Any = Autocast(network, precision == "bfloat16")
            module = torch.compile(module, dynamic=False) if compile_it else module
            name = f"{title} {precision}"
            yield (
                name,
                DetectorEngine(module, manifest)
                if detects
                else PoseEngine(module, manifest, zoo()[manifest.name].kernel),
            )


def inputs_for(manifest: Manifest, count: int) -> Arrays:
    """Noise for a network, with `count` people."""
    rng = np.random.default_rng(0)
    width, height = manifest.input_size
    if manifest.input == "crops":
        if manifest.task == "person_detector":
            height, width = DETECTOR_SIZE
        return {"crops": rng.integers(0, 256, (count, height, width, 3), np.uint8)}
    frame = rng.integers(0, 256, (*FRAME_SIZE, 3), np.uint8)
    if manifest.task == "person_detector":
        return {"frame": frame}
    corners = rng.uniform(0, (FRAME_SIZE[1] - 150, FRAME_SIZE[0] - 350), (count, 2))
    boxes = np.concatenate([corners, corners + np.array([150, 350])], axis=1).astype(np.float32)
    return {"frame": frame, "crop_to_frame": crop_maps(boxes, manifest.input_size)}


def median_ms(calls: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """The median time of each call in milliseconds; they take turns, after a few rounds of warm-up."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in tqdm(range(WARM_UP + runs), leave=False, disable=None):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [1000 * statistics.median(taken[WARM_UP:]) for taken in times]


def rows(title: str, named: Sequence[Named], people: Sequence[int], runs: int, base: str) -> Iterator[str]:
    """The lines of a network's part of the table."""
    manifest = named[0][1].manifest
    for count in people if manifest.task == "pose" else [1]:
        inputs = inputs_for(manifest, count)
        calls = [partial(engine, inputs) for _, engine in named]
        times = dict(zip((name for name, _ in named), median_ms(calls, runs), strict=True))
        for name, taken in times.items():
            faster = f"{times[base] / taken:.2f}" if base in times else "-"
            yield f"| {title} | {count} | {name} | {taken / count:.2f} | {faster} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NAME|FILE")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 8], help="batch sizes (1 8)")
    parser.add_argument("--runs", type=int, default=30, help="timed calls of each (30)")
    parser.add_argument("--base", default="OpenVINO float32", help='what ratios are against ("OpenVINO float32")')
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    options = parser.parse_args()
    print(f"| network | batch | runtime | ms each | times as fast as {options.base} |\n|---|---|---|---|---|")
    for subject in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            named = list(engines(subject, Path(folder), options.compile))
            for line in rows(Path(subject).name, named, options.people, options.runs, options.base):
                print(line, flush=True)


if __name__ == "__main__":
    main()
