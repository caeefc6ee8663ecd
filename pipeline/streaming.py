"""Reader, processor and writer side by side. A file loses no frame; a live source gives its newest one."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Generic, Protocol, TypeVar

from pipeline.sinks import Sink
from pipeline.sources import Source
from pipeline.stats import LATENCY, RunCounts, StageStats
from pipeline.types import Frame, Image, Poses

T = TypeVar("T")
WAITING = 4  # frames between two stages of a file: enough to overlap, little memory
WAKE_S = 0.2  # how soon the writer notices a stop while nothing arrives
JOIN_S = 2.0  # a reader inside a silent camera is left behind: the files must not wait for it


class Stop:
    """Whether the run should end before its source does, and why. Set by a signal, a sink, or a frame limit."""

    def __init__(self) -> None:
        self.requested = False
        self.signal = 0

    def request(self) -> None:
        """End the run after the frames that are under way."""
        self.requested = True

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it; 0 without a signal."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM into a stop that lets files finish; a second one ends the program at once."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_signal(number: int, _: FrameType | None) -> None:
        stop.signal, stop.requested = number, True
        signal.signal(number, signal.SIG_DFL)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Channel(Generic[T]):
    """A bounded queue between two threads that can be finished by the giver and cancelled by anyone.

    newest_only: when full, the oldest item makes room and counts as dropped; else the giver waits.
    """

    def __init__(self, size: int, newest_only: bool = False) -> None:
        self._items: deque[T] = deque()
        self._size, self._newest_only = size, newest_only
        self._finished = self._cancelled = False
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item: T) -> bool:
        """Hand over an item; False if nobody wants it any more."""
        with self._changed:
            if self._newest_only and len(self._items) == self._size:
                self._items.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._items) < self._size or self._cancelled)
            if not self._cancelled:
                self._items.append(item)
                self._changed.notify_all()
            return not self._cancelled

    def get(self, timeout_s: float | None = None) -> T | None:
        """The oldest item; None once there will be none (`done`), or when the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._finished, timeout_s)
            item = self._items.popleft() if self._items else None
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """Say that nothing more will be put."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Throw away what waits, and refuse more."""
        with self._changed:
            self._items.clear()
            self._finished = self._cancelled = True
            self._changed.notify_all()

    @property
    def done(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._changed:
            return self._finished and not self._items


class Process(Protocol):
    """Frame in, poses out, one after the other."""

    def __call__(self, frame: Frame) -> Poses:
        """The people of the next frame."""


class Stream:
    """One run from a source through `process` to the sinks, which stay open: whoever opened them closes them.

    draw: puts the poses on the frame's own image, for the sinks that want the picture of that frame.
    """

    def __init__(
        self, source: Source, process: Process, sinks: Sequence[Sink], draw: Callable[[Frame, Poses], Image],
        stats: StageStats, frame_limit: int | None = None,
    ) -> None:  # fmt: skip
        self._source, self._process, self._sinks, self._draw = source, process, sinks, draw
        self._stats, self._frame_limit = stats, frame_limit
        self.counts = RunCounts()
        self._error: BaseException | None = None
        self._frames: Channel[Frame] = Channel(1 if source.live else WAITING, newest_only=source.live)
        self._results: Channel[tuple[Frame, Poses]] = Channel(1 if source.live else WAITING)

    def run(self, stop: Stop) -> None:
        """Run to the end of the source, the frame limit, a stop or an error, and close the source.

        The calling thread writes, since windows and signals belong to the main thread. The first error of any part
        stops the others and is raised here once; `counts` holds what was written until then.
        """
        start = time.perf_counter()
        threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._estimate)]
        for thread in threads:
            thread.start()
        try:
            self._write_all(stop)
        finally:
            self._frames.cancel()
            self._results.cancel()
            for thread in threads:
                thread.join(JOIN_S)
            self.counts.seconds = time.perf_counter() - start
            self.counts.dropped = self._frames.dropped
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        stage = "wait" if self._source.live else "read"
        try:
            frames = self._source.frames()
            while True:
                start = time.perf_counter()
                frame = next(frames, None)
                if frame is None:
                    break
                self._stats.record(stage, time.perf_counter() - start)
                if not self._frames.put(frame):
                    break
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._frames.finish()
            self._source.close()

    def _estimate(self) -> None:
        processed = 0
        try:
            while processed != self._frame_limit and (frame := self._frames.get()) is not None:
                if not self._results.put((frame, self._process(frame))):
                    break
                processed += 1
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._frames.cancel()
            self._results.finish()

    def _write_all(self, stop: Stop) -> None:
        while not self._results.done:
            if stop.requested:
                self._frames.cancel()
            result = self._results.get(WAKE_S)
            if result is not None:
                self._write(*result)

    def _write(self, frame: Frame, poses: Poses) -> None:
        picture = None
        if any(sink.wants_picture(frame) for sink in self._sinks):
            with self._stats.timed("draw"):
                picture = self._draw(frame, poses)
        with self._stats.timed("write"):
            for sink in self._sinks:
                sink.write(frame, poses, picture)
        self._stats.record(LATENCY, time.monotonic() - frame.captured_s)
        self.counts.add(poses)
