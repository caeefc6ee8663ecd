"""MPII Human Pose annotations in the JSON form of the HRNet and MMPose repositories: one row a person."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.affine import PIXELS_PER_SCALE
from pipeline.types import FloatArray, Skeleton
from train.datasets.files import check_pictures
from train.datasets.pictures import Person, Picture


def read_mpii(rows: list[dict[str, Any]], path: Path, images: Path, skeleton: Skeleton) -> list[Picture]:
    """The pictures of an MPII file's rows; `images` is the folder that its file names are in.

    Raises ValueError for another layout or another number of joints, OSError for missing pictures.
    """
    people: dict[str, list[Person]] = defaultdict(list)
    for number, row in enumerate(rows):
        try:
            box = _box(row)
            person = Person(number, box, _joints(row), False, float((box[2] - box[0]) ** 2), "labelled")
            people[row["image"]].append(person)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path} is not in MPII layout: row {number} is wrong ({error!r})") from None
        if person.joints is not None and len(person.joints) != len(skeleton):
            raise ValueError(
                f"{path}: row {number} has {len(person.joints)} joints, skeleton {skeleton.name!r} has "
                f"{len(skeleton)}: use the skeleton that the file was labelled with"
            )
    check_pictures(images, people, path)
    return [
        Picture(number, images / name, 0, 0, False, tuple(found)) for number, (name, found) in enumerate(people.items())
    ]


def _box(row: dict[str, Any]) -> FloatArray:
    """The square [4] whose centre and side / 200 px are what MMPose 0.29 makes of a row's centre and scale.

    It moves the centre down by 15 px a unit of scale, lest feet be cut off, and counts px from 0 instead of 1.
    """
    center, scale = np.array(row["center"], np.float32), np.float32(row["scale"])
    if center[0] != -1:
        center[1] += 15 * scale
    center -= 1
    radius = float(scale) * PIXELS_PER_SCALE / 2
    return np.concatenate((center - np.float64(radius), center + np.float64(radius)))


def _joints(row: dict[str, Any]) -> FloatArray | None:
    """Float32 [16, 3], px counted from 0; None in the test part, which has none."""
    if "joints" not in row:
        return None
    points, visible = np.array(row["joints"], np.float64)[:, :2] - 1, np.array(row["joints_vis"], np.float64)
    return np.column_stack((points, visible)).astype(np.float32)
