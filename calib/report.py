"""The accuracy report of a calibration: a table for people and JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.measure import BATCHES, Row
from calib.sensitivity import LayerCost

WORST = 8  # layers in the table; the JSON has all


@dataclass(frozen=True)
class Report:
    """What was calibrated, on what, and what it costs.

    crops: calibration inputs, from `pictures` pictures in the boxes of `boxes`. measured: people. overlap: whether they
    are of the pictures that were calibrated on. method, kept, calibration_sha256: of the file that was written.
    """

    model: str
    network_sha256: str
    crops: int
    pictures: int
    boxes: str
    measured: int
    overlap: bool
    method: str
    kept: Sequence[str]
    calibration_sha256: str
    rows: Sequence[Row]
    layers: Sequence[LayerCost]

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def table(self) -> str:
        """The report for people: a line a precision, then the layers that cost most."""
        where = "of the pictures that it was calibrated on" if self.overlap else "of other pictures"
        head = (
            f"{self.model}: calibrated on {self.crops} crops from {self.pictures} pictures ({self.boxes}), "
            f"measured on {self.measured} people {where}"
        )
        lines = [head, "", *rows_table(self.rows)]
        if self.layers:
            lines += ["", "Each layer in int8 alone: error of the heatmaps, median px of the keypoints"]
            lines += _aligned([[c.layer, f"{c.answer:.4f}", f"{c.keypoints:.3f}"] for c in self.layers[:WORST]])
        lines += ["", f"written: {self.method}; kept in float: {', '.join(self.kept) or 'nothing more'}"]
        return "\n".join(lines)

    def write(self, file: Path) -> None:
        """Write the JSON. Raises OSError."""
        file.write_text(self.to_json(), encoding="utf-8")


def rows_table(rows: Sequence[Row]) -> list[str]:
    """The lines of a table with a heading, one line a row."""
    names = ["", "AP", "95 %", "AP - float32, 95 %", "median px", "p99 px", "median share", "p99 share"]
    names += [f"ms, batch {batch}" for batch in BATCHES] + ["MB"]
    return _aligned([names, *(_cells(row) for row in rows)])


def _cells(row: Row) -> list[str]:
    accuracy, shift = row.accuracy, row.shift
    cells = [row.name, *((f"{accuracy.ap:.3f}", _interval(accuracy.interval)) if accuracy else ("-", "-"))]
    cells.append(_interval(accuracy.difference, "+") if accuracy and accuracy.difference else "-")
    moved = [shift.median_px, shift.p99_px] if shift else []
    cells += [f"{value:.3f}" for value in moved] or ["-", "-"]
    shares = [shift.median_share, shift.p99_share] if shift else []
    cells += [f"{value:.4f}" for value in shares] or ["-", "-"]
    cells += [f"{row.ms[batch]:.2f}" if row.ms and batch in row.ms else "-" for batch in BATCHES]
    return [*cells, f"{row.megabytes:.1f}"]


def _interval(ends: Any, sign: str = "") -> str:
    return " to ".join(f"{end:{sign}.3f}" for end in ends)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
