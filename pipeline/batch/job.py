"""One input of a batch, from opening it to its results: the same work in this process, in another, or on a cluster."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from engines.engine import ModelError
from pipeline.batch.plan import Job, result_path
from pipeline.drawing import DrawStyle, PoseDrawing
from pipeline.mistakes import in_order
from pipeline.pose_pipeline import PosePipeline, together
from pipeline.sink_errors import SinkError
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink
from pipeline.sources import Source, SourceError, images_in, open_decoded_in_hardware, open_source
from pipeline.stats import RunCounts, StageStats
from pipeline.stopping import Stop
from pipeline.streaming import Feed, Stream
from pipeline.tables import CocoResultsSink, CsvSink, image_ids_of
from pipeline.text_output import partial_path
from pipeline.types import Frame, Image, Poses, Skeleton

MISTAKES = (ModelError, SinkError, SourceError)
REPORT_EVERY_S = 0.2
JSON, VIDEO, CSV, COCO_RESULTS = ".jsonl", ".mp4", ".csv", ".coco.json"
Report = Callable[[int, int | None], None]  # frames done, and of how many, where that is known


class OpenNetworks(Protocol):
    """The two networks of `pipeline.pose_pipeline.Networks`, or what stands in for them."""

    @property
    def skeleton(self) -> Skeleton:
        """What the keypoints mean."""

    @property
    def score_threshold(self) -> float:
        """Keypoints below are not drawn."""

    @property
    def stats(self) -> StageStats:
        """Where the stages are timed."""

    def pipeline(self, source: Source, detect_every: int | None, smooth: bool) -> PosePipeline:
        """A pipeline for one source."""


@dataclass(frozen=True)
class Work:
    """What all inputs of a batch have in common. It travels to other processes.

    networks: opens them. suffixes: of the results that are wanted, JSON first. threads: CPU threads of a process, None
    for all. style: of what is drawn. smooth: the keypoints of videos over time.
    """

    networks: Callable[[StageStats], OpenNetworks]
    suffixes: tuple[str, ...]
    detect_every: int | None = None
    hw_decode: bool = False
    threads: int | None = None
    style: DrawStyle = field(default_factory=DrawStyle)
    smooth: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    whole: whether the results have all frames that could be read. suffixes: of the results that were written.
    error: one line for the user; trace: where an error came from that is not the user's.
    """

    state: Literal["done", "bad", "interrupted"]
    whole: bool = False
    suffixes: tuple[str, ...] = ()
    counts: RunCounts = field(default_factory=RunCounts)
    error: str | None = None
    trace: str | None = None


def run_job(
    job: Job, results: Path, work: Work, networks: OpenNetworks, stop: Stop, report: Report, more: Sequence[Sink] = ()
) -> Outcome:
    """Process one input. results: where its results go, to which a suffix is added. more: sinks that stay open.

    An error ends this input only: it is in the outcome. The results are on the disk when this returns.
    """
    counts, error, trace = RunCounts(), None, None
    whole = False
    try:
        source = _open_file(job.spec, work.hw_decode)
        draw = PoseDrawing(networks.skeleton, networks.score_threshold, work.style)
        with ExitStack() as closing:
            sinks = _open_sinks(job, results, work.suffixes, source, networks.skeleton, closing)
            feed = Feed(source, [*sinks, ProgressSink(report, source.frame_count), *more], counts=counts)
            process = together([networks.pipeline(source, work.detect_every, work.smooth)])
            Stream([feed], process, draw, networks.stats).run(stop)
        whole = not stop.requested
    except MISTAKES as last:
        mistakes = in_order(last, MISTAKES)
        error = "; ".join(str(mistake) for mistake in mistakes)
        # What could be read of a source is all there is of it.
        whole = not stop.requested and all(isinstance(mistake, SourceError) for mistake in mistakes)
    except Exception as bug:
        error, trace = f"{job.shown}: {type(bug).__name__}: {bug}", traceback.format_exc()
    try:
        written = _written(results, work.suffixes, whole)
    except OSError as full:
        written, whole, error = (), False, error or f"{results}: cannot be written ({full.strerror})"
    state: Literal["done", "bad", "interrupted"] = "bad" if error else "done" if whole else "interrupted"
    return Outcome(state, whole, written, counts, error, trace)


def flush_to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, would survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ProgressSink:
    """A sink that reports how far an input is, a few times a second."""

    def __init__(self, report: Report, frame_count: int | None) -> None:
        self._report, self._frame_count = report, frame_count
        self._frames, self._next_s = 0, 0.0

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """One frame further."""
        self._frames += 1
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + REPORT_EVERY_S
            self._report(self._frames, self._frame_count)

    def close(self) -> None:
        """Nothing to finish."""


def _open_file(spec: str, hw_decode: bool) -> Source:
    """The source, if it has an end."""
    if Path(spec).is_dir() and not images_in(Path(spec)):
        raise SourceError(f"{spec}: no videos and no images in this folder")
    source = (open_decoded_in_hardware if hw_decode else open_source)(spec)
    if source.live:
        source.close()
        raise SourceError(f"{source.name}: a live source has no end; use apps/webcam.py")
    return source


def _open_sinks(
    job: Job, results: Path, suffixes: Sequence[str], source: Source, skeleton: Skeleton, closing: ExitStack
) -> list[Sink]:
    """The results of an input, each closed with `closing`."""
    folder = Path(job.spec)
    openers: dict[str, Callable[[Path], Sink]] = {
        JSON: JsonLinesSink,
        VIDEO: lambda path: Mp4Sink(path, source.fps),
        CSV: lambda path: CsvSink(path, skeleton),
        COCO_RESULTS: lambda path: CocoResultsSink(path, image_ids_of(images_in(folder)) if folder.is_dir() else None),
    }
    sinks: list[Sink] = []
    for suffix in suffixes:
        sinks.append(openers[suffix](result_path(results.parent, results.name, suffix)))
        closing.callback(sinks[-1].close)
    return sinks


def _written(results: Path, suffixes: Sequence[str], whole: bool) -> tuple[str, ...]:
    """The suffixes of the results that are there, once they are on the disk.

    If they are not whole, also of those that could not be finished.
    """
    written = []
    for suffix in suffixes:
        path = result_path(results.parent, results.name, suffix)
        if not whole and not path.exists() and partial_path(path).exists():
            os.replace(partial_path(path), path)
        if path.exists():
            flush_to_disk(path)
            written.append(suffix)
    return tuple(written)
