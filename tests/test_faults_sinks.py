"""Outputs whose disk is full, whose folder goes away, or whose reader stops reading."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import pipes
from pipeline.pipes import Waiting
from pipeline.sink_errors import SinkError
from pipeline.sinks import JsonLinesSink, Mp4Sink
from pipeline.skeletons import COCO
from pipeline.tables import CocoResultsSink, CsvSink
from tests.conftest import Pipe
from tests.fakes import frame_of, picture, poses_at, read_lines, video_facts
from tests.helpers import REPOSITORY

CROWD = poses_at([[10.0 * place, 20, 10.0 * place + 9, 60] for place in range(20)])


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 64 KiB; Python ignores the signal that says so, and the write fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_leaves_whole_lines_and_is_told_once(small_disk: None, tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    told = r"out\.jsonl: cannot be written \(File too large\); what came before is in .*out\.partial\.jsonl$"
    with pytest.raises(SinkError, match=told):
        for index in range(1000):
            sink.write(frame_of(picture(), index), CROWD, None)
    sink.write(frame_of(picture(), 1000), CROWD, None)  # the error has been told
    sink.close()
    lines = read_lines(tmp_path / "out.partial.jsonl")
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert lines and not (tmp_path / "out.jsonl").exists()


def test_tables_are_partial_when_the_disk_fills_up(small_disk: None, tmp_path: Path) -> None:
    for sink in (CsvSink(tmp_path / "out.csv", COCO), CocoResultsSink(tmp_path / "out.json")):
        with pytest.raises(SinkError, match=r"cannot be written \(File too large\)"):
            for index in range(1000):
                sink.write(frame_of(picture(), index), CROWD, None)
        sink.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.partial.csv", "out.partial.json"]
    assert (tmp_path / "out.partial.csv").read_text().endswith("\n")


def test_a_video_on_a_disk_that_fills_up_is_named_partial(small_disk: None, tmp_path: Path) -> None:
    sink = Mp4Sink(tmp_path / "out.mp4", 10)
    for index in range(100):
        image = picture((index * 2, 10, index * 2 + 100, 230))
        image[index : index + 100, :, 1] += index
        sink.write(frame_of(image, index), CROWD, image)
    with pytest.raises(
        SinkError, match=r"of 100 frames were stored; is the disk full\? What there is, is in .*partial"
    ):
        sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial.mp4"]


def test_a_video_ends_before_the_disk_is_full_and_can_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, free = Mp4Sink(tmp_path / "out.mp4", 10), iter((100 << 20, 50 << 20, 15 << 20))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=next(free)))
    with pytest.raises(SinkError, match=r"out\.mp4: the disk is nearly full \(15 MiB left\); the video ends here"):
        for index in range(100):
            sink.write(frame_of(picture(), index), CROWD, picture())
    sink.close()
    assert video_facts(tmp_path / "out.mp4") == (320, 240, 20)


def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    lines, video = JsonLinesSink(folder / "out.jsonl"), Mp4Sink(folder / "out.mp4", 25)
    for sink in (lines, video):
        sink.write(frame_of(picture()), CROWD, picture())
    shutil.rmtree(folder)
    lines.write(frame_of(picture(), 1), CROWD, None)
    with pytest.raises(SinkError, match=r"out\.jsonl: cannot be written \(No such file"):
        lines.close()
    with pytest.raises(SinkError, match=r"out\.mp4: the video was removed while it was being written"):
        video.close()


def test_a_live_run_leaves_lines_out_while_nobody_reads_and_says_how_many(pipe: Pipe) -> None:
    sink, found = JsonLinesSink(pipe.path, waiting=Waiting(live=True)), b""
    for index in range(100):
        sink.write(frame_of(picture(), index), CROWD, None)
    for index in range(100, 105):
        found += pipe.read()
        sink.write(frame_of(picture(), index), CROWD, None)
    found += pipe.read()
    numbers = [json.loads(line)["frame"] for line in found.splitlines()]
    assert 5 < len(numbers) < 100
    assert numbers[-5:] == [100, 101, 102, 103, 104]  # it goes on when the reader does, with whole lines
    assert numbers == sorted(set(numbers))
    left_out = 105 - len(numbers)
    with pytest.raises(SinkError, match=rf"pipe: its reader fell behind; the lines of {left_out} frames were left out"):
        sink.close()


def test_a_file_waits_for_a_reader_as_long_as_it_takes(pipe: Pipe) -> None:
    sink, found = JsonLinesSink(pipe.path), list[bytes]()

    def read_late() -> None:
        time.sleep(0.3)
        os.set_blocking(pipe.reader, True)
        with os.fdopen(os.dup(pipe.reader), "rb") as file:
            found.append(file.read())

    reader = threading.Thread(target=read_late)
    reader.start()
    for index in range(30):
        sink.write(frame_of(picture(), index), CROWD, None)
    sink.close()
    reader.join()
    assert [json.loads(line)["frame"] for line in found[0].splitlines()] == list(range(30))


@pytest.mark.parametrize("live", [False, True])
def test_a_stop_ends_the_waiting(live: bool, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "PATIENCE_S", 3600.0)
    stopped = threading.Event()
    timer = threading.Timer(0.1, stopped.set)
    timer.start()
    sink = JsonLinesSink(pipe.path, waiting=Waiting(live, stopped.is_set))
    with pytest.raises(SinkError, match=r"stopped while nothing read from it|its reader fell behind"):
        for index in range(100):
            sink.write(frame_of(picture(), index), CROWD, None)
        sink.close()
    timer.join()


def test_a_stop_ends_the_wait_for_the_first_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SinkError, match=r"pipe: stopped before anything read from it"):
        JsonLinesSink(tmp_path / "pipe", waiting=Waiting(stopped=lambda: True))


def test_a_reader_that_goes_away_is_told_once(pipe: Pipe) -> None:
    sink = JsonLinesSink(pipe.path)
    sink.write(frame_of(picture()), CROWD, None)
    os.close(pipe.reader)
    with pytest.raises(SinkError, match=r"pipe: cannot be written \(Broken pipe\)"):
        sink.write(frame_of(picture()), CROWD, None)
    sink.write(frame_of(picture()), CROWD, None)
    sink.close()
    os.open(pipe.path, os.O_RDONLY | os.O_NONBLOCK)  # the fixture closes it


@pytest.mark.parametrize("mode", ["w", "a"])
def test_standard_output_into_a_file_is_written_to_and_not_replaced(mode: str, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from pipeline.sinks import JsonLinesSink; from pipeline.types import Poses\n"
        "from tests.fakes import frame_of, picture\n"
        "sink = JsonLinesSink(Path('/dev/stdout')); sink.write(frame_of(picture()), Poses.none(17), None); sink.close()"
    )
    path = tmp_path / "out.jsonl"
    path.write_text("before\n")
    with path.open(mode) as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, cwd=REPOSITORY, check=True)
    expected = '{"frame": 0, "time_s": 0.0, "people": []}\n'
    assert path.read_text() == ("before\n" if mode == "a" else "") + expected
    assert Path("/dev/stdout").is_symlink() and not Path("/dev/stdout.partial").exists()
