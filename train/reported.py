"""Measured figures beside those that the results tables report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from train.zoo import ZooModel, zoo_model

COCO_COLUMNS = {"AP": "AP", "AP50": "AP .5", "AP75": "AP .75", "AR": "AR", "AR50": "AR .5"}
MPII_COLUMNS = {"Mean": "PCKh", "Mean@0.1": "PCKh@0.1"}
WHOLE_BODY_PARTS = {"Body": "body", "Foot": "foot", "Face": "face", "Whole": "wholebody"}
HANDS = ("lefthand", "righthand")


@dataclass(frozen=True)
class Comparison:
    """A column of the results tables: what they report and what was measured, 0 to 1.

    judged: whether both are measured in the same way. The tables do not say how they make one figure of both hands;
    beside it stands the hands' mean.
    """

    column: str
    reported: float
    measured: float
    judged: bool

    @property
    def difference(self) -> float:
        """Measured less reported."""
        return self.measured - self.reported

    def within(self, tolerance: float) -> bool:
        """Whether the difference is at most the tolerance, or cannot be judged."""
        # What the tables print with three digits is not a sum of powers of two.
        return not self.judged or abs(self.difference) <= tolerance + 1e-9


def reported_model(name: str) -> ZooModel:
    """The row of the zoo of that name. Raises ValueError if there is none, or if nothing is reported for it."""
    model = zoo_model(name)
    if not model.reported:
        raise ValueError(f"the results tables report nothing for {name}: there is nothing to compare with")
    return model


def compare(model: ZooModel, figures: Mapping[str, Any]) -> list[Comparison]:
    """Each reported column of a row of the zoo beside the figures of an evaluation on the same skeleton."""
    return [
        Comparison(column, reported, _measured(column, figures), not column.startswith("Hand"))
        for column, reported in model.reported.items()
    ]


def _measured(column: str, figures: Mapping[str, Any]) -> float:
    """The figure of a column of the results tables."""
    if column in MPII_COLUMNS:
        return float(figures[MPII_COLUMNS[column]]) / 100
    if column in COCO_COLUMNS:
        return float(figures[COCO_COLUMNS[column]])
    part, figure = column.split()
    parts = HANDS if part == "Hand" else (WHOLE_BODY_PARTS[part],)
    return sum(float(figures["parts"][name][figure]) for name in parts) / len(parts)
