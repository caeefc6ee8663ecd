"""How far a batch is: bars at the foot of a terminal, and lines of text above them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.batch.job import Outcome

MOST_BARS = 8  # of inputs under way; a terminal is not much higher


class BatchProgress:
    """One bar for all inputs, if there are several, and one for each under way; on a terminal only.

    The lines go to stderr. Close it to take the bars away.
    """

    def __init__(self, inputs: int) -> None:
        self._whole = tqdm(total=inputs, unit=" inputs", disable=True if inputs < 2 else None, leave=False)
        self._bars: dict[int, Any] = {}
        self._bad = 0

    def say(self, text: str) -> None:
        """Lines of text."""
        tqdm.write(text, file=sys.stderr)

    def at(self, slot: int, shown: str, frames: int, of: int | None) -> None:
        """An input is so far."""
        if slot >= MOST_BARS:
            return
        if slot not in self._bars:
            name = Path(shown).name
            bar = tqdm(
                total=of, initial=frames, desc=name, unit=" frames", position=slot + 1, disable=None, leave=False
            )
            self._bars[slot] = bar
        self._bars[slot].update(frames - self._bars[slot].n)

    def ended(self, slot: int, shown: str, outcome: Outcome, frames: int) -> None:
        """An input has ended. frames: of all inputs until now."""
        self._take_away(slot)
        if outcome.error:
            self._bad += 1
            self.say(f"error: {' '.join(outcome.error.split())}")
        counts = outcome.counts
        if counts.frames:
            self.say(f"{shown}: {counts.in_words()}")
        if counts.frames and not counts.people:
            self.say(f"{shown}: no person was found in the whole video")
        self._whole.set_postfix_str(f"{frames} frames, {self._bad} bad", refresh=False)
        self._whole.update()

    def lost(self, slot: int, text: str) -> None:
        """The worker of an input is gone."""
        self._take_away(slot)
        self.say(text)

    def close(self) -> None:
        """Take the bars away."""
        for slot in list(self._bars):
            self._take_away(slot)
        self._whole.close()

    def _take_away(self, slot: int) -> None:
        if slot in self._bars:
            self._bars.pop(slot).close()
