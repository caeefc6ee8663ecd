"""What is known of an engine file, in a JSON file beside it: trtexec and Triton read plain plans, so not inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.manifest import Manifest, ModelError
from engines.versioned_json import fields_from_json

SIDECAR_VERSION = 1
SUFFIX = ".json"
Shape = tuple[int, ...]
Profile = tuple[Shape, Shape, Shape]


@dataclass(frozen=True)
class Sidecar:
    """What an engine file was built from and what it runs on.

    runtime, runtime_version: what built it. capabilities: of the GPUs it runs on, as in "8.6"; empty for CPUs.
    gpu: the name of the one it was built on, "" if it was built without. precision: one of manifest.PRECISIONS, of the
    network. tf32: whether float32 products may be rounded to TF32. profiles: input -> its least, usual and largest
    shape. onnx_sha256: of the ONNX that was built. source, source_sha256: the ONNX file that this was made of, as seen
    from the engine's folder, and its hash; both "" if there was none. engine_sha256: of the engine file.
    calibration_sha256: of the calibration data of an int8 network, where the ONNX says it. manifest: of the ONNX.
    rebuild: the command.
    """

    runtime: str
    runtime_version: str
    capabilities: tuple[str, ...]
    gpu: str
    precision: str
    tf32: bool
    profiles: Mapping[str, Profile]
    onnx_sha256: str
    source: str
    source_sha256: str
    engine_sha256: str
    calibration_sha256: str | None
    rebuild: str
    manifest: Manifest

    def to_json(self) -> str:
        """The sidecar as one JSON object, with its version."""
        values = {**asdict(self), "manifest": json.loads(self.manifest.to_json())}
        return json.dumps({"sidecar_version": SIDECAR_VERSION, **values}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Sidecar:
        """The sidecar of such an object. Raises ValueError naming an unknown version, unknown or missing keys."""
        values = fields_from_json(text, Sidecar, "sidecar", SIDECAR_VERSION)
        try:
            values["profiles"] = {name: _profile(shapes) for name, shapes in values["profiles"].items()}
            values["capabilities"] = tuple(str(value) for value in values["capabilities"])
        except (AttributeError, TypeError) as error:
            raise ValueError(f"sidecar: profiles or capabilities are damaged: {error}") from error
        values["manifest"] = Manifest.from_json(json.dumps(values["manifest"]))
        return Sidecar(**values)


def sidecar_path(engine: Path) -> Path:
    """Where the sidecar of an engine file lies: beside it, with .json after its name."""
    return engine.with_name(engine.name + SUFFIX)


def read_sidecar(engine: Path) -> Sidecar:
    """The sidecar of an engine file. Raises ModelError that names the file if there is no valid one."""
    file = sidecar_path(engine)
    how = "build the engine again with python apps/build_engine.py"
    try:
        return Sidecar.from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{engine} has no sidecar: expected {file.name} beside it; copy both, or {how}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: {error}; {how}") from error


def write_sidecar(engine: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of an engine file beside it."""
    sidecar_path(engine).write_text(sidecar.to_json(), encoding="utf-8")


def sha256(content: bytes) -> str:
    """The hash of a file's content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _profile(shapes: Any) -> Profile:
    least, usual, largest = (tuple(int(side) for side in shape) for shape in shapes)
    return least, usual, largest
