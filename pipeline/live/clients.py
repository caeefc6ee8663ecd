"""What the live view's server keeps for those who watch: a page's state, and the JPEGs that all of them share."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import cv2

from pipeline.live.view import LiveBoard
from pipeline.types import Image

IN_FLIGHT = 2  # pictures of a source that a page has been sent and not yet shown: more would only be late
LONGEST_SIDE, JPEG_QUALITY = 1280, 80


class Viewer:
    """One open page: which pictures it was sent, and how many of them it has not yet shown."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.paused = False
        self._versions: dict[int, int] = {}
        self._in_flight: dict[int, int] = {}

    def hear(self, text: str) -> None:
        """Take the page's word: {"shown": number of a source} or {"paused": whether}. ValueError if it is no object."""
        said = json.loads(text)
        if not isinstance(said, dict):
            raise ValueError(f"expected a JSON object, got {text}")
        if (number := said.get("shown")) in self._in_flight:
            self._in_flight[number] = max(0, self._in_flight[number] - 1)
        if isinstance(paused := said.get("paused"), bool):
            self.paused = paused
        self.news.set()

    def can_take(self, number: int, version: int) -> bool:
        """Whether to send this version of a source's picture now."""
        new = version > self._versions.get(number, 0)
        return new and not self.paused and self._in_flight.get(number, 0) < IN_FLIGHT

    def take(self, number: int, version: int) -> None:
        """Note that this version is on its way."""
        self._versions[number] = version
        self._in_flight[number] = self._in_flight.get(number, 0) + 1


class Encoder:
    """JPEGs of the board's newest pictures, each made once however many want it, in a thread of its own."""

    def __init__(self, board: LiveBoard) -> None:
        self._board = board
        self._thread = ThreadPoolExecutor(1, "live view JPEG")
        self._made: dict[int, tuple[int, asyncio.Future[bytes]]] = {}

    async def newest(self, number: int) -> tuple[int, bytes]:
        """Version and JPEG of a source's newest picture, of which there is one."""
        version, picture = self._board.newest(number)
        assert picture is not None
        if number not in self._made or self._made[number][0] != version:
            made = asyncio.get_running_loop().run_in_executor(self._thread, jpeg, picture)
            self._made[number] = version, made
        # A client that goes away must not take the others' picture with it.
        return version, await asyncio.shield(self._made[number][1])

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def jpeg(picture: Image) -> bytes:
    """The picture as JPEG, made smaller where a side is longer than a screen shows."""
    height, width = picture.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
