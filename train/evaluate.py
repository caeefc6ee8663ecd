"""Accuracy of a pose network: COCO AP and AR of estimates by the rules of the results tables, MPII PCKh, and PCK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.affine import PIXELS_PER_SCALE, boxes_to_center_scale
from pipeline.pose import PoseEstimator
from pipeline.skeletons import skeleton_named
from pipeline.types import FloatArray, IntArray, Skeleton
from train.average_precision import Results, average_precision
from train.datasets.pictures import Person, Picture
from train.oks import hard_nms, oks, pose_scores, soft_nms
from train.pckh import HeadTruth, pckh
from train.truth import Truth, read_truth, truth_of

NMS = ("hard", "soft", "none")
FIGURES = ("AP", "AP .5", "AP .75", "AR")  # of COCO's ten, those that a training is followed by
LIMB_JOINTS = slice(5, 17)
LEFT_SHOULDER, RIGHT_HIP = 5, 12


@dataclass(frozen=True)
class Predictions:
    """Estimates of P people.

    keypoints: float32 [P, K, 3], x y px and score. boxes: float32 [P, 6], centre x y px, scale x y (of the padded box,
    in units of 200 px), its area px², score. image_ids, box_ids: int [P]; of those of a picture with the same box id,
    the first counts.
    """

    keypoints: FloatArray
    boxes: FloatArray
    image_ids: IntArray
    box_ids: IntArray

    def __post_init__(self) -> None:
        """Raises ValueError for arrays of other shapes, and for estimates that are no numbers."""
        people = len(self.keypoints)
        shapes = [np.shape(array) for array in (self.keypoints, self.boxes, self.image_ids, self.box_ids)]
        if len(shapes[0]) != 3 or shapes[0][2] != 3 or shapes[1:] != [(people, 6), (people,), (people,)]:
            raise ValueError(f"expected keypoints [P, K, 3], boxes [P, 6], image and box ids [P], got shapes {shapes}")
        if not (np.isfinite(self.keypoints).all() and np.isfinite(self.boxes).all()):
            raise ValueError("the estimates are not all finite numbers: the network or its precision is broken")


def predict(estimator: PoseEstimator, pictures: Sequence[Picture]) -> Predictions:
    """Estimates of everyone with a box in the pictures, in their order; a box's id is its annotation's."""
    keypoints = [np.zeros((0, len(estimator.skeleton), 3), np.float32)]
    people = [(picture, person) for picture in pictures for person in picture.people]
    for picture in tqdm(pictures, "estimate", unit="picture", leave=False, disable=None):
        if picture.people:
            points, scores = estimator(picture.read(), np.stack([person.box for person in picture.people]))
            keypoints.append(np.concatenate((points, scores[..., None]), 2).astype(np.float32))
    corners = np.array([person.box for _, person in people], np.float64).reshape(-1, 4)
    centers, scales = boxes_to_center_scale(corners, estimator.input_size)
    areas = (scales * np.float32(PIXELS_PER_SCALE)).prod(1)
    box_scores = np.array([person.box_score for _, person in people], np.float32)
    return Predictions(
        np.concatenate(keypoints),
        np.column_stack((centers, scales, areas, box_scores)),
        np.array([picture.image_id for picture, _ in people], np.int64),
        np.array([person.annotation_id for _, person in people], np.int64),
    )


def labelled(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures with only those people whose keypoints are annotated."""
    return [
        replace(picture, people=tuple(person for person in picture.people if person.joints is not None))
        for picture in pictures
    ]


def evaluate_predictions(
    annotations_file: str | Path,
    keypoints: FloatArray,
    boxes: FloatArray,
    image_ids: IntArray,
    box_ids: IntArray,
    skeleton: str | Skeleton = "coco",
    oks_threshold: float = 0.9,
    score_threshold: float = 0.2,
    nms: str = "hard",
    rle_score: bool = False,
) -> dict[str, Any]:
    """COCO's ten figures of estimates against an annotation file; arrays as in Predictions, options as in best_of.

    For the skeleton "wholebody" they are those of all 133 points, and 'parts' holds those of each part.
    """
    skeleton = skeleton_named(skeleton) if isinstance(skeleton, str) else skeleton
    predictions = Predictions(
        np.asarray(keypoints, np.float32).reshape(np.shape(keypoints) if len(keypoints) else (0, len(skeleton), 3)),
        np.asarray(boxes, np.float32).reshape(np.shape(boxes) if len(boxes) else (0, 6)),
        np.asarray(image_ids, np.int64),
        np.asarray(box_ids, np.int64),
    )
    truth = read_truth(Path(annotations_file), skeleton)
    if unknown := sorted(set(predictions.image_ids.tolist()) - set(truth.pictures)):
        raise ValueError(
            f"estimates of {len(unknown)} pictures that {annotations_file} does not have (ids {unknown[:3]}): "
            "they belong to other annotations"
        )
    found = best_of(predictions, skeleton, oks_threshold, score_threshold, nms, rle_score)
    return average_precision(truth, found, skeleton)


def best_of(
    predictions: Predictions,
    skeleton: Skeleton,
    oks_threshold: float = 0.9,
    score_threshold: float = 0.2,
    nms: str = "hard",
    rle_score: bool = False,
) -> Results:
    """The estimates to be judged: scored, and without those that are too similar to a better one of the same picture.

    nms: one of NMS. oks_threshold: how similar is too similar. Scores: train.oks.pose_scores.
    """
    if nms not in NMS:
        raise ValueError(f"nms should be one of {', '.join(NMS)}, got {nms!r}")
    if predictions.keypoints.shape[1] != len(skeleton):
        raise ValueError(
            f"expected the {len(skeleton)} keypoints of the skeleton {skeleton.name!r}, "
            f"got {predictions.keypoints.shape[1]}"
        )
    keypoints, boxes = predictions.keypoints, predictions.boxes
    scores = pose_scores(keypoints[..., 2], boxes[:, 5], score_threshold, rle_score)
    kept: list[IntArray] = [np.zeros(0, np.int64)]
    for rows in _rows_of_pictures(predictions):
        if nms != "none":
            suppress = hard_nms if nms == "hard" else soft_nms
            similarity = oks(keypoints[rows], boxes[rows, 4], skeleton.oks_sigmas)
            rows = rows[suppress(similarity, scores[rows], oks_threshold)]
        kept.append(rows)
    order = np.concatenate(kept)
    return Results(predictions.image_ids[order], keypoints[order], scores[order])


def _rows_of_pictures(predictions: Predictions) -> Iterator[IntArray]:
    """For each picture, in order of appearance, the rows of its boxes by rising id, the first of each id."""
    _, first = np.unique(predictions.image_ids, return_index=True)
    for image_id in predictions.image_ids[np.sort(first)]:
        rows = np.flatnonzero(predictions.image_ids == image_id)
        _, by_id = np.unique(predictions.box_ids[rows], return_index=True)
        yield rows[by_id]


def evaluate_pictures(estimator: PoseEstimator, pictures: Sequence[Picture]) -> dict[str, float]:
    """COCO's ten figures over the people of these pictures whose keypoints are annotated, from their true boxes."""
    figures = average_precision(*estimates_of(estimator, pictures), estimator.skeleton)
    figures.pop("parts", None)
    return figures


def estimates_of(estimator: PoseEstimator, pictures: Sequence[Picture]) -> tuple[Truth, Results]:
    """Who is annotated with keypoints in these pictures, and what is estimated in their true boxes."""
    pictures = labelled(numbered(pictures))
    return truth_of(pictures), best_of(predict(estimator, pictures), estimator.skeleton)


def numbered(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures with their places for ids: those of several data sets may have the same."""
    return [replace(picture, image_id=number) for number, picture in enumerate(pictures)]


def evaluate_mpii(predictions: Predictions, truth: HeadTruth) -> dict[str, float]:
    """PCKh in percent of MPII's people, whose box ids are the numbers of their rows in the truth."""
    return pckh(predictions.keypoints[np.argsort(predictions.box_ids)], truth)


def pck(people: Sequence[Person], keypoints: FloatArray, threshold: float = 0.2) -> float:
    """The share of limb joints (12) within `threshold` torso lengths (left shoulder to right hip) of the label.

    Estimates [P, 17, >=2] px of P people. Only those labelled by hand count (Yang & Ramanan, PAMI 2013; the measure
    of the Leeds Sports Pose results).
    """
    correct = []
    for person, estimate in zip(people, keypoints, strict=True):
        joints = person.joints
        if joints is None or person.keypoints_source != "labelled":
            continue
        if min(joints[LEFT_SHOULDER, 2], joints[RIGHT_HIP, 2]) <= 0:
            continue
        torso = np.linalg.norm(joints[LEFT_SHOULDER, :2] - joints[RIGHT_HIP, :2])
        distance = np.linalg.norm(joints[LIMB_JOINTS, :2] - estimate[LIMB_JOINTS, :2], axis=1)
        correct.extend((distance <= threshold * torso)[joints[LIMB_JOINTS, 2] > 0])
    return float(np.mean(correct)) if correct else 0.0


def pose_figures(estimator: PoseEstimator, held_out: Mapping[str, Sequence[Picture]]) -> dict[str, float]:
    """AP of the COCO people and PCK of the Leeds people among the held-out pictures, from ground-truth boxes."""
    figures = evaluate_pictures(estimator, held_out["coco_train"])
    return {name: figures[name] for name in FIGURES} | {"PCK@0.2": sports_pck(estimator, held_out["lspet"])}


def sports_pck(estimator: PoseEstimator, pictures: Sequence[Picture]) -> float:
    """PCK of the people of these pictures, from ground-truth boxes."""
    pictures = labelled(pictures)
    people = [person for picture in pictures for person in picture.people]
    return pck(people, predict(estimator, pictures).keypoints)
