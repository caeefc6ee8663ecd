"""Fixtures that several files of tests use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from apps import video, webcam
from pipeline import pipes
from tests.fakes import BlobNetworks


class Pipe(NamedTuple):
    """A named pipe and the descriptor of its reader."""

    path: Path
    reader: int

    def read(self) -> bytes:
        """Everything in it now."""
        found = b""
        with suppress(BlockingIOError):
            while more := os.read(self.reader, 1 << 16):
                found += more
        return found


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """A named pipe with a reader that reads only when asked to."""
    monkeypatch.setattr(pipes, "PATIENCE_S", 0.05)
    monkeypatch.setattr(pipes, "WAKE_S", 0.02)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    yield Pipe(tmp_path / "pipe", reader)
    os.close(reader)


@pytest.fixture
def blob_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The apps find bright blobs in place of people."""
    monkeypatch.setattr(video, "Networks", BlobNetworks)
    monkeypatch.setattr(webcam, "Networks", BlobNetworks)
