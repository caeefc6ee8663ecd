"""Where frames come from: a camera, a stream, a video file, images on disk, or the demo clip. Use `open_source`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import cv2

from pipeline.capture import OPEN_TIMEOUT_MS, READ_TIMEOUT_MS, Capture, quiet_opencv
from pipeline.containers import AVI, MP4, container, shown_s
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
from pipeline.images import ImageError, read_image
from pipeline.losses import Losses
from pipeline.types import Frame

DEMO_CLIP = Path(__file__).resolve().parent.parent / "assets" / "demo.mp4"
VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv")
)
IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
USUAL_FPS = 25.0  # for image folders, and for cameras that do not tell


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
    try:
        if path.is_dir():
            return ImageSource(str(path), images_in(path))
        empty = path.stat().st_size == 0 and path.is_file()
        if path.is_file():
            path.open("rb").close()  # OpenCV would not say why it cannot
    except FileNotFoundError:
        expected = "a camera number, a URL, a video, an image, a folder of images, or 'demo'"
        raise SourceError(f"{path}: no such file; expected {expected}") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(str(path), [path])
    if empty:
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
    """The image files directly in `folder`, sorted by name. SourceError for a folder that cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror})") from error


class VideoSource:
    """A camera, stream or video file read by OpenCV. live=None: decided by whether the stream has an end."""

    still = False

    def __init__(self, name: str, target: int | str | Pipeline, live: bool | None) -> None:
        self.name, self._target = name, target
        self._capture = Capture(target, live)
        self._first = self._capture.read()
        if self._first is None:
            self._capture.close()
            raise SourceError(_why_not_opened(name, target, live, self._capture.codec))
        announced = self._capture.frame_count
        self.live = announced is None if live is None else live
        self.frame_count = None if self.live else announced
        self.fps = self._capture.fps or USUAL_FPS

    def frames(self) -> Iterator[Frame]:
        """Every frame once; live frames carry the time of their arrival. SourceError where frames are missing."""
        losses, start, time_s = Losses(self.fps), time.monotonic(), 0.0
        # The first picture of a live source is old by now.
        image, self._first = self._capture.read() if self.live else self._first, None
        first_ms = self._capture.position_ms()
        while image is not None:
            now = time.monotonic()
            media_s = now - start if self.live else (self._capture.position_ms() - first_ms) / 1000
            # Some containers carry no usable time stamps: then the frame rate is the clock.
            if losses.frames or self.live:
                time_s = media_s if media_s > time_s else time_s + 1 / self.fps
            undecoded = self._capture.undecoded
            losses.add(time_s, undecoded)
            yield Frame(image, losses.frames - 1, time_s, self.name, now, undecoded=undecoded)
            image = self._capture.read()
        if self.live:
            lost = f"; {losses.undecoded} of its packets could not be decoded" if losses.undecoded else ""
            raise SourceError(f"{self.name}: the stream ended or sent nothing for {READ_TIMEOUT_MS // 1000} s{lost}")
        if missing := self._missing(losses):
            raise SourceError(f"{self.name}: {missing}")

    def close(self) -> None:
        """Free the device or file."""
        self._capture.close()

    def _missing(self, losses: Losses) -> str | None:
        """What is missing of a file, in words."""
        path = Path(self.name)  # of what is no file, containers know nothing
        return losses.in_words(self.frame_count, shown_s(path), exact=container(path) in (AVI, MP4))


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
            try:
                image = read_image(path)
            except ImageError as error:
                bad.append(path.name + (f" ({error})" if str(error) else ""))
                continue
            yield Frame(image, index, index / self.fps, self.name, time.monotonic(), path.name)
            index += 1
        if len(bad) == len(self._paths) == 1:
            raise SourceError(f"{self.name}: not an image that can be read{bad[0].removeprefix(path.name)}")
        if bad:
            raise SourceError(
                f"{self.name}: {len(bad)} of {len(self._paths)} files are not images that can be read:"
                f" {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''}"
            )

    def close(self) -> None:
        """Nothing to free."""


def _why_not_opened(name: str, target: int | str | Pipeline, live: bool | None, codec: str) -> str:
    if isinstance(target, Pipeline):
        return f"{name}: no picture came through GStreamer; {target.hint}"
    if live is None:
        return f"{name}: no video came from this address within {OPEN_TIMEOUT_MS // 1000} s; is the camera reachable?"
    if not live:
        codec = f"; its codec {codec!r} may be one that this OpenCV cannot decode" if codec else ""
        return f"{name}: not a video that can be read (damaged, cut short, or not a video at all){codec}"
    cameras = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
    camera = f"camera {name}" if isinstance(target, int) else name
    return f"{camera} cannot be opened; cameras found: {cameras}. Try --source demo, or a video file"


def _listed(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
