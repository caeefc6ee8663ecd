"""Whether an engine file fits what is here. Each mismatch names both sides and the command that builds it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engines.manifest import ModelError
from engines.sidecar import Profile, Sidecar, sha256


class Gpu(Protocol):
    """What is to be known of a GPU: name, and capability as in "8.6"."""

    name: str
    capability: str


def check_fit(file: Path, sidecar: Sidecar, version: str, gpu: Gpu) -> bytes:
    """The content of an engine file that fits. Raises ModelError if it does not fit its sidecar, TensorRT or the GPU,
    or if the ONNX file that it was built from has changed.
    """
    content = file.read_bytes()
    cure = f"rebuild it with: {sidecar.rebuild}"
    if sha256(content) != sidecar.engine_sha256:
        found = f"is not the file that its sidecar describes (hash {sha256(content)[:12]}"
        raise ModelError(f"{file} {found}, expected {sidecar.engine_sha256[:12]}): copy both again, or {cure}")
    if sidecar.runtime_version != version:
        built = f"was built by {sidecar.runtime} {sidecar.runtime_version}"
        raise ModelError(f"{file} {built}, and here is {version}: {cure}")
    if gpu.capability not in sidecar.capabilities:
        built = f"was built for compute capability {', '.join(sidecar.capabilities) or 'none'}"
        option = f" --compute-capability {gpu.capability}" if sidecar.runtime == "tensorrt_rtx" else ""
        raise ModelError(f"{file} {built}, and {gpu.name} has {gpu.capability}: {cure}{option}")
    source = file.parent / sidecar.source if sidecar.source else None
    if source is not None and source.is_file() and sha256(source.read_bytes()) != sidecar.source_sha256:
        raise ModelError(f"{file} was built from another {source} than the one that is there now: {cure}")
    return content


def check_profile(name: str, shape: Sequence[int], profile: Profile, rebuild: str) -> None:
    """Raises ValueError if an input's shape is outside the profile."""
    least, _, largest = profile
    if not all(low <= side <= high for low, side, high in zip(least, shape, largest, strict=True)):
        raise ValueError(
            f"the engine takes {name} from {list(least)} to {list(largest)}, got {list(shape)}: rebuild it with "
            f"other --batch or --frame-size: {rebuild}"
        )
