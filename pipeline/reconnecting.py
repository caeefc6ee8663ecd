"""Cameras and streams that come back: opened again after a failure, at growing intervals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.sources import Source, SourceError
from pipeline.stats import RunCounts
from pipeline.types import Frame

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0  # the delay doubles from failure to failure
STEADY_S = 10.0  # of frames, and a connection counts as good: the next delay is the first again


class Reconnecting:
    """The frames of a live source over all its connections.

    reopen: makes the source anew, or raises SourceError. ended: set by whoever ends the run; also ends a wait.
    tell: takes one line for each connection lost and found. counts: in which those found again are counted. give_up_s:
    how long to try before the SourceError is raised after all; None for ever. Indices go on over the gaps, and so does
    the time, which is that of arrival.
    """

    def __init__(
        self, source: Source, reopen: Callable[[], Source], ended: threading.Event, tell: Callable[[str], None],
        counts: RunCounts, give_up_s: float | None = None,
    ) -> None:  # fmt: skip
        self._source, self._reopen, self._ended, self._tell = source, reopen, ended, tell
        self._counts, self._give_up_s = counts, give_up_s
        self._delay_s = FIRST_DELAY_S

    def frames(self) -> Iterator[Frame]:
        """Every frame that arrives until `ended`. Each connection is closed before the next is tried."""
        index, first_s = 0, 0.0
        source: Source | None = self._source
        while source is not None:
            connected_s = time.monotonic()
            try:
                for frame in source.frames():
                    first_s = first_s if index else frame.captured_s
                    yield replace(frame, index=index, time_s=frame.captured_s - first_s, source=self._source.name)
                    index += 1
                failure = f"{self._source.name}: the stream ended"
            except SourceError as error:
                failure = str(error)
            finally:
                source.close()
            if time.monotonic() - connected_s > STEADY_S:
                self._delay_s = FIRST_DELAY_S
            source = self._connected_again(failure)

    def _connected_again(self, failure: str) -> Source | None:
        """The source, opened anew, however long that takes; None when the run has ended."""
        lost_s = time.monotonic()
        last_s = lost_s + (float("inf") if self._give_up_s is None else self._give_up_s)
        if self._give_up_s != 0:
            self._tell(f"{failure}; connecting again in {self._delay_s:.0f} s")
        while time.monotonic() < last_s:
            if self._ended.wait(min(self._delay_s, last_s - time.monotonic())):
                return None
            self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
            try:
                source = self._reopen()
            except SourceError as error:
                failure = str(error)
                continue
            self._counts.reconnects += 1
            self._tell(f"{self._source.name}: connected again after {time.monotonic() - lost_s:.0f} s")
            return source
        raise SourceError(failure)
