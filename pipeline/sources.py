"""Where frames come from: a camera, a stream, a video file, images on disk, or the demo clip. Use `open_source`."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.gstreamer import (
    CSI,
    NVIDIA_HINT,
    RTSP,
    Pipeline,
    PipelineError,
    csi_pipeline,
    file_pipeline,
    has_gstreamer,
    missing_elements,
    rtsp_pipeline,
    without_gstreamer,
)
from pipeline.types import Frame, Image

DEMO_CLIP = Path(__file__).resolve().parent.parent / "assets" / "demo.mp4"
VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv")
)
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
USUAL_FPS = 25.0  # for image folders, and for cameras that do not tell
OPEN_TIMEOUT_MS, READ_TIMEOUT_MS = 10_000, 5_000  # a stream that is silent for longer counts as gone


class SourceError(ValueError):
    """A source that cannot be opened or read to its end; the message says which, what was expected, what came."""


class Source(Protocol):
    """Frames in order. `frames()` may raise SourceError after frames it could read; they are good."""

    name: str  # as a user would recognise it, without passwords
    live: bool  # the newest frame matters, older ones may be dropped
    still: bool  # pictures that need not resemble their neighbours
    fps: float
    frame_count: int | None  # None where the source has no known end

    def frames(self) -> Iterator[Frame]:
        """Every frame once, index from 0."""

    def close(self) -> None:
        """Free the device or file."""


def open_source(spec: str) -> Source:
    """The source that `spec` names: camera index, /dev/videoN, csi://N, URL, video file, image, folder, or `demo`.

    Raises SourceError, with one line that says how to mend it.
    """
    if spec.isdecimal():
        return VideoSource(spec, int(spec), live=True)
    if spec.startswith("/dev/video"):
        return VideoSource(spec, spec, live=True)
    if spec.startswith(CSI):
        return _open_pipeline(spec, lambda: csi_pipeline(spec))
    if "://" in spec:
        return VideoSource(without_password(spec), spec, live=None)
    return _open_path(spec, lambda path: VideoSource(str(path), str(path), live=False))


def open_decoded_in_hardware(spec: str) -> Source:
    """As `open_source`, with files and RTSP streams decoded by a Jetson's video decoder; CSI and images as they are.

    Raises SourceError, also for a source that cannot be decoded so.
    """
    if spec.startswith(RTSP):
        return _open_pipeline(without_password(spec), lambda: rtsp_pipeline(spec))
    if spec.startswith(CSI):
        return open_source(spec)
    if spec.isdecimal() or spec.startswith("/dev/video") or "://" in spec:
        raise SourceError(f"{without_password(spec)}: hardware decoding is for video files and rtsp:// addresses")
    return _open_path(spec, lambda path: _open_pipeline(str(path), lambda: file_pipeline(path)))


def _open_path(spec: str, open_video: Callable[[Path], Source]) -> Source:
    path = DEMO_CLIP if spec == "demo" else Path(spec)
    if path.is_dir():
        return ImageSource(str(path), images_in(path))
    if not path.exists():
        expected = "a camera number, a URL, a video, an image, a folder of images, or 'demo'"
        raise SourceError(f"{path}: no such file; expected {expected}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(str(path), [path])
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes); expected a video")
    return open_video(path)


def _open_pipeline(name: str, make: Callable[[], Pipeline]) -> Source:
    try:
        pipeline = make()
    except PipelineError as error:
        raise SourceError(str(error)) from error
    if not has_gstreamer(cv2.getBuildInformation()):
        raise SourceError(without_gstreamer(name, cv2.__version__, str(Path(cv2.__file__).parent)))
    if missing := missing_elements(pipeline.needs):
        raise SourceError(f"{name}: GStreamer has no {' and no '.join(missing)}; {NVIDIA_HINT}")
    return VideoSource(name, pipeline, pipeline.live)


def without_password(spec: str) -> str:
    """The source's name for messages and files: an address loses its user and password."""
    return re.sub(r"://[^/@]*@", "://", spec)


def images_in(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


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


class VideoSource:
    """A camera, stream or video file read by OpenCV. live=None: decided by whether the stream has an end."""

    still = False

    def __init__(self, name: str, target: int | str | Pipeline, live: bool | None) -> None:
        quiet_opencv()
        self.name = name
        self._has_times = not isinstance(target, Pipeline)
        self._capture = _open_capture(target, live)
        self._first = self._read() if self._capture.isOpened() else None
        if self._first is None:
            self._capture.release()
            raise SourceError(_why_not_opened(name, target, live))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.live = not count > 0 if live is None else live
        self.frame_count = int(count) if count > 0 and not self.live else None
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if math.isfinite(fps) and 0 < fps <= 1000 else USUAL_FPS

    def frames(self) -> Iterator[Frame]:
        """Every frame once; live frames carry the time of their arrival. SourceError at an early end."""
        index, time_s, start = 0, 0.0, time.monotonic()
        image, self._first = self._read() if self.live else self._first, None  # the first live one is old by now
        first_ms = self._position_ms()
        while image is not None:
            now = time.monotonic()
            media_s = now - start if self.live else (self._position_ms() - first_ms) / 1000
            # Some containers carry no usable time stamps: then the frame rate is the clock.
            time_s = media_s if index == 0 or media_s > time_s else time_s + 1 / self.fps
            yield Frame(image, index, time_s, self.name, now)
            index += 1
            image = self._read()
        if self.live:
            raise SourceError(f"{self.name}: the stream ended or sent nothing for {READ_TIMEOUT_MS // 1000} s")
        if self._ended_early(index, time_s):
            counts = f"only {index} of {self.frame_count} frames could be read"
            raise SourceError(f"{self.name}: {counts}; the file is truncated or damaged")

    def close(self) -> None:
        """Free the device or file."""
        self._capture.release()

    def _read(self) -> Image | None:
        got, image = self._capture.read()
        return np.asarray(image, np.uint8) if got else None

    def _position_ms(self) -> float:
        # A pipeline answers with the place that it has come to itself, which is ahead of the frame.
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) if self._has_times else 0.0

    def _ended_early(self, frames_read: int, last_s: float) -> bool:
        """Whether both the count and the time of the last frame fall short of what the container announced.

        Both, because either is an estimate in some containers: the count with a variable frame rate, for one.
        """
        if self.frame_count is None:
            return False
        missing = max(2.0, 0.01 * self.frame_count)
        return frames_read < self.frame_count - missing and last_s < (self.frame_count - missing - 1) / self.fps


class ImageSource:
    """Image files in order. Those that cannot be read are left out, and named in a SourceError at the end."""

    live, still = False, True
    fps = USUAL_FPS

    def __init__(self, name: str, paths: list[Path]) -> None:
        if not paths:
            raise SourceError(f"{name}: no images in this folder; expected files ending in {_listed(IMAGE_SUFFIXES)}")
        quiet_opencv()
        self.name, self._paths = name, paths
        self.frame_count: int | None = len(paths)

    def frames(self) -> Iterator[Frame]:
        """Every readable image once, `1 / fps` apart."""
        bad: list[str] = []
        index = 0
        for path in self._paths:
            image: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                bad.append(path.name)
                continue
            yield Frame(image, index, index / self.fps, self.name, time.monotonic(), path.name)
            index += 1
        if len(bad) == len(self._paths) == 1:
            raise SourceError(f"{self.name}: not an image that can be read")
        if bad:
            raise SourceError(
                f"{self.name}: {len(bad)} of {len(self._paths)} files are not images that can be read:"
                f" {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}"
            )

    def close(self) -> None:
        """Nothing to free."""


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


def _why_not_opened(name: str, target: int | str | Pipeline, live: bool | None) -> str:
    if isinstance(target, Pipeline):
        return f"{name}: no picture came through GStreamer; {target.hint}"
    if live is None:
        return f"{name}: no video came from this address within {OPEN_TIMEOUT_MS // 1000} s; is the camera reachable?"
    if not live:
        return f"{name}: not a video that can be read (damaged, cut short, or not a video at all)"
    cameras = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
    camera = f"camera {name}" if isinstance(target, int) else name
    return f"{camera} cannot be opened; cameras found: {cameras}. Try --source demo, or a video file"


def _listed(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
