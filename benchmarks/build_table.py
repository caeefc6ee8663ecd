"""Every network of the zoo as a TensorRT for RTX engine in each precision: seconds, size, layers. Needs no GPU.

    python benchmarks/build_table.py [--models coco_res50_256x192 ...] [--precisions float16 ...]
    python benchmarks/build_table.py --precisions float32 float16 --compute-capability 7.5

Each row is written to --results when it is done, and not built again as long as it is there. Weights are random and
int8 is calibrated on noise: the layers are the real ones, the answers are not. Networks take whole frames. Layers are
kernels. Of the network's convolutions it says in what they compute, and how many are fused with what follows them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
import torch

from calib.crops import noise
from calib.quantize import quantize
from engines.compose import manifest_of
from engines.engine_files import Made, Order, make_file
from engines.frame_graph import frame_form
from engines.layer_listing import fused_convolutions, network_convolutions
from engines.onnx_facts import input_shapes
from engines.precision import for_tensorrt, in_precision
from engines.tensorrt_library import load_tensorrt
from train.datasets.files import read_json, write_json
from train.export import pose_model
from train.zoo import zoo

PRECISIONS = ("float32", "float16", "int8")
# Not 7.5: an engine that is for it too is slower on all the others, and has no int8.
CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
RUNTIME = "tensorrt_rtx"
ORDER = Order(RUNTIME, (1, 4, 32))
HEAD = "| network | precision | build s | MB | layers | convolutions | fused |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """An engine: what it is of, how long it took, its megabytes, how many kernels it has, how many of the network's
    convolutions compute in each type, and how many are fused with what follows.
    """

    network: str
    precision: str
    capabilities: str
    version: str
    seconds: float
    megabytes: float
    layers: int
    convolutions: dict[str, int]
    fused: int

    def line(self) -> str:
        """A line of the table."""
        types = ", ".join(f"{count} {kind}" for kind, count in self.convolutions.items())
        cells = (self.network, self.precision, f"{self.seconds:.1f}", f"{self.megabytes:.1f}", self.layers, types)
        return f"| {' | '.join(map(str, cells))} | {self.fused} |"


def random_model(name: str) -> onnx.ModelProto:
    """crops -> keypoints, of a network of the zoo with random weights."""
    torch.manual_seed(0)
    model = zoo()[name]
    return pose_model(model.build(), model, precision="float32")


def built(model: onnx.ModelProto, precision: str, capabilities: Sequence[str], out: Path) -> Made:
    """The engine of a model that takes crops, made to take frames."""
    if precision == "int8":
        with redirect_stdout(sys.stderr):  # NNCF shows its progress.
            model = quantize(model, manifest_of(model), noise(manifest_of(model)))
    model = frame_form(model)
    model, manifest = in_precision(model, manifest_of(model), precision)
    if precision == "int8":
        model = for_tensorrt(model)
    order = replace(ORDER, capabilities=tuple(capabilities))
    return make_file(model.SerializeToString(), input_shapes(model), manifest, order, out, detailed=True)


def measured(name: str, model: onnx.ModelProto, precision: str, capabilities: Sequence[str]) -> Row:
    """A row of the table; nothing of the engine is kept."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DARKSTREAM_CACHE"] = folder
        out = Path(folder) / "network.engine"
        made = built(model, precision, capabilities, out)
        size = out.stat().st_size / 1e6
    types = Counter(layer.precision for layer in network_convolutions(made.layers))
    kernels = [layer for layer in made.layers if layer.outputs]
    fused = len(fused_convolutions(made.layers))
    gpus, version = " ".join(capabilities), made.sidecar.runtime_version
    return Row(name, precision, gpus, version, made.seconds, size, len(kernels), dict(types.most_common()), fused)


def all_rows(
    models: Sequence[str], precisions: Sequence[str], capabilities: Sequence[str], results: Path
) -> Iterator[Row]:
    """The rows in order, from the results as far as they are there, else measured and written there."""
    version, gpus = load_tensorrt(RUNTIME).__version__, " ".join(capabilities)
    rows = [Row(**row) for row in read_json(results, "the results of this script")] if results.exists() else []
    found = {(row.network, row.precision): row for row in rows if (row.capabilities, row.version) == (gpus, version)}
    for name in models:
        missing = [precision for precision in precisions if (name, precision) not in found]
        model = random_model(name) if missing else onnx.ModelProto()
        for precision in precisions:
            if precision in missing:
                found[name, precision] = measured(name, model, precision, capabilities)
                rows.append(found[name, precision])
                write_json(results, [asdict(row) for row in rows])
            yield found[name, precision]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(zoo()), choices=list(zoo()), metavar="NAME")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--compute-capability", nargs="+", default=list(CAPABILITIES), metavar="X.Y")
    parser.add_argument("--results", type=Path, default=Path("runs/build_table.json"), metavar="JSON")
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    for row in all_rows(options.models, options.precisions, options.compute_capability, options.results):
        print(row.line(), flush=True)


if __name__ == "__main__":
    main()
