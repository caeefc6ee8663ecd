"""How long each stage of a run took, and what came out of it."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.engine import Engine
from engines.manifest import Manifest
from pipeline.sink_errors import SinkError
from pipeline.types import Poses

NETWORKS = ("detector network", "pose network")  # parts of the stages "detect" and "pose"
WORK = ("read", "detect", "pose", "track", "draw", "write")
LATENCY = "capture to output"
KEPT = 16_384  # percentiles look at the last so many frames: a camera may run for weeks, and memory stays flat


class StageStats:
    """Durations by stage, in seconds; any thread may record and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {}
        self._total: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def clear(self) -> None:
        """Forget everything, such as a warm-up."""
        with self._lock:
            for values in (self._recent, self._total, self._count):
                values.clear()

    def record(self, stage: str, seconds: float) -> None:
        """Add one duration."""
        with self._lock:
            if stage not in self._recent:
                self._recent[stage] = deque(maxlen=KEPT)
            self._recent[stage].append(seconds)
            self._total[stage] = self._total.get(stage, 0.0) + seconds
            self._count[stage] = self._count.get(stage, 0) + 1

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Record how long the block takes, unless it raises."""
        start = time.perf_counter()
        yield
        self.record(stage, time.perf_counter() - start)

    def include(self, other: StageStats) -> None:
        """Add what another process or machine has recorded; percentiles then look at the last durations of both."""
        with self._lock:
            for stage, recent in other._recent.items():
                self._recent.setdefault(stage, deque(maxlen=KEPT)).extend(recent)
                self._total[stage] = self._total.get(stage, 0.0) + other._total[stage]
                self._count[stage] = self._count.get(stage, 0) + other._count[stage]

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def stages_ms(self) -> dict[str, dict[str, float]]:
        """Per stage: count, mean, p50, p95, p99 and total, in milliseconds, in the order of the pipeline."""
        with self._lock:
            order = [stage for stage in (*WORK, *NETWORKS, LATENCY) if stage in self._recent]
            recorded = {stage: (list(self._recent[stage]), self._total[stage], self._count[stage]) for stage in order}
        # Outside the lock: the run must not wait for percentiles.
        return {stage: _summary(*values) for stage, values in recorded.items()}

    def share_outside_networks(self) -> float:
        """The part of all stages' time that is not spent in the two networks, 0 to 1; nan before any work."""
        work = sum(self._total.get(stage, 0.0) for stage in WORK)
        networks = sum(self._total.get(stage, 0.0) for stage in NETWORKS)
        return (work - networks) / work if work > 0 else float("nan")


def _summary(recent: list[float], total: float, count: int) -> dict[str, float]:
    p50, p95, p99 = np.percentile(np.array(recent), (50, 95, 99)) * 1000
    values = {"mean": total / count * 1000, "p50": p50, "p95": p95, "p99": p99, "total": total * 1000}
    return {"count": count, **{key: round(float(value), 3) for key, value in values.items()}}


class TimedEngine:
    """An engine whose calls are recorded under `stage`."""

    def __init__(self, engine: Engine, stage: str, stats: StageStats) -> None:
        self._engine, self._stage, self._stats = engine, stage, stats
        self.manifest: Manifest = engine.manifest

    def __call__(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """The engine's own answer."""
        with self._stats.timed(self._stage):
            return self._engine(inputs)


@dataclass
class RunCounts:
    """What came out of one source.

    people: in all frames together. tracks: different people, by track id. dropped: frames of a live source that
    were too old to process. seconds: from the first read to the last write. reconnects: how often a live source was
    lost and found again. undecoded: packets that gave no picture.
    """

    frames: int = 0
    people: int = 0
    dropped: int = 0
    seconds: float = 0.0
    tracks: int = 0
    reconnects: int = 0
    undecoded: int = 0

    def add(self, poses: Poses) -> None:
        """Count one frame."""
        self.frames += 1
        self.people += len(poses)
        self.tracks = max(self.tracks, int(poses.track_ids.max(initial=0)))  # ids count up from 1

    def include(self, other: RunCounts) -> None:
        """Count another source's run as well."""
        self.frames += other.frames
        self.people += other.people
        self.tracks += other.tracks
        self.dropped += other.dropped
        self.reconnects += other.reconnects
        self.undecoded += other.undecoded
        self.seconds += other.seconds

    def as_dict(self) -> dict[str, float]:
        """The counts for a machine, with the two rates that follow from them."""
        return {
            "frames": self.frames,
            "people": self.people,
            "people_per_frame": round(self.people / max(self.frames, 1), 3),
            "tracks": self.tracks,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "undecoded": self.undecoded,
            "seconds": round(self.seconds, 4),
            "frames_per_s": round(self.frames / self.seconds, 2) if self.seconds > 0 else 0.0,
        }

    def in_words(self) -> str:
        """One line for a person."""
        values = self.as_dict()
        dropped = f", {self.dropped} frames dropped to stay live" if self.dropped else ""
        if self.reconnects:
            dropped += f", connected again {self.reconnects} times"
        if self.undecoded:
            dropped += f", {self.undecoded} packets could not be decoded"
        return (
            f"{self.frames} frames, {values['people_per_frame']:.1f} people a frame ({values['tracks']} tracks),"
            f" {values['frames_per_s']:.1f} frames/s{dropped}"
        )


def stage_table(stats: StageStats) -> str:
    """The stages as lines of text: milliseconds a call at p50, p95, p99. Empty where no frame was processed."""
    stages = stats.stages_ms()
    if not stages:
        return ""
    lines = [f"{'stage (ms)':<20}{'p50':>9}{'p95':>9}{'p99':>9}{'calls':>9}"]
    for stage, row in stages.items():
        label = f"  {stage}" if stage in NETWORKS else stage
        figures = "".join(f"{row[key]:>9.2f}" for key in ("p50", "p95", "p99"))
        lines.append(f"{label:<20}{figures}{row['count']:>9}")
    lines.append(f"time outside the two networks: {stats.share_outside_networks():.0%}")
    return "\n".join(lines)


def write_summary(path: Path, run: dict[str, Any], stats: StageStats) -> None:
    """A run as one JSON object: what `run` says of it, the stages, and the share of time outside the networks."""
    share = stats.share_outside_networks()
    timing = {"stages_ms": stats.stages_ms(), "share_outside_networks": None if math.isnan(share) else round(share, 4)}
    try:
        path.write_text(json.dumps({**run, **timing}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{path}: cannot be written ({error.strerror})") from error
