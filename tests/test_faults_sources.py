"""Sources that are damaged, cut short, forbidden, or change in the middle: nothing is lost without a word."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.containers import AVI, MATROSKA, MP4, container, shown_s
from pipeline.losses import Losses
from pipeline.sources import SourceError, open_source
from pipeline.types import Image
from tests.fakes import picture, walk, write_video
from tests.test_sources import read_all

FRAMES = 40


def noise(size: tuple[int, int] = (160, 120), frames: int = FRAMES) -> list[Image]:
    """Pictures that are large as files, so that damage hits them and not what lies between."""
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8) for _ in range(frames)]


def written(path: Path, codec: str, images: list[Image]) -> bytes:
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (width, height))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {codec} in {path.suffix}")
    for image in images:
        writer.write(image)
    writer.release()
    return path.read_bytes()


def with_zeros(data: bytes, start: int, length: int) -> bytes:
    return data[:start] + bytes(length) + data[start + length :]


def frame_chunk(avi: bytes, number: int) -> int:
    """Where the JPEG of frame `number` starts in a motion-JPEG avi."""
    place = avi.index(b"movi") - 8
    for _ in range(number + 1):
        place = avi.index(b"00dc", place + 8)
    return place + 8


def test_a_frame_that_cannot_be_decoded_is_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "damaged.avi"
    whole = write_video(path, noise()).read_bytes()
    path.write_bytes(with_zeros(whole, frame_chunk(whole, 9), 400))
    frames, error = read_all(path)
    assert len(frames) == FRAMES - 1
    assert [frame.index for frame in frames] == list(range(FRAMES - 1))
    times = [frame.time_s for frame in frames]
    np.testing.assert_allclose(times[8:10], [0.32, 0.40], atol=1e-6)  # the clock shows the hole
    assert error == f"{path}: only 39 of 40 frames could be read; the file is damaged after 0.32 s"


@pytest.mark.parametrize("lost", [1, 5])
def test_the_last_frames_are_missed_to_a_single_one(lost: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    whole = write_video(path, noise()).read_bytes()
    path.write_bytes(whole[: frame_chunk(whole, FRAMES - lost)])
    frames, error = read_all(path)
    assert len(frames) == FRAMES - lost
    assert error == f"{path}: only {FRAMES - lost} of 40 frames could be read; the file is truncated or damaged"


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "MJPG"), ("a.mkv", "mp4v"), ("a.mp4", "mp4v"), ("a.ts", "mpg2")])
def test_a_hole_in_the_middle_is_said(name: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / name
    whole = written(path, codec, noise())
    path.write_bytes(with_zeros(whole, len(whole) // 2, len(whole) // 10))
    frames, error = read_all(path)
    assert FRAMES * 0.75 <= len(frames) < FRAMES
    assert error.startswith(f"{path}: only {len(frames)} of 40 frames could be read; the file is damaged after 0.")


@pytest.mark.parametrize(
    ("name", "kind", "says"), [("a.avi", AVI, None), ("a.mkv", MATROSKA, 1.6), ("a.mp4", MP4, 1.6)]
)
def test_containers_say_how_much_video_they_show(name: str, kind: str, says: float | None, tmp_path: Path) -> None:
    path = tmp_path / name
    data = written(path, "MJPG" if name == "a.avi" else "mp4v", noise())
    assert container(path) == kind
    assert shown_s(path) == (None if says is None else pytest.approx(says))
    for end in (0, 11, 64, 300, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:end])  # cut anywhere: no error
        assert shown_s(path) in (None, pytest.approx(1.6))


IN_GROUPS = np.repeat(np.arange(11), 10) * 0.76 + np.tile(np.arange(10), 11) / 25  # ten frames, then a pause
# What files of these kinds answer that are whole (made by FFmpeg): fps, times of the frames, announced number,
# announced seconds, whether the number is exact.
WHOLE = {
    "mkv with longer sound": (25.0, np.arange(200) / 25, 233, 8.0, False),
    "mp4 trimmed by its edit list": (25.0, np.arange(165) / 25, 200, 6.63, True),
    "flv": (25.0, np.arange(200) / 25, 202, None, False),
    "ts of variable frame rate": (25.0, IN_GROUPS, 200, None, False),
    "mkv of variable frame rate": (13.75, IN_GROUPS, 114, 8.32, False),
    "avi of every third frame": (25.0, np.arange(67) * 0.12, 199, None, True),
    "mp4 with a pause": (16.125, np.concatenate([np.arange(50), np.arange(121, 200)]) / 25, 129, 8.0, True),
    "raw stream": (25.0, np.arange(200) / 25, None, None, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files_of_every_kind_are_not_called_damaged(kind: str) -> None:
    fps, times, announced, shown, exact = WHOLE[kind]
    losses = Losses(fps)
    for time_s in times:
        losses.add(float(time_s), 0)
    assert losses.in_words(announced, shown, exact) is None


def test_a_packet_without_a_picture_counts_where_the_clock_shows_nothing() -> None:
    losses = Losses(25.0)
    for number in range(20):
        losses.add(number / 25, 2 if number == 7 else 0)
    expected = "only 20 of 22 frames could be read; the file is damaged after 0.24 s"
    assert losses.in_words(None, None, False) == losses.in_words(20, 0.8, True) == expected


def test_many_holes_are_no_variable_frame_rate_where_all_frames_have_a_time() -> None:
    losses = Losses(25.0)
    for number in range(0, 120, 2):
        losses.add(number / 25, 0)
    missing = losses.in_words(119, 4.76, True)
    assert missing == "only 60 of 119 frames could be read; the file is damaged after 0.00 s"


def test_a_video_that_changes_its_size_goes_on(tmp_path: Path) -> None:
    """OpenCV scales what comes later to the first frame's size; this decoder drops the one that it holds back."""
    small, large = (written(tmp_path / "part.ts", "mpg2", noise(size, 12)) for size in ((160, 120), (320, 240)))
    path = tmp_path / "both.ts"
    path.write_bytes(small + large)
    frames, _ = read_all(path)
    assert len(frames) >= 23
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert (np.diff([frame.time_s for frame in frames]) > 0).all()  # although the second part's clock starts anew


def test_a_stream_of_pictures_of_changing_size_and_colour_loses_nothing(tmp_path: Path) -> None:
    images = [picture(size=(64, 48)), picture(size=(64, 48))[..., 0], picture(size=(101, 75)), picture(size=(64, 48))]
    path = tmp_path / "mixed.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in images))
    frames, error = read_all(path)
    assert (error, [frame.image.shape for frame in frames]) == ("", [(48, 64, 3)] * 4)


def png(width: int, height: int, colour_type: int, rows: bytes, palette: bytes = b"", depth: int = 8) -> bytes:
    """A PNG file by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    middle = chunk(b"PLTE", palette) if palette else b""
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + data + chunk(b"IEND", b"")


def jpeg_on_its_side(image: Image, orientation: int) -> bytes:
    """A JPEG whose EXIF says how to turn it."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize(
    ("name", "data", "shape", "corner"),
    [
        ("grey.png", png(3, 2, 0, b"\0\x64\0\0" * 2), (2, 3, 3), [100, 100, 100]),
        ("deep.png", png(3, 2, 0, b"\0\x64\0\0\0\0\0" * 2, depth=16), (2, 3, 3), [100, 100, 100]),
        ("clear.png", png(1, 1, 6, b"\0\x0a\x14\x1e\0"), (1, 1, 3), [30, 20, 10]),
        ("palette.png", png(2, 1, 3, b"\0\1\0", bytes((0, 0, 0, 10, 20, 30))), (1, 2, 3), [30, 20, 10]),
        ("turned.jpg", jpeg_on_its_side(picture(size=(64, 32)), 6), (64, 32, 3), [0, 0, 0]),
        ("upside_down.jpg", jpeg_on_its_side(picture(size=(64, 32)), 3), (32, 64, 3), [0, 0, 0]),
    ],
)
def test_images_of_every_kind_become_upright_bgr(
    name: str, data: bytes, shape: tuple[int, ...], corner: list[int], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    (frame,), error = read_all(tmp_path / name)
    assert (error, frame.image.shape, frame.image.dtype.name) == ("", shape, "uint8")
    assert frame.image[0, 0].tolist() == corner


def test_damaged_images_are_left_out_with_the_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = noise(frames=1)[0]
    whole = {suffix: cv2.imencode(suffix, image)[1].tobytes() for suffix in (".jpg", ".png")}
    (tmp_path / "a.jpg").write_bytes(whole[".jpg"])
    (tmp_path / "b.jpg").write_bytes(whole[".jpg"][:-5])
    (tmp_path / "c.png").write_bytes(whole[".png"][:-20])
    (tmp_path / "d.png").write_bytes(with_zeros(whole[".png"], 5000, 9))
    (tmp_path / "e.png").touch()
    (tmp_path / "f.png").mkdir()
    (tmp_path / "g.png").symlink_to("nowhere.png")
    frames, error = read_all(tmp_path)
    assert [frame.file_name for frame in frames] == ["a.jpg"]
    named = "b.jpg (cut short), c.png (cut short), d.png (damaged), e.png (empty), f.png (Is a directory), ..."
    assert error == f"{tmp_path}: 6 of 7 files are not images that can be read: {named}"
    assert capfd.readouterr().err == ""


def test_a_jpeg_with_something_behind_its_end_is_whole(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", picture())[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(data + b"a film of a phone" * 50)
    assert len(read_all(tmp_path / "a.jpg")[0]) == 1


def test_an_image_that_is_deleted_meanwhile_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), picture())
    source = open_source(str(tmp_path))
    frames = source.frames()
    next(frames)
    (tmp_path / "b.png").unlink()
    assert next(frames).file_name == "c.png"
    with pytest.raises(SourceError, match=r"1 of 3 files are not images.*: b\.png \(No such file or directory\)"):
        next(frames)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere an open file cannot be deleted")
def test_a_video_that_is_deleted_meanwhile_is_read_to_its_end(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "a.avi", walk(9))))
    frames = source.frames()
    next(frames)
    (tmp_path / "a.avi").unlink()
    assert len(list(frames)) == 8


@pytest.mark.parametrize(
    ("name", "made_as", "frames"), [("a.mp4", ".avi", 5), ("a.txt", ".mp4", 5), ("a", ".mkv", 5), ("a.png", ".jpg", 1)]
)
def test_the_content_counts_and_not_the_suffix(name: str, made_as: str, frames: int, tmp_path: Path) -> None:
    original = tmp_path / f"original{made_as}"
    if made_as == ".jpg":
        cv2.imwrite(str(original), picture())
    else:
        write_video(original, walk(5))
    original.rename(tmp_path / name)
    found, error = read_all(tmp_path / name)
    assert (len(found), error) == (frames, "")


@pytest.mark.parametrize("name", ["film.png", "picture.avi"])
def test_a_wrong_suffix_that_cannot_be_read_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"hello" * 300)
    with pytest.raises(SourceError, match="that can be read"):
        list(open_source(str(tmp_path / name)).frames())


@pytest.fixture
def someone_else() -> Iterator[Path]:
    """A folder whose owner we are not, if we are root; as root nothing would be forbidden."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_what_is_forbidden_is_said_with_the_reason(someone_else: Path) -> None:
    closed, folder = write_video(someone_else / "a.avi", walk(3)), someone_else / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture())
    closed.chmod(0)
    folder.chmod(0)
    try:
        if os.getuid() == 0:
            os.seteuid(65534)
        for path in (closed, folder, folder / "a.png"):
            with pytest.raises(SourceError, match=r"cannot be read \(Permission denied\)"):
                open_source(str(path))
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_name_that_no_file_can_have_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"cannot be read \(File name too long\)"):
        open_source("a" * 5000)
