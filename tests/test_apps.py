from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from apps import video, webcam
from pipeline import reconnecting
from pipeline.batch import job
from pipeline.batch.plan import RECORDS
from pipeline.pose_pipeline import PosePipeline
from pipeline.sink_errors import SinkError
from pipeline.sources import SourceError
from pipeline.types import Detections, Frame, Poses
from tests.fakes import ListSource, picture, read_lines, video_facts, walk, write_video

pytestmark = pytest.mark.usefixtures("blob_networks")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "walk.mp4", walk(12))


def results(out: Path) -> list[str]:
    """The files in an output folder, without the records."""
    files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in files if path.parts[0] != RECORDS)


def error_lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if "rror" in line]


def damaged(path: Path) -> Path:
    """A video of 40 frames without people, cut in the middle."""
    rng = np.random.default_rng(0)
    write_video(path, [rng.integers(0, 90, (240, 320, 3), dtype=np.uint8) for _ in range(40)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def interrupt_at(monkeypatch: pytest.MonkeyPatch, index: int, number: int) -> None:
    """Send this process a signal when frame `index` is processed."""
    find_people = PosePipeline.find_people

    def interrupted(self: PosePipeline, frame: Frame) -> Detections:
        if frame.index == index:
            os.kill(os.getpid(), number)
        return find_people(self, frame)

    monkeypatch.setattr(PosePipeline, "find_people", interrupted)


def test_a_video_becomes_json_lines_an_mp4_a_sheet_and_a_summary(clip: Path, tmp_path: Path) -> None:
    out, sheet, summary = tmp_path / "new" / "out", tmp_path / "sheet.png", tmp_path / "summary.json"
    arguments = [str(clip), "--out", str(out), "--contact-sheet", str(sheet), "--summary", str(summary)]
    assert video.main(arguments) == 0
    lines = read_lines(out / "walk.jsonl")
    assert [line["frame"] for line in lines] == list(range(12))
    assert [[person["id"] for person in line["people"]] for line in lines] == [[1]] * 12
    assert video_facts(out / "walk.mp4") == (320, 240, 12)
    assert sheet.stat().st_size > 1000
    report = json.loads(summary.read_text())
    assert (report["frames"], report["people"], report["tracks"]) == (12, 12, 1)
    assert report["inputs"][0]["json"] == str(out / "walk.jsonl")
    assert report["inputs"][0]["error"] is None
    assert set(report["stages_ms"]) == {"read", "detect", "pose", "track", "draw", "write", "capture to output"}
    assert set(report["stages_ms"]["pose"]) == {"count", "mean", "p50", "p95", "p99", "total"}
    assert report["share_outside_networks"] == 1.0  # the make-believe networks are no engines


def test_without_video_nothing_is_drawn(clip: Path, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    assert video.main([str(clip), "--out", str(tmp_path / "out"), "--no-video", "--summary", str(summary)]) == 0
    assert results(tmp_path / "out") == ["walk.jsonl"]
    assert "draw" not in json.loads(summary.read_text())["stages_ms"]


def test_inputs_of_one_name_get_results_of_their_own(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "more" / "deep").mkdir(parents=True)
    for name in ("more/walk.avi", "more/deep/walk.mp4", "more/other.avi"):
        write_video(tmp_path / name, walk(2))
    arguments = ["--out", str(tmp_path / "out"), "--no-video", "--jobs", "1"]
    assert video.main([str(clip), str(tmp_path / "more"), *arguments]) == 0
    assert results(tmp_path / "out") == ["deep/walk.jsonl", "other.jsonl", "walk-2.jsonl", "walk.jsonl"]
    assert len(read_lines(tmp_path / "out" / "walk.jsonl")) == 12


def test_earlier_results_inside_the_input_folder_are_not_inputs(clip: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert video.main([str(tmp_path), "--out", str(tmp_path / "out"), "--overwrite"]) == 0
    assert results(tmp_path / "out") == ["walk.jsonl", "walk.mp4"]


def test_a_result_never_overwrites_an_input(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = clip.read_bytes()
    assert video.main([str(clip), "--out", str(clip.parent)]) == 1
    assert clip.read_bytes() == before
    assert "would overwrite an input" in error_lines(capfd)[0]


def test_one_bad_input_does_not_stop_the_others(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.mp4").write_text("hello" * 100)
    inputs = [str(tmp_path / name) for name in ("empty.mp4", "folder", "text.mp4", "nowhere.mp4", "walk.mp4")]
    summary = tmp_path / "summary.json"
    assert video.main([*inputs, "--out", str(tmp_path / "out"), "--summary", str(summary), "--jobs", "1"]) == 1
    told = capfd.readouterr().err.splitlines()
    errors = [line for line in told if "rror" in line]
    assert len(errors) == 4
    assert told[-5] == "4 of 5 inputs failed:"
    assert told[-4:] == [f"  {line.removeprefix('error: ')}" for line in errors]
    for line, path in zip(errors, inputs, strict=False):
        assert line.startswith(f"error: {path}: ")
    assert len(read_lines(tmp_path / "out" / "walk.jsonl")) == 12
    assert [bool(report["error"]) for report in json.loads(summary.read_text())["inputs"]] == [True] * 4 + [False]


def test_a_video_cut_short_is_processed_as_far_as_it_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = damaged(tmp_path / "cut.avi")
    assert video.main([str(path), "--out", str(tmp_path / "out")]) == 1
    (line,) = error_lines(capfd)
    frames = len(read_lines(tmp_path / "out" / "cut.jsonl"))
    assert f"only {frames} of 40 frames could be read" in line
    assert frames > 10
    assert video_facts(tmp_path / "out" / "cut.mp4")[2] == frames


def test_a_folder_of_pictures_of_mixed_size_keeps_its_pixels(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), picture((20, 60, 60, 180)))
    cv2.imwrite(str(tmp_path / "pictures" / "b.png"), picture((500, 100, 540, 220), size=(640, 480)))
    assert video.main([str(tmp_path / "pictures"), "--out", str(tmp_path / "out")]) == 0
    lines = read_lines(tmp_path / "out" / "pictures.jsonl")
    assert [line["people"][0]["box"] for line in lines] == [[20, 60, 60, 180], [500, 100, 540, 220]]
    assert video_facts(tmp_path / "out" / "pictures.mp4") == (320, 240, 2)


def test_nobody_in_the_whole_video_is_fine_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "empty_street.mp4", [picture()] * 7)
    assert video.main([str(path), "--out", str(tmp_path / "out")]) == 0
    assert [line["people"] for line in read_lines(tmp_path / "out" / "empty_street.jsonl")] == [[]] * 7
    assert capfd.readouterr().err.count("no person was found") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_valid_files(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, 10, number)
    paths = [write_video(tmp_path / name, walk(200, speed=1)) for name in ("long.mp4", "next.mp4")]
    assert video.main([*map(str, paths), "--out", str(tmp_path / "out"), "--jobs", "1"]) == code
    frames = len(read_lines(tmp_path / "out" / "long.partial.jsonl"))
    assert 10 <= frames < 200
    assert video_facts(tmp_path / "out" / "long.partial.mp4")[2] == frames
    assert results(tmp_path / "out") == ["long.partial.jsonl", "long.partial.mp4"]


def test_a_sink_that_breaks_in_the_middle_leaves_valid_files(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(self: job.ProgressSink, frame: Frame, poses: Poses, picture: Any) -> None:
        if frame.index == 4:
            raise SinkError("disk full")

    monkeypatch.setattr(job.ProgressSink, "write", full)
    assert video.main([str(clip), "--out", str(tmp_path / "out")]) == 1
    assert error_lines(capfd) == ["error: disk full"]
    assert len(read_lines(tmp_path / "out" / "walk.partial.jsonl")) == 5
    assert video_facts(tmp_path / "out" / "walk.partial.mp4")[2] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "OUT"], "no input given"),
        (["walk.mp4"], "no --out given"),
        (["walk.mp4", "--out", "OUT", "--detect-every", "0"], "detect_every should be at least 1"),
        (["walk.mp4", "--out", "OUT", "--draw", "box=on"], "unknown setting 'box=on'"),
        (["walk.mp4", "--out", "/dev/null/out"], "cannot be used as output folder"),
        (["walk.mp4", "--out", "OUT", "--config", "nowhere.yaml"], "cannot be read"),
        (["walk.mp4", "--out", "OUT", "--contact-sheet", "nowhere/sheet.png"], "no folder"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    arguments: list[str],
    message: str,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(clip.parent)
    assert video.main(arguments) == 1
    (line,) = error_lines(capfd)
    assert message in line


def test_the_yaml_may_hold_everything(clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"inputs: [{clip}]\nout: {tmp_path / 'ignored'}\nno_video: true\n")
    assert video.main(["--config", str(config), "--out", str(tmp_path / "out")]) == 0
    assert len(read_lines(tmp_path / "out" / "walk.jsonl")) == 12
    assert not (tmp_path / "ignored").exists()


def test_webcam_reads_a_video_and_saves_what_is_asked_for(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    arguments = ["--source", str(clip), "--headless", "--save", str(out), "--json", str(tmp_path / "out.jsonl")]
    assert webcam.main([*arguments, "--frames", "5"]) == 0
    assert video_facts(out) == (320, 240, 5)
    assert len(read_lines(tmp_path / "out.jsonl")) == 5


def test_webcam_counts_what_it_drops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A camera that is four times as fast as the networks."""

    def camera(spec: str) -> ListSource:
        return ListSource(walk(200, speed=1), live=True, interval_s=0.005)

    follow = PosePipeline.follow

    def slowly(self: PosePipeline, *found: Any) -> Poses:
        time.sleep(0.02)
        return follow(self, *found)

    monkeypatch.setattr(PosePipeline, "follow", slowly)
    monkeypatch.setattr(webcam, "open_source", camera)
    summary = tmp_path / "summary.json"
    assert webcam.main(["--headless", "--frames", "10", "--summary", str(summary)]) == 0
    report = json.loads(summary.read_text())
    assert report["frames"] == 10
    assert report["dropped"] > 0
    assert "read" not in report["stages_ms"]  # waiting for a camera is not work
    assert f"{report['dropped']} frames dropped to stay live" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "97", "--headless"], "camera 97 cannot be opened"),
        (["--source", "walk.mp4", "--save", "walk.mp4", "--headless"], "would overwrite the source"),
        (["--source", "walk.mp4", "--csv", "walk.mp4", "--headless"], "would overwrite the source"),
        (["--source", "walk.mp4", "--csv", "x", "--json", "x", "--headless"], "both --json and --csv"),
        (["--source", "walk.mp4", "--frames", "0"], "frames should be at least 1"),
        (["--source", "walk.mp4", "--headless", "--json", "nowhere/out.jsonl"], "cannot be written"),
        (["--source", "walk.mp4", "--headless", "--save", "out.avi"], "ending in .mp4"),
        (["--config", "bad.yaml"], "unknown option sorce; valid are source, headless, save"),
    ],
)
def test_webcam_mistakes_are_one_clear_line(
    arguments: list[str], message: str, clip: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clip.parent)
    Path("bad.yaml").write_text("sorce: 1")
    assert webcam.main(arguments) == 1
    (line,) = error_lines(capfd)
    assert message in line


def test_a_camera_that_goes_away_ends_with_an_error_and_valid_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = SourceError("camera: the stream ended")
    monkeypatch.setattr(webcam, "open_source", lambda spec: ListSource(walk(9), live=True, interval_s=0.01, error=gone))
    arguments = ["--headless", "--json", str(tmp_path / "out.jsonl"), "--save", str(tmp_path / "o.mp4")]
    assert webcam.main([*arguments, "--give-up", "0"]) == 1
    assert len(read_lines(tmp_path / "out.jsonl")) >= 5
    assert video_facts(tmp_path / "o.mp4")[2] >= 1


def test_a_camera_that_comes_back_goes_on_in_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = SourceError("camera: the stream ended")
    monkeypatch.setattr(reconnecting, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(webcam, "open_source", lambda spec: ListSource(walk(6), live=True, interval_s=0.01, error=gone))
    summary = tmp_path / "summary.json"
    arguments = ["--headless", "--json", str(tmp_path / "out.jsonl"), "--frames", "10", "--summary", str(summary)]
    assert webcam.main(arguments) == 0
    lines = read_lines(tmp_path / "out.jsonl")
    assert len(lines) == 10
    indices, times = [line["frame"] for line in lines], [line["time_s"] for line in lines]
    assert (indices, times) == (sorted(set(indices)), sorted(times))
    assert json.loads(summary.read_text())["reconnects"] >= 1
    told = capfd.readouterr().err
    assert "camera: the stream ended; connecting again in 0 s" in told
    assert "list: connected again after 0 s" in told


def test_several_sources_share_the_networks_and_the_json_lines(clip: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "out.mp4", tmp_path / "summary.json"
    arguments = ["--source", str(clip), "--source", str(clip), "--headless", "--save", str(out)]
    assert webcam.main([*arguments, "--json", str(tmp_path / "out.jsonl"), "--summary", str(summary)]) == 0
    lines = read_lines(tmp_path / "out.jsonl")
    for name in (str(clip), f"{clip} (2)"):
        mine = [{**line, "source": None} for line in lines if line["source"] == name]
        assert [line["frame"] for line in mine] == list(range(12))
        assert [line["people"][0]["id"] for line in mine] == [1] * 12
    assert [video_facts(tmp_path / f"out-{n}.mp4")[2] for n in (1, 2)] == [12, 12]
    report = json.loads(summary.read_text())
    assert (report["frames"], [part["frames"] for part in report["sources"]]) == (24, [12, 12])
