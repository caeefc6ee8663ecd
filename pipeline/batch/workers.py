"""A batch in several processes of this machine. One that dies costs its input an attempt, not the run."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import cv2

from pipeline.batch.folder import Task
from pipeline.batch.job import Work, run_job
from pipeline.batch.run import Batch, BatchError
from pipeline.stats import StageStats
from pipeline.stopping import Stop

WAKE_S = 0.2
JOIN_S = 5.0
TRIES = 2  # of an input whose process dies
STOP = "stop"
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """The CPU cores that this process may use, as its affinity and its container have it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = CPU_QUOTA.read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


@dataclass
class _Worker:
    """A process, our end of the pipe to it, and what it is at."""

    slot: int
    process: SpawnProcess
    pipe: Any
    ready: bool = False
    task: Task | None = None


class Processes:
    """Does the work of a batch in `count` processes, each with networks of its own."""

    def __init__(self, work: Work, count: int) -> None:
        self._work, self._count = work, count
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Any, _Worker] = {}
        self._told_to_stop = False

    def run(self, batch: Batch, stop: Stop, stats: StageStats) -> None:
        """See `Workers`."""
        try:
            for slot in range(min(self._count, batch.waiting)):
                self._start(slot)
            while self._workers:
                if stop.requested and not self._told_to_stop:
                    self._tell_all_to_stop()
                for pipe in wait(list(self._workers), WAKE_S):
                    self._hear(self._workers[pipe], batch, stop, stats)
        finally:
            for worker in self._workers.values():
                worker.process.kill()

    def _start(self, slot: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work_for, args=(theirs, self._work), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = _Worker(slot, process, ours)

    def _hear(self, worker: _Worker, batch: Batch, stop: Stop, stats: StageStats) -> None:
        """One message of a worker, or its end."""
        try:
            kind, *content = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker, batch, stop)
            return
        if kind == "failed":
            raise content[0]
        if kind == "progress" and worker.task:
            batch.progressed(worker.slot, worker.task, *content)
        elif kind == "stats":
            stats.include(content[0])
        elif kind == "ended":
            task, worker.task = worker.task, None
            assert task is not None
            batch.ended(worker.slot, task, content[0])
        if kind in ("ready", "ended"):
            worker.ready = True
            worker.task = None if stop.requested else batch.take()
            with suppress(OSError):  # it has died, which the next message says
                worker.pipe.send(worker.task)

    def _bury(self, worker: _Worker, batch: Batch, stop: Stop) -> None:
        """A process has ended: when it was told to, or by itself, in the middle of an input."""
        del self._workers[worker.pipe]
        worker.pipe.close()
        worker.process.join(JOIN_S)
        worker.process.kill()
        how = _in_words(worker.process.exitcode)
        if worker.task is not None:
            batch.lost(worker.slot, worker.task, f"the process that worked on it {how}", TRIES)
        elif not worker.ready:
            raise BatchError(f"a worker process {how} before it was ready to work; --jobs 1 does without")
        if batch.waiting and not stop.requested:
            self._start(worker.slot)

    def _tell_all_to_stop(self) -> None:
        self._told_to_stop = True
        for worker in self._workers.values():
            with suppress(OSError):
                worker.pipe.send(STOP)


def _in_words(exit_code: int | None) -> str:
    """What became of a process."""
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            name = signal.Signals(-exit_code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"was killed by {name}{hint}"
    return f"ended with exit code {exit_code}"


def _work_for(pipe: Connection[Any, Any], work: Work) -> None:
    """The life of a worker process: it opens the networks and does what comes through the pipe until None comes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C goes to us as well; our parent decides
    if work.threads is not None:
        cv2.setNumThreads(work.threads)
    stop, tasks = Stop(), queue.SimpleQueue[Task | None]()
    threading.Thread(target=_listen, args=(pipe, stop, tasks), daemon=True).start()
    stats = StageStats()
    try:
        networks = work.networks(stats)
    except Exception as error:
        pipe.send(("failed", error))
        return
    pipe.send(("ready",))
    while (task := tasks.get()) is not None:
        outcome = run_job(
            task.job, task.results, work, networks, stop, lambda frames, of: pipe.send(("progress", frames, of))
        )
        pipe.send(("ended", outcome))
    pipe.send(("stats", stats))


def _listen(pipe: Connection[Any, Any], stop: Stop, tasks: queue.SimpleQueue[Task | None]) -> None:
    """Take what comes through the pipe; without a parent at its other end there is no work to do."""
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        if message == STOP:
            stop.request()
        else:
            tasks.put(message)
