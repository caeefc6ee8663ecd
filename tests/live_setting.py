"""A live view of make-believe frames, and a client for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from pipeline.live.view import LiveView, open_live_view
from pipeline.stats import LATENCY, RunCounts, StageStats
from pipeline.types import Frame
from tests.fakes import poses_at

aiohttp: Any = pytest.importorskip("aiohttp", reason="the live view needs aiohttp: pip install -e '.[serve]'")
pytest.importorskip("prometheus_client", reason="the live view needs prometheus-client: pip install -e '.[serve]'")
live_server = pytest.importorskip("pipeline.live.server")

Talk = Callable[[Any, str], Awaitable[Any]]


class FakeRun:
    """Frames of sources for a live view, each of its own grey, from a thread, until it is closed."""

    def __init__(
        self,
        *names: str,
        address: str = "127.0.0.1",
        token: str | None = None,
        side: int = 64,
        people: int = 2,
        port: int = 0,
    ) -> None:
        self.names, self.side, self.people = names or ("door",), side, people
        self.stats = StageStats()
        self.view: LiveView = open_live_view(port, address, token, self.stats)
        self.counts = {name: RunCounts() for name in self.names}
        for name, counts in self.counts.items():
            self.view.add(name, counts)
        self.drawn = 0
        self.slowest_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_all)

    def __enter__(self) -> FakeRun:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.view.close()

    def end(self) -> None:
        """No more frames; the view stays."""
        self._ended.set()
        self._thread.join()

    @property
    def base(self) -> str:
        """The address without the token; of this machine, whatever the server listens on."""
        port = self.view.url.split("?")[0].rsplit(":", 1)[1].strip("/")
        return f"http://127.0.0.1:{port}"

    def talk(self, say: Talk, **options: Any) -> Any:
        """The result of `say(session, base address)` in a client session with these options."""

        async def run() -> Any:
            async with aiohttp.ClientSession(**options) as session:
                return await asyncio.wait_for(say(session, self.base), 60)

        return asyncio.run(run())

    def _write_all(self) -> None:
        index = 0
        while not self._ended.wait(0.02):
            for number, name in enumerate(self.names):
                self._write(index, number, name)
            index += 1

    def _write(self, index: int, number: int, name: str) -> None:
        frame = Frame(np.zeros((1, 1, 3), np.uint8), index, index / 50, name, time.monotonic())
        poses = poses_at([[10, 10, 20, 50]] * (number + self.people))
        start = time.monotonic()
        picture = None
        if self.view.wants_picture(frame):
            shade = 100 * number + index % (100 if len(self.names) > 1 else 250)
            picture = np.full((self.side, self.side, 3), shade, np.uint8)
            self.drawn += 1
        self.view.write(frame, poses, picture)
        self.slowest_s = max(self.slowest_s, time.monotonic() - start)
        self.stats.record(LATENCY, 0.005)
        self.counts[name].add(poses)
