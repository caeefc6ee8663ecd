"""The one contract of every runtime, and the way to open a network file with one of them."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from engines.manifest import Manifest, ModelError, manifest_from_metadata
from engines.sidecar import read_sidecar, sha256

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "Engine",
    "ModelError",
    "file_sha256",
    "open_engine",
    "prefers_int8",
    "read_manifest",
]

RUNTIMES = ("auto", "openvino", "onnxruntime")
PRECISIONS = ("auto", "float32", "bfloat16")
X86 = ("x86_64", "AMD64")  # as Linux and Windows call it
# Of files built by apps/build_engine.py for a GPU: runtime and precision are settled in them.
ENGINE_SUFFIX = ".engine"


class Engine(Protocol):
    """A network that is ready to run.

    The call takes and returns arrays by name. All inputs but a whole `frame` uint8 [H, W, 3] have the same first
    dimension N; any N will do, as batches beyond `manifest.largest_batch` are split, and 0 gives empty outputs. The
    arrays returned are the caller's own.
    Raises ValueError for inputs of another name, type or shape than the network's.
    """

    manifest: Manifest

    def __call__(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run the network."""
        ...


def open_engine(path: str | Path, runtime: str = "auto", precision: str = "auto", threads: int | None = None) -> Engine:
    """The network of an ONNX file, ready to run on the CPU, or of an .engine file, on the GPU.

    runtime: one of RUNTIMES; "auto" is OpenVINO, or ONNX Runtime where OpenVINO is not installed.
    precision: one of PRECISIONS; "auto" is what the runtime holds for fastest, for OpenVINO bfloat16 where the CPU
    has it. threads: how many CPU threads to use, None for all cores.
    Raises ModelError for a file that is missing, empty, no ONNX or no network of this project, and for a runtime or
    precision that is unknown or not to be had here.
    """
    _check_choice("precision", precision, PRECISIONS)
    if threads is not None and threads < 1:
        raise ModelError(f"threads should be a positive number, or None for all cores, got {threads}")
    if Path(path).suffix == ENGINE_SUFFIX:
        return _open_on_gpu(_readable(path), runtime, precision)
    runtime, file = _installed(runtime), _readable(path)
    if runtime == "openvino":
        from engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(file, precision, threads)
    from engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, precision, threads)


def read_manifest(path: str | Path, runtime: str = "auto") -> Manifest:
    """The manifest of a network file, without preparing the network to run. Raises ModelError as open_engine does."""
    if Path(path).suffix == ENGINE_SUFFIX:
        return read_sidecar(_readable(path)).manifest
    runtime, file = _installed(runtime), _readable(path)
    if runtime == "openvino":
        from engines.openvino_engine import read_metadata
    else:
        from engines.onnxruntime_engine import read_metadata
    return manifest_from_metadata(read_metadata(file), file)


def prefers_int8() -> bool:
    """Whether a detector in int8 is faster here than one of floats: in OpenVINO, on an x86 CPU without AMX.

    With AMX bfloat16 is the faster one; ONNX Runtime is slower in int8.
    """
    if platform.machine() not in X86 or find_spec("openvino") is None:
        return False
    from engines.openvino_engine import has_amx

    return not has_amx()


def file_sha256(path: str | Path) -> str:
    """The hash of a network file, in hexadecimal digits. Raises ModelError if it is missing, unreadable or empty."""
    return sha256(_readable(path).read_bytes())


def _open_on_gpu(file: Path, runtime: str, precision: str) -> Engine:
    """The network of an engine file; what was asked for has to be what it was built for."""
    sidecar = read_sidecar(file)
    for name, asked, built in (("runtime", runtime, sidecar.runtime), ("precision", precision, sidecar.precision)):
        if asked not in ("auto", built):
            cure = f"leave the {name} auto, or rebuild it as {sidecar.rebuild}"
            raise ModelError(f"{file} was built for the {name} {built}, and {asked} was asked for: {cure}")
    from engines.tensorrt_engine import TensorRtEngine

    return TensorRtEngine(file)


def _installed(runtime: str) -> str:
    """The runtime to use: the one asked for, or the first that is installed."""
    _check_choice("runtime", runtime, RUNTIMES)
    if runtime == "onnxruntime" and find_spec(runtime) is None:
        raise ModelError('the runtime onnxruntime is not installed: pip install -e ".[train]"')
    wanted = RUNTIMES[1:] if runtime == "auto" else (runtime,)
    for name in wanted:
        if find_spec(name) is not None:
            return name
    raise ModelError('the runtime openvino is not installed: pip install -e ".[cpu]"')


def _readable(path: str | Path) -> Path:
    """The path of a file that can be read and holds something."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            first = stream.read(1)
    except FileNotFoundError as error:
        raise ModelError(f"{file}: no such network file") from error
    except OSError as error:
        raise ModelError(f"{file} cannot be read as a network file: {error.strerror}") from error
    if not first:
        raise ModelError(f"{file} is empty (0 bytes), expected an ONNX network: copy or export it again")
    return file


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ModelError(f"{name} should be one of {', '.join(allowed)}, got {value!r}")
