"""Milliseconds on an NVIDIA GPU: engines in each precision against PyTorch and ONNX Runtime, on the same weights.

    python benchmarks/gpu.py [--model coco_hrnet_w32_256x192 --weights FILE] [--runtime tensorrt] [--people 1 5 20]

First the network alone, crops to keypoints; then frame to keypoints at 720p and 1080p, which TensorRT does in one
engine and the others after cropping on the CPU. Each figure is the median of a call from arrays of the host to arrays
of the host, after warm-up. Without --weights they are random, and int8 is calibrated on noise: times are the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from calib.crops import noise
from calib.quantize import quantize
from engines.compose import manifest_of
from engines.engine import Engine
from engines.engine_files import Order, make_file
from engines.frame_graph import frame_form
from engines.manifest import Manifest
from engines.onnx_facts import input_shapes
from engines.precision import for_tensorrt, in_precision
from engines.tensorrt_engine import TensorRtEngine
from pipeline.pose import PoseEstimator
from train.export import pose_model
from train.models import load_pose_model
from train.torch_engine import PoseEngine
from train.zoo import zoo_model

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}
PRECISIONS = ("float32", "float16", "int8")
WARM_UP = 10
Named = tuple[str, Engine]


class Autocast(nn.Module):
    """A network in float16 or float32; float32 out."""

    def __init__(self, network: nn.Module, half: bool) -> None:
        super().__init__()
        self.network, self.half_precision = network, half

    def forward(self, image: Tensor) -> Tensor:
        """image [N, 3, h, w] -> heatmaps [N, K, H, W]."""
        with torch.autocast("cuda", torch.float16) if self.half_precision else nullcontext():
            heatmaps: Tensor = self.network(image)
        return heatmaps.float()


class OrtCuda:
    """An Engine through ONNX Runtime's CUDA provider, crops in."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.manifest: Manifest = manifest_of(model)
        providers = ["CUDAExecutionProvider"]
        self._session = ort.InferenceSession(model.SerializeToString(), providers=providers)
        if self._session.get_providers()[0] != providers[0]:
            raise RuntimeError("ONNX Runtime has no CUDA here: pip install onnxruntime-gpu")

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run the network."""
        names = ["keypoints", "scores"]
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def others(network: nn.Module, model: onnx.ModelProto, name: str) -> Iterator[Named]:
    """PyTorch and ONNX Runtime, in float32 and float16."""
    row, manifest = zoo_model(name), manifest_of(model)
    network = network.cuda().eval()
    for half in (False, True):
        label = "float16" if half else "float32"
        yield f"PyTorch eager {label}", PoseEngine(Autocast(network, half), manifest, row.kernel)
        compiled: Any = torch.compile(Autocast(network, half), dynamic=False)
        yield f"torch.compile {label}", PoseEngine(compiled, manifest, row.kernel)
        yield f"ONNX Runtime CUDA {label}", OrtCuda(in_precision(model, manifest, label)[0])


def engine(model: onnx.ModelProto, precision: str, form: str, runtime: str, folder: Path) -> Engine:
    """The engine of a model that takes crops, in a form and precision."""
    if precision == "int8":
        model = quantize(model, manifest_of(model), noise(manifest_of(model)))
    model = frame_form(model) if form == "frame" else model
    model, manifest = in_precision(model, manifest_of(model), precision)
    model = for_tensorrt(model) if precision == "int8" else model
    out = folder / f"{precision}_{form}.engine"
    make_file(model.SerializeToString(), input_shapes(model), manifest, Order(runtime, (1, 5, 32)), out)
    return TensorRtEngine(out)


def median_ms(call: Callable[[], object], runs: int) -> float:
    """Of a call that ends with its results on the host."""
    times = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def row(title: str, crops_engine: Engine, frame_engine: Engine, people: list[int], runs: int) -> str:
    """The figures of a runtime: network alone, then each frame size, for each number of people."""
    rng = np.random.default_rng(0)
    width, height = crops_engine.manifest.input_size
    cells = []
    for count in people:
        crops = rng.integers(0, 256, (count, height, width, 3), np.uint8)
        cells.append(median_ms(lambda crops=crops: crops_engine({"crops": crops}), runs))  # type: ignore[misc]
    estimator = PoseEstimator(frame_engine)
    for rows, columns in SIZES.values():
        image = rng.integers(0, 256, (rows, columns, 3), np.uint8)
        for count in people:
            corners = rng.uniform(0, (columns - 200, rows - 400), (count, 2))
            boxes = np.concatenate([corners, corners + np.array([150, 350])], axis=1).astype(np.float32)
            cells.append(median_ms(lambda image=image, boxes=boxes: estimator(image, boxes), runs))  # type: ignore[misc]
    return f"{title:<34}" + "".join(f"{cell:>10.2f}" for cell in cells)


def main() -> None:
    """Print a row for each runtime and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="coco_hrnet_w32_256x192", metavar="NAME", help="name in the zoo")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint for it (random weights)")
    parser.add_argument("--runtime", choices=("tensorrt", "tensorrt_rtx"), default="tensorrt")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--runs", type=int, default=100, help="timed calls of each (100)")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU that PyTorch can use: this compares runtimes on one")
    torch.manual_seed(0)
    name, people = options.model, options.people
    network = load_pose_model(name, options.weights).network if options.weights else zoo_model(name).build()
    model = pose_model(network, zoo_model(name), precision="float32")
    heads = [f"{what} {count}" for what in ("network", *SIZES) for count in people]
    print(f"{name} on {torch.cuda.get_device_name()}, ms of all people together")
    print(f"{'':<34}" + "".join(f"{head:>10}" for head in heads))
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            pair = [engine(model, precision, form, options.runtime, Path(folder)) for form in ("crops", "frame")]
            print(row(f"{options.runtime} {precision}", pair[0], pair[1], people, options.runs), flush=True)
    for title, other in others(network, model, name):
        print(row(title, other, other, people, options.runs), flush=True)


if __name__ == "__main__":
    main()
