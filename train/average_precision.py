"""COCO's average precision and recall of keypoints, by pycocotools, and COCO-WholeBody's part by part."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.types import FloatArray, IntArray, Skeleton
from train.truth import WHOLE_BODY, Truth

FIGURES = ("AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")
# COCO-WholeBody's parts among its 133 keypoints (Jin et al., ECCV 2020).
PARTS: Mapping[str, slice] = {
    "body": slice(0, 17),
    "foot": slice(17, 23),
    "face": slice(23, 91),
    "lefthand": slice(91, 112),
    "righthand": slice(112, 133),
    WHOLE_BODY: slice(0, 133),
}
PERSON = 1


@dataclass(frozen=True)
class Results:
    """Estimated people: image_ids [P], keypoints [P, K, 3] (x y px, score) and each person's score [P]."""

    image_ids: IntArray
    keypoints: FloatArray
    scores: FloatArray


def average_precision(truth: Truth, results: Results, skeleton: Skeleton) -> dict[str, Any]:
    """The ten figures of COCO's keypoint evaluation, 0 to 1 (-1 where no truth is in their range of areas).

    For the whole-body skeleton they are those of all 133 points, and 'parts' holds each part's own.
    """
    if skeleton.name != WHOLE_BODY:
        return _figures(truth, results, skeleton.oks_sigmas, slice(None), slice(None))
    parts = {name: _figures(truth, results, skeleton.oks_sigmas, part, PARTS["body"]) for name, part in PARTS.items()}
    return {**parts[WHOLE_BODY], "parts": parts}


def _figures(truth: Truth, results: Results, sigmas: FloatArray, part: slice, extent: slice) -> dict[str, float]:
    """COCO's figures over the keypoints `part`; the extent of the keypoints `extent` is an estimate's area."""
    from pycocotools.coco import COCO as Annotations
    from pycocotools.cocoeval import COCOeval

    expected, found = Annotations(), Annotations()
    expected.dataset = _data_set(truth.pictures, _truth_rows(truth, part))
    found.dataset = _data_set(truth.pictures, _result_rows(results, part, extent))
    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        expected.createIndex()
        found.createIndex()
        evaluation = COCOeval(expected, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas[part], np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(FIGURES, evaluation.stats, strict=True)}


def _data_set(pictures: Sequence[int], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": [{"id": image_id} for image_id in pictures],
        "annotations": [{"id": number, "category_id": PERSON, **row} for number, row in enumerate(rows, 1)],
        "categories": [{"id": PERSON, "name": "person"}],
    }


def _truth_rows(truth: Truth, part: slice) -> list[dict[str, Any]]:
    """Annotations; who has no visible keypoint in the part is neither right nor wrong to find."""
    keypoints = truth.keypoints[:, part]
    return [
        {
            "image_id": int(truth.image_ids[person]),
            "keypoints": keypoints[person].flatten().tolist(),
            "num_keypoints": int((keypoints[person, :, 2] > 0).sum()),
            "bbox": truth.boxes[person].tolist(),
            "area": float(truth.areas[person]),
            "iscrowd": int(truth.crowd[person]),
        }
        for person in range(len(keypoints))
    ]


def _result_rows(results: Results, part: slice, extent: slice) -> list[dict[str, Any]]:
    """Estimates; xtcocotools, which the results tables were made with, drops those without a positive score."""
    keypoints, rows = results.keypoints[:, part].astype(np.float64), list[dict[str, Any]]()
    sides = np.ptp(results.keypoints[:, extent, :2].astype(np.float64), axis=1)
    for person in np.flatnonzero((keypoints[..., 2] > 0).any(1)):
        rows.append(
            {
                "image_id": int(results.image_ids[person]),
                "keypoints": keypoints[person].flatten().tolist(),
                "area": float(sides[person].prod()),
                "score": float(results.scores[person]),
            }
        )
    return rows
