"""Files that are made once: engines by everything they depend on, and what runtimes want to be kept for them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.sidecar import sha256


def cache_folder() -> Path:
    """$DARKSTREAM_CACHE, or darkstream in the user's folder for caches."""
    own = os.environ.get("DARKSTREAM_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkstream"


def cache_key(parts: Mapping[str, Any]) -> str:
    """A name for everything in `parts`, which JSON can hold."""
    return sha256(json.dumps(parts, sort_keys=True).encode())


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees a part of it. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_if_there(file: Path) -> bytes:
    """The content of a file, nothing if there is none."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
