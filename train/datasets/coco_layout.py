"""Annotations in COCO's layout and COCO-WholeBody's, and data folders of ours with a fixed validation part.

The cleaning rules are MMPose 0.29's: what the reference's figures are measured on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.skeletons import COCO
from pipeline.types import FloatArray, Skeleton
from train.datasets.files import check_pictures, read_json
from train.datasets.pictures import Person, Picture

SPLIT_FILE = Path(__file__).with_name("validation_split.json")
# What COCO-WholeBody adds to the 17 keypoints of the body, in the order of its 133.
WHOLEBODY_PARTS = ("foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")


def load_pictures(folder: Path) -> list[Picture]:
    """Every picture of a folder that holds person_keypoints.json, in COCO layout with COCO's keypoints, and images/."""
    path = folder / "person_keypoints.json"
    if not path.is_file():
        raise FileNotFoundError(f"no annotations at {path}: expected a folder with person_keypoints.json and images/")
    return read_coco(read_json(path, "annotations in COCO layout"), path, folder / "images", COCO)


def held_out(name: str) -> frozenset[str]:
    """The file names of the pictures of data set `name` that no training may see. ValueError if none are."""
    names = json.loads(SPLIT_FILE.read_text())
    if name not in names:
        raise ValueError(f"no held-out pictures are named for a folder {name!r}: expected {' or '.join(names)}")
    return frozenset(names[name])


def split(folder: Path, validation: bool, keep: Callable[[Picture], bool] = bool) -> list[Picture]:
    """The training or the validation pictures of a folder, whose name is the data set's."""
    names = held_out(folder.name)
    return [p for p in load_pictures(folder) if (p.path.name in names) == validation and keep(p)]


def read_coco(content: Any, path: Path, images: Path, skeleton: Skeleton) -> list[Picture]:
    """The pictures of a file's content in COCO layout; `images` is the folder that its file names are in.

    Raises ValueError for another layout or another number of keypoints, OSError for missing pictures.
    """
    try:
        wrong = _wrong_keypoints(content, skeleton)
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in content["annotations"]:
            rows[row["image_id"]].append(row)
        names = [image["file_name"] for image in content["images"]]
        if wrong is None:
            pictures = [_picture(image, images, rows[image["id"]], skeleton) for image in content["images"]]
    except KeyError as error:
        raise ValueError(f"{path} is not in COCO layout: it lacks {error}") from None
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not in COCO layout: expected 'images' and 'annotations' ({error})") from None
    if wrong is not None:
        raise ValueError(f"{path} {wrong}")
    check_pictures(images, names, path)
    return pictures


def _wrong_keypoints(content: Any, skeleton: Skeleton) -> str | None:
    """What is wrong if not every annotation with keypoints has those of the skeleton, in its order."""
    for category in content.get("categories", []):
        names = category.get("keypoints", [])
        if names != list(skeleton.keypoint_names) and sorted(names) == sorted(skeleton.keypoint_names):
            order = ", ".join(names)
            return f"has the keypoints of skeleton {skeleton.name!r} in another order: give keypoint_names as {order}"
    counts = {len(numbers) / 3: row for row in content["annotations"] if (numbers := keypoint_numbers(row, skeleton))}
    if content["annotations"] and not counts:
        return "has no keypoints in its annotations: expected a file of keypoints, not of boxes only"
    for count, row in counts.items():
        if count != len(skeleton):
            lacking = f" ({', '.join(WHOLEBODY_PARTS)} missing)" if skeleton.name == "wholebody" else ""
            return (
                f"has {count:g} keypoints{lacking} in annotation {row['id']}, but skeleton {skeleton.name!r} has "
                f"{len(skeleton)}: use the skeleton that the file was labelled with"
            )
    return None


def keypoint_numbers(row: dict[str, Any], skeleton: Skeleton) -> list[float]:
    """The numbers x, y, v of an annotation, those of COCO-WholeBody's parts joined for a skeleton that has them all."""
    body: list[float] = row.get("keypoints", [])
    if len(body) < 3 * len(skeleton) and all(part in row for part in WHOLEBODY_PARTS):
        return body + [number for part in WHOLEBODY_PARTS for number in row[part]]
    return body


def _picture(image: dict[str, Any], images: Path, rows: list[dict[str, Any]], skeleton: Skeleton) -> Picture:
    width, height = image["width"], image["height"]
    people = tuple(_people(rows, width, height, skeleton))
    all_boxed = image.get("all_people_boxed", True)
    return Picture(image["id"], images / image["file_name"], width, height, all_boxed, people)


def _people(rows: list[dict[str, Any]], width: int, height: int, skeleton: Skeleton) -> Iterator[Person]:
    """The annotations with something left of their box when it is cut to the picture as the reference does."""
    for row in rows:
        if "bbox" not in row:
            continue
        x, y, w, h = row["bbox"]
        left, top = max(0, x), max(0, y)
        # The whole width is counted from where the picture begins, and the last column is left out.
        box = np.array([left, top, min(width - 1, left + max(0, w)), min(height - 1, top + max(0, h))], np.float64)
        area = float(row.get("area", w * h))
        if row.get("area", 1) > 0 and box[2] > box[0] and box[3] > box[1]:
            crowd = bool(row.get("iscrowd", 0))
            joints = None if crowd else _joints(row, skeleton)
            yield Person(row["id"], box, joints, crowd, area, row.get("keypoints_source") or "labelled")


def _joints(row: dict[str, Any], skeleton: Skeleton) -> FloatArray | None:
    """Float32 [K, 3], or None where the reference sees no keypoints: those of the body decide."""
    body, numbers = row.get("keypoints", []), keypoint_numbers(row, skeleton)
    if max(body, default=0) == 0:
        return None
    joints = np.array(numbers, np.float32).reshape(-1, 3)
    if len(numbers) > len(body):
        joints[:, 2] = joints[:, 2] > 0
        return joints
    return joints if row.get("num_keypoints", 1) else None
