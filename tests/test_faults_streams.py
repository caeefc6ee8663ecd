"""Network cameras that stall, end in the middle of a picture, or send damaged ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np
import pytest

from pipeline import capture
from pipeline.sources import SourceError, open_source
from pipeline.types import Frame
from tests.fakes import picture

Send = Callable[[bytes], None]
BOUNDARY = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n"
HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"


def jpeg(shade: int = 255) -> bytes:
    """A picture that is large enough for FFmpeg to see at once what is sent."""
    noise = np.random.default_rng(shade).integers(0, shade, (240, 320, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "READ_TIMEOUT_MS", 400)


@contextmanager
def camera(send_all: Callable[[Send, threading.Event], None]) -> Iterator[str]:
    """The address of a motion-JPEG camera that sends what `send_all` says, then hangs up."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while not over.is_set():
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(HEADER)
                        send_all(connection.sendall, over)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/video"
        finally:
            over.set()
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def watch(address: str) -> tuple[list[Frame], str]:
    """The frames of a live source, and the error at its end."""
    source, frames = open_source(address), list[Frame]()
    assert source.live
    try:
        for frame in source.frames():
            frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    finally:
        source.close()
    raise AssertionError("a live source has no end")


def test_a_camera_that_stalls_is_noticed() -> None:
    def send_all(send: Send, over: threading.Event) -> None:
        for _ in range(20):
            send(BOUNDARY + jpeg())
        over.wait(60)
        hung_up.set()

    hung_up = threading.Event()
    with camera(send_all) as address:
        frames, error = watch(address)
        assert not hung_up.is_set(), "it was the camera that ended it"
    assert 10 <= len(frames) < 20  # the first is old by the time that it is asked for
    assert error.startswith("http://127.0.0.1:") and "the stream ended or sent nothing for" in error


def test_a_camera_that_hangs_up_in_the_middle_of_a_picture_ends_with_an_error() -> None:
    def send_all(send: Send, over: threading.Event) -> None:
        for _ in range(20):
            send(BOUNDARY + jpeg())
        send(BOUNDARY + jpeg()[:3000])

    with camera(send_all) as address:
        frames, error = watch(address)
    assert len(frames) >= 10
    assert all(frame.image.shape == (240, 320, 3) for frame in frames)
    assert "the stream ended" in error


def test_damaged_pictures_in_a_stream_do_not_end_it() -> None:
    def send_all(send: Send, over: threading.Event) -> None:
        for number in range(40):
            data = jpeg()
            send(BOUNDARY + (data[:2] + bytes(len(data) - 2) if number in (15, 16, 25) else data))

    with camera(send_all) as address:
        frames, error = watch(address)
    assert 30 <= len(frames) <= 36
    if int(cv2.__version__.split(".")[0]) >= 5:  # OpenCV 4 passes over them itself, and tells nobody
        assert error.endswith("; 3 of its packets could not be decoded")
        assert sorted(frame.undecoded for frame in frames)[-2:] == [1, 2]
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_a_stream_of_pictures_of_changing_size_goes_on() -> None:
    def send_all(send: Send, over: threading.Event) -> None:
        for number in range(40):
            size = (320, 240) if number < 20 else (200, 300)
            send(BOUNDARY + cv2.imencode(".jpg", picture(size=size))[1].tobytes() + bytes(2000))

    with camera(send_all) as address:
        frames, _ = watch(address)
    assert len(frames) >= 25


def test_an_address_that_answers_without_a_video_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "OPEN_TIMEOUT_MS", 400)
    with camera(lambda send, over: send(b"\r\nhello")) as address, pytest.raises(SourceError, match="no video came"):
        open_source(address)


def test_an_address_that_never_answers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "OPEN_TIMEOUT_MS", 400)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/video"
        with pytest.raises(SourceError, match="no video came"):
            open_source(address)
