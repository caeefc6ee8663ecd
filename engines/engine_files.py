"""From a composed ONNX file to the file that a runtime opens, with its sidecar; nothing is built twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from engines.batching import FRAME
from engines.build import BuildOptions, Built, Progress, build, check_capabilities
from engines.cuda import open_device
from engines.engine_cache import cache_folder, cache_key, read_if_there, write_whole
from engines.layer_listing import Layer
from engines.manifest import SIDE_MULTIPLE, Manifest, ModelError
from engines.sidecar import Profile, Shape, Sidecar, read_sidecar, sha256, sidecar_path, write_sidecar
from engines.tensorrt_library import TENSORRT_RUNTIMES, load_tensorrt

FILE_RUNTIMES = (*TENSORRT_RUNTIMES, "openvino", "onnxruntime")
# Changed whenever the same ONNX and options would give another engine.
KEY_VERSION = 1
LEAST_FRAME = (64, 64)
TURING = "7.5"
FRAME_SIZES = ((1280, 720), (1920, 1080), (1080, 1920))


@dataclass(frozen=True)
class Order:
    """What file is wanted.

    runtime: one of FILE_RUNTIMES. batch: the least, usual and largest number of people at once. frame_sizes: (width,
    height) px of the frames, the usual one first; one alone is the only one that the engine takes. capabilities and
    tf32: see BuildOptions. rebuild: the command that gives this file. calibration_sha256, source, source_sha256: see
    Sidecar.
    """

    runtime: str
    batch: tuple[int, int, int]
    frame_sizes: tuple[tuple[int, int], ...] = FRAME_SIZES
    capabilities: tuple[str, ...] = ()
    tf32: bool = False
    rebuild: str = "python apps/build_engine.py"
    source: str = ""
    source_sha256: str = ""
    calibration_sha256: str | None = None


@dataclass(frozen=True)
class Made:
    """A file that was written: what is known of it, how long it took, whether it was there already, its layers."""

    sidecar: Sidecar
    seconds: float
    from_cache: bool
    layers: tuple[Layer, ...]


def make_file(
    model: bytes,
    inputs: Mapping[str, Shape],
    manifest: Manifest,
    order: Order,
    out: Path,
    progress: Progress | None = None,
    detailed: bool = False,
) -> Made:
    """Write the file of an ONNX model's content, and its sidecar beside it.

    inputs: the model's, with -1 where a side varies. detailed: list the layers, and build even what was built before.
    Raises ModelError for what cannot be built, OSError for what cannot be written.
    """
    if order.runtime not in FILE_RUNTIMES:
        raise ModelError(f"the runtime should be one of {', '.join(FILE_RUNTIMES)}, got {order.runtime!r}")
    started = time.perf_counter()
    if order.runtime not in TENSORRT_RUNTIMES:
        sidecar = _sidecar(order, manifest, _version(order.runtime), (), "", {}, model, model)
        _write(out, model, sidecar)
        return Made(sidecar, time.perf_counter() - started, False, ())
    profiles = profiles_for(inputs, manifest, order)
    manifest = replace(manifest, largest_batch=_largest(profiles, manifest))
    capabilities, gpu = _target(order)
    _check_int8(order.runtime, manifest, capabilities)
    version = load_tensorrt(order.runtime).__version__
    key = cache_key(_everything(order, profiles, capabilities, gpu, version, sha256(model)))
    cached = cache_folder() / "engines" / f"{key}.engine"
    plan = b"" if detailed else _from_cache(cached)
    built: Built | None = None
    if not plan:
        built = _built(model, order, profiles, gpu, version, progress, detailed)
        plan = built.plan
    sidecar = _sidecar(order, manifest, version, capabilities, gpu, profiles, model, plan)
    if built is not None:
        _write(cached, plan, sidecar)
    _write(out, plan, sidecar)
    return Made(sidecar, time.perf_counter() - started, built is None, built.layers if built else ())


def profiles_for(inputs: Mapping[str, Shape], manifest: Manifest, order: Order) -> dict[str, Profile]:
    """The profiles of the inputs with sides that vary: people, frame sizes, a detector's letterboxed picture."""
    profiles: dict[str, Profile] = {}
    for name, shape in inputs.items():
        if -1 not in shape:
            continue
        if name == FRAME:
            shapes = _frame_sides(order.frame_sizes)
        elif manifest.task == "person_detector":
            side = manifest.input_size[0]
            wide = -(-side * 9 // 16 // SIDE_MULTIPLE) * SIDE_MULTIPLE
            sides = ((SIDE_MULTIPLE, SIDE_MULTIPLE), (wide, side), (side, side))
            shapes = [(1, height, width, 3) for height, width in sides]
        else:
            shapes = [(people, *shape[1:]) for people in order.batch]
        profiles[name] = shapes[0], shapes[1], shapes[2]
    return profiles


def _frame_sides(sizes: tuple[tuple[int, int], ...]) -> list[Shape]:
    """The least, usual and largest shape [H, W, 3] of frames of these sizes (width, height)."""
    if len(sizes) == 1:
        width, height = sizes[0]
        return [(height, width, 3)] * 3
    widths, heights = zip(*sizes, strict=True)
    least = min(*heights, LEAST_FRAME[1]), min(*widths, LEAST_FRAME[0]), 3
    return [least, (heights[0], widths[0], 3), (max(heights), max(widths), 3)]


def _largest(profiles: Mapping[str, Profile], manifest: Manifest) -> int:
    """How many people the engine takes at once."""
    people = [profile[2][0] for name, profile in profiles.items() if name != FRAME]
    return min(people) if people and manifest.task == "pose" else manifest.largest_batch


def _target(order: Order) -> tuple[tuple[str, ...], str]:
    """The capabilities to build for, and the name of the GPU that is built on, "" if none is needed."""
    check_capabilities(order.runtime, order.capabilities)
    if order.capabilities:
        return tuple(sorted(order.capabilities, key=float)), ""
    try:
        device = open_device()
    except ModelError as error:
        cure = "name the GPUs to build for: --compute-capability 8.6 8.9"
        if order.runtime == "tensorrt":
            cure = "build on the GPU that is to run the engine, or with --runtime tensorrt_rtx for GPUs elsewhere"
        raise ModelError(f"{error}; {cure}") from error
    return (device.capability,), device.name


def _check_int8(runtime: str, manifest: Manifest, capabilities: tuple[str, ...]) -> None:
    """Raises ModelError for int8 on GPUs for which TensorRT for RTX has none: it would compute in float32 unasked."""
    if runtime == "tensorrt_rtx" and manifest.precision == "int8" and TURING in capabilities:
        others = " ".join(name for name in capabilities if name != TURING)
        rest = f", and int8 for {others} alone" if others else ""
        raise ModelError(
            f"TensorRT for RTX has no int8 convolutions for compute capability {TURING}, and would compute all of them "
            f"in float32: build --precision fp16 of the float file for it{rest}"
        )


def _everything(
    order: Order, profiles: Mapping[str, Profile], capabilities: tuple[str, ...], gpu: str, version: str, onnx: str
) -> dict[str, Any]:
    """What an engine depends on."""
    return {
        "key": KEY_VERSION,
        "runtime": order.runtime,
        "version": version,
        "capabilities": capabilities,
        "gpu": gpu if order.runtime == "tensorrt" else "",
        "tf32": order.tf32,
        "profiles": dict(profiles),
        "onnx": onnx,
    }


def _from_cache(file: Path) -> bytes:
    """The engine of that key, nothing if there is none or it is damaged."""
    plan = read_if_there(file)
    try:
        return plan if plan and read_sidecar(file).engine_sha256 == sha256(plan) else b""
    except ModelError:
        return b""


def _built(
    model: bytes,
    order: Order,
    profiles: Mapping[str, Profile],
    gpu: str,
    version: str,
    progress: Progress | None,
    detailed: bool,
) -> Built:
    """Build, with the times that earlier builds on this GPU have measured."""
    times = cache_folder() / "timing" / f"{order.runtime}-{version}-{gpu.replace(' ', '_') or 'no_gpu'}.cache"
    options = BuildOptions(order.runtime, profiles, order.capabilities, order.tf32, detailed)
    built = build(model, options, progress, read_if_there(times))
    if built.timing_cache:
        write_whole(times, built.timing_cache)
    return built


def _sidecar(
    order: Order,
    manifest: Manifest,
    version: str,
    capabilities: tuple[str, ...],
    gpu: str,
    profiles: Mapping[str, Profile],
    model: bytes,
    content: bytes,
) -> Sidecar:
    return Sidecar(
        order.runtime,
        version,
        capabilities,
        gpu,
        manifest.precision,
        order.tf32,
        profiles,
        sha256(model),
        order.source,
        order.source_sha256,
        sha256(content),
        order.calibration_sha256,
        order.rebuild,
        manifest,
    )


def _write(file: Path, content: bytes, sidecar: Sidecar) -> None:
    # The old sidecar goes first: it must not stand beside the new engine if this is interrupted.
    sidecar_path(file).unlink(missing_ok=True)
    write_whole(file, content)
    write_sidecar(file, sidecar)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
