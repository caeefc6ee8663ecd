from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.sources import SourceError, open_source
from pipeline.types import Frame
from tests.fakes import picture, walk, write_video


def read_all(spec: Path | str) -> tuple[list[Frame], str]:
    """The frames of a source, and the error at its end if there is one."""
    source = open_source(str(spec))
    frames: list[Frame] = []
    try:
        for frame in source.frames():
            frames.append(frame)  # noqa: PERF402 (what was read before an error counts)
    except SourceError as error:
        return frames, str(error)
    finally:
        source.close()
    return frames, ""


def test_a_video_gives_every_frame_in_order_with_its_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mp4", walk(12), fps=10)
    frames, error = read_all(path)
    assert error == ""
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(12) / 10, atol=1e-6)
    assert frames[0].image.shape == (240, 320, 3)
    assert frames[0].image.dtype == np.uint8
    source = open_source(str(path))
    assert (source.fps, source.frame_count, source.live, source.still) == (10, 12, False, False)


def test_a_video_cut_short_gives_what_can_be_read_and_says_how_much(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(40)]
    whole = write_video(tmp_path / "whole.avi", images).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    frames, error = read_all(cut)
    assert 10 < len(frames) < 30
    assert error.startswith(f"{cut}: only {len(frames)} of 40 frames could be read")


@pytest.mark.parametrize("content", [b"not a video at all" * 50, b"\0" * 5000])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.mp4: not a video that can be read"):
        open_source(str(path))
    assert capfd.readouterr().err == ""  # neither OpenCV nor FFmpeg adds to our line


def test_an_mp4_without_its_index_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mp4", walk(20))
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(SourceError, match="not a video that can be read"):
        open_source(str(path))


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceError, match=r"empty\.mp4: the file is empty"):
        open_source(str(tmp_path / "empty.mp4"))


def test_a_missing_file_says_what_is_expected() -> None:
    with pytest.raises(SourceError, match="nowhere: no such file; expected a camera number, a URL"):
        open_source("nowhere")


@pytest.mark.parametrize(("spec", "named"), [("97", "camera 97"), ("/dev/video97", "/dev/video97")])
def test_no_camera_lists_those_found(spec: str, named: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=f"^{named} cannot be opened; cameras found: "):
        open_source(spec)
    assert capfd.readouterr().err == ""


def test_an_unreachable_stream_is_named_without_its_password() -> None:
    with pytest.raises(SourceError, match=r"^rtsp://127\.0\.0\.1:9/door: no video came") as caught:
        open_source("rtsp://me:secret@127.0.0.1:9/door")
    assert "secret" not in str(caught.value)


def test_a_folder_gives_its_images_sorted_and_of_any_size(tmp_path: Path) -> None:
    for name, size in (("b.png", (64, 48)), ("a.jpg", (32, 32)), ("c.bmp", (20, 40))):
        cv2.imwrite(str(tmp_path / name), picture(size=size))
    (tmp_path / "notes.txt").write_text("not an image")
    frames, error = read_all(tmp_path)
    assert error == ""
    assert [frame.image.shape[:2] for frame in frames] == [(32, 32), (48, 64), (40, 20)]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert open_source(str(tmp_path)).still


def test_images_that_are_none_are_left_out_and_named_at_the_end(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    (tmp_path / "b.png").write_text("not an image")
    cv2.imwrite(str(tmp_path / "c.png"), picture())
    frames, error = read_all(tmp_path)
    assert [frame.index for frame in frames] == [0, 1]
    assert error == f"{tmp_path}: 1 of 3 files are not images that can be read: b.png"


def test_a_single_image_is_a_source_and_a_bad_one_an_error(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), picture())
    (tmp_path / "bad.png").write_text("not an image")
    assert len(read_all(tmp_path / "good.png")[0]) == 1
    assert read_all(tmp_path / "bad.png") == ([], f"{tmp_path / 'bad.png'}: not an image that can be read")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no images in this folder; expected files ending in \.bmp, "):
        open_source(str(tmp_path))


def test_the_demo_clip_opens() -> None:
    source = open_source("demo")
    assert source.frame_count
    source.close()


def test_a_video_on_a_web_server_is_read_to_its_end(tmp_path: Path) -> None:
    write_video(tmp_path / "walk.mp4", walk(6))
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        frames, error = read_all(f"http://127.0.0.1:{server.server_port}/walk.mp4")
        server.shutdown()
    assert (len(frames), error) == (6, "")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass
