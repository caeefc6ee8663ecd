"""The reliability of scores: bins, what is right of each, and the plot."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.reliability import BINS, plot, table
from train.score_calibration import Scored


def test_the_table_rises_with_scores_that_are_probabilities(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    score = random.uniform(0, 1, 8000)
    visibility = np.where(random.uniform(size=8000) < 0.25, 0, 2)
    rows = table(Scored(score, (random.uniform(size=8000) < score) & (visibility > 0), visibility))
    assert len(rows) == BINS
    for number, (mean, right, of_labelled, absent) in enumerate(rows):
        assert mean == pytest.approx((number + 0.5) / BINS, abs=0.02)
        assert of_labelled == pytest.approx(mean, abs=0.06) and absent == pytest.approx(0.25, abs=0.06)
        assert right == pytest.approx(of_labelled * (1 - absent), abs=1e-6)
    pytest.importorskip("matplotlib")
    plot(rows, "drawn", tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture is not None and picture.shape[0] > 300 and picture.std() > 10
