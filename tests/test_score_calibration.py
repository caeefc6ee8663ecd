"""Scores as chances: the fit finds what it was drawn from, and the file's scores are the calibrated heights."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from train.dark import DarkDecode, encode
from train.export import export_decode
from train.score_calibration import CalibratedDecode, Calibration, Scored, fitted

CALIBRATION = Calibration(half=0.3, power=2.5)


def drawn(calibration: Calibration, count: int = 20000) -> Scored:
    """Keypoints that are right as often as the calibration says; half of those that are not have no label."""
    random = np.random.default_rng(0)
    height = random.uniform(0.01, 1, count)
    right = random.uniform(size=count) < 1 / (1 + (calibration.half / height) ** calibration.power)
    return Scored(height, right, np.where(right | (random.uniform(size=count) < 0.5), 2, 0))


def test_the_fit_finds_the_calibration() -> None:
    found = fitted(drawn(CALIBRATION))
    assert found.half == pytest.approx(0.3, abs=0.01) and found.power == pytest.approx(2.5, abs=0.1)


def test_scores_that_say_nothing_are_refused() -> None:
    height, known = np.linspace(0.1, 0.9, 100), np.full(100, 2)
    with pytest.raises(ValueError, match="are not right more often"):
        fitted(Scored(height, height < 0.5, known))
    for right in (np.ones(100, bool), np.zeros(100, bool)):
        with pytest.raises(ValueError, match="expected some of both"):
            fitted(Scored(height, right, known))
    with pytest.raises(ValueError, match=r"should be above 0, got 0\.0 and 1\.0"):
        Calibration(0.0, 1.0)


def test_the_exported_decode_gives_the_same_points_and_calibrated_scores() -> None:
    joints = np.random.default_rng(0).uniform((8, 8), (40, 56), (3, 17, 2))
    maps = np.stack([encode(each, np.ones(17), (48, 64), (12, 16), 2.0)[0] for each in joints])
    heatmaps = torch.from_numpy(maps) * torch.linspace(0.05, 1, 17)[:, None, None]
    heatmaps[0, 0] = -1.0
    points, heights = DarkDecode(11)(heatmaps)
    same, scores = CalibratedDecode(DarkDecode(11), CALIBRATION)(heatmaps)
    assert torch.equal(points, same)
    expected = 1 / (1 + (0.3 / heights.clamp_min(1e-4)) ** 2.5)
    torch.testing.assert_close(scores, expected)
    assert scores[0, 0] < 1e-6 and (scores.diff() * heights.diff() >= 0).all()
    session = onnxruntime.InferenceSession(export_decode(17, (12, 16), 11, CALIBRATION).SerializeToString())
    exported = session.run(None, {"heatmaps": heatmaps.numpy()})
    np.testing.assert_allclose(exported[0], points, atol=1e-3)
    np.testing.assert_allclose(exported[1], scores, atol=1e-5)
