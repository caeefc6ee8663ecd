"""A network file for a runtime and precision: a TensorRT engine, or the ONNX file that a CPU runtime opens.

    python apps/build_engine.py models/edge_coco_256x192.onnx --precision fp16
    python apps/build_engine.py coco_hrnet_w32_256x192 --weights FILE.pth --runtime tensorrt_rtx --precision fp16 \\
        --compute-capability 8.6 8.9
    python apps/build_engine.py models/edge_coco_256x192_int8.onnx --precision int8 --batch 1,8,32

tensorrt builds for the GPU it runs on; tensorrt_rtx for any GPUs, also where there is none. What is known of the file
lies beside it as NAME.json. An engine that was built before, of the same network and options, comes from the cache.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from tqdm import tqdm

from apps.command_line import tell_mistake
from engines.compose import manifest_of
from engines.engine_files import FILE_RUNTIMES, FRAME_SIZES, Made, Order, make_file
from engines.frame_graph import frame_form
from engines.manifest import Manifest, ModelError
from engines.onnx_facts import calibration_of, input_shapes
from engines.precision import for_tensorrt, in_precision
from engines.sidecar import sha256
from engines.tensorrt_library import TENSORRT_RUNTIMES

PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
INPUTS = ("frame", "crops")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the file was written, 1 with one line on stderr for a user's mistake, 130 if it was interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        _run(options, shlex.join(["python", "apps/build_engine.py", *given]))
    except (OSError, ValueError) as error:
        tell_mistake(error)
        return 1
    except KeyboardInterrupt:
        tell_mistake(ModelError("interrupted: no file was written"))
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="ZOO_NAME|FILE.onnx", help="name in the zoo, or an exported network file")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint for a name in the zoo")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="of the network (fp16)")
    parser.add_argument("--runtime", choices=FILE_RUNTIMES, default="tensorrt", help="what is to run it (tensorrt)")
    parser.add_argument("--input", choices=INPUTS, help="whole frames or crops (frame for TensorRT, crops for CPUs)")
    parser.add_argument("--batch", type=_batch, metavar="MIN,OPT,MAX", help="people at once (1,4, and the network's)")
    sizes = " ".join(f"{width}x{height}" for width, height in FRAME_SIZES)
    size_help = f"frames, the usual size first; one alone is the only one taken ({sizes})"
    parser.add_argument("--frame-size", type=_size, nargs="+", default=list(FRAME_SIZES), metavar="WxH", help=size_help)
    parser.add_argument("--flip-test", action="store_true", help="run the flip test inside the file")
    parser.add_argument(
        "--compute-capability", nargs="+", default=[], metavar="X.Y", help="GPUs to build for (the one here)"
    )
    parser.add_argument("--tf32", action="store_true", help="let float32 products be rounded to TF32")
    parser.add_argument("--out", type=Path, metavar="PATH", help="file to write (networks/NAME_PRECISION_RUNTIME...)")
    return parser


def _run(options: argparse.Namespace, command: str) -> None:
    model, manifest, source = _model(options.model, options.weights, options.flip_test)
    on_gpu = options.runtime in TENSORRT_RUNTIMES
    model, manifest = _in_form(model, manifest, options.input or ("frame" if on_gpu else "crops"))
    model, manifest = in_precision(model, manifest, PRECISIONS[options.precision])
    if on_gpu and manifest.precision == "int8":
        model = for_tensorrt(model)
    suffix = ".engine" if on_gpu else ".onnx"
    name = f"{manifest.name}{'_flip' * manifest.flip_test}_{options.precision}_{options.runtime}{suffix}"
    out: Path = options.out or Path("networks") / name
    if source is not None and out.resolve() == source.resolve():
        raise ModelError(f"{out}: writing here would overwrite the network it is made of; choose another --out")
    order = Order(
        options.runtime,
        options.batch or (1, min(4, manifest.largest_batch), manifest.largest_batch),
        tuple(options.frame_size),
        tuple(dict.fromkeys(options.compute_capability)),
        options.tf32,
        command,
        os.path.relpath(source, out.parent) if source is not None else "",
        sha256(source.read_bytes()) if source is not None else "",
        calibration_of(model),
    )
    content = model.SerializeToString(deterministic=True)
    with tqdm(disable=None, leave=False, bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}]") as bar:
        made = make_file(content, input_shapes(model), manifest, order, out, lambda *step: _show(bar, *step))
    _tell(out, made)


def _model(name: str, weights: Path | None, flip_test: bool) -> tuple[onnx.ModelProto, Manifest, Path | None]:
    """The composed network that `name` means, its manifest, and its file if it is one."""
    source = Path(name) if name.endswith(".onnx") else None
    if source is None:
        # PyTorch is needed for names of the zoo alone.
        from train.export import pose_model
        from train.models import load_pose_model

        trained = load_pose_model(name, weights)
        model = pose_model(trained.network, trained.model, precision="float32")
    elif weights is not None:
        raise ModelError(f"{source} holds its weights: leave out {weights}, or give a name of the zoo")
    else:
        model = _loaded(source)
    try:
        if flip_test and not manifest_of(model).flip_test:
            from train.export import with_flip_test

            model = with_flip_test(model)
        return model, manifest_of(model), source
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from error


def _loaded(file: Path) -> onnx.ModelProto:
    try:
        return onnx.load_from_string(file.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{file}: no such network file") from error
    except Exception as error:  # The parser's exceptions have no class in common.
        raise ModelError(f"{file} is not an ONNX network, or only a part of one") from error


def _in_form(model: onnx.ModelProto, manifest: Manifest, form: str) -> tuple[onnx.ModelProto, Manifest]:
    """The network with that input."""
    if manifest.input == form:
        return model, manifest
    if form != "frame":
        raise ModelError(f"{manifest.name} takes the {manifest.input} already: export it anew for --input {form}")
    model = frame_form(model)
    return model, manifest_of(model)


def _batch(text: str) -> tuple[int, int, int]:
    least, usual, largest = (int(part) for part in text.split(","))
    if not 1 <= least <= usual <= largest:
        raise ValueError(text)
    return least, usual, largest


def _size(text: str) -> tuple[int, int]:
    width, height = (int(part) for part in text.split("x"))
    if min(width, height) < 1:
        raise ValueError(text)
    return width, height


def _show(bar: Any, phase: str, done: int, steps: int) -> bool:
    bar.set_description(phase, refresh=False)
    bar.n, bar.total = done, steps
    bar.update(0)
    return True


def _tell(out: Path, made: Made) -> None:
    sidecar = made.sidecar
    how = "from the cache" if made.from_cache else f"{made.seconds:.1f} s"
    gpus = f", compute capability {', '.join(sidecar.capabilities)}" if sidecar.capabilities else ""
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {sidecar.runtime} {sidecar.runtime_version}{gpus}, {how}")
    for name, (least, usual, largest) in sidecar.profiles.items():
        print(f"  {name}: {list(least)} to {list(largest)}, usually {list(usual)}")


if __name__ == "__main__":
    sys.exit(main())
