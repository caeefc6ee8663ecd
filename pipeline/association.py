"""Which of two sets of people are the same: box overlap, keypoint similarity, and the best assignment."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pipeline.types import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
BODY_SHARE = 0.53  # of a person's box is body, the area that OKS is relative to


def assign(similarity: FloatArray, least: float) -> tuple[IntArray, IntArray]:
    """Rows and columns of the pairs whose similarities [A, B] have the largest sum, each row and column once.

    The Hungarian method, by scipy. Pairs below `least` count as nothing and are left out.
    """
    possible = np.where(similarity >= least, similarity, 0)
    rows, columns = linear_sum_assignment(possible, maximize=True)
    taken = possible[rows, columns] > 0
    return rows[taken].astype(np.int64), columns[taken].astype(np.int64)


def keypoint_similarity(
    one: FloatArray, other: FloatArray, sure: tuple[BoolArray, BoolArray], areas: FloatArray, sigmas: FloatArray
) -> FloatArray:
    """Object keypoint similarity [A, B] of people [A, K, 2] and [B, K, 2], px.

    sure: [A, K] and [B, K]; keypoints sure in both count, as a share of the smaller number of sure ones.
    areas: [A, B], px² of body. sigmas: [K], of COCO's keypoint evaluation, which defines the similarity.
    """
    distance2 = ((one[:, None] - other[None]) ** 2).sum(axis=-1)
    alike = np.exp(-distance2 / (2 * np.maximum(areas, 1.0)[..., None] * (2 * sigmas) ** 2))
    total = (alike * (sure[0][:, None] & sure[1][None])).sum(axis=-1)
    counts = np.minimum(sure[0].sum(axis=1)[:, None], sure[1].sum(axis=1)[None])
    similarity: FloatArray = total / np.maximum(counts, 1)
    return similarity


def box_iou(one: FloatArray, other: FloatArray) -> FloatArray:
    """Intersection over union [A, B] of boxes [A, 4] and [B, 4], x1 y1 x2 y2."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    union = box_areas(one)[:, None] + box_areas(other)[None] - both
    overlap: FloatArray = both / np.maximum(union, 1e-9)
    return overlap


def box_areas(boxes: FloatArray) -> FloatArray:
    """Areas [N] of boxes [N, 4], x1 y1 x2 y2; 0 for those without extent."""
    areas: FloatArray = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return areas
