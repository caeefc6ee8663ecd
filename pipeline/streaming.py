"""Readers, processor and writer side by side. A file loses no frame; a live source gives its newest one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.lanes import Lanes
from pipeline.reconnecting import Reconnecting
from pipeline.sinks import Sink
from pipeline.sources import Source
from pipeline.stats import LATENCY, RunCounts, StageStats
from pipeline.stopping import Stop
from pipeline.types import Frame, Image, Poses

WAITING = 4  # frames between two stages of a file: enough to overlap, little memory
WAKE_S = 0.2  # how soon the writer notices a stop while nothing arrives
JOIN_S = 2.0  # a reader inside a silent camera is left behind: the files must not wait for it

Round = Sequence[tuple[int, Frame]]  # the number of a feed and its next frame, at most one of each
Process = Callable[[Round], Sequence[Poses]]  # the people of each frame of a round


@dataclass
class Feed:
    """A source and where its poses go. The sinks stay open: whoever opened them closes them.

    name: what its frames are said to come from, by default the source's own name. reopen: makes a live source anew when
    it fails, where it should come back, and give_up_s how long that is tried; None for ever. A sink may serve several
    feeds.
    """

    source: Source
    sinks: Sequence[Sink]
    name: str = ""
    reopen: Callable[[], Source] | None = None
    give_up_s: float | None = None
    counts: RunCounts = field(default_factory=RunCounts)

    def __post_init__(self) -> None:
        self.name = self.name or self.source.name


class Stream:
    """One run from sources through `process` to their sinks.

    process: is given at most one frame of each feed, whichever are ready. draw: puts the poses on the frame's own
    image, for the sinks that want the picture of that frame. frame_limit: of each feed. tell: takes lines about
    connections.
    """

    def __init__(
        self, feeds: Sequence[Feed], process: Process, draw: Callable[[Frame, Poses], Image], stats: StageStats,
        frame_limit: int | None = None, tell: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        self._feeds, self._process, self._draw, self._stats = feeds, process, draw, stats
        self._frame_limit, self._tell = frame_limit, tell
        self._error: BaseException | None = None
        self._ended = threading.Event()
        live = [feed.source.live for feed in feeds]
        self._frames: Lanes[Frame] = Lanes(WAITING, live)
        self._results: Lanes[list[tuple[int, Frame, Poses]]] = Lanes(1 if any(live) else WAITING, [False])

    def run(self, stop: Stop) -> None:
        """Run to the end of all sources, the frame limit, a stop or an error, and close the sources.

        The calling thread writes, since windows and signals belong to the main thread. The first error of any part
        stops the others and is raised here once; each feed's `counts` hold what was written until then.
        """
        start = time.perf_counter()
        numbers = range(len(self._feeds))
        readers = [threading.Thread(target=self._read, args=(number,), daemon=True) for number in numbers]
        threads = [threading.Thread(target=self._estimate, daemon=True), *readers]
        for thread in threads:
            thread.start()
        try:
            self._write_all(stop)
        finally:
            self._ended.set()
            self._frames.close_all()
            self._results.close_all()
            deadline = time.monotonic() + JOIN_S
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            for number, feed in enumerate(self._feeds):
                feed.counts.seconds = time.perf_counter() - start
                feed.counts.dropped = self._frames.dropped(number)
        if self._error is not None:
            raise self._error

    def _read(self, number: int) -> None:
        feed = self._feeds[number]
        stage = "wait" if feed.source.live else "read"
        try:
            frames = self._frames_of(feed)
            while True:
                start = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    break
                self._stats.record(stage, time.perf_counter() - start)
                feed.counts.undecoded += frame.undecoded
                if not self._frames.put(number, frame):
                    break
        except BaseException as error:
            self._fail(error)
            self._frames.finish_all()
        finally:
            self._frames.finish(number)
            feed.source.close()

    def _frames_of(self, feed: Feed) -> Iterator[Frame]:
        frames = feed.source.frames()
        if feed.source.live and feed.reopen is not None:
            lasting = Reconnecting(feed.source, feed.reopen, self._ended, self._tell, feed.counts, feed.give_up_s)
            frames = lasting.frames()
        for frame in frames:
            yield frame if frame.source == feed.name else replace(frame, source=feed.name)

    def _estimate(self) -> None:
        processed = [0] * len(self._feeds)
        try:
            while frames := self._frames.take():
                poses = self._process(frames)
                results = [(number, frame, found) for (number, frame), found in zip(frames, poses, strict=True)]
                if not self._results.put(0, results):
                    break
                for number, _ in frames:
                    processed[number] += 1
                    if processed[number] == self._frame_limit:
                        self._frames.close(number)
        except BaseException as error:
            self._fail(error)
        finally:
            self._frames.close_all()
            self._results.finish(0)

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error

    def _write_all(self, stop: Stop) -> None:
        while not self._results.done:
            if stop.requested:
                self._frames.close_all()
            for _, results in self._results.take(WAKE_S):
                for number, frame, poses in results:
                    self._feeds[number].counts.dropped = self._frames.dropped(number)
                    self._write(self._feeds[number], frame, poses)

    def _write(self, feed: Feed, frame: Frame, poses: Poses) -> None:
        picture = None
        if any(sink.wants_picture(frame) for sink in feed.sinks):
            with self._stats.timed("draw"):
                picture = self._draw(frame, poses)
        with self._stats.timed("write"):
            for sink in feed.sinks:
                sink.write(frame, poses, picture)
        self._stats.record(LATENCY, time.monotonic() - frame.captured_s)
        feed.counts.add(poses)
