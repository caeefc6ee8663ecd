"""GStreamer pipelines for OpenCV on a Jetson: CSI cameras and hardware decoding, as strings. Opens none itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

CSI, RTSP = ("csi://",), ("rtsp://", "rtsps://")
CSI_OPTIONS: Mapping[str, tuple[int, int, int]] = {
    # name: default, least, most
    "width": (1280, 64, 8192),  # px
    "height": (720, 64, 8192),  # px
    "fps": (30, 1, 240),  # frames/s
    "flip": (0, 0, 7),  # nvvidconv's flip-method
}
MOST_SENSORS = 16
# OpenCV takes BGR; nvvidconv makes BGRx at best, from the frame in the device's own memory (NVMM).
TO_BGRX = "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"
# Only NVIDIA's decoder gives frames in NVMM: where decodebin finds another, the pipeline fails instead of being slow.
DECODED = f"decodebin ! video/x-raw(memory:NVMM) ! nvvidconv ! {TO_BGRX}"
DECODER = ("nvv4l2decoder", "nvvidconv")
NEWEST_FRAME = "appsink drop=true max-buffers=1 sync=false"
EVERY_FRAME = "appsink drop=false max-buffers=4 sync=false"  # a few frames, so that decoding and reading overlap
CAMERA_HINT = "is the camera connected, nvargus-daemon running, and the size one of the sensor's modes?"
DECODER_HINT = "hardware decoding takes H.264 and H.265 in mp4, mkv, mov or ts"
NVIDIA_HINT = "it comes with JetPack (nvidia-l4t-gstreamer), and into a container with --runtime nvidia"
STREAM_HINT = "is the camera reachable, and its video H.264 or H.265?"


class PipelineError(ValueError):
    """A source that no pipeline can be made of; the message says which, what was expected, what came."""


@dataclass(frozen=True)
class Pipeline:
    """What cv2.VideoCapture opens with CAP_GSTREAMER.

    live: it gives its newest frame and drops older ones; else it gives all. needs: NVIDIA's elements in it. hint: what
    to look at if no frame comes.
    """

    text: str
    live: bool
    needs: tuple[str, ...]
    hint: str


def csi_pipeline(spec: str) -> Pipeline:
    """The camera of a Jetson's CSI connector: csi://SENSOR, with ?width=1280&height=720&fps=30&flip=0 as options.

    Width and height are px of the sensor's picture, before the flip; fps frames/s; flip nvvidconv's flip-method, where
    2 turns by 180 degrees, 1 and 3 by 90. Raises PipelineError for anything else.
    """
    parts = _split(spec)
    sensor = parts.netloc
    if not re.fullmatch("[0-9]{1,2}", sensor) or int(sensor) >= MOST_SENSORS or parts.path or parts.fragment:
        raise PipelineError(f"{_shown(spec)}: expected the number of a sensor, 0 to {MOST_SENSORS - 1}, as in csi://0")
    options = _csi_options(spec, parts)
    size = f"width={options['width']},height={options['height']}"
    text = (
        f"nvarguscamerasrc sensor-id={int(sensor)}"
        f" ! video/x-raw(memory:NVMM),{size},format=NV12,framerate={options['fps']}/1"
        f" ! nvvidconv flip-method={options['flip']} ! {TO_BGRX} ! {NEWEST_FRAME}"
    )
    return Pipeline(text, True, ("nvarguscamerasrc", "nvvidconv"), CAMERA_HINT)


def rtsp_pipeline(url: str) -> Pipeline:
    """The newest frame of a network camera, decoded in hardware. RTP comes over TCP: nothing is lost or reordered.

    Raises PipelineError for an address without host, or with spaces or control characters.
    """
    parts = _split(url)
    if not url.startswith(RTSP) or not parts.hostname or re.search(r"[\s\x00-\x20\x7f]", url):
        raise PipelineError(f"{_shown(url)}: expected an address as in rtsp://HOST/PATH, with %20 for a space")
    source = f"rtspsrc location={quoted(url)} latency=0 protocols=tcp ! application/x-rtp,media=video"
    return Pipeline(f"{source} ! {DECODED} ! {NEWEST_FRAME}", True, DECODER, STREAM_HINT)


def file_pipeline(path: Path) -> Pipeline:
    """Every frame of a video file, decoded in hardware. Raises PipelineError for a name that GStreamer cannot take."""
    source = f"filesrc location={quoted(str(path.absolute()))}"
    return Pipeline(f"{source} ! {DECODED} ! {EVERY_FRAME}", False, DECODER, DECODER_HINT)


def quoted(value: str) -> str:
    """`value` as one property of a pipeline, whatever is in it: no part of it can become an element.

    Raises PipelineError for control characters, and for bytes of a file name that are not UTF-8.
    """
    if re.search(r"[\x00-\x1f\x7f]", value) or not _is_utf8(value):
        raise PipelineError(f"{value!a}: GStreamer takes no control characters and only UTF-8; rename it")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def has_gstreamer(build_information: str) -> bool:
    """Whether an OpenCV with this cv2.getBuildInformation() can run pipelines."""
    return re.search(r"^\s*GStreamer:\s*YES\b", build_information, re.MULTILINE) is not None


def missing_elements(names: Sequence[str]) -> list[str]:
    """Those that GStreamer does not have; none where gst-inspect-1.0 is not there to ask.

    OpenCV would open a pipeline without them, and may then wait for ever.
    """
    try:
        return [name for name in names if subprocess.run(["gst-inspect-1.0", "--exists", name], timeout=60).returncode]
    except (OSError, subprocess.TimeoutExpired):
        return []


def without_gstreamer(name: str, version: str, place: str) -> str:
    """What to say of source `name` when OpenCV `version`, imported from `place`, cannot run pipelines."""
    return (
        f"{name}: this needs an OpenCV with GStreamer, and OpenCV {version} in {place} has none; on a Jetson use the"
        " system's: pip uninstall opencv-python, apt-get install python3-opencv, and a venv made with"
        " --system-site-packages (docs/jetson.md)"
    )


def _split(spec: str) -> SplitResult:
    try:
        return urlsplit(spec)
    except ValueError as error:
        raise PipelineError(f"{_shown(spec)}: not an address ({error})") from error


def _shown(spec: str) -> str:
    """For messages: on one line, without user and password."""
    return ascii(re.sub("://[^/@]*@", "://", spec))


def _csi_options(spec: str, parts: SplitResult) -> dict[str, int]:
    """The options after the question mark, or their defaults."""
    options = {name: default for name, (default, _, _) in CSI_OPTIONS.items()}
    given: set[str] = set()
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in CSI_OPTIONS or name in given:
            what = "given twice" if name in given else "unknown"
            raise PipelineError(f"{_shown(spec)}: option {name!r} is {what}; valid are {', '.join(CSI_OPTIONS)}")
        given.add(name)
        _, least, most = CSI_OPTIONS[name]
        if not re.fullmatch("[0-9]{1,5}", value) or not least <= int(value) <= most:
            raise PipelineError(f"{_shown(spec)}: {name} should be a whole number, {least} to {most}, got {value!r}")
        options[name] = int(value)
    if options["width"] % 2 or options["height"] % 2:
        raise PipelineError(f"{_shown(spec)}: width and height should be even (NV12 halves them)")
    return options


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
