"""What a person at a terminal sees of a batch."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from pipeline.batch.job import Outcome
from pipeline.batch.progress import MOST_BARS, BatchProgress
from pipeline.stats import RunCounts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_for_all_inputs_and_one_for_each_under_way() -> None:
    with redirect_stderr(Terminal()) as terminal:
        progress = BatchProgress(3)
        progress.at(0, "in/a.mp4", 5, 50)
        progress.at(1, "in/b.mp4", 7, None)
        progress.ended(0, "in/a.mp4", Outcome("done", True, (), RunCounts(frames=50, people=9)), 50)
        progress.ended(1, "in/b.mp4", Outcome("bad", error="in/b.mp4: cut\nshort"), 50)
        progress.close()
    shown = terminal.getvalue()
    for part in ("a.mp4:", "5/50", "b.mp4:", "7 frames", "1/3", "50 frames, 0 bad"):
        assert part in shown, part
    lines = [line.rsplit("\r", 1)[-1] for line in shown.splitlines()]
    assert "error: in/b.mp4: cut short" in [line.strip() for line in lines]


def test_more_inputs_under_way_than_a_terminal_has_room_for() -> None:
    with redirect_stderr(Terminal()) as terminal:
        progress = BatchProgress(MOST_BARS + 2)
        for slot in range(MOST_BARS + 2):
            progress.at(slot, f"{slot}.mp4", 1, 9)
        progress.lost(MOST_BARS + 1, "9.mp4: lost")
        progress.close()
    shown = terminal.getvalue()
    assert f"{MOST_BARS - 1}.mp4:" in shown
    assert f"{MOST_BARS}.mp4:" not in shown


def test_elsewhere_there_are_only_lines(capfd: pytest.CaptureFixture[str]) -> None:
    progress = BatchProgress(2)
    progress.at(0, "a.mp4", 5, 50)
    progress.ended(0, "a.mp4", Outcome("done", True, (), RunCounts(frames=50)), 50)
    progress.close()
    starts = [line.split(",")[0] for line in capfd.readouterr().err.splitlines()]
    assert starts == [
        "a.mp4: 50 frames",
        "a.mp4: no person was found in the whole video",
    ]
