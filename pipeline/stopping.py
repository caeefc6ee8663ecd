"""Ending a run early: by a signal, a window's key, or a limit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
