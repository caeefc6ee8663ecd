"""Text to a pipe, a device or /dev/stdout, whose reader may be slow or stop reading, and must not hold the program."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.sink_errors import SinkError, cannot_write

STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}
AT_ONCE = 4096  # bytes that a pipe takes without waiting once it takes any (POSIX: at least 512)
PATIENCE_S = 1.0  # a live run waits so long for a reader
WAKE_S = 0.2  # how soon a stop is noticed


def never() -> bool:
    """What stops a run that nothing stops."""
    return False


@dataclass(frozen=True)
class Waiting:
    """How to wait for a reader. live: leave lines out rather than wait longer than a second. stopped: wait no more."""

    live: bool = False
    stopped: Callable[[], bool] = never


def is_pipe(path: Path) -> bool:
    """Whether a path is written to directly: it exists and is no regular file, or is one of the standard streams."""
    return str(path) in STANDARD or (path.exists() and not path.is_file())


class PipeOutput:
    """Lines to a path that is no regular file. A named pipe is opened once it has a reader. Raises SinkError."""

    def __init__(self, path: Path, waiting: Waiting) -> None:
        self._path, self._waiting = path, waiting
        self._rest = b""  # of a line that has been begun
        self._left_out = 0
        self._stalled = False
        try:
            self._file = os.dup(STANDARD[str(path)]) if str(path) in STANDARD else self._open()
        except SinkError:
            raise
        except OSError as error:
            raise SinkError(cannot_write(path, error)) from error

    def write(self, text: str) -> None:
        """Append the lines of a frame. A live run leaves them out, all or none, if nobody has read for a while."""
        self._rest = self._written(self._rest)
        data = text.encode()
        rest = data if self._rest else self._written(data)
        if len(rest) < len(data):
            self._rest = rest
        else:
            self._left_out += bool(data)

    def close(self) -> None:
        """Close it. SinkError if something was left out."""
        try:
            left_out = self._left_out + bool(self._written(self._rest))
        finally:
            os.close(self._file)
        if left_out:
            raise SinkError(f"{self._path}: its reader fell behind; the lines of {left_out} frames were left out")

    def abandon(self) -> None:
        """Close it after an error."""
        os.close(self._file)

    def _open(self) -> int:
        """Without a reader a named pipe would hold the program, deaf to Ctrl-C, until there is one."""
        while True:
            try:
                file = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                if self._waiting.stopped():
                    raise SinkError(f"{self._path}: stopped before anything read from it") from error
                time.sleep(WAKE_S)
                continue
            os.set_blocking(file, True)
            return file

    def _written(self, data: bytes) -> bytes:
        """What of the data could not be written."""
        try:
            while data and self._is_ready():
                data = data[os.write(self._file, data[:AT_ONCE]) :]
        except SinkError:
            raise
        except OSError as error:
            raise SinkError(cannot_write(self._path, error)) from error
        return data

    def _is_ready(self) -> bool:
        """Whether it takes something: at once, or within the patience of a live run, or else whenever it does."""
        poll = select.poll()
        poll.register(self._file, select.POLLOUT)
        start = time.monotonic()
        patience_s = (0.0 if self._stalled else PATIENCE_S) if self._waiting.live else float("inf")
        while not poll.poll(min(WAKE_S, patience_s) * 1000):
            if time.monotonic() - start >= patience_s or self._waiting.stopped():
                self._stalled = True
                if not self._waiting.live:
                    raise SinkError(f"{self._path}: stopped while nothing read from it")
                return False
        self._stalled = False
        return True
