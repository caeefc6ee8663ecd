"""Where poses go: JSON lines, an mp4, a window. A file has its name only once it is whole, until then `.partial`.

Closing makes it whole, also after Ctrl-C or an error; only a killed program leaves a `.partial` file behind.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.capture import quiet_opencv
from pipeline.pipes import Waiting
from pipeline.sink_errors import SinkError, cannot_write
from pipeline.text_output import TextOutput, partial_path
from pipeline.types import Frame, Image, Poses

WRITABLE_FPS = (1.0, 240.0)
# Left on the disk, so that the index at the end of an mp4 can still be written: bytes, and bytes for each frame.
DISK_RESERVE, INDEX_OF_A_FRAME = 16 << 20, 32
LONGEST_HOLD_S = 10.0  # a live video does not grow by more while nothing arrives
PROBE = "import cv2; cv2.namedWindow('darkstream'); cv2.destroyAllWindows()"
ESCAPE = 27


class Sink(Protocol):
    """Takes every frame of a run once, in order."""

    def wants_picture(self, frame: Frame) -> bool:
        """Whether `write` needs the picture of this frame; drawing it costs time."""

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Take a frame. picture: uint8 [H, W, 3] with the poses drawn, if any sink wants it."""

    def close(self) -> None:
        """Finish the output. Nothing can be written afterwards."""


class JsonLinesSink:
    """One JSON object a frame, a line each, in pixels of the original frame.

    with_source: whether each line says which source its frame is of, for a file that has several.
    waiting: how to wait for the reader of a pipe.
    """

    def __init__(self, path: Path, with_source: bool = False, waiting: Waiting | None = None) -> None:
        self._output, self._with_source = TextOutput(path, waiting), with_source

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Write the people of a frame."""
        self._output.write(json_line(frame, poses, self._with_source) + "\n")

    def close(self) -> None:
        """Give the file its name."""
        self._output.close()


def json_line(frame: Frame, poses: Poses, with_source: bool = False) -> str:
    """A frame as one line of JSON. ValueError if a number is not finite."""
    source = {"source": frame.source} if with_source else {}
    return json.dumps({**source, **frame_object(frame, poses)}, allow_nan=False)


def frame_object(frame: Frame, poses: Poses) -> dict[str, Any]:
    """A frame as JSON has it: pixels to 0.01, scores to 0.001, seconds to 0.0001."""
    boxes = np.round(poses.boxes.astype(np.float64), 2).tolist()
    box_scores = np.round(poses.box_scores.astype(np.float64), 3).tolist()
    points = np.round(poses.keypoints.astype(np.float64), 2)
    scores = np.round(poses.scores.astype(np.float64), 3)
    keypoints = np.concatenate([points, scores[..., None]], axis=-1).tolist()
    people = [
        {"id": track_id, "box": box, "score": score, "keypoints": rows}
        for track_id, box, score, rows in zip(poses.track_ids.tolist(), boxes, box_scores, keypoints, strict=True)
    ]
    return {"frame": frame.index, "time_s": round(frame.time_s, 4), "people": people}


class Mp4Sink:
    """The pictures as mp4, all in the size of the first: others are scaled to fit and padded with black.

    by_time: repeat pictures so that the video keeps the time of a live source, whose frames come unevenly.
    """

    def __init__(self, path: Path, fps: float, by_time: bool = False) -> None:
        if path.suffix.lower() != ".mp4":
            raise SinkError(f"{path}: expected a name ending in .mp4 for the video")
        quiet_opencv()
        self._path, self._partial = path, partial_path(path)
        self._fps = float(np.clip(fps, *WRITABLE_FPS)) if math.isfinite(fps) else WRITABLE_FPS[0]
        self._by_time = by_time
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._written = 0
        self._cut = 0  # pictures that silences would have been
        try:
            self._partial.write_bytes(b"")  # an output that cannot be written is better known before the run
        except OSError as error:
            raise SinkError(cannot_write(path, error)) from error

    def wants_picture(self, frame: Frame) -> bool:
        """Always."""
        return True

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Append a picture."""
        assert picture is not None
        if self._writer is None:
            self._writer = self._open(picture)
        picture = letterboxed(picture, self._size)
        due = self._due(frame.time_s) if self._by_time else self._written + 1
        while self._written < due:
            if self._written % round(self._fps) == 0:
                self._check_disk()
            self._writer.write(picture)
            self._written += 1

    def close(self) -> None:
        """Write the index (moov), check that every frame arrived, and give the file its name."""
        if self._writer is None:
            self._partial.unlink(missing_ok=True)
            return
        self._writer.release()
        self._writer = None
        if not self._partial.exists():
            raise SinkError(f"{self._path}: the video was removed while it was being written")
        finished = cv2.VideoCapture(str(self._partial))
        stored = int(finished.get(cv2.CAP_PROP_FRAME_COUNT)) if finished.isOpened() else 0
        finished.release()
        if stored < self._written:
            # OpenCV's writer does not report a failed write.
            counts = f"only {stored} of {self._written} frames were stored; is the disk full?"
            raise SinkError(f"{self._path}: {counts} What there is, is in {self._partial}")
        try:
            os.replace(self._partial, self._path)
        except OSError as error:
            raise SinkError(cannot_write(self._path, error)) from error

    def _due(self, time_s: float) -> int:
        """How many pictures the video has with one of that time; a longer silence is cut out of it."""
        due, latest = round(time_s * self._fps) + 1 - self._cut, self._written + int(LONGEST_HOLD_S * self._fps)
        self._cut += max(due - latest, 0)
        return min(due, latest)

    def _check_disk(self) -> None:
        """OpenCV's writer does not report a full disk, and what it leaves behind then cannot be played."""
        try:
            free = shutil.disk_usage(self._partial.parent).free
        except OSError as error:
            raise SinkError(cannot_write(self._path, error)) from error
        if free < DISK_RESERVE + INDEX_OF_A_FRAME * self._written:
            raise SinkError(f"{self._path}: the disk is nearly full ({free >> 20} MiB left); the video ends here")

    def _open(self, picture: Image) -> cv2.VideoWriter:
        height, width = picture.shape[:2]
        self._size = (max(width & ~1, 2), max(height & ~1, 2))  # mp4v has half the colour resolution: even sizes only
        writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
        if not writer.isOpened():
            self._partial.unlink(missing_ok=True)
            size = f"{self._size[0]}x{self._size[1]}"
            raise SinkError(f"{self._path}: this OpenCV cannot write mp4 ({size}, mp4v); run without the video")
        return writer


class WindowSink:
    """A window on the screen. q, Escape or its close button call `on_quit`. Use it from the main thread."""

    def __init__(self, title: str, on_quit: Callable[[], None]) -> None:
        # Without a display Qt ends the whole program, so a child process tries first.
        probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=False)
        if probe.returncode != 0:
            raise SinkError("no window can be opened (no display, or an OpenCV without windows); run with --headless")
        self._title, self._on_quit = title, on_quit
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def wants_picture(self, frame: Frame) -> bool:
        """Always."""
        return True

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Show a picture."""
        assert picture is not None
        if not self._sized:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, picture)
        key = cv2.waitKey(1) & 0xFF
        if key in (ESCAPE, ord("q")) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._on_quit()

    def close(self) -> None:
        """Take the window away."""
        cv2.destroyAllWindows()


def letterboxed(picture: Image, size: tuple[int, int]) -> Image:
    """The picture scaled to fit `size` (width, height), centred on black; odd last rows and columns are cut."""
    width, height = size
    rows, columns = picture.shape[:2]
    if rows - height in (0, 1) and columns - width in (0, 1):
        return picture[:height, :width]
    scale = min(width / columns, height / rows)
    fitted = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small: Any = cv2.resize(picture, fitted, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    canvas[top : top + fitted[1], left : left + fitted[0]] = small
    return canvas
