"""A text file that has its name only once it is whole; until then `.partial` stands before its suffix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO


class SinkError(OSError):
    """An output that cannot be opened or written; the message says which and why."""


class TextOutput:
    """Text that grows line by line, so that a reader of the unfinished file sees whole lines.

    A path that exists and is no regular file, such as /dev/stdout or a pipe, is written to directly. Everything here
    raises SinkError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        direct = path.exists() and not path.is_file()
        self._writing_to = path if direct else partial_path(path)
        try:
            # newline="": what is written ends its lines itself.
            self._file: TextIO = open(self._writing_to, "w", encoding="utf-8", buffering=1, newline="")  # noqa: SIM115
        except OSError as error:
            raise SinkError(cannot_write(path, error)) from error

    def write(self, text: str) -> None:
        """Append whole lines."""
        try:
            self._file.write(text)
        except OSError as error:
            raise SinkError(cannot_write(self._path, error)) from error

    def close(self) -> None:
        """Give the file its name."""
        try:
            self._file.close()
            if self._writing_to != self._path:
                os.replace(self._writing_to, self._path)
        except OSError as error:
            raise SinkError(cannot_write(self._path, error)) from error


def partial_path(path: Path) -> Path:
    """Where a file is written to until it is whole."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def cannot_write(path: Path, error: OSError) -> str:
    """The message of a failed write."""
    return f"{path}: cannot be written ({error.strerror or error})"
