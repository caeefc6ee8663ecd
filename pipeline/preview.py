"""A contact sheet: annotated frames, evenly spread over a run, on one PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.sink_errors import SinkError
from pipeline.sinks import letterboxed
from pipeline.types import Frame, Image, Poses

MOST_TILES, TILE_WIDTH, GAP = 9, 640, 6


class ContactSheet:
    """A sink for one or several runs whose length need not be known: it thins out what it keeps as it goes.

    9 tiles from a run of 9 frames or more; fewer frames give fewer tiles. Close it after the last run.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".png":
            raise SinkError(f"{path}: expected a name ending in .png for the contact sheet")
        if not path.parent.is_dir():
            raise SinkError(f"{path}: cannot be written (no folder {path.parent})")
        self._path = path
        self._tiles: list[Image] = []
        self._every, self._seen = 1, 0

    def wants_picture(self, frame: Frame) -> bool:
        """For every n-th frame; n doubles whenever there are too many."""
        return self._seen % self._every == 0

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Keep a frame, small and with a caption, if it is its turn."""
        if self.wants_picture(frame):
            assert picture is not None
            self._tiles.append(self._tile(frame, poses, picture))
            if len(self._tiles) >= 4 * MOST_TILES:
                self._tiles, self._every = self._tiles[::2], self._every * 2
        self._seen += 1

    def close(self) -> None:
        """Write the sheet; without any frame there is none."""
        if not self._tiles:
            return
        chosen = np.unique(np.linspace(0, len(self._tiles) - 1, min(MOST_TILES, len(self._tiles))).round().astype(int))
        tiles = [self._tiles[index] for index in chosen]
        columns = int(np.ceil(np.sqrt(len(tiles))))
        rows = -(-len(tiles) // columns)
        height, width = tiles[0].shape[:2]
        sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
        for place, tile in enumerate(tiles):
            top, left = place // columns * (height + GAP), place % columns * (width + GAP)
            sheet[top : top + height, left : left + width] = tile
        _, data = cv2.imencode(".png", sheet)
        try:
            self._path.write_bytes(data.tobytes())
        except OSError as error:
            raise SinkError(f"{self._path}: cannot be written ({error.strerror})") from error

    def _tile(self, frame: Frame, poses: Poses, picture: Image) -> Image:
        """The picture at the size of the first tile, with its source, time and number of people below."""
        if self._tiles:
            size = (TILE_WIDTH, self._tiles[0].shape[0] - 28)
        else:
            size = (TILE_WIDTH, round(TILE_WIDTH * picture.shape[0] / picture.shape[1]))
        people = "1 person" if len(poses) == 1 else f"{len(poses)} people"
        caption = np.full((28, TILE_WIDTH, 3), 255, np.uint8)
        text = f"{Path(frame.source).name}   {frame.time_s:.1f} s   {people}"
        cv2.putText(caption, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        return np.concatenate([letterboxed(picture, size), caption])
