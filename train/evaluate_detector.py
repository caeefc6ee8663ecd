"""Accuracy of a person detector on held-out pictures: recall and precision over the score threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.association import box_iou
from pipeline.types import Detections, FloatArray, Image
from train.datasets.pictures import Picture

Finder = Callable[[Image], Detections]
Flags = npt.NDArray[np.bool_]
LOWEST_SCORE = 0.02  # of the detections that a curve is made of
PRECISION = 0.85  # at which recalls are compared


@dataclass(frozen=True)
class DetectionCurve:
    """Recall and precision, float64 [D], when every detection scored at least `scores` [D] (falling) is kept."""

    scores: FloatArray
    recall: FloatArray
    precision: FloatArray

    @property
    def average_precision(self) -> float:
        """The area under the envelope of precision over recall."""
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))

    def at(self, threshold: float) -> tuple[float, float]:
        """(recall, precision) of the detections scored at least `threshold`."""
        count = int((self.scores >= threshold).sum())
        return (float(self.recall[count - 1]), float(self.precision[count - 1])) if count else (0.0, 1.0)

    def recall_at(self, precision: float) -> tuple[float, float]:
        """(the largest recall whose precision is at least `precision`, its score threshold)."""
        good = np.flatnonzero(self.precision >= precision)
        return (float(self.recall[good[-1]]), float(self.scores[good[-1]])) if len(good) else (0.0, 1.0)


@dataclass(frozen=True)
class Matches:
    """A picture's detections that count, scores [D] and whether right, bool [D], and how many people are wanted."""

    scores: FloatArray
    right: Flags
    wanted: int


def detection_matches(
    find: Finder, pictures: Sequence[Picture], smallest_height: float = 0.0, iou: float = 0.5
) -> list[Matches]:
    """Each picture's detections against its people at least `smallest_height` px tall, matched at that IoU.

    Smaller people and regions to be ignored count neither as found nor as missed; a detection of which half lies on
    one is neither right nor wrong.
    """
    matches = []
    for picture in pictures:
        found = find(picture.read())
        wanted, others = _people_boxes(picture, smallest_height)
        hits, counts = match(found, wanted, others, iou)
        matches.append(Matches(found.scores[counts], hits[counts], len(wanted)))
    return matches


def curve_of(matches: Sequence[Matches]) -> DetectionCurve:
    """The curve over all these pictures, best scores first."""
    scores = np.concatenate([np.zeros(0), *(each.scores for each in matches)])
    right = np.concatenate([np.zeros(0, bool), *(each.right for each in matches)])
    order = np.argsort(-scores, kind="stable")
    hits_so_far = np.cumsum(right[order])
    wanted = max(1, sum(each.wanted for each in matches))
    return DetectionCurve(scores[order], hits_so_far / wanted, hits_so_far / np.arange(1, len(order) + 1))


def _people_boxes(picture: Picture, smallest_height: float) -> tuple[FloatArray, FloatArray]:
    """Boxes of the people that count and of the rest, float32 [M, 4] each."""
    boxes = np.array([person.box for person in picture.people], np.float32).reshape(-1, 4)
    ignore = np.array([person.ignore for person in picture.people], bool)
    counts = ~ignore & (boxes[:, 3] - boxes[:, 1] >= smallest_height)
    return boxes[counts], boxes[~counts]


def match(found: Detections, wanted: FloatArray, others: FloatArray, iou: float) -> tuple[Flags, Flags]:
    """Which detections are right, and which count at all; bool [N] each. Every person is found at most once."""
    hits, counts = np.zeros(len(found), bool), np.ones(len(found), bool)
    overlaps = box_iou(found.boxes, wanted)
    taken = np.zeros(len(wanted), bool)
    for index in np.argsort(-found.scores, kind="stable"):
        free = np.where(taken, 0.0, overlaps[index])
        if len(free) and free.max() >= iou:
            taken[free.argmax()] = hits[index] = True
        else:
            counts[index] = not _lies_on(found.boxes[index], others)
    return hits, counts


def _lies_on(box: FloatArray, regions: FloatArray) -> bool:
    """Whether half of the box's area lies on one of the regions [M, 4]."""
    size = np.minimum(box[2:], regions[:, 2:]) - np.maximum(box[:2], regions[:, :2])
    covered = size.clip(0).prod(1)
    return bool((covered >= 0.5 * (box[2:] - box[:2]).prod()).any())
