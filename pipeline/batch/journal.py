"""What became of each input of a batch: one JSON line each, appended when its results have their names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pipeline.batch.plan import Job, result_path
from pipeline.sink_errors import SinkError

State = Literal["done", "bad", "interrupted", "void"]


@dataclass(frozen=True)
class Record:
    """What became of an input.

    state: "void" where results are about to be replaced. key: of the options and networks, see `options_key`.
    stamp: of the input, see `plan.stamp`. results: suffix -> bytes. counts: of frames and people.
    """

    name: str
    origin: str
    state: State
    key: str = ""
    stamp: list[int] | None = None
    results: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    trace: str | None = None


def options_key(options: Mapping[str, Any]) -> str:
    """A short name for everything that the results depend on beside the input."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


class Journal:
    """The records of an output folder, by name; the last one of a name counts.

    A line that a power loss cut short counts as not written.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        """Read the file, if there is one. folder: where the results are. Raises SinkError."""
        self._file, self._folder = file, folder
        self.records: dict[str, Record] = {}
        try:
            content = file.read_bytes() if file.exists() else b""
        except OSError as error:
            raise SinkError(f"{file}: cannot be read ({error.strerror})") from error
        self._torn = bool(content) and not content.endswith(b"\n")
        for record in _records(content.splitlines()):
            self.records[record.name] = record

    def owners(self) -> dict[str, str]:
        """Name -> the input that has it."""
        return {name: record.origin for name, record in self.records.items()}

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns. Raises SinkError."""
        line = json.dumps(asdict(record)) + "\n"
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write("\n" + line if self._torn else line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(f"{self._file}: cannot be written ({error.strerror})") from error
        self._torn = False
        self.records[record.name] = record

    def why_not_done(self, job: Job, key: str, stamp: list[int] | None, suffixes: Iterable[str]) -> str | None:
        """None if the results of an input are there and would come out the same, else why not: "" if it is new."""
        record = self.records.get(job.name)
        if record is None:
            return ""
        if record.state == "bad":
            return "failed before"
        if record.state != "done":
            return "interrupted before"
        if stamp is None or record.stamp != stamp:
            return "the input has changed"
        if record.key != key:
            return "other options or networks"
        for suffix in suffixes:
            try:
                size = result_path(self._folder, job.name, suffix).stat().st_size
            except OSError:
                size = None
            if size is None or record.results.get(suffix) != size:
                return "results are missing or changed"
        return None


def _records(lines: Iterable[bytes]) -> Iterable[Record]:
    names = {entry.name for entry in fields(Record)}
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and {"name", "origin", "state"} <= values.keys() <= names:
            yield Record(**values)
