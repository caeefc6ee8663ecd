"""Which of several estimates of the same people to keep: object keypoint similarity, scores and suppression.

The rules are MMPose 0.29's for top-down evaluation. They decide the figures of the results tables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.tables import person_scores
from pipeline.types import FloatArray, IntArray

SOFT_NMS_KEEPS = 20


def oks(keypoints: FloatArray, areas: FloatArray, sigmas: FloatArray) -> npt.NDArray[np.float32]:
    """Object keypoint similarity of each two of N estimates: [N, K, >=2] px, areas [N] px² -> float32 [N, N], 0 to 1.

    The similarity of COCO's keypoint evaluation over all joints, with the mean of both areas.
    """
    points = np.asarray(keypoints, np.float32)[..., :2]
    areas = np.asarray(areas, np.float32)
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    area = ((areas[:, None] + areas[None]) / 2).astype(np.float64) + np.spacing(1)
    errors = squares / (2 * sigmas) ** 2 / area[..., None] / 2
    # float32 as the reference's: a similarity next to the threshold then falls on the same side.
    similarity: npt.NDArray[np.float32] = np.exp(-errors).mean(-1).astype(np.float32)
    return similarity


def pose_scores(
    keypoint_scores: FloatArray, box_scores: FloatArray, score_threshold: float, rle_score: bool = False
) -> npt.NDArray[np.float64]:
    """Scores [N] of people from those of their keypoints [N, K] and boxes [N].

    The box's score times the mean of the keypoint scores above the threshold (0 where there is none); with
    rle_score the box's score plus mean and maximum of all keypoint scores.
    """
    if rle_score:
        # Sums in float32, as in the reference.
        found, box = np.asarray(keypoint_scores, np.float32), np.asarray(box_scores, np.float32)
        both: npt.NDArray[np.float64] = (box + found.mean(1) + found.max(1)).astype(np.float64)
        return both
    return person_scores(keypoint_scores, box_scores, score_threshold)


def hard_nms(similarity: FloatArray, scores: FloatArray, threshold: float) -> list[int]:
    """Indices of the estimates to keep, best first: none is more similar than `threshold` to a better one."""
    order, keep = _best_first(scores), list[int]()
    while len(order):
        best, rest = int(order[0]), order[1:]
        keep.append(best)
        order = rest[similarity[best, rest] <= np.float32(threshold)]
    return keep


def soft_nms(similarity: FloatArray, scores: FloatArray, threshold: float, most: int = SOFT_NMS_KEEPS) -> list[int]:
    """Indices of the `most` estimates that stay best, as the scores of those similar to a better one decay.

    Decay exp(-similarity² / threshold) (Bodla et al., ICCV 2017). It only decides the order and who is left out.
    """
    order, keep = _best_first(scores), list[int]()
    left = np.asarray(scores, np.float64)[order]
    while len(order) and len(keep) < most:
        best, order = int(order[0]), order[1:]
        keep.append(best)
        left = decayed(similarity[best, order], left[1:], threshold)
        again = _best_first(left)
        order, left = order[again], left[again]
    return keep


def decayed(similarity: FloatArray, scores: FloatArray, threshold: float) -> npt.NDArray[np.float64]:
    """Scores [N] after a better estimate of that similarity [N]: Gaussian decay."""
    left: npt.NDArray[np.float64] = np.asarray(scores, np.float64) * np.exp(-(np.asarray(similarity) ** 2) / threshold)
    return left


def _best_first(scores: FloatArray) -> IntArray:
    """Indices by falling score; the order of equal ones is not defined, in the reference neither."""
    return np.argsort(scores)[::-1]
