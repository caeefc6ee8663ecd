"""Annotation files of any known layout, recognised by their content, and boxes of a detector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.types import Skeleton
from train.datasets.coco_layout import read_coco
from train.datasets.files import read_json
from train.datasets.mpii import read_mpii
from train.datasets.pictures import Person, Picture

ANNOTATIONS = "annotations in COCO, COCO-WholeBody or MPII layout"
DETECTIONS = "a detector's results in COCO layout: a list of image_id, category_id, bbox, score"
PERSON_CATEGORY = 1


def load_annotations(annotations: Path, images: Path, skeleton: Skeleton) -> list[Picture]:
    """The pictures of an annotation file, whose file names are in the folder `images`, with the skeleton's joints.

    Raises ValueError for a file that is none or has other keypoints, OSError for missing files and pictures.
    """
    content = read_json(annotations, ANNOTATIONS)
    if isinstance(content, dict):
        return read_coco(content, annotations, images, skeleton)
    if _rows_with(content, "image", "center", "scale"):
        return read_mpii(content, annotations, images, skeleton)
    if _rows_with(content, "image_id", "score"):
        raise ValueError(f"{annotations} holds results with scores, such as a detector's: expected {ANNOTATIONS}")
    raise ValueError(f"{annotations} has an unknown layout: expected {ANNOTATIONS}")


def with_detections(pictures: Sequence[Picture], detections: Path, score_threshold: float = 0.0) -> list[Picture]:
    """The same pictures with the boxes of a detector's results file (COCO layout) for people, without joints.

    Boxes are taken as they are, as MMPose 0.29 does. Raises ValueError for a file that is none, OSError if missing.
    """
    content = read_json(detections, DETECTIONS)
    if isinstance(content, dict) or _rows_with(content, "image", "center"):
        raise ValueError(f"{detections} holds annotations or something else, not boxes: expected {DETECTIONS}")
    if not _rows_with(content, "image_id", "category_id", "bbox", "score"):
        raise ValueError(f"{detections} lacks one of image_id, category_id, bbox, score: expected {DETECTIONS}")
    people: dict[int, list[Person]] = defaultdict(list)
    rows = [row for row in content if row["category_id"] == PERSON_CATEGORY and row["score"] >= score_threshold]
    for number, row in enumerate(rows):
        x, y, w, h = row["bbox"]
        box = np.array([x, y, x + w, y + h], np.float64)
        # A box without any extent cannot be looked into.
        if max(w, h) > 0:
            people[row["image_id"]].append(Person(number, box, None, False, w * h, "detected", row["score"]))
    if not any(picture.image_id in people for picture in pictures):
        raise ValueError(
            f"{detections} has no box of a person (category {PERSON_CATEGORY}, score from {score_threshold}) in any of "
            f"the {len(pictures)} pictures: expected the detections of these pictures"
        )
    return [replace(picture, people=tuple(people[picture.image_id])) for picture in pictures]


def _rows_with(content: Any, *keys: str) -> bool:
    """Whether the content is a list, not empty, of which every row has these keys."""
    return bool(content) and isinstance(content, list) and all(_has(row, keys) for row in content)


def _has(row: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(row, dict) and all(key in row for key in keys)
