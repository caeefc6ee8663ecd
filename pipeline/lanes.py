"""A bounded queue with several lanes between two threads or more: one lane a source, or only one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Lane(Generic[T]):
    size: int
    newest_only: bool
    items: deque[T] = field(default_factory=deque)
    finished: bool = False
    dropped: int = 0


class Lanes(Generic[T]):
    """Each lane has a giver, who waits while it is full; one taker gets what is ready in all lanes at once.

    newest_only, a value a lane: when such a lane is full, its oldest item makes room and counts as dropped.
    """

    def __init__(self, size: int, newest_only: Sequence[bool]) -> None:
        self._lanes: list[_Lane[T]] = [_Lane(1 if newest else size, newest) for newest in newest_only]
        self._changed = threading.Condition()

    def put(self, lane: int, item: T) -> bool:
        """Hand over an item; False if nobody wants more of this lane."""
        mine = self._lanes[lane]
        with self._changed:
            if mine.newest_only and len(mine.items) == mine.size:
                mine.items.popleft()
                mine.dropped += 1
            self._changed.wait_for(lambda: len(mine.items) < mine.size or mine.finished)
            if mine.finished:
                return False
            mine.items.append(item)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None) -> list[tuple[int, T]]:
        """The oldest item of each lane that has any, with the lane's number, as soon as one has.

        Empty once nothing will come any more (`done`), or when the time is up.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting() or self._finished(), timeout_s)
            taken = [(number, lane.items.popleft()) for number, lane in enumerate(self._lanes) if lane.items]
            self._changed.notify_all()
            return taken

    def finish(self, lane: int) -> None:
        """Say that nothing more will be put into a lane; what waits in it is still taken."""
        with self._changed:
            self._lanes[lane].finished = True
            self._changed.notify_all()

    def close(self, lane: int) -> None:
        """Throw away what waits in a lane, and refuse more."""
        with self._changed:
            self._lanes[lane].items.clear()
            self._lanes[lane].finished = True
            self._changed.notify_all()

    def finish_all(self) -> None:
        """`finish` every lane."""
        for lane in range(len(self._lanes)):
            self.finish(lane)

    def close_all(self) -> None:
        """`close` every lane."""
        for lane in range(len(self._lanes)):
            self.close(lane)

    def dropped(self, lane: int) -> int:
        """How many items of a lane made room for newer ones."""
        return self._lanes[lane].dropped

    @property
    def done(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._changed:
            return self._finished() and not self._waiting()

    def _waiting(self) -> bool:
        return any(lane.items for lane in self._lanes)

    def _finished(self) -> bool:
        return all(lane.finished for lane in self._lanes)
