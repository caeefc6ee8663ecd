"""The annotated people that estimates are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, IntArray, Skeleton
from train.datasets.coco_layout import keypoint_numbers
from train.datasets.files import read_json
from train.datasets.pictures import Picture

WHOLE_BODY = "wholebody"


@dataclass(frozen=True)
class Truth:
    """The annotated people of a set of pictures.

    pictures: the ids of all pictures, those without people too. image_ids [P]: each person's picture.
    keypoints: [P, K, 3], x y px and visibility. boxes: [P, 4], x y width height px. areas: [P], px² of the segment.
    crowd: [P], whether it is a group of people, neither right nor wrong to find.
    """

    pictures: Sequence[int]
    image_ids: IntArray
    keypoints: FloatArray
    boxes: FloatArray
    areas: FloatArray
    crowd: npt.NDArray[np.bool_]


def read_truth(path: Path, skeleton: Skeleton) -> Truth:
    """All people of an annotation file in COCO's layout. Raises OSError or ValueError that says what is wrong."""
    content = read_json(path, "annotations in COCO layout")
    if isinstance(content, list):
        raise ValueError(f"{path} is a list, as MPII's annotations are, and not in COCO layout")
    try:
        rows = [row for row in content["annotations"] if row.get("keypoints")]
        if not rows:
            raise ValueError(f"{path} has no keypoints in its annotations: expected a file of keypoints")
        return Truth(
            [int(image["id"]) for image in content["images"]],
            np.array([row["image_id"] for row in rows], np.int64),
            np.stack([_keypoints(row, path, skeleton) for row in rows]),
            np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4),
            np.array([row.get("area", row["bbox"][2] * row["bbox"][3]) for row in rows], np.float64),
            np.array([bool(row.get("iscrowd", False)) for row in rows]),
        )
    except KeyError as error:
        raise ValueError(f"{path} is not in COCO layout: it lacks {error}") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not in COCO layout: expected 'images' and 'annotations' ({error})") from None


def truth_of(pictures: Sequence[Picture]) -> Truth:
    """The people with keypoints of these pictures, numbered by the pictures' places in the sequence."""
    people = [
        (number, person, person.joints)
        for number, picture in enumerate(pictures)
        for person in picture.people
        if person.joints is not None
    ]
    if not people:
        raise ValueError(f"no annotated people among {len(pictures)} pictures: nothing to measure by")
    corners = np.stack([person.box for _, person, _ in people]).astype(np.float64)
    return Truth(
        range(len(pictures)),
        np.array([number for number, _, _ in people], np.int64),
        np.stack([joints for _, _, joints in people]),
        np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), 1),
        np.array([person.area for _, person, _ in people], np.float64),
        np.array([person.ignore for _, person, _ in people]),
    )


def _keypoints(row: dict[str, Any], path: Path, skeleton: Skeleton) -> FloatArray:
    """Float64 [K, 3] of an annotation."""
    flat = keypoint_numbers(row, skeleton)
    if len(flat) != 3 * len(skeleton):
        raise ValueError(
            f"{path}: annotation {row.get('id')} has {len(flat) / 3:g} keypoints, "
            f"expected the {len(skeleton)} of the skeleton {skeleton.name!r}"
        )
    return np.array(flat, np.float64).reshape(-1, 3)
