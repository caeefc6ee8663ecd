"""What goes wrong with outputs, in words."""

from __future__ import annotations

from pathlib import Path


class SinkError(OSError):
    """An output that cannot be opened or written; the message says which and why."""


def cannot_write(path: Path, error: OSError) -> str:
    """The message of a failed write."""
    return f"{path}: cannot be written ({error.strerror or error})"
