"""A batch that is killed, and the run after it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from apps import video
from pipeline.batch.journal import Journal
from pipeline.batch.plan import RECORDS
from tests.fakes import walk, write_video
from tests.fakes_batch import TroubledNetworks, program, results, wait_until


@pytest.fixture(autouse=True)
def blob_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "Networks", TroubledNetworks)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """Two videos, and the results of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "in").mkdir()
    for name in ("a", "b"):
        write_video(folder / "in" / f"{name}.mp4", walk(8))
    process = program(0, str(folder / "in"), "--out", str(folder / "out"), "--jobs", "1")
    assert process.wait(60) == 0
    return folder / "in", results(folder / "out")


# An input takes 8 steps: both files closed, both on the disk, both renamed, their folder on the disk, the record, which
# was written before the eighth.
@pytest.mark.parametrize("step", [3, 5, 6, 7, 8, 9, 14, 15])
def test_a_kill_between_any_two_steps_is_made_good_by_the_next_run(
    step: int, undisturbed: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    folder, whole = undisturbed
    arguments = [str(folder), "--out", str(tmp_path), "--jobs", "1"]
    process = program(step, *arguments)
    assert process.wait(60) == -signal.SIGKILL
    left = results(tmp_path)
    assert left.items() <= whole.items()
    done = _recorded(tmp_path)
    assert done == (["a"] if step >= 8 else [])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}
    assert video.main(arguments) == 0
    assert results(tmp_path) == whole
    assert not (tmp_path / RECORDS / "work").exists()
    for name in done:
        path = tmp_path / f"{name}.jsonl"
        assert path.stat().st_mtime_ns == times[path]


def test_a_kill_in_the_middle_of_a_file_leaves_nothing_that_looks_whole(
    undisturbed: tuple[Path, dict[str, bytes]], tmp_path: Path
) -> None:
    folder, whole = undisturbed
    arguments = [str(folder), "--out", str(tmp_path), "--jobs", "2"]
    process = program(0, *arguments, frame_s=0.3)
    wait_until(lambda: bool(list(tmp_path.glob(f"{RECORDS}/work/*/*.partial.jsonl"))))
    process.kill()
    process.wait()
    assert results(tmp_path) == {}
    assert video.main([*arguments[:-1], "1"]) == 0
    assert results(tmp_path) == whole


def _recorded(out: Path) -> list[str]:
    """The names that are recorded as done."""
    records = Journal(out / RECORDS / "results.jsonl", out).records.values()
    return sorted(record.name for record in records if record.state == "done")
