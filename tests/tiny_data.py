"""Data folders in COCO layout with a few drawn pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# A user's own skeleton, as it stands in a YAML file.
HORSE: dict[str, Any] = {
    "name": "horse",
    "keypoint_names": ["nose", "withers", "left_hoof", "right_hoof"],
    "flip_pairs": [["left_hoof", "right_hoof"]],
    "oks_sigmas": [0.03, 0.1, 0.08, 0.08],
    "links": [["nose", "withers"], ["withers", "left_hoof"], ["withers", "right_hoof"]],
    "upper_body": ["nose", "withers"],
}


def standing_joints(x: float = 60.0, y: float = 20.0, size: float = 100.0) -> np.ndarray:
    """Someone upright, float32 [17, 3], `size` px tall."""
    offsets = np.array(
        [(0, 0), (2, -2), (-2, -2), (4, 0), (-4, 0), (10, 15), (-10, 15), (14, 30), (-14, 30), (15, 45), (-15, 45),
         (7, 50), (-7, 50), (7, 75), (-7, 75), (7, 98), (-7, 98)], np.float32,
    )  # fmt: skip
    joints = np.full((17, 3), 2, np.float32)
    joints[:, :2] = np.array([x, y]) + offsets * size / 100
    return joints


def make_folder(folder: Path) -> Path:
    """Three pictures: a person with keypoints, a box and a crowd (and a box outside the picture), and nobody."""
    (folder / "images").mkdir(parents=True)
    for number in (1, 2, 3):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.full((140, 120, 3), 40 * number, np.uint8))
    joints = standing_joints()
    person = {"image_id": 1, "iscrowd": 0, "area": 3000.0, "num_keypoints": 17, "bbox": [40, 15, 40, 110]}
    rows = [
        {"id": 1, **person, "keypoints": joints.flatten().tolist()},
        {"id": 2, "image_id": 2, "iscrowd": 0, "area": 900.0, "num_keypoints": 0, "bbox": [-10, 20, 40, 60]},
        {"id": 3, "image_id": 2, "iscrowd": 1, "area": 900.0, "num_keypoints": 0, "bbox": [70, 20, 40, 60]},
        {"id": 4, "image_id": 2, "iscrowd": 0, "area": 9.0, "num_keypoints": 0, "bbox": [130, 20, 40, 60]},
    ]
    images = [{"id": n, "file_name": f"{n}.png", "width": 120, "height": 140} for n in (1, 2, 3)]
    (folder / "person_keypoints.json").write_text(json.dumps({"images": images, "annotations": rows}))
    return folder


def make_horses(folder: Path) -> tuple[Path, Path]:
    """A data set of a user's own with one horse: its annotations, whose rows have only what is needed, and pictures."""
    (folder / "photos").mkdir(parents=True)
    cv2.imwrite(str(folder / "photos" / "horse.png"), np.full((80, 100, 3), 90, np.uint8))
    points = [20, 20, 2, 40, 22, 2, 30, 60, 1, 0, 0, 0]
    content = {
        "images": [{"id": 7, "file_name": "horse.png", "width": 100, "height": 80}],
        "annotations": [{"id": 1, "image_id": 7, "bbox": [10, 10, 60, 60], "keypoints": points}],
    }
    (folder / "horses.json").write_text(json.dumps(content))
    return folder / "horses.json", folder / "photos"


def squares_folder(path: Path) -> Path:
    """A folder of two pictures, each with bright squares on the cells of the tiny detector, of its own texture."""
    folder = path / "people"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(2):
        image = np.zeros((96, 96, 3), np.uint8)
        for x, y in ((0, 0), (32, 64), (64, 32))[: 2 + number]:
            image[y : y + 32, x : x + 32] = random.integers(200, 256, (32, 32, 3))
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder
