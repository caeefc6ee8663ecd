"""Calibration pictures: what the networks see in production, made by the production code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engines.manifest import SIDE_MULTIPLE, Manifest
from pipeline.affine import crop_people
from pipeline.detector import letterbox
from pipeline.sources import IMAGE_SUFFIXES
from pipeline.types import Detections, Image
from train.datasets.coco_layout import held_out
from train.datasets.pictures import Person, Picture

Finder = Callable[[Image], Detections]


def folder_pictures(folder: Path) -> list[Picture]:
    """The pictures of a folder, by name, with nobody in them yet. Raises OSError for a folder without pictures."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: expected one with the pictures to calibrate on")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no pictures: expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return [Picture(number, path, 0, 0, False, ()) for number, path in enumerate(paths)]


def calibrated_and_measured(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """(pictures to calibrate on, pictures to measure on): of a data set of ours the training part and the held-out one.

    Where no picture is named as held out, both are all of them; where all are, the first is empty.
    """
    hidden = {picture.path for picture in pictures if picture.path.name in _held_out(picture.path)}
    measured = [picture for picture in pictures if picture.path in hidden]
    return [picture for picture in pictures if picture.path not in hidden], measured or list(pictures)


def with_found_people(pictures: Sequence[Picture], find: Finder) -> Iterator[Picture]:
    """The pictures with the people that the detector finds in them, without joints."""
    for picture in pictures:
        found = find(picture.read())
        rows = zip(found.boxes.astype(np.float64), found.scores.tolist(), strict=True)
        people = [
            Person(number, box, None, False, float(np.prod(box[2:] - box[:2])), "detected", score)
            for number, (box, score) in enumerate(rows)
        ]
        yield replace(picture, people=tuple(people))


def pose_crops(
    pictures: Sequence[Picture], find: Finder | None, input_size: tuple[int, int], count: int
) -> tuple[Image, list[Picture]]:
    """Up to `count` crops, uint8 [N, h, w, 3] BGR, of people in the pictures, and the pictures that were looked at.

    They are taken in a fixed random order until there are enough people. find: the detector; None takes the pictures'
    own boxes. Raises ValueError if there is nobody.
    """
    crops: list[Image] = []
    used: list[Picture] = []
    for number in np.random.default_rng(0).permutation(len(pictures)):
        if len(crops) >= count:
            break
        used.append(pictures[number])
        image = pictures[number].read()
        own = [person.box for person in pictures[number].people if not person.ignore]
        boxes = find(image).boxes if find is not None else np.array(own, np.float64).reshape(-1, 4)
        crops.extend(crop_people(image, boxes, input_size)[0])
    if not crops:
        whose = "the annotations have" if find is None else "the detector finds"
        raise ValueError(f"{whose} nobody in {len(pictures)} pictures: give other pictures to calibrate on")
    return np.stack(crops[:count]), used


def detector_frames(pictures: Sequence[Picture], longest_side: int, count: int) -> Iterator[Image]:
    """Up to `count` letterboxed pictures uint8 [1, h, w, 3] BGR."""
    for index in _spread(len(pictures), count):
        yield letterbox(pictures[index].read(), longest_side)[0][None]


def noise(manifest: Manifest) -> list[Image]:
    """One input uint8 [1, h, w, 3] of noise: an int8 network of it has the real layers, but no use."""
    width, height = manifest.input_size
    if manifest.task == "person_detector":
        height = -(-width * 9 // 16 // SIDE_MULTIPLE) * SIDE_MULTIPLE
    return [np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)]


def _held_out(path: Path) -> frozenset[str]:
    """The held-out names of the data set whose folder DATA_SET/images the picture is in; none of other folders."""
    try:
        return held_out(path.parent.parent.name) if path.parent.name == "images" else frozenset()
    except ValueError:
        return frozenset()


def _spread(available: int, count: int) -> list[int]:
    """`count` indices, or all if there are fewer, evenly over 0 to available - 1."""
    return [int(index) for index in np.linspace(0, available - 1, min(count, available))]
