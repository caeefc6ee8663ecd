"""A batch on a Ray cluster: an actor holds the networks and does one input after the other.

Only this program names results and keeps the record. What an actor of a lost node may still write goes to a folder that
nobody reads any more, so that no frame comes twice.
"""

from __future__ import annotations

import logging
import platform
import signal
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from engines.engine import ModelError, file_sha256
from pipeline.batch.folder import Task
from pipeline.batch.job import OpenNetworks, Outcome, Work, run_job
from pipeline.batch.ray_library import RayError, RaySystemError, ray
from pipeline.batch.run import Batch, BatchError
from pipeline.stats import StageStats
from pipeline.stopping import Stop

WAKE_S = 0.2
COUNT_NODES_S = 5.0
REPORT_S = 1.0
CONNECT_S = 10.0
TRIES = 4  # of an input whose actor is lost: nodes may come and go
WAITING_S = 15.0  # for a first actor, before we say that we wait


@dataclass(frozen=True)
class Cluster:
    """Where to work. address: as Ray has it. actors: None for as many as the nodes have cpus and gpus for."""

    address: str
    actors: int | None
    cpus: int
    gpus: float


class _Actor:
    """What runs on a node; its methods answer with values, so that an error reaches the user as one line."""

    def __init__(self, work: Work) -> None:
        self._work, self._stop, self._stats = work, Stop(), StageStats()
        self._frames: tuple[int, int | None] = (0, None)
        self._networks: OpenNetworks | None = None

    def open(self, lock: Path, holder: str, hashes: dict[Path, str]) -> Exception | None:
        """Open the networks; the error if this node does not see the folder or has other networks."""
        node = platform.node()
        try:
            if lock.read_text(encoding="utf-8") != holder:
                raise OSError
        except OSError:
            folder = lock.parent.parent
            return BatchError(f"the node {node} does not see the output folder {folder}: all nodes have to share it")
        try:
            for file, expected in hashes.items():
                if file_sha256(file) != expected:
                    return ModelError(f"{file} on the node {node} is another network than here; copy it there")
            if self._work.threads is not None:
                cv2.setNumThreads(self._work.threads)
            self._networks = self._work.networks(self._stats)
        except Exception as error:
            return BatchError(f"the node {node} cannot work: {error}")
        return None

    def run(self, task: Task) -> Outcome:
        """Do an input."""
        assert self._networks is not None
        self._frames = (0, None)
        return run_job(task.job, task.results, self._work, self._networks, self._stop, self._report)

    def frames(self) -> tuple[int, int | None]:
        """How far the input is, and of how many frames."""
        return self._frames

    def stop(self) -> None:
        """End the input early."""
        self._stop.request()

    def stats(self) -> StageStats:
        """The times of all inputs until now."""
        return self._stats

    def _report(self, frames: int, of: int | None) -> None:
        self._frames = (frames, of)


@dataclass
class _Worker:
    """An actor, what it is at, and when it is asked how far it is."""

    slot: int
    actor: Any
    ready: bool = False
    task: Task | None = None
    ask_s: float = 0.0


class RayActors:
    """Does the work of a batch on a Ray cluster. hashes: of the network files, by their absolute paths."""

    def __init__(self, work: Work, cluster: Cluster, lock: Path, hashes: dict[Path, str]) -> None:
        self._work, self._cluster, self._lock, self._hashes = work, cluster, lock, hashes
        self._holder = lock.read_text(encoding="utf-8")
        self._pending: dict[Any, tuple[_Worker, Callable[..., None]]] = {}  # what was asked of an actor -> who hears it
        self._workers: dict[int, _Worker] = {}
        self._never_ready = 0
        self._told_to_stop = False

    def run(self, batch: Batch, stop: Stop, stats: StageStats) -> None:
        """See `Workers`."""
        self._batch, self._stop, self._stats = batch, stop, stats
        _connect(self._cluster.address)
        try:
            self._work_until_done()
        except (ConnectionError, RaySystemError) as error:
            raise BatchError(f"the Ray cluster is lost ({_first_line(error)}); the same command goes on") from error
        finally:
            ray.shutdown()

    def _work_until_done(self) -> None:
        start_s, count_s, told = time.monotonic(), 0.0, False
        while (self._batch.waiting and not self._stop.requested) or any(w.task for w in self._workers.values()):
            now = time.monotonic()
            if now >= count_s:
                count_s = now + COUNT_NODES_S
                self._start_actors()
            if not told and now - start_s > WAITING_S and not any(worker.ready for worker in self._workers.values()):
                told = True
                self._batch.say(f"waiting for {self._cluster.cpus} free CPUs on a node of the Ray cluster")
            if self._stop.requested and not self._told_to_stop:
                self._tell_all_to_stop()
            self._ask_how_far(now)
            done, _ = ray.wait(list(self._pending), timeout=WAKE_S)
            for reference in done:
                self._hear(reference)
        self._collect_stats()

    def _start_actors(self) -> None:
        """As many as there is room and work for; nodes may have come."""
        busy = sum(worker.task is not None for worker in self._workers.values())
        room = self._cluster.actors or _room(self._cluster)
        if not room:
            wanted = f"{self._cluster.cpus} CPUs and {self._cluster.gpus:g} GPUs"
            raise BatchError(f"no node of the Ray cluster has {wanted}; see --ray-cpus and --ray-gpus")
        remote = ray.remote(_Actor).options(
            num_cpus=self._cluster.cpus, num_gpus=self._cluster.gpus, max_concurrency=2, max_restarts=0
        )
        while len(self._workers) < min(room, busy + self._batch.waiting) and not self._stop.requested:
            slot = next(number for number in range(len(self._workers) + 1) if number not in self._workers)
            worker = self._workers[slot] = _Worker(slot, remote.remote(self._work))
            self._ask(worker, worker.actor.open.remote(self._lock, self._holder, self._hashes), self._opened)

    def _ask(self, worker: _Worker, reference: Any, hear: Callable[..., None]) -> None:
        self._pending[reference] = (worker, hear)

    def _hear(self, reference: Any) -> None:
        """An answer, or that there will be none."""
        worker, hear = self._pending.pop(reference)
        if self._workers.get(worker.slot) is not worker:
            return
        try:
            answer = ray.get(reference)
        except RayError as error:
            self._bury(worker, error)
        else:
            hear(worker, answer)

    def _opened(self, worker: _Worker, error: Exception | None) -> None:
        if error is not None:
            raise error
        worker.ready = True
        self._give(worker)

    def _ended(self, worker: _Worker, outcome: Outcome) -> None:
        task, worker.task = worker.task, None
        assert task is not None
        self._batch.ended(worker.slot, task, outcome)
        self._give(worker)

    def _give(self, worker: _Worker) -> None:
        """The next input, if there is one."""
        worker.task = None if self._stop.requested else self._batch.take()
        if worker.task is not None:
            worker.ask_s = time.monotonic() + REPORT_S
            self._ask(worker, worker.actor.run.remote(worker.task), self._ended)

    def _ask_how_far(self, now: float) -> None:
        for worker in self._workers.values():
            if worker.task is not None and now >= worker.ask_s:
                worker.ask_s = float("inf")
                self._ask(worker, worker.actor.frames.remote(), self._progressed)

    def _progressed(self, worker: _Worker, frames: tuple[int, int | None]) -> None:
        worker.ask_s = time.monotonic() + REPORT_S
        if worker.task is not None:
            self._batch.progressed(worker.slot, worker.task, *frames)

    def _bury(self, worker: _Worker, error: RayError) -> None:
        """An actor or its node is gone; whatever still runs there is ended."""
        del self._workers[worker.slot]
        self._never_ready = 0 if worker.ready else self._never_ready + 1
        if self._never_ready >= TRIES:
            raise BatchError(f"no actor can start on the Ray cluster ({_first_line(error)})")
        with suppress(Exception):
            ray.kill(worker.actor)
        if worker.task is not None:
            why = f"the node or process that worked on it was lost ({_first_line(error)})"
            self._batch.lost(worker.slot, worker.task, why, TRIES)
        for other in self._workers.values():
            if other.ready and other.task is None:
                self._give(other)
        self._start_actors()

    def _tell_all_to_stop(self) -> None:
        self._told_to_stop = True
        for worker in self._workers.values():
            worker.actor.stop.remote()

    def _collect_stats(self) -> None:
        asked = [worker.actor.stats.remote() for worker in self._workers.values()]
        done, _ = ray.wait(asked, num_returns=len(asked), timeout=5.0) if asked else ([], [])
        for reference in done:
            with suppress(RayError):
                self._stats.include(ray.get(reference))


def _connect(address: str) -> None:
    """Join a running cluster, without Ray's own lines on the terminal. Raises BatchError."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        host, _, port = address.partition(":")
        if port.isdecimal():
            # Ray itself would try for a minute or more.
            socket.create_connection((host, int(port)), CONNECT_S).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # OSError, ValueError, RuntimeError: by how the address is wrong.
        hint = "start one with 'ray start --head' and join it with 'ray start --address=HOST:6379'"
        raise BatchError(f"no Ray cluster at {address} ({_first_line(error)}); {hint}") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray has put its own there


def _room(cluster: Cluster) -> int:
    """How many actors the nodes have CPUs and GPUs for."""
    room = 0
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            has = node["Resources"]
            fits = int(has.get("CPU", 0) // cluster.cpus)
            room += min(fits, int(has.get("GPU", 0) / cluster.gpus + 1e-6)) if cluster.gpus else fits
    return room


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
