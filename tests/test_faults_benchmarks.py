"""The long run and the damaged files, in short; and that both would notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import endurance, fuzz, fuzz_damage
from pipeline.types import Image
from tests.helpers import REPOSITORY


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_memory_threads_and_files_stay_as_they_are() -> None:
    """In a process of its own, since other tests' memory is not in it."""
    words = run("benchmarks.endurance", "--frames", "2000", "--most", "4")
    assert words.startswith("2000 frames")
    assert words.endswith("left over: 0 threads, 0 open files\nflat\n")


def report(end_bytes: float = 100.0, threads: int = 0, files: int = 0) -> endurance.Report:
    return endurance.Report(10, 1.0, 20, 100.0, end_bytes, end_bytes, threads, files)


@pytest.mark.parametrize(
    ("found", "code"), [(report(), 0), (report(103.0), 1), (report(threads=1), 1), (report(files=1), 1)]
)
def test_what_grew_or_is_left_over_fails(
    found: endurance.Report, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(endurance, "endure", lambda frames, default_networks: found)
    assert endurance.main(["--frames", "10"]) == code
    assert capsys.readouterr().out.endswith(
        "NOT flat\n" if code else "at most\nleft over: 0 threads, 0 open files\nflat\n"
    )


def test_damaged_files_neither_crash_nor_hang_nor_lose_frames_in_silence() -> None:
    words = run("benchmarks.fuzz", "--mutations", "48", "--seed", "1")
    (everything, _) = [line.split() for line in words.splitlines() if line.startswith("all")]
    mutations, _, _, reported, _, silent, crashed, hung = map(int, everything[1:])
    assert (mutations, silent, crashed, hung) == (48, 0, 0, 0)
    assert reported >= 8


def test_damage_is_the_same_for_the_same_seed() -> None:
    data = np.random.default_rng(0).integers(0, 256, 9000, dtype=np.uint8).tobytes()
    for number in range(60):
        damaged = []
        for _ in range(2):
            _, damage, rng = fuzz.plan(number, 3)
            damaged.append(fuzz_damage.DAMAGES[damage](data, rng))
        assert damaged[0] == damaged[1]
        assert damaged[0] != data


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (
            "import os, sys; input(); print('oh', file=sys.stderr, flush=True); os._exit(3)",
            ("crashed", "exit code 3 oh"),
        ),
        ("import time; time.sleep(60)", ("hung", "1 s")),
        ('input(); print(\'["clean", ""]\')', ("clean", "")),
    ],
)
def test_workers_that_crash_or_hang_are_seen(code: str, outcome: tuple[str, str], tmp_path: Path) -> None:
    worker = fuzz.Worker(tmp_path, 0, 1.0)
    worker._command = [sys.executable, "-c", code]
    assert worker.outcome(0) == outcome
    worker.close()


@pytest.mark.parametrize(
    ("lines", "announced", "error", "shade", "outcome"),
    [
        (3, 3, "", 0, "clean"),
        (3, 3, "", 99, "altered"),
        (2, 3, "x", 0, "reported"),
        (2, 2, "", 0, "shorter"),
        (2, None, "", 0, "shorter"),
        (2, 3, "", 0, "silent"),
    ],
)
def test_what_a_file_came_to(
    lines: int, announced: int | None, error: str, shade: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[Image] = [np.zeros((12, 16, 3), np.uint8)] * 3
    found: list[Image] = [np.full((12, 16, 3), shade, np.uint8)] * lines
    monkeypatch.setattr(fuzz, "run_file", lambda path, out: (lines, announced, error, found))
    assert fuzz.outcome_of(Path("a"), Path("b"), whole)[0] == outcome


def test_an_error_that_is_not_of_a_source_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, out: Path) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(fuzz, "run_file", broken)
    assert fuzz.outcome_of(Path("a"), Path("b"), []) == ("crashed", "RuntimeError: bug")
