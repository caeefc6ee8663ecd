from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.preview import ContactSheet
from pipeline.sink_errors import SinkError
from pipeline.sinks import JsonLinesSink, Mp4Sink, WindowSink, json_line, letterboxed
from pipeline.types import Frame, Poses
from tests.fakes import frame_of, picture, poses_at, read_lines, video_facts

NOBODY = Poses.none(17)


def test_a_json_line_has_the_promised_form(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    sink.write(frame_of(picture(), 0), poses_at([[10, 20, 30.456, 60.123]]), None)
    sink.write(frame_of(picture(), 1), NOBODY, None)
    sink.close()
    first, second = read_lines(tmp_path / "out.jsonl")
    assert list(first) == ["frame", "time_s", "people"]
    (person,) = first["people"]
    assert list(person) == ["id", "box", "score", "keypoints"]
    assert (person["id"], person["box"], person["score"]) == (1, [10, 20, 30.46, 60.12], 0.8)
    assert len(person["keypoints"]) == 17
    assert person["keypoints"][0] == [20.23, 22.81, 0.9]
    assert second == {"frame": 1, "time_s": 0.04, "people": []}


def test_a_number_that_is_none_is_not_written_as_json() -> None:
    poses = poses_at([[0, 0, 10, 20]])
    poses.keypoints[0, 0] = np.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_line(frame_of(picture()), poses)


def test_json_lines_are_partial_until_closed_and_whole_lines_even_then(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    sink.write(frame_of(picture()), NOBODY, None)
    assert not (tmp_path / "out.jsonl").exists()
    assert len(read_lines(tmp_path / "out.partial.jsonl")) == 1
    sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    sink = JsonLinesSink(Path("/dev/full"))
    with pytest.raises(SinkError, match=r"^/dev/full: cannot be written \(No space left"):
        sink.write(frame_of(picture()), NOBODY, None)


def test_json_lines_can_go_to_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sink = JsonLinesSink(pipe)
    sink.write(frame_of(picture()), NOBODY, None)
    sink.close()
    assert os.read(reader, 1000) == b'{"frame": 0, "time_s": 0.0, "people": []}\n'
    os.close(reader)


@pytest.mark.parametrize("kind", [JsonLinesSink, lambda path: Mp4Sink(path, 25)])
def test_an_output_that_cannot_be_written_is_known_before_the_run(kind: type[JsonLinesSink], tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"nowhere/out\.mp4: cannot be written \(No such file"):
        kind(tmp_path / "nowhere" / "out.mp4")


def test_an_mp4_holds_every_picture_at_the_size_of_the_first(tmp_path: Path) -> None:
    sink = Mp4Sink(tmp_path / "out.mp4", 10)
    for index, size in enumerate([(320, 240), (320, 240), (100, 240), (640, 300), (321, 241)]):
        sink.write(frame_of(picture(size=size), index), NOBODY, picture(size=size))
    assert not (tmp_path / "out.mp4").exists()
    sink.close()
    assert video_facts(tmp_path / "out.mp4") == (320, 240, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4"]
    assert cv2.VideoCapture(str(tmp_path / "out.mp4")).get(cv2.CAP_PROP_FPS) == 10


def test_odd_sizes_and_odd_frame_rates_are_written(tmp_path: Path) -> None:
    for fps in (0.0, float("nan"), 1000.0, 29.97):
        sink = Mp4Sink(tmp_path / "out.mp4", fps)
        for index in range(3):
            sink.write(frame_of(picture(size=(101, 75)), index), NOBODY, picture(size=(101, 75)))
        sink.close()
        assert video_facts(tmp_path / "out.mp4") == (100, 74, 3)


def test_a_live_mp4_keeps_the_time_of_its_source(tmp_path: Path) -> None:
    sink = Mp4Sink(tmp_path / "out.mp4", 10, by_time=True)
    for index, time_s in enumerate((0.0, 0.05, 0.5, 1.0)):
        sink.write(Frame(picture(), index, time_s, "camera", 0.0), NOBODY, picture())
    sink.close()
    assert video_facts(tmp_path / "out.mp4")[2] == 11


def test_an_mp4_without_a_frame_is_no_file(tmp_path: Path) -> None:
    Mp4Sink(tmp_path / "out.mp4", 10).close()
    assert list(tmp_path.iterdir()) == []


def test_an_mp4_that_lost_frames_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    sink = Mp4Sink(tmp_path / "out.mp4", 10)
    sink.write(frame_of(picture()), NOBODY, picture())
    sink._written += 1
    with pytest.raises(SinkError, match="only 1 of 2 frames were stored; is the disk full"):
        sink.close()
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"out\.avi: expected a name ending in \.mp4"):
        Mp4Sink(tmp_path / "out.avi", 10)


def test_letterboxing_keeps_the_shape_of_the_picture() -> None:
    boxed = letterboxed(np.full((100, 50, 3), 200, np.uint8), (80, 80))
    assert boxed.shape == (80, 80, 3)
    assert (boxed[:, 20:60] == 200).all()
    assert (boxed[:, :20] == 0).all()
    assert (boxed[:, 60:] == 0).all()


def test_a_machine_without_a_display_is_told_of_headless(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    with pytest.raises(SinkError, match="run with --headless"):
        WindowSink("test", lambda: None)


@pytest.mark.parametrize(("frames", "tiles"), [(1, 1), (2, 2), (7, 7), (9, 9), (40, 9), (500, 9)])
def test_a_contact_sheet_shows_frames_spread_over_the_run(tmp_path: Path, frames: int, tiles: int) -> None:
    sheet = ContactSheet(tmp_path / "sheet.png")
    for index in range(frames):
        wanted = sheet.wants_picture(frame_of(picture(), index))
        image = np.full((240, 320, 3), index * 255 // max(frames - 1, 1) // 2 + 60, np.uint8) if wanted else None
        sheet.write(frame_of(picture(), index), NOBODY, image)
    sheet.close()
    png = cv2.imread(str(tmp_path / "sheet.png"))
    assert png is not None
    columns = int(np.ceil(np.sqrt(tiles)))
    tile_height = (png.shape[0] + 6) // -(-tiles // columns)
    shades = [
        int(png[place // columns * tile_height + 100, place % columns * 646 + 100, 0])
        for place in range(columns * -(-tiles // columns))
    ]
    shown = np.array(shades[:tiles])
    assert all(shade == 255 for shade in shades[tiles:])
    assert (np.diff(shown) > 0).all()
    if tiles > 1:
        assert shown[0] < 75
        assert shown[-1] > 165
        assert np.diff(shown).max() < 45 * 9 / tiles


def test_a_contact_sheet_that_cannot_be_written_is_known_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="no folder"):
        ContactSheet(tmp_path / "nowhere" / "sheet.png")
    with pytest.raises(SinkError, match=r"\.png"):
        ContactSheet(tmp_path / "sheet.gif")
