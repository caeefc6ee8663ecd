"""Reading annotation files in COCO layout, with a fixed split into training and validation pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.types import FloatArray, Image

SPLIT_FILE = Path(__file__).with_name("validation_split.json")


@dataclass(frozen=True)
class Person:
    """A person's annotation.

    box: float32 [4], x1 y1 x2 y2 px, inside the picture. joints: float32 [17, 3], x y px and visibility (0 unknown),
    or None where only a box is known. ignore: a region that is neither person nor background.
    """

    annotation_id: int
    box: FloatArray
    joints: FloatArray | None
    ignore: bool
    area: float
    keypoints_source: str


@dataclass(frozen=True)
class Picture:
    """A picture with its people. all_boxed: every person in it has a box, so the rest is background."""

    image_id: int
    path: Path
    width: int
    height: int
    all_boxed: bool
    people: tuple[Person, ...]

    def read(self) -> Image:
        """The picture, uint8 [H, W, 3] BGR. Raises OSError when it cannot be read."""
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if image is None:
            raise OSError(f"cannot read the picture {self.path}: expected a JPEG or PNG file")
        return image.astype(np.uint8, copy=False)


def annotation_file(folder: Path) -> Path:
    """The annotations of a data folder; FileNotFoundError says what a folder holds."""
    path = folder / "person_keypoints.json"
    if not path.is_file():
        raise FileNotFoundError(f"no annotations at {path}: expected a folder with person_keypoints.json and images/")
    return path


def load_pictures(folder: Path) -> list[Picture]:
    """Every picture of a folder that holds person_keypoints.json and images/."""
    path = annotation_file(folder)
    try:
        content = json.loads(path.read_text())
        images, annotations = content["images"], content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not in COCO layout: expected 'images' and 'annotations' ({error})") from None
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in annotations:
        rows[row["image_id"]].append(row)
    return [_picture(folder, image, rows[image["id"]]) for image in images]


def _picture(folder: Path, image: dict[str, Any], rows: list[dict[str, Any]]) -> Picture:
    people = tuple(person for row in rows if (person := _person(row, image["width"], image["height"])))
    return Picture(
        image["id"],
        folder / "images" / image["file_name"],
        image["width"],
        image["height"],
        image.get("all_people_boxed", True),
        people,
    )


def _person(row: dict[str, Any], width: int, height: int) -> Person | None:
    """The annotation, its box clipped as the reference clips; None when nothing is left of the box."""
    x, y, w, h = row["bbox"]
    box = np.array(
        [max(0, x), max(0, y), min(width - 1, x + max(0, w)), min(height - 1, y + max(0, h))], np.float32
    )  # fmt: skip
    if row.get("area", 1) <= 0 or box[2] <= box[0] or box[3] <= box[1]:
        return None
    joints = None
    if row.get("num_keypoints", 0) > 0 and not row["iscrowd"]:
        joints = np.array(row["keypoints"], np.float32).reshape(-1, 3)
    area = float(row.get("area", w * h))
    return Person(row["id"], box, joints, bool(row["iscrowd"]), area, row.get("keypoints_source") or "labelled")


def held_out(name: str) -> frozenset[str]:
    """The file names of the pictures of data set `name` that no training may see."""
    return frozenset(json.loads(SPLIT_FILE.read_text())[name])


def split(folder: Path, validation: bool, keep: Callable[[Picture], bool] = bool) -> list[Picture]:
    """The training or the validation pictures of a folder, whose name is the data set's."""
    names = held_out(folder.name)
    return [p for p in load_pictures(folder) if (p.path.name in names) == validation and keep(p)]
