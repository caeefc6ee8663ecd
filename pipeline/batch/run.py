"""The inputs of a batch: which are still to do, what became of the others. Others do the work; see `Workers`."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.batch.folder import OutputFolder, Task
from pipeline.batch.job import JSON, VIDEO, Outcome, Work, run_job
from pipeline.batch.plan import Job, result_path, stamp
from pipeline.batch.progress import BatchProgress
from pipeline.sinks import Sink
from pipeline.stats import RunCounts, StageStats
from pipeline.stopping import Stop

ANEW = "--overwrite does everything anew"


class BatchError(RuntimeError):
    """Processes or machines that cannot work at all; the message says why."""


class Workers(Protocol):
    """Whoever does the work of a batch."""

    def run(self, batch: Batch, stop: Stop, stats: StageStats) -> None:
        """Take tasks until there are none or a stop, and tell the batch what becomes of each.

        stats: the times of all stages are added there. Raises BatchError, and ModelError for networks that do not fit.
        """


class Batch:
    """A batch under way. Its methods are for one thread.

    total: of the inputs that were processed in this run. bad: what is shown of an input -> its error.
    """

    def __init__(
        self, jobs: Sequence[Job], folder: OutputFolder, key: str, suffixes: Sequence[str], progress: BatchProgress,
        overwrite: bool = False,
    ) -> None:  # fmt: skip
        self.jobs, self._suffixes = jobs, suffixes
        self.total, self.bad = RunCounts(), dict[str, str]()
        self._folder, self._key, self._progress = folder, key, progress
        self._waiting: deque[tuple[Job, int]] = deque()
        self._reasons: Counter[str] = Counter()
        self._done_before: set[str] = set()
        self._start_s: float | None = None
        for job in jobs:
            why = "" if overwrite else folder.journal.why_not_done(job, key, stamp(job), suffixes)
            if why is None:
                self._done_before.add(job.name)
            else:
                self._reasons[why] += 1
                self._waiting.append((job, 1))

    @property
    def waiting(self) -> int:
        """How many inputs nobody has taken yet."""
        return len(self._waiting)

    def say(self, text: str) -> None:
        """A line for the user."""
        self._progress.say(text)

    def tell_plan(self) -> None:
        """Say what was done before, and what is done anew for which reasons."""
        if self._done_before:
            self._progress.say(f"{len(self._done_before)} of {len(self.jobs)} inputs were done before; {ANEW}")
        if anew := [f"{count} ({why})" for why, count in self._reasons.items() if why]:
            self._progress.say(f"done anew: {', '.join(anew)}")

    def take(self) -> Task | None:
        """The next attempt at an input; None if there is none. Raises SinkError for lack of disk."""
        if not self._waiting:
            return None
        self._start_s = self._start_s or time.monotonic()
        return self._folder.stage(*self._waiting.popleft())

    def progressed(self, slot: int, task: Task, frames: int, of: int | None) -> None:
        """Show how far an input is. slot: the number of the worker that has it."""
        self._progress.at(slot, task.job.shown, frames, of)

    def ended(self, slot: int, task: Task, outcome: Outcome) -> None:
        """An input has ended: keep and record its results, and say how it went. Raises SinkError for lack of disk."""
        job = task.job
        if outcome.error:
            # Named as it will lie there.
            final = self._folder.path / Path(job.name).parent
            outcome = replace(outcome, error=outcome.error.replace(str(task.stage), str(final)))
        try:
            self._folder.commit(task, outcome, self._key)
        except OSError as error:
            outcome = replace(outcome, state="bad", whole=False, suffixes=(), error=outcome.error or str(error))
            self._folder.commit(task, outcome, self._key)
        if outcome.error:
            self.bad[job.shown] = outcome.error
        self._count(outcome.counts)
        self._progress.ended(slot, job.shown, outcome, self.total.frames)

    def lost(self, slot: int, task: Task, why: str, tries: int) -> None:
        """The worker of an input is gone: the input is tried again, or given up after so many tries.

        why: what became of the worker.
        """
        self._folder.discard(task)
        if task.attempt < tries:
            self._waiting.appendleft((task.job, task.attempt + 1))
            self._progress.lost(slot, f"{task.job.shown}: {why}; it is tried again")
            return
        times = f", {task.attempt} times" if task.attempt > 1 else ""
        self.ended(slot, task, Outcome("bad", error=f"{task.job.shown}: {why}{times}"))

    def reports(self) -> list[dict[str, Any]]:
        """What became of each input that was processed now or before, for a machine."""
        return [self._report(job) for job in self.jobs if job.name in self._folder.journal.records]

    def _report(self, job: Job) -> dict[str, Any]:
        record = self._folder.journal.records[job.name]
        names = {"json": JSON, "video": VIDEO}
        paths = {name: str(result_path(self._folder.path, job.name, suffix)) for name, suffix in names.items()}
        results = {name: paths[name] if suffix in self._suffixes else None for name, suffix in names.items()}
        state = {"error": record.error, "state": record.state, "done_before": job.name in self._done_before}
        return {"input": job.shown, **results, **state, **record.counts}

    def _count(self, counts: RunCounts) -> None:
        """Add to the total. Inputs that run side by side share the seconds."""
        assert self._start_s is not None
        self.total.include(counts)
        self.total.seconds = min(self.total.seconds, time.monotonic() - self._start_s)


class ThisProcess:
    """Does the work of a batch here, one input after the other. more: sinks that see every frame of all of them."""

    def __init__(self, work: Work, more: Sequence[Sink] = ()) -> None:
        self._work, self._more = work, more

    def run(self, batch: Batch, stop: Stop, stats: StageStats) -> None:
        """See `Workers`."""
        networks = self._work.networks(stats)
        while not stop.requested and (task := batch.take()) is not None:
            self._run_task(task, batch, stop, networks)

    def _run_task(self, task: Task, batch: Batch, stop: Stop, networks: Any) -> None:
        def report(frames: int, of: int | None) -> None:
            batch.progressed(0, task, frames, of)

        batch.ended(0, task, run_job(task.job, task.results, self._work, networks, stop, report, self._more))
