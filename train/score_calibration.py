"""What a keypoint's score is worth: the height of its heatmap's peak, turned into the chance that it is right.

Platt scaling (Platt, 1999) of the logarithm of the height: 1 / (1 + (half / height)^power), two numbers a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.pose import PoseEstimator
from train.datasets.pictures import Picture
from train.evaluate import labelled, predict

# A keypoint is right when its similarity to the label, COCO's OKS of that keypoint alone, is above this.
RIGHT = 0.5
LEAST_HEIGHT = 1e-4
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scored:
    """Keypoints with a label, or without one: score [M], whether right [M] and the label's visibility [M] (0: none)."""

    score: Array
    right: Array
    visibility: Array


@dataclass(frozen=True)
class Calibration:
    """half: the height at which half of the keypoints are right. power: how fast the chance rises there."""

    half: float
    power: float

    def __post_init__(self) -> None:
        """Raises ValueError for numbers with which a higher peak would not be worth more."""
        if not (self.half > 0 and self.power > 0):
            raise ValueError(f"half and power of a calibration should be above 0, got {self.half} and {self.power}")


def scored_keypoints(estimator: PoseEstimator, pictures: Sequence[Picture]) -> Scored:
    """All keypoints of the people of these pictures whose keypoints are annotated, from annotated boxes."""
    pictures = labelled(pictures)
    people = [person for picture in pictures for person in picture.people]
    if not people:
        raise ValueError(f"nobody in the {len(pictures)} pictures has keypoints: there is nothing to compare with")
    labels = np.stack([person.joints for person in people if person.joints is not None])
    areas = np.array([person.area for person in people])
    found = predict(estimator, pictures).keypoints
    squares = ((found[..., :2] - labels[..., :2]) ** 2).sum(2)
    similarity = np.exp(-squares / (2 * areas[:, None] * (2 * estimator.skeleton.oks_sigmas) ** 2))
    right = (similarity > RIGHT) & (labels[..., 2] > 0)
    return Scored(found[..., 2].ravel(), right.ravel(), labels[..., 2].ravel())


def fitted(keypoints: Scored, steps: int = 50) -> Calibration:
    """The calibration under which what is right and what is not is most likely: logistic regression by Newton's method.

    A keypoint without a label (outside the picture, or not to be seen) counts as not right: it should score low.
    Raises ValueError when all are right or all wrong, or when higher peaks are not right more often.
    """
    right = keypoints.right.astype(np.float64)
    if right.min(initial=1) == right.max(initial=0):
        raise ValueError(f"all of the {len(right)} keypoints are {'right' if right.any() else 'wrong'}: "
                         "expected some of both to learn what a score is worth")  # fmt: skip
    height = np.log(np.maximum(keypoints.score, LEAST_HEIGHT))
    inputs = np.stack((height, np.ones_like(height)), 1)
    weights = np.zeros(2)
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        spread = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        weights += np.linalg.solve(spread, inputs.T @ (right - chance)).clip(-2, 2)
    power, offset = weights
    if power <= 0:
        raise ValueError("keypoints with higher peaks are not right more often: this network's scores say nothing")
    return Calibration(float(np.exp(-offset / power)), float(power))


class CalibratedDecode(nn.Module):
    """A decode whose scores are chances: heatmaps [N, K, H, W] -> points [N, K, 2] and scores [N, K], 0 to 1."""

    def __init__(self, decode: nn.Module, calibration: Calibration) -> None:
        super().__init__()
        self.decode, self.calibration = decode, calibration

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        points, heights = self.decode(heatmaps)
        ratio = self.calibration.half / torch.clamp(heights, min=LEAST_HEIGHT)
        return points, 1 / (1 + ratio**self.calibration.power)
