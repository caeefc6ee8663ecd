from __future__ import annotations

import ctypes
import re
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import cv2
import pytest

from apps import video, webcam
from pipeline import sources
from pipeline.gstreamer import (
    CAMERA_HINT,
    Pipeline,
    PipelineError,
    csi_pipeline,
    file_pipeline,
    has_gstreamer,
    missing_elements,
    quoted,
    rtsp_pipeline,
)
from pipeline.sources import SourceError, open_decoded_in_hardware, open_source
from tests.fakes import BlobNetworks, picture, walk, write_video

NAMES = ['a" ! filesink location="b', "a ! b", "a\\", '\\" ! b', "a b", "a'b", "ünï", "$HOME", "a,b=(int)3;c"]
WITH, WITHOUT = "  Video I/O:\n    GStreamer:                   YES (1.20.3)\n", "    GStreamer:       NO\n"


def elements(text: str) -> list[str]:
    """The names of a pipeline's elements and caps, as GStreamer would read them: quoted text is skipped."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "QUOTED", text)
    return [part.split()[0].split(",")[0] for part in bare.split(" ! ")]


def test_a_csi_camera_gives_its_newest_frame() -> None:
    assert csi_pipeline("csi://0") == Pipeline(
        "nvarguscamerasrc sensor-id=0"
        " ! video/x-raw(memory:NVMM),width=1280,height=720,format=NV12,framerate=30/1"
        " ! nvvidconv flip-method=0 ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"
        " ! appsink drop=true max-buffers=1 sync=false",
        True,
        ("nvarguscamerasrc", "nvvidconv"),
        CAMERA_HINT,
    )


def test_a_csi_camera_takes_its_options() -> None:
    text = csi_pipeline("csi://1?width=1920&height=1080&fps=60&flip=2").text
    assert "sensor-id=1 " in text
    assert "width=1920,height=1080,format=NV12,framerate=60/1" in text
    assert "flip-method=2 " in text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("csi://", "expected the number of a sensor, 0 to 15"),
        ("csi://16", "expected the number of a sensor"),
        ("csi://-1", "expected the number of a sensor"),
        ("csi://٣", "expected the number of a sensor"),
        ("csi://0 ! fakesink", "expected the number of a sensor"),
        ("csi://0/x", "expected the number of a sensor"),
        ("csi://0?width=1280#x", "expected the number of a sensor"),
        ("csi://[0", "not an address"),
        ("csi://0?hight=720", "option 'hight' is unknown; valid are width, height, fps, flip"),
        ("csi://0?fps=30&fps=60", "option 'fps' is given twice"),
        ("csi://0?width=12", "width should be a whole number, 64 to 8192, got '12'"),
        ("csi://0?fps=30/1", "fps should be a whole number, 1 to 240, got '30/1'"),
        ("csi://0?fps=", "fps should be a whole number, 1 to 240, got ''"),
        ("csi://0?flip=8", "flip should be a whole number, 0 to 7, got '8'"),
        ("csi://0?width=1281", "width and height should be even"),
        ("csi://0?flip=2%20!%20filesink%20location=x", "flip should be a whole number"),
    ],
)
def test_a_wrong_csi_address_is_one_clear_line(spec: str, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        csi_pipeline(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rtsp_is_decoded_in_hardware_without_a_queue() -> None:
    pipeline = rtsp_pipeline("rtsp://me:p%20w@192.0.2.7:554/stream?channel=1&x=2")
    assert pipeline.live
    assert 'rtspsrc location="rtsp://me:p%20w@192.0.2.7:554/stream?channel=1&x=2" latency=0 ' in pipeline.text
    assert pipeline.text.endswith("appsink drop=true max-buffers=1 sync=false")
    decoder = ["decodebin", "video/x-raw(memory:NVMM)", "nvvidconv", "video/x-raw", "videoconvert", "video/x-raw"]
    assert elements(pipeline.text) == ["rtspsrc", "application/x-rtp", *decoder, "appsink"]


@pytest.mark.parametrize(
    "url", ["http://host/x", "rtsp:///x", "rtsp://", "rtsp://h/a b", "rtsp://h/a\nb", "rtsp://h/\x00", "rtsp://[h/x"]
)
def test_a_wrong_rtsp_address_is_one_clear_line(url: str) -> None:
    with pytest.raises(PipelineError, match=r"expected an address as in rtsp://HOST/PATH|not an address") as caught:
        rtsp_pipeline(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["rtsp://me:secret@h/a b", "rtsp://me:secret@[h/x"])
def test_a_password_is_never_shown(url: str) -> None:
    with pytest.raises(PipelineError) as caught:
        rtsp_pipeline(url)
    assert "secret" not in str(caught.value)


def test_a_file_loses_no_frame() -> None:
    pipeline = file_pipeline(Path("/videos/walk.mp4"))
    assert not pipeline.live
    assert pipeline.text.startswith('filesrc location="/videos/walk.mp4" ! decodebin ! video/x-raw(memory:NVMM) ! ')
    assert pipeline.text.endswith("appsink drop=false max-buffers=4 sync=false")
    assert file_pipeline(Path("walk.mp4")).text.startswith(f'filesrc location="{Path.cwd()}/walk.mp4" ')


@pytest.mark.parametrize("name", NAMES)
def test_no_name_becomes_an_element(name: str) -> None:
    plain = elements(file_pipeline(Path("/videos/walk.mp4")).text)
    assert elements(file_pipeline(Path("/videos") / name).text) == plain
    assert elements(rtsp_pipeline(f"rtsp://h/{name.replace(' ', '%20')}").text)[0] == "rtspsrc"


def test_quotes_and_backslashes_are_escaped() -> None:
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x00b", "\udcff"])
def test_names_that_gstreamer_cannot_take_are_refused(name: str) -> None:
    with pytest.raises(PipelineError, match="no control characters and only UTF-8") as caught:
        file_pipeline(Path(name))
    assert str(caught.value).isascii()


def test_gstreamer_is_read_from_the_build_information() -> None:
    assert has_gstreamer(WITH)
    assert not has_gstreamer(WITHOUT)
    assert not has_gstreamer("")
    assert not has_gstreamer("  GStreamer plugin path: YES\n")


@pytest.mark.parametrize("kind", ["csi", "rtsp", "file"])
def test_without_gstreamer_the_error_says_what_to_install(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: WITHOUT)
    path = write_video(tmp_path / "walk.mp4", walk(2))
    spec, name = {
        "csi": ("csi://0", "csi://0"),
        "rtsp": ("rtsp://me:secret@127.0.0.1:9/door", "rtsp://127.0.0.1:9/door"),
        "file": (str(path), str(path)),
    }[kind]
    with pytest.raises(SourceError) as caught:
        open_decoded_in_hardware(spec)
    message = str(caught.value)
    assert message.startswith(f"{name}: this needs an OpenCV with GStreamer, and OpenCV {cv2.__version__} in ")
    assert "apt-get install python3-opencv" in message
    assert "--system-site-packages" in message
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.parametrize("app", [video, webcam])
def test_the_apps_take_the_option(
    app: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: WITHOUT)
    monkeypatch.setattr(app, "Networks", BlobNetworks)
    path = str(write_video(tmp_path / "walk.mp4", walk(2)))
    arguments = [path, "--out", str(tmp_path / "out")] if app is video else ["--source", path, "--headless"]
    assert app.main(arguments) == 0
    capfd.readouterr()
    assert app.main([*arguments, "--hw-decode"]) == 1
    assert f"error: {path}: this needs an OpenCV with GStreamer" in capfd.readouterr().err


class FakeCapture:
    """Stands in for cv2.VideoCapture with GStreamer: three frames, with neither times nor a number."""

    opened: ClassVar[list[tuple[object, ...]]] = []
    works = True

    def __init__(self, *arguments: object) -> None:
        self.opened.append(arguments)
        self._left = 3

    def isOpened(self) -> bool:
        return self.works

    def read(self) -> tuple[bool, object]:
        self._left -= 1
        return self._left >= 0, picture()

    def get(self, property_id: int) -> float:
        return {cv2.CAP_PROP_FPS: 10.0, cv2.CAP_PROP_FRAME_COUNT: -1.0}.get(property_id, 5000.0)

    def release(self) -> None:
        pass


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    monkeypatch.setattr(FakeCapture, "opened", [])
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: WITH)
    monkeypatch.setattr(sources, "missing_elements", lambda names: [])
    return FakeCapture


def test_a_file_is_opened_as_pipeline_and_timed_by_its_frame_rate(capture: type[FakeCapture], tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"video")
    source = open_decoded_in_hardware(str(path))
    assert capture.opened == [(file_pipeline(path).text, cv2.CAP_GSTREAMER)]
    assert (source.live, source.frame_count, source.fps) == (False, None, 10.0)
    assert [round(frame.time_s, 3) for frame in source.frames()] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(("version", "timeouts"), [("4.6.0", False), ("4.8.0", True), ("5.0.0-dev", True)])
def test_a_camera_gets_timeouts_where_opencv_knows_them(
    version: str, timeouts: bool, capture: type[FakeCapture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "__version__", version)
    source = open_source("csi://0?fps=10")
    (arguments,) = capture.opened
    assert arguments[:2] == (csi_pipeline("csi://0?fps=10").text, cv2.CAP_GSTREAMER)
    assert (len(arguments) == 3) == timeouts
    assert (source.live, source.name) == (True, "csi://0?fps=10")
    with pytest.raises(SourceError, match="the stream ended"):
        list(source.frames())


@pytest.mark.parametrize(
    ("spec", "hint"),
    [("csi://0", "is the camera connected"), ("rtsp://a:b@h/x", "reachable"), ("FILE", "takes H.264 and H.265")],
)
def test_a_pipeline_that_gives_nothing_says_what_to_look_at(
    spec: str, hint: str, capture: type[FakeCapture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "works", False)
    (tmp_path / "walk.mp4").write_bytes(b"video")
    with pytest.raises(SourceError, match=f"no picture came through GStreamer; .*{hint}"):
        open_decoded_in_hardware(spec.replace("FILE", str(tmp_path / "walk.mp4")))


def test_nvidias_elements_are_asked_for_before_opencv_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "gst-inspect-1.0"
    tool.write_text('#!/bin/sh\n[ "$1" = --exists ] && [ "$2" = nvvidconv ]\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: WITH)
    with pytest.raises(SourceError, match=r"^csi://0: GStreamer has no nvarguscamerasrc; it comes with JetPack"):
        open_source("csi://0")
    tool.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_elements(["nvvidconv"]) == []


@pytest.mark.parametrize("spec", ["0", "/dev/video0", "http://me:secret@h/x"])
def test_what_cannot_be_decoded_in_hardware_is_said(spec: str) -> None:
    with pytest.raises(SourceError, match="hardware decoding is for video files and rtsp:// addresses") as caught:
        open_decoded_in_hardware(spec)
    assert "secret" not in str(caught.value)


def test_images_and_mistakes_are_as_without_hardware(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    assert open_decoded_in_hardware(str(tmp_path)).still
    with pytest.raises(SourceError, match="no such file"):
        open_decoded_in_hardware(str(tmp_path / "b.mp4"))
    with pytest.raises(SourceError, match="expected the number of a sensor"):
        open_decoded_in_hardware("csi://front")


def read_by_gstreamer(element: str) -> str | None:
    """The location of one element described so, as GStreamer's own parser reads it; None where it is not installed."""
    try:
        gst, objects = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
    except OSError:
        return None
    gst.gst_init(None, None)
    gst.gst_parse_launch.restype = ctypes.c_void_p
    made = gst.gst_parse_launch(element.encode(), None)
    location = ctypes.c_char_p()
    if made is None:  # without GStreamer's basic elements
        return None
    objects.g_object_get(ctypes.c_void_p(made), b"location", ctypes.byref(location), None)
    return (location.value or b"").decode()


@pytest.mark.parametrize("name", NAMES)
def test_gstreamer_itself_reads_a_name_as_one_property(name: str) -> None:
    path = Path("/videos") / name
    location = read_by_gstreamer(file_pipeline(path).text.split(" ! decodebin")[0])
    if location is None:
        pytest.skip("GStreamer is not installed")
    assert location == str(path)
