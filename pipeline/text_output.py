"""A text file that has its name only once it is whole; until then `.partial` stands before its suffix."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path

from pipeline.pipes import PipeOutput, Waiting, is_pipe
from pipeline.sink_errors import SinkError, cannot_write


class TextOutput:
    """Text that grows by whole lines, so that a reader of the unfinished file sees no half ones.

    A path that exists and is no regular file, such as /dev/stdout or a pipe, is written to directly, and waits for its
    reader as `waiting` says. Everything here raises SinkError, but only once: afterwards nothing is written, and a file
    keeps the lines until then under its `.partial` name.
    """

    def __init__(self, path: Path, waiting: Waiting | None = None) -> None:
        self._failed = False
        direct = is_pipe(path)
        self._output = PipeOutput(path, waiting or Waiting()) if direct else _PartialFile(path)

    def write(self, text: str) -> None:
        """Append whole lines."""
        if not self._failed:
            self._failed = True
            self._output.write(text)
            self._failed = False

    def close(self) -> None:
        """Give the file its name."""
        if self._failed:
            self._output.abandon()
        else:
            self._output.close()


class _PartialFile:
    """A regular file."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, partial_path(path)
        self._whole = 0  # bytes of whole lines
        try:
            self._file = io.FileIO(self._partial, "w")
        except OSError as error:
            raise SinkError(cannot_write(path, error)) from error

    def write(self, text: str) -> None:
        data = text.encode()
        try:
            rest = data
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._whole)
            raise SinkError(f"{cannot_write(self._path, error)}; what came before is in {self._partial}") from error
        self._whole += len(data)

    def close(self) -> None:
        try:
            self._file.close()
            os.replace(self._partial, self._path)
        except OSError as error:
            raise SinkError(cannot_write(self._path, error)) from error

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()


def partial_path(path: Path) -> Path:
    """Where a file is written to until it is whole."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")
