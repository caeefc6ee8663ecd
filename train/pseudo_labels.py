"""Keypoints by trained networks: for people of whom only a box is known, and as a second opinion on noisy labels.

Data distillation (Radosavovic et al., CVPR 2018): the estimates of several views of a person are merged, and what they
agree on becomes a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.pose import PoseEstimator
from pipeline.types import FloatArray, Image

# Sizes of the box that a network is shown, each also in the mirrored picture: one that has to agree with itself, and
# several that have to agree with each other.
VIEWS, SHARED_VIEWS = (0.87, 1.0, 1.15), (1.0,)
# How far from what networks agree on a label has to lie to be taken for a mistake, in the OKS's deviations.
CONTRADICTION = 2.0


@dataclass(frozen=True)
class Agreement:
    """What has to hold for an estimate to become a label.

    score: least mean score of the views. spread: furthest that a view may lie from the mean, in the OKS's deviations
    (2 sigma of the keypoint times the root of the person's area). keypoints: least number of a person's labels.
    height: least height of the box of someone who is looked at, px.
    """

    score: float = 0.35
    spread: float = 0.7
    keypoints: int = 7
    height: float = 48.0

    def __post_init__(self) -> None:
        """Raises ValueError naming the first value that nothing could meet, or everything would."""
        for name in ("score", "spread", "keypoints"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of agreeing views should be above 0, got {getattr(self, name)}")


def agreed_keypoints(
    estimators: Sequence[PoseEstimator],
    image: Image,
    boxes: FloatArray,
    areas: FloatArray,
    rule: Agreement,
) -> FloatArray:
    """Labels float32 [N, K, 3] (x, y px, and 2 where all views agree, else a row of 0) of the people in `boxes`.

    estimators: of one skeleton; each is shown all the views. image: uint8 [H, W, 3] BGR. boxes: [N, 4], x1 y1 x2 y2
    px. areas: [N], px². People with too few labels have none at all.
    """
    sizes = VIEWS if len(estimators) == 1 else SHARED_VIEWS
    seen = [look(each, image, boxes, sizes) for each in estimators for look in (_views, _mirrored)]
    points, scores = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    mean = points.mean(0)
    furthest = np.linalg.norm(points - mean, axis=-1).max(0)
    agreed = (scores.mean(0) >= rule.score) & (furthest <= rule.spread * deviations(estimators[0], areas))
    agreed &= agreed.sum(1, keepdims=True) >= rule.keypoints
    labels: FloatArray = np.concatenate((mean, np.full((*mean.shape[:2], 1), 2.0)), 2).astype(np.float32)
    labels[~agreed] = 0
    return labels


def deviations(estimator: PoseEstimator, areas: FloatArray) -> FloatArray:
    """The OKS's standard deviations [N, K] px of keypoints of people of these areas [N], px²."""
    return np.asarray(2 * estimator.skeleton.oks_sigmas * np.sqrt(areas)[:, None])


def second_opinion(joints: FloatArray, agreed: FloatArray, deviation: FloatArray) -> tuple[FloatArray, int, int]:
    """(labels, how many were filled in, how many were replaced) of people with noisy labels.

    joints, agreed: float32 [N, K, 3], the labels and what networks agree on. deviation: [N, K] px. A label that is
    missing is filled in, and one that contradicts what is agreed on gives way.
    """
    says, known = agreed[..., 2] > 0, joints[..., 2] > 0
    far = np.linalg.norm(joints[..., :2] - agreed[..., :2], axis=-1) > CONTRADICTION * deviation
    filled, replaced = says & ~known, says & known & far
    labels = np.where((filled | replaced)[..., None], agreed, joints)
    return labels, int(filled.sum()), int(replaced.sum())


def _views(
    estimator: PoseEstimator, image: Image, boxes: FloatArray, sizes: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """Keypoints [V, N, K, 2] px and scores [V, N, K] of the boxes [N, 4] at each of the V sizes."""
    views = np.concatenate([resized(boxes, factor) for factor in sizes])
    points, scores = estimator(image, views.astype(np.float32))
    shape = (len(sizes), len(boxes), -1)
    return points.reshape(*shape, 2), scores.reshape(shape)


def _mirrored(
    estimator: PoseEstimator, image: Image, boxes: FloatArray, sizes: Sequence[float]
) -> tuple[FloatArray, FloatArray]:
    """The same from the mirrored picture, in px of the picture as it is, left and right as they are."""
    last, order = image.shape[1] - 1, estimator.skeleton.flip_order
    left, top, right, bottom = boxes.T
    mirrored = np.stack((last - right, top, last - left, bottom), 1)
    points, scores = _views(estimator, image[:, ::-1].copy(), mirrored, sizes)
    points[..., 0] = last - points[..., 0]
    return points[..., order, :], scores[..., order]


def resized(boxes: FloatArray, factor: float) -> FloatArray:
    """Boxes [N, 4] (x1 y1 x2 y2) `factor` times as large round the same centres."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.concatenate((center - half, center + half), 1)
