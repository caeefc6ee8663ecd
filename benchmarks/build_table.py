"""Every network of the zoo as a TensorRT for RTX engine in each precision: seconds, size, layers. Needs no GPU.

    python benchmarks/build_table.py [--models coco_res50_256x192 ...] [--precisions float16 ...]

Weights are random and int8 is calibrated on noise: the layers are the real ones, the answers are not. Convolutions are
counted by the type they compute in, with what is fused into them; the rest is all other kernels, so that the fewer
there are, the more is fused. Networks take whole frames.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import onnx
import torch

from calib.crops import noise
from calib.quantize import quantize
from engines.compose import manifest_of
from engines.engine_files import Made, Order, make_file
from engines.frame_graph import frame_form
from engines.onnx_facts import input_shapes
from engines.precision import for_tensorrt, in_precision
from train.export import pose_model
from train.zoo import zoo

PRECISIONS = ("float32", "float16", "int8")
CAPABILITIES = ("8.6", "8.9")
ORDER = Order("tensorrt_rtx", (1, 4, 32), capabilities=CAPABILITIES)


def random_model(name: str) -> onnx.ModelProto:
    """crops -> keypoints, of a network of the zoo with random weights."""
    torch.manual_seed(0)
    model = zoo()[name]
    return pose_model(model.build(), model, precision="float32")


def built(model: onnx.ModelProto, precision: str, out: Path) -> Made:
    """The engine of a model that takes crops, made to take frames."""
    if precision == "int8":
        model = quantize(model, manifest_of(model), noise(manifest_of(model)))
    model = frame_form(model)
    model, manifest = in_precision(model, manifest_of(model), precision)
    if precision == "int8":
        model = for_tensorrt(model)
    return make_file(model.SerializeToString(), input_shapes(model), manifest, ORDER, out, detailed=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(zoo()), choices=list(zoo()), metavar="NAME")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    options = parser.parse_args()
    print(f"{'network':<32}{'precision':>10}{'build s':>9}{'MB':>8}{'layers':>8}{'rest':>6}  convolutions")
    for name in options.models:
        model = random_model(name)
        for precision in options.precisions:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "network.engine"
                made = built(model, precision, out)
                size = out.stat().st_size / 1e6
            kernels = [layer for layer in made.layers if layer.outputs]
            found = Counter(layer.precision for layer in kernels if layer.is_convolution)
            types = ", ".join(f"{count} {kind}" for kind, count in found.most_common())
            row = f"{name:<32}{precision:>10}{made.seconds:>9.1f}{size:>8.1f}{len(made.layers):>8}"
            print(f"{row}{len(kernels) - found.total():>6}  {types}", flush=True)


if __name__ == "__main__":
    main()
