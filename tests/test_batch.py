"""A batch of files: their names, what a later run knows of an earlier one, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from apps import video
from pipeline.batch.folder import OutputFolder, Task
from pipeline.batch.job import JSON, Outcome
from pipeline.batch.journal import Journal, Record
from pipeline.batch.plan import RECORDS, Job, plan_jobs
from pipeline.batch.progress import BatchProgress
from pipeline.batch.run import Batch
from pipeline.pose_pipeline import PosePipeline
from pipeline.settings import SettingsError
from pipeline.sink_errors import SinkError
from pipeline.sinks import Mp4Sink
from pipeline.sources import Source
from pipeline.stats import RunCounts, StageStats
from pipeline.stopping import Stop
from tests.fakes import BlobNetworks, read_lines, walk, write_video
from tests.fakes_batch import TroubledNetworks, results


@pytest.fixture(autouse=True)
def blob_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "Networks", TroubledNetworks)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Two videos of one name."""
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    write_video(folder / "a.mp4", walk(6))
    write_video(folder / "b" / "a.mp4", walk(9, speed=2))
    return folder


def run(folder: Path, *options: str, code: int = 0) -> Path:
    """Run the app in this process; the output folder."""
    out = folder.parent / "out"
    assert video.main([str(folder), "--out", str(out), "--jobs", "1", *options]) == code
    return out


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def test_what_was_done_is_not_done_again(inputs: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, summary = run(inputs), tmp_path / "summary.json"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("a.*")}
    assert len(before) == 4
    run(inputs, "--summary", str(summary))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("a.*")} == before
    assert "2 of 2 inputs were done before; --overwrite does everything anew" in capfd.readouterr().err
    report = json.loads(summary.read_text())
    assert [(row["frames"], row["done_before"], row["state"]) for row in report["inputs"]] == [
        (6, True, "done"), (9, True, "done"),
    ]  # fmt: skip
    assert report["frames"] == 0
    run(inputs, "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("a.*")}.keys() == before.keys()
    assert not {path.stat().st_mtime_ns for path in out.rglob("a.*")} & set(before.values())


def test_what_has_changed_is_done_again_and_the_reason_is_said(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = run(inputs, "--no-video")

    def reason(*options: str) -> str:
        capfd.readouterr()
        run(inputs, *options)
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("done anew")]
        return lines[0].removeprefix("done anew: ") if lines else ""

    assert reason("--no-video") == ""
    write_video(inputs / "a.mp4", walk(7))
    assert reason("--no-video") == "1 (the input has changed)"
    assert len(read_lines(out / "a.jsonl")) == 7
    assert reason("--no-video", "--detect-every", "2") == "2 (other options or networks)"
    network = tmp_path / "other.onnx"
    network.write_bytes(b"another network")
    assert reason("--no-video", "--detect-every", "2", "--pose", str(network)) == "2 (other options or networks)"
    same = ["--detect-every", "2", "--pose", str(network)]
    assert reason(*same) == "2 (results are missing or changed)"  # now with the video
    assert reason(*same, "--no-video") == ""
    (out / "b" / "a.jsonl").write_text("edited")
    assert reason(*same) == "1 (results are missing or changed)"
    assert len(read_lines(out / "b" / "a.jsonl")) == 9
    plain = (out / "a.mp4").read_bytes()
    assert reason(*same, "--draw", "boxes=on") == "2 (other options or networks)"
    assert (out / "a.mp4").read_bytes() != plain


def test_another_style_of_drawing_is_for_the_video_only(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = run(inputs)
    before = results(out)
    run(inputs, "--draw", "boxes=on")
    after = results(out)
    assert before["a.jsonl"] == after["a.jsonl"]
    assert before["a.mp4"] != after["a.mp4"]
    assert "2 (other options or networks)" in capfd.readouterr().err


def test_without_ray_the_extra_is_named(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "pipeline.batch.ray_workers", raising=False)
    monkeypatch.delitem(sys.modules, "pipeline.batch.ray_library", raising=False)
    run(inputs, "--ray", "auto", code=1)
    assert 'error: Ray is not installed: pip install -e ".[ray]"' in capfd.readouterr().err


def test_an_unreadable_network_is_a_mistake_before_anything_is_done(inputs: Path) -> None:
    assert not run(inputs, "--pose", "nowhere.onnx", code=1).exists()


def test_a_bad_input_is_tried_again_and_its_error_kept(inputs: Path, tmp_path: Path) -> None:
    (inputs / "c.mp4").write_bytes(b"no video")
    write_video(inputs / "bug.mp4", walk(6))
    summary = tmp_path / "summary.json"
    for _ in range(2):
        out = run(inputs, "--summary", str(summary), code=1)
        states = {Path(row["input"]).name: row["state"] for row in json.loads(summary.read_text())["inputs"]}
        assert states == {"a.mp4": "done", "bug.mp4": "bad", "c.mp4": "bad"}
    records = Journal(out / RECORDS / "results.jsonl", out).records
    assert "RuntimeError: a bug" in str(records["bug"].error)
    assert "fakes_batch.py" in str(records["bug"].trace)
    assert results(out).keys() == {"a.jsonl", "a.mp4", "b/a.jsonl", "b/a.mp4", "bug.partial.jsonl", "bug.partial.mp4"}


def test_an_interrupted_input_is_named_partial_until_it_is_whole(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline_of = TroubledNetworks.pipeline

    def interrupted(networks: TroubledNetworks, source: Source, detect_every: int | None, smooth: bool) -> PosePipeline:
        os.kill(os.getpid(), signal.SIGINT)
        return pipeline_of(networks, source, detect_every, smooth)

    monkeypatch.setattr(TroubledNetworks, "pipeline", interrupted)
    out = run(inputs, "--no-video", code=130)
    assert set(results(out)) <= {"a.partial.jsonl"}
    assert "NAME.partial; the next run does it anew" in capfd.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(video, "Networks", BlobNetworks)
    run(inputs, "--no-video")
    assert results(out).keys() == {"a.jsonl", "b/a.jsonl"}
    assert "1 (interrupted before)" in capfd.readouterr().err


def test_what_a_full_disk_leaves_is_kept_and_said(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(sink: Mp4Sink) -> None:
        raise SinkError(f"{sink._path}: the disk is full. What there is, is in {sink._partial}")

    monkeypatch.setattr(Mp4Sink, "close", full)
    out = run(inputs, code=1)
    assert results(out).keys() == {f"{name}.partial{suffix}" for name in ("a", "b/a") for suffix in (".jsonl", ".mp4")}
    expected = f"  {out}/b/a.mp4: the disk is full. What there is, is in {out}/b/a.partial.mp4"
    assert expected in capfd.readouterr().err.splitlines()


def test_names_follow_the_folders_and_stay_when_inputs_are_added(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = plan_jobs([str(inputs)], out, [JSON], {})
    assert names(first) == ["a", "b/a"]
    owners = {job.name: job.origin for job in first}
    write_video(inputs / "a.avi", walk(2))
    assert names(plan_jobs([str(inputs)], out, [JSON], {})) == ["a", "a-2", "b/a"]
    assert names(plan_jobs([str(inputs)], out, [JSON], owners)) == ["a-2", "a", "b/a"]


def test_results_of_another_input_are_kept_while_it_exists(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    owners = {"a": str(inputs / "a.mp4")}
    assert names(plan_jobs([str(inputs / "b" / "a.mp4")], out, [JSON], owners)) == ["a-2"]
    (inputs / "a.mp4").rename(inputs / "moved.mp4")
    assert names(plan_jobs([str(inputs / "b" / "a.mp4")], out, [JSON], owners)) == ["a"]


def test_a_folder_that_was_moved_with_its_times_is_not_done_again(
    inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(inputs, "--no-video")
    run(inputs.rename(inputs.parent / "elsewhere"), "--no-video")
    assert "2 of 2 inputs were done before" in capfd.readouterr().err


def test_a_folder_that_cannot_be_read_is_listed_as_failed(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    closed = str(inputs / "b")

    def refusing(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def refuse(path: Any) -> Any:
            if str(path) == closed:
                raise PermissionError(13, "Permission denied", closed)
            return read(path)

        return refuse

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(Path, "iterdir", refusing(Path.iterdir))
    assert results(run(inputs, "--no-video", code=1)).keys() == {"a.jsonl"}
    assert f"error: {closed}: cannot be read (Permission denied)" in capfd.readouterr().err.splitlines()


def test_an_input_given_twice_is_done_once(inputs: Path, tmp_path: Path) -> None:
    assert names(plan_jobs([str(inputs), str(inputs / "a.mp4")], tmp_path / "out", [JSON], {})) == ["a", "b/a"]


def test_a_result_in_a_folder_never_overwrites_an_input(inputs: Path) -> None:
    with pytest.raises(SettingsError, match="would overwrite an input"):
        plan_jobs([str(inputs)], inputs, [JSON, ".mp4"], {})
    assert names(plan_jobs([str(inputs)], inputs, [JSON], {})) == ["a", "b/a"]


def test_two_runs_in_one_folder_are_refused(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with OutputFolder(inputs.parent / "out"):
        run(inputs, code=1)
        assert f"the run with process id {os.getpid()}" in capfd.readouterr().err
    run(inputs)


def test_a_line_cut_short_by_a_power_loss_counts_as_not_written(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for name in ("a", "b"):
        Journal(file, tmp_path).append(Record(name, name, "done"))
    file.write_bytes(file.read_bytes()[:-20])
    journal = Journal(file, tmp_path)
    assert set(journal.records) == {"a"}
    journal.append(Record("c", "c", "done"))
    assert set(Journal(file, tmp_path).records) == {"a", "c"}


class FakeWorkers:
    """Makes the results up."""

    def run(self, batch: Batch, stop: Stop, stats: StageStats) -> None:
        while (task := batch.take()) is not None:
            batch.ended(0, task, self._result(task))

    def _result(self, task: Task) -> Outcome:
        task.results.with_name(task.results.name + JSON).write_text("{}\n")
        return Outcome("done", True, (JSON,), RunCounts(frames=1))


def calls_of_a_run(folder: Path, out: Path) -> int:
    """The Python functions that planning, working, recording and reporting call."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        with OutputFolder(out) as output:
            jobs = plan_jobs([str(folder)], out, [JSON], output.journal.owners())
            progress = BatchProgress(len(jobs))
            batch = Batch(jobs, output, "key", [JSON], progress)
            FakeWorkers().run(batch, Stop(), StageStats())
            batch.reports()
            progress.close()
    finally:
        sys.setprofile(None)
    return calls


def test_the_work_of_planning_and_resuming_grows_with_the_number_of_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    calls: dict[str, list[int]] = {"first": [], "again": []}
    for count in (250, 2000):
        folder, out = tmp_path / f"in{count}", tmp_path / f"out{count}"
        for index in range(count):
            path = folder / f"{index % 7}" / f"{index}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        calls["first"].append(calls_of_a_run(folder, out))
        assert len(list(out.rglob("*.jsonl"))) == count + 1  # and the record
        calls["again"].append(calls_of_a_run(folder, out))
    for few, many in calls.values():
        assert many < 8.8 * few
    assert calls["again"][1] < calls["first"][1]


def test_a_thousand_inputs_of_one_name_are_numbered_in_linear_work(tmp_path: Path) -> None:
    files = []
    for index in range(1000):
        path = tmp_path / str(index) / "clip.mp4"
        path.parent.mkdir()
        path.touch()
        files.append(str(path))
    jobs = plan_jobs(files, tmp_path / "out", [JSON], {})
    assert names(jobs) == ["clip", *(f"clip-{number}" for number in range(2, 1001))]
    owners = {job.name: job.origin for job in jobs}
    assert names(plan_jobs(files[::-1], tmp_path / "out", [JSON], owners)) == names(jobs)[::-1]
