"""The output folder of a batch: held by one run at a time, and results get their names only once they are whole.

Until then they are written to a folder of their own below `.darkstream/work`, which the next run empties. Then: the old
record is voided, the results are renamed, the new record is appended. A kill between any two of these leaves an input
either done or to be done again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from pipeline.batch.job import Outcome, flush_to_disk
from pipeline.batch.journal import Journal, Record
from pipeline.batch.plan import RECORDS, Job, result_path, stamp
from pipeline.sink_errors import SinkError

PARTIAL = ".partial"


@dataclass(frozen=True)
class Task:
    """One attempt at an input.

    stage: the folder for its results, which no other attempt has. attempt: from 1. stamp: of the input before it.
    """

    job: Job
    stage: Path
    attempt: int
    stamp: list[int] | None

    @property
    def results(self) -> Path:
        """Where the results go, to which a suffix is added."""
        return self.stage / self.job.name.rsplit("/", 1)[-1]


class OutputFolder:
    """The folder, as a context that holds it. Raises SinkError if another run holds it, or if it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = path.absolute() / RECORDS
        self._work = self._records / "work"
        self._file: TextIO | None = None
        self._attempts = 0

    def __enter__(self) -> OutputFolder:
        try:
            self._records.mkdir(parents=True, exist_ok=True)
            self._file = open(self.lock, "a+", encoding="utf-8")
            self._take(self._file)
            shutil.rmtree(self._work, ignore_errors=True)
            self.journal = Journal(self._records / "results.jsonl", self.path)
        except OSError as error:
            self._release()
            if isinstance(error, SinkError):
                raise
            raise SinkError(f"{self.path}: cannot be used as output folder ({error.strerror})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        self._release()

    @property
    def lock(self) -> Path:
        """The file that says who holds the folder."""
        return self._records / "lock"

    def stage(self, job: Job, attempt: int) -> Task:
        """A fresh folder for the results of an attempt."""
        self._attempts += 1
        # The process id, since workers of a killed run may still be writing to a folder of theirs.
        folder = self._work / f"{socket.gethostname()}-{os.getpid()}-{self._attempts}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise SinkError(f"{folder}: cannot be made ({error.strerror})") from error
        return Task(job, folder, attempt, stamp(job))

    def commit(self, task: Task, outcome: Outcome, key: str) -> None:
        """Give the results of an attempt their names, or `NAME.partial` names if they are not whole, and record it.

        Unfinished results never replace whole ones. Raises SinkError.
        """
        job, earlier = task.job, self.journal.records.get(task.job.name)
        if earlier is not None and earlier.state == "done":
            self.journal.append(Record(job.name, job.origin, "void"))
        mark = "" if outcome.whole else PARTIAL
        sizes: dict[str, int] = {}
        try:
            for suffix in outcome.suffixes:
                staged = result_path(task.stage, task.results.name, suffix)
                final = result_path(self.path, job.name, mark + suffix)
                final.parent.mkdir(parents=True, exist_ok=True)
                sizes[mark + suffix] = staged.stat().st_size
                os.replace(staged, final)
            if sizes:
                flush_to_disk(result_path(self.path, job.name, "").parent)
            # What an interrupted run has left of this input.
            for suffix in earlier.results if earlier else ():
                if suffix.startswith(PARTIAL) and suffix not in sizes:
                    result_path(self.path, job.name, suffix).unlink(missing_ok=True)
        except OSError as error:
            raise SinkError(f"{self.path / job.name}: cannot be written ({error.strerror})") from error
        record = Record(
            job.name,
            job.origin,
            outcome.state,
            key,
            task.stamp,
            sizes,
            outcome.counts.as_dict(),
            outcome.error,
            outcome.trace,
        )
        self.journal.append(record)
        self.discard(task)

    def discard(self, task: Task) -> None:
        """Throw away what an attempt has left."""
        shutil.rmtree(task.stage, ignore_errors=True)

    def _take(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            who = lock.read().strip() or "another run"
            raise SinkError(f"{self.path}: {who} is writing there; wait for it, or choose another --out") from error
        lock.truncate(0)
        lock.write(f"the run with process id {os.getpid()} on {socket.gethostname()}")
        lock.flush()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
