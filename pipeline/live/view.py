"""The live view's side of the run: a sink that keeps the newest of each source where a server's thread finds it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipeline.live.access import listen, live_access, url_of
from pipeline.sink_errors import SinkError
from pipeline.sinks import json_line
from pipeline.stats import RunCounts, StageStats
from pipeline.types import Frame, Image, Poses

LATELY_S = 3.0  # what rates and latencies are taken over
LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LINES_KEPT = 256  # JSON lines that wait for slow listeners, of all sources together


@dataclass
class LiveFeed:
    """The newest of one source. version counts pictures; recent holds when frames were written, and their latency.

    within: how many frames had a latency up to each of LATENCY_BUCKETS_S, and longer. latency_s: of all together.
    """

    name: str
    counts: RunCounts
    picture: Image | None = None
    version: int = 0
    people: int = 0
    started_s: float = field(default_factory=time.monotonic)
    written_s: float | None = None
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=512))
    within: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    latency_s: float = 0.0

    def note(self, now: float, latency_s: float, people: int) -> None:
        """Take in that a frame was written."""
        self.people, self.written_s = people, now
        self.recent.append((now, latency_s))
        self.within[bisect_left(LATENCY_BUCKETS_S, latency_s)] += 1
        self.latency_s += latency_s

    def status(self, now: float) -> dict[str, Any]:
        """What the page shows, and the metrics tell, of the source. age_s: since the last frame, or the start."""
        lately = [(at, latency) for at, latency in self.recent if now - at <= LATELY_S]
        span = now - lately[0][0] if lately else 0.0
        return {
            "name": self.name,
            "people": self.people,
            "fps": round((len(lately) - 1) / span, 1) if len(lately) > 1 and span > 0 else 0.0,
            "latency_ms": round(float(np.median([latency for _, latency in lately])) * 1000, 1) if lately else None,
            "frames": self.counts.frames,
            "dropped": self.counts.dropped,
            "reconnects": self.counts.reconnects,
            "undecoded": self.counts.undecoded,
            "age_s": round(now - (self.started_s if self.written_s is None else self.written_s), 1),
            "started": self.written_s is not None,
        }


class LiveBoard:
    """What the run and the server share. The run pins up, the server looks; neither waits for the other.

    watchers: how many want pictures; listeners: how many want JSON lines. The server sets them, and `on_news`, which is
    called from the run's thread after each frame.
    """

    def __init__(self, stats: StageStats) -> None:
        self.stats = stats
        self.feeds: list[LiveFeed] = []
        self.watchers = self.listeners = 0
        self.on_news: Callable[[], None] = lambda: None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._line_count = 0
        self._lock = threading.Lock()

    def add(self, name: str, counts: RunCounts) -> None:
        """Show a source, before its first frame arrives."""
        with self._lock:
            self.feeds = [*self.feeds, LiveFeed(name, counts)]

    def pin(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Take the newest frame of a source, in place of the one before."""
        now = time.monotonic()
        line = json_line(frame, poses, with_source=True) if self.listeners else None
        with self._lock:
            feed = next(feed for feed in self.feeds if feed.name == frame.source)
            feed.note(now, now - frame.captured_s, len(poses))
            if picture is not None:
                feed.picture, feed.version = picture, feed.version + 1
            if line is not None:
                self._lines.append(line)
                self._line_count += 1
        self.on_news()

    def newest(self, number: int) -> tuple[int, Image | None]:
        """Version and picture of the feed with that number; version 0 before there is one."""
        with self._lock:
            feed = self.feeds[number]
            return feed.version, feed.picture

    def lines_from(self, place: int) -> tuple[int, list[str]]:
        """The JSON lines since `place` that are still there, and the place after them. A negative place: none."""
        with self._lock:
            missed = self._line_count - place if place >= 0 else 0
            lines = list(self._lines)[len(self._lines) - min(missed, len(self._lines)) :]
            return self._line_count, lines

    def latencies(self) -> list[tuple[str, list[int], float]]:
        """Of each source its name, and LiveFeed's within and latency_s."""
        with self._lock:
            return [(feed.name, list(feed.within), feed.latency_s) for feed in self.feeds]

    def status(self) -> list[dict[str, Any]]:
        """Of each source, see LiveFeed.status."""
        with self._lock:
            now = time.monotonic()
            return [feed.status(now) for feed in self.feeds]


class Server(Protocol):
    """What serves a board."""

    def close(self) -> None:
        """End it, and its threads."""


class LiveView:
    """A sink that shows a run to those who watch; pictures are drawn and encoded only while somebody does.

    url: the address line for a browser, with the token if it was made here, as nobody else knows it.
    """

    def __init__(self, board: LiveBoard, server: Server, url: str) -> None:
        self._board, self._server, self.url = board, server, url

    def add(self, name: str, counts: RunCounts) -> None:
        """Show a source, before its first frame arrives."""
        self._board.add(name, counts)

    def wants_picture(self, frame: Frame) -> bool:
        """While somebody watches."""
        return self._board.watchers > 0

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Show a frame."""
        self._board.pin(frame, poses, picture)

    def close(self) -> None:
        """End the server and its threads."""
        self._server.close()


def open_live_view(port: int, address: str, token: str | None, stats: StageStats) -> LiveView:
    """A live view on that address and port (0: any free one). See LiveAccess for the token.

    Raises SinkError for an address or port that cannot be had, a token that does not fit, and missing packages.
    """
    try:
        from pipeline.live.server import LiveServer
    except ModuleNotFoundError as error:
        raise SinkError(f'--serve needs {error.name}: pip install -e ".[serve]"') from error
    access = live_access(address, token)
    listening = listen(address, port)
    board = LiveBoard(stats)
    made = f"?token={access.token}" if access.token and not token else ""
    return LiveView(board, LiveServer(board, access, listening), url_of(listening) + made)
