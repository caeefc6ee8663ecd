"""How well people keep their ids, and how steady their keypoints are: CLEAR MOT, IDF1, jitter, COCO AP.

CLEAR MOT: Bernardin and Stiefelhagen, EURASIP JIVP 2008. IDF1: Ristani et al., ECCV workshops 2016.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.moving_people import Labels
from pipeline.association import box_iou
from pipeline.skeletons import COCO
from pipeline.types import FloatArray, Poses
from train.average_precision import Results, average_precision
from train.oks import pose_scores
from train.truth import Truth

SAME_PLACE = 0.5  # least IoU of a person's box and an estimate's


@dataclass
class IdFigures:
    """Counts over a clip. pairs: in how many frames a person and an id were in the same place."""

    people: int = 0
    found: int = 0
    false: int = 0
    switches: int = 0
    fragments: int = 0
    estimates: Counter[int] = field(default_factory=Counter)
    truth: Counter[int] = field(default_factory=Counter)
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def mota(self) -> float:
        """1 less misses, false ones and switches, as a share of the people."""
        return 1 - (self.people - self.found + self.false + self.switches) / max(self.people, 1)

    @property
    def idf1(self) -> float:
        """F1 of the frames in which people have the one id that is theirs in the best assignment of ids to people."""
        people, ids = sorted(self.truth), sorted(self.estimates)
        shared = np.array([[self.pairs[person, each] for each in ids] for person in people]).reshape(len(people), -1)
        rows, columns = linear_sum_assignment(shared, maximize=True)
        return 2 * float(shared[rows, columns].sum()) / max(self.people + sum(self.estimates.values()), 1)


def id_figures(labels: Sequence[Labels], poses: Sequence[Poses]) -> IdFigures:
    """Compare frame by frame. Who is mostly covered is not asked for, nor wrong to find."""
    figures, last, held = IdFigures(), dict[int, int](), dict[int, int]()
    for truth, found in zip(labels, poses, strict=True):
        held = _frame(figures, truth, found, last, held)
    return figures


def _frame(
    figures: IdFigures, truth: Labels, found: Poses, last: dict[int, int], held: dict[int, int]
) -> dict[int, int]:
    """Count one frame. last: each person's latest id; held: those of the frame before, which is returned anew."""
    overlap = box_iou(truth.boxes, found.boxes)
    likely = overlap >= SAME_PLACE
    kept = np.array([[held.get(int(p)) == each for each in found.track_ids] for p in truth.ids]).reshape(overlap.shape)
    rows, columns = linear_sum_assignment(np.where(likely, overlap + kept + 2.0 * truth.counted[:, None], 0), True)
    pairs = [(row, column) for row, column in zip(rows, columns, strict=True) if likely[row, column]]
    asked = [(int(truth.ids[row]), int(found.track_ids[column])) for row, column in pairs if truth.counted[row]]
    beside = {column for row, column in pairs if not truth.counted[row]}
    for person, each in asked:
        if person in last:
            figures.switches += last[person] != each
            figures.fragments += person not in held
        last[person] = each
    counted = truth.ids[truth.counted].tolist()
    figures.people += len(counted)
    figures.found += len(asked)
    figures.false += len(found) - len(pairs)
    figures.truth.update(counted)
    figures.estimates.update(int(each) for column, each in enumerate(found.track_ids) if column not in beside)
    places = np.argwhere(likely & truth.counted[:, None])
    figures.pairs.update((int(truth.ids[row]), int(found.track_ids[column])) for row, column in places)
    # Who is covered for a while keeps their id: that is what the next frames are asked about.
    covered = {int(person): held[int(person)] for person in truth.ids[~truth.counted] if int(person) in held}
    return {**covered, **dict(asked)}


def keypoint_errors(labels: Sequence[Labels], poses: Sequence[Poses], least_score: float) -> tuple[FloatArray, ...]:
    """Errors [E], and their changes from a frame to the next [C], of the sure keypoints, as shares of √area.

    The change of the error, not of the place, is jitter: true movement is no part of it.
    """
    errors, changes = [np.zeros(0)], [np.zeros(0)]
    before = dict[tuple[int, int], FloatArray]()
    for truth, found in zip(labels, poses, strict=True):
        now = dict[tuple[int, int], FloatArray]()
        rows, columns = linear_sum_assignment(box_iou(truth.boxes, found.boxes), maximize=True)
        for row, column in zip(rows, columns, strict=True):
            wanted = truth.keypoints[row]
            sure = (wanted[:, 2] > 0) & (found.scores[column] > least_score)
            error = (found.keypoints[column] - wanted[:, :2]) / np.sqrt(truth.areas[row])
            error[~sure] = np.nan
            pair = int(truth.ids[row]), int(found.track_ids[column])
            now[pair] = error
            errors.append(np.linalg.norm(error, axis=1))
            if pair in before:
                changes.append(np.linalg.norm(error - before[pair], axis=1))
        before = now
    every, changed = np.concatenate(errors), np.concatenate(changes)
    return every[np.isfinite(every)], changed[np.isfinite(changed)]


def precision(labels: Sequence[Labels], poses: Sequence[Poses], score_threshold: float) -> float:
    """COCO's keypoint AP over all frames, each frame a picture."""
    numbers = range(len(labels))
    boxes = np.concatenate([each.boxes for each in labels])
    truth = Truth(
        numbers,
        np.repeat(numbers, [len(each.ids) for each in labels]),
        np.concatenate([each.keypoints for each in labels]),
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        np.concatenate([each.areas for each in labels]),
        ~np.concatenate([each.counted for each in labels]),
    )
    scores = np.concatenate([each.scores for each in poses])
    points = np.concatenate([each.keypoints for each in poses])
    person_scores = pose_scores(scores, np.concatenate([each.box_scores for each in poses]), score_threshold)
    image_ids = np.repeat(numbers, [len(each) for each in poses])
    results = Results(image_ids, np.concatenate([points, scores[..., None]], axis=2), person_scores)
    return float(average_precision(truth, results, COCO)["AP"])
