"""What is missing of a video file: OpenCV passes over what it cannot decode, and does not say why it stopped."""

from __future__ import annotations

from dataclasses import dataclass

# A clock that jumps more often than in this share of the intervals belongs to a video of variable frame rate.
RARE, RARE_AT_LEAST = 0.05, 2.0
JUMP = 1.5  # frames between two that follow each other, and more
ROUNDING = 0.9  # of a frame, at the end: a cut need not lie between two
ESTIMATE_FRAMES, ESTIMATE_SHARE = 2.0, 0.01  # how far off an announced number may be where it is an estimate


@dataclass
class Losses:
    """The frames that came of a file, what could not be decoded between them, and the jumps of their clock.

    fps: as the container says, frames/s. last_s: time of the last frame. undecoded: packets that gave no picture
    although a later one did. longest: jump, in frames. skipped: frames that would fit into all jumps.
    """

    fps: float
    frames: int = 0
    last_s: float = 0.0
    undecoded: int = 0
    jumps: int = 0
    longest: float = 1.0
    skipped: int = 0
    first_s: float | None = None

    def add(self, time_s: float, undecoded: int) -> None:
        """A frame at that time, and how many packets before it could not be decoded."""
        intervals = (time_s - self.last_s) * self.fps if self.frames else 1.0
        jump = intervals > JUMP
        if self.first_s is None and (undecoded or jump):
            self.first_s = self.last_s
        if jump:
            self.jumps, self.longest = self.jumps + 1, max(self.longest, intervals)
            self.skipped += round(intervals) - 1
        self.undecoded += undecoded
        self.frames, self.last_s = self.frames + 1, time_s

    def in_words(self, announced: int | None, shown_s: float | None, exact: bool) -> str | None:
        """What is missing, or None if nothing is known to be.

        announced: the container's number of frames. shown_s: the seconds it announces to show. exact: whether the
        number is counted and not estimated from a duration.
        """
        tail = self._missing_at_the_end(announced, shown_s, exact)
        inside = self.undecoded > 0 or self._jumps_are_losses(announced, exact and shown_s is not None)
        if not inside and not tail:
            return None
        total = announced or 0 if shown_s is None else round(shown_s * self.fps)
        total = max(total, self.frames + (max(self.undecoded, self.skipped) if inside else tail))
        where = "the file is truncated or damaged"
        if not tail and self.first_s is not None:
            where = f"the file is damaged after {self.first_s:.2f} s"
        return f"only {self.frames} of {total} frames could be read; {where}"

    def _jumps_are_losses(self, announced: int | None, each_has_a_time: bool) -> bool:
        """Whether frames are short and the clock jumps, either rarely or just where the announced ones have their time.

        each_has_a_time: whether the container has a table of the times of all frames that it announces, as mp4 has.
        """
        if announced is None or self.frames >= announced or not self.jumps:
            return False
        fits = abs(announced - self.frames - self.skipped) <= 1
        return self._regular() or (each_has_a_time and fits)

    def _regular(self) -> bool:
        return self.jumps <= max(RARE_AT_LEAST, RARE * self.frames)

    def _missing_at_the_end(self, announced: int | None, shown_s: float | None, exact: bool) -> int:
        """How many frames fit between the end of the last one and the announced end; 0 within the uncertainty."""
        if announced is None or self.frames >= announced:
            return 0
        until_s = announced / self.fps if shown_s is None else shown_s
        missing = until_s * self.fps - self.last_s * self.fps - 1
        uncertain = ROUNDING if exact or shown_s is not None else max(ESTIMATE_FRAMES, ESTIMATE_SHARE * announced)
        if not self._regular():
            uncertain = max(uncertain, self.longest)
        return round(missing) if missing > uncertain else 0
