"""A batch in several processes: the same results as in one, whatever happens to a process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from apps import video
from pipeline.batch import workers
from pipeline.batch.plan import RECORDS
from pipeline.batch.workers import usable_cores
from tests.fakes import walk, write_video
from tests.fakes_batch import FRAME_S, NoNetworks, TroubledNetworks, program, results, wait_until


@pytest.fixture(autouse=True)
def troubled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "Networks", TroubledNetworks)


def inputs(folder: Path, *names: str) -> Path:
    """Short videos of different lengths."""
    folder.mkdir()
    for index, name in enumerate(names):
        write_video(folder / f"{name}.mp4", walk(6 + index))
    return folder


def test_results_are_those_of_one_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = inputs(tmp_path / "in", "a", "b", "bug", "c")
    (folder / "text.mp4").write_text("no video")
    reports = []
    for jobs in ("1", "2"):
        summary = tmp_path / f"{jobs}.json"
        arguments = ["--out", str(tmp_path / jobs), "--jobs", jobs, "--csv", "--coco", "--summary", str(summary)]
        assert video.main([str(folder), *arguments]) == 1
        told = capfd.readouterr().err
        assert "2 of 5 inputs failed:" in told
        assert "no video that can be read" in told or "not a video that can be read" in told
        reports.append(json.loads(summary.read_text()))
    assert results(tmp_path / "1") == results(tmp_path / "2")
    one, two = reports
    assert [row["input"] for row in one["inputs"]] == [row["input"] for row in two["inputs"]]
    assert (one["frames"], one["people"], one["tracks"]) == (two["frames"], two["people"], two["tracks"])
    assert one["stages_ms"]["pose"]["count"] == two["stages_ms"]["pose"]["count"]


def test_a_process_that_dies_once_costs_an_attempt(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = inputs(tmp_path / "in", "a", "killed_once", "z")
    assert video.main([str(folder), "--out", str(tmp_path / "out"), "--jobs", "2", "--no-video"]) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if "killed_once" in line]
    assert "the process that worked on it was killed by SIGKILL (out of memory?); it is tried again" in lines[0]
    assert {name: data.count(b"\n") for name, data in results(tmp_path / "out").items()} == {
        "a.jsonl": 6, "killed_once.jsonl": 7, "z.jsonl": 8,
    }  # fmt: skip


def test_a_process_that_dies_twice_makes_its_input_bad(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = inputs(tmp_path / "in", "killed", "y", "z")
    assert video.main([str(folder), "--out", str(tmp_path / "out"), "--jobs", "2", "--no-video"]) == 1
    assert results(tmp_path / "out").keys() == {"y.jsonl", "z.jsonl"}
    told = capfd.readouterr().err.splitlines()
    assert told[-2] == "1 of 3 inputs failed:"
    assert "killed.mp4: the process that worked on it was killed by SIGKILL (out of memory?), 2 times" in told[-1]
    assert len((folder / "killed.attempts").read_text().splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_and_leaves_partial_results(number: int, tmp_path: Path) -> None:
    folder = inputs(tmp_path / "in", "a", "b", "c")
    out = tmp_path / "out"
    process = program(0, str(folder), "--out", str(out), "--jobs", "2", "--no-video", frame_s=0.5)
    wait_until(lambda: len(list(out.glob(f"{RECORDS}/work/*/*.partial.jsonl"))) == 2)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert "Traceback" not in told
    assert set(results(out)) <= {"a.partial.jsonl", "b.partial.jsonl"}


def test_processes_do_not_outlive_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = inputs(tmp_path / "in", "a", "b")
    out = tmp_path / "out"
    process = program(0, str(folder), "--out", str(out), "--jobs", "2", "--no-video", frame_s=0.5)
    wait_until(lambda: len(list(out.glob(f"{RECORDS}/work/*/*.partial.jsonl"))) == 2)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.wait()
    assert len(children) >= 2
    wait_until(lambda: not any(_alive(child) for child in children))
    assert results(out) == {}
    monkeypatch.setenv(FRAME_S, "0")
    assert video.main([str(folder), "--out", str(out), "--jobs", "2", "--no-video"]) == 0
    assert results(out).keys() == {"a.jsonl", "b.jsonl"}


def test_processes_that_cannot_start_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(video, "Networks", NoNetworks)
    folder = inputs(tmp_path / "in", "a", "b")
    assert video.main([str(folder), "--out", str(tmp_path / "out"), "--jobs", "2"]) == 1
    expected = "error: a worker process ended with exit code 3 before it was ready to work; --jobs 1 does without"
    assert expected in capfd.readouterr().err


def test_a_wrong_network_is_one_line_from_several_processes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    network = tmp_path / "broken.onnx"
    network.write_bytes(b"no network")
    folder = inputs(tmp_path / "in", "a", "b")
    assert video.main([str(folder), "--out", str(tmp_path / "out"), "--jobs", "2", "--pose", str(network)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {network}")


def test_a_containers_share_of_the_cores_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(workers, "CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for text, cores in (("max 100000\n", 8), ("250000 100000\n", 2), ("10000 100000\n", 1), ("", 8)):
        quota.write_text(text)
        assert usable_cores() == cores


def _alive(process_id: int) -> bool:
    """Whether a process runs; one that has ended but was not asked for its exit code does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
