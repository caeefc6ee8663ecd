"""Calibration pictures: what the networks see in production, made by the production code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from engines.manifest import SIDE_MULTIPLE, Manifest
from pipeline.affine import crop_people
from pipeline.detector import letterbox
from pipeline.types import Image
from train.datasets.pictures import Picture


def pose_crops(pictures: Sequence[Picture], input_size: tuple[int, int], count: int) -> Iterator[Image]:
    """Up to `count` crops uint8 [1, h, w, 3] BGR of boxed people, spread evenly over the pictures' people."""
    boxed = [(picture, person) for picture in pictures for person in picture.people if not person.ignore]
    for index in _spread(len(boxed), count):
        picture, person = boxed[index]
        yield crop_people(picture.read(), person.box[None], input_size)[0]


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


def _spread(available: int, count: int) -> list[int]:
    """`count` indices, or all if there are fewer, evenly over 0 to available - 1."""
    return [int(index) for index in np.linspace(0, available - 1, min(count, available))]
