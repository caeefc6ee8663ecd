"""From the measurements of all runs to the tables: medians, ranges, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.peers_runners.protocol import Measurement

SURE = 0.5  # score of ours from which a keypoint is compared
HARDLY_ANYBODY = 0.05  # people a frame, the median of the runs: less is shown as 0.0
HEAD = (
    "| what | case | frames/s (runs) | p50 ms | p95 ms | p99 ms | CPU s a frame | peak MB | people a frame "
    "| ours is faster by | px from ours |"
)


@dataclass(frozen=True)
class Contender:
    """One way to do the job.

    table: the heading it is listed under. environment: a peer's, or "" for ours. reference: what the others of its
    table are held against, if it can be measured. compared: whether its keypoints can be, too. network, variant,
    people, cases: as in peers_runners.protocol.Job.
    """

    table: str
    label: str
    environment: str
    runner: str
    variant: str
    network: str = ""
    people: tuple[int, ...] = ()
    cases: tuple[str, ...] = ()
    reference: bool = False
    compared: bool = True


@dataclass
class Outcome:
    """What the runs of a contender gave: measurements by case, one a run, or why there are none."""

    contender: Contender
    runs: dict[str, list[Measurement]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    failure: str = ""

    def add(self, result: Mapping[str, Any]) -> None:
        """One run's result, as the runner printed it."""
        self.versions = dict(result["versions"])
        for one in result["measurements"]:
            self.runs.setdefault(one["case"], []).append(Measurement(**one))


@dataclass(frozen=True)
class Line:
    """A line of a table. ratio: how many times as long as ours a frame takes, the median over the runs.

    There is none for those who find fewer than `HARDLY_ANYBODY`: what they did not find cost them no time.
    """

    table: str
    label: str
    case: str
    frames_per_s: float
    least: float
    most: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_s: float
    peak_mb: float
    people: float
    ratio: float | None
    apart_px: float | None


def lines_of(outcomes: Sequence[Outcome]) -> list[Line]:
    """All lines, in the order of the outcomes; percentiles are of the latencies of all runs together."""
    lines = []
    for outcome in outcomes:
        reference = _reference([one for one in outcomes if one.contender.table == outcome.contender.table])
        for case, runs in outcome.runs.items():
            ours = reference.runs.get(case, []) if reference is not None else []
            lines.append(_line(outcome.contender, case, runs, ours))
    return lines


def _reference(table: Sequence[Outcome]) -> Outcome | None:
    """What a table's lines are held against; where it was not measured, the first of ours that was."""
    measured = [one for one in table if one.runs and not one.contender.environment]
    return next((one for one in measured if one.contender.reference), measured[0] if measured else None)


def _line(contender: Contender, case: str, runs: Sequence[Measurement], ours: Sequence[Measurement]) -> Line:
    rates = [run.frames / run.seconds for run in runs]
    latencies = np.concatenate([run.latencies_ms for run in runs])
    p50, p95, p99 = (float(value) for value in np.percentile(latencies, (50, 95, 99)))
    people = statistics.median(run.people / run.frames for run in runs)
    # Runs of the same round stand beside each other in time.
    ratios = [our.frames / our.seconds / rate for our, rate in zip(ours, rates, strict=False)]
    return Line(
        contender.table, contender.label, case,
        statistics.median(rates), min(rates), max(rates), p50, p95, p99,
        statistics.median(run.cpu_s / run.frames for run in runs),
        max(run.peak_mb for run in runs),
        people,
        statistics.median(ratios) if ratios and people >= HARDLY_ANYBODY else None,
        _apart(runs[0], ours[0]) if ours and contender.compared and not contender.reference else None,
    )  # fmt: skip


def _apart(run: Measurement, ours: Measurement) -> float | None:
    """The median distance, px of the frame, of keypoints that ours is sure of."""
    if not run.keypoints or not ours.keypoints:
        return None
    sure = np.array(ours.scores) >= SURE
    if not sure.any():
        return None
    return float(np.median(np.linalg.norm(np.array(run.keypoints) - np.array(ours.keypoints), axis=-1)[sure]))


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The tables, one below the other, and what failed."""
    lines, parts = lines_of(outcomes), []
    for table in dict.fromkeys(outcome.contender.table for outcome in outcomes):
        rows = [_row(line) for line in _by_case([line for line in lines if line.table == table])]
        failures = [
            f"{one.contender.label}: not measured ({one.failure})"
            for one in outcomes
            if one.contender.table == table and one.failure
        ]
        body = [HEAD, "|" + "---|" * (HEAD.count("|") - 1), *rows] if rows else []
        parts.append("\n".join([f"**{table}**", "", *body, *(["", *failures] if failures else [])]))
    return "\n\n".join(parts) + "\n"


def _by_case(lines: Sequence[Line]) -> list[Line]:
    cases = list(dict.fromkeys(line.case for line in lines))
    return sorted(lines, key=lambda line: cases.index(line.case))


def _row(line: Line) -> str:
    ratio = "-" if line.ratio is None else f"{line.ratio:.2f}"
    apart = "-" if line.apart_px is None else f"{line.apart_px:.2f}"
    label = line.label if line.people >= HARDLY_ANYBODY else f"{line.label} (finds hardly anybody)"
    return (
        f"| {label} | {line.case} | {line.frames_per_s:.1f} ({line.least:.1f} to {line.most:.1f}) "
        f"| {line.p50_ms:.1f} | {line.p95_ms:.1f} | {line.p99_ms:.1f} | {line.cpu_s:.4f} | {line.peak_mb:.0f} "
        f"| {line.people:.1f} | {ratio} | {apart} |"
    )


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Every line with its runs' rates and versions, for a machine."""
    return [
        {
            "contender": asdict(outcome.contender),
            "versions": outcome.versions,
            "failure": outcome.failure,
            "lines": [asdict(line) for line in lines_of([*outcomes]) if _is_of(line, outcome.contender)],
            "frames_per_s": {
                case: [round(run.frames / run.seconds, 3) for run in runs] for case, runs in outcome.runs.items()
            },
        }
        for outcome in outcomes
    ]


def _is_of(line: Line, contender: Contender) -> bool:
    return (line.table, line.label) == (contender.table, contender.label)
