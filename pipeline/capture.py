"""OpenCV's reader of cameras, streams and video files, going on behind what cannot be decoded."""

from __future__ import annotations

import math
import os
import re
import time
from typing import Any

import cv2
import numpy as np

from pipeline.gstreamer import Pipeline
from pipeline.types import Image

OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 10_000, 5_000  # a stream that is silent for longer counts as gone
# So many packets in a row without a picture, or as many as are announced: OpenCV does not tell them from the end.
UNDECODED_IN_A_ROW, MOST_UNDECODED_IN_A_ROW = 1_000, 20_000


def quiet_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr, unless the user set their variables; our errors say it in a line.

    FFmpeg's level is read once, when the first video is opened or written.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        library: Any = cv2
        if hasattr(library.utils, "logging"):
            library.utils.logging.setLogLevel(library.utils.logging.LOG_LEVEL_SILENT)
        else:  # Ubuntu's OpenCV
            library.setLogLevel(0)


class Capture:
    """A camera number, an address, a file or a pipeline, opened. live: it gives its newest picture; None: not known.

    codec: four letters, as in av01, empty where unknown. frame_count: as announced, None where it is not. fps:
    frames/s, None where it is not usable. undecoded: packets without a picture before the last one read.
    """

    def __init__(self, target: int | str | Pipeline, live: bool | None) -> None:
        quiet_opencv()
        self._is_pipeline = isinstance(target, Pipeline)
        self._capture = _open_capture(target, live)
        self.undecoded = 0
        self.codec = _letters(int(self._get(cv2.CAP_PROP_FOURCC)))
        count, fps = self._get(cv2.CAP_PROP_FRAME_COUNT), self._get(cv2.CAP_PROP_FPS)
        self.frame_count = int(count) if count > 0 else None
        self.fps = fps if 0 < fps <= 1000 else None

    def read(self) -> Image | None:
        """The next picture, uint8 [H, W, 3] BGR; None at the end, or where nothing was opened."""
        start, self.undecoded = time.monotonic(), 0
        while self._capture.isOpened():
            try:
                got, image = self._capture.read()
            except cv2.error:  # a damaged size, for one
                got, image = False, None
            if got and image is not None:
                return np.asarray(image, np.uint8)
            if self.undecoded >= self._patience() or time.monotonic() - start > READ_TIMEOUT_MS / 1000:
                break
            self.undecoded += 1
        return None

    def position_ms(self) -> float:
        """Media time of the picture last read; 0 where it is not known."""
        # A pipeline answers with the place that it has come to itself, which is ahead of the picture.
        return 0.0 if self._is_pipeline else self._get(cv2.CAP_PROP_POS_MSEC)

    def close(self) -> None:
        """Free the device or file."""
        self._capture.release()

    def _patience(self) -> int:
        """How many packets without a picture may follow each other."""
        if self._is_pipeline:
            return 0
        return min(max(UNDECODED_IN_A_ROW, self.frame_count or 0), MOST_UNDECODED_IN_A_ROW)

    def _get(self, property_id: int) -> float:
        value = float(self._capture.get(property_id)) if self._capture.isOpened() else 0.0
        return value if math.isfinite(value) else 0.0


def _open_capture(target: int | str | Pipeline, live: bool | None) -> cv2.VideoCapture:
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    if isinstance(target, Pipeline):
        # OpenCV 4.6 refuses a pipeline that is given timeouts, so that a camera that falls silent is not noticed.
        if live and tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 7):
            capture = cv2.VideoCapture(target.text, cv2.CAP_GSTREAMER, timeouts)
            if capture.isOpened():
                return capture
        return cv2.VideoCapture(target.text, cv2.CAP_GSTREAMER)
    if isinstance(target, str) and live is None:
        return cv2.VideoCapture(target, cv2.CAP_ANY, timeouts)
    capture = cv2.VideoCapture(target)
    if live:
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _letters(code: int) -> str:
    letters = "".join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
    return letters if re.fullmatch("[A-Za-z0-9 ]{4}", letters) else ""
