"""Pictures without people: backgrounds, and the patches of them that clothes and occluders are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.types import Image
from train.datasets.coco_layout import split
from train.datasets.pictures import Picture
from train.synthetic.render import PATCH


def person_free(folder: Path) -> list[Picture]:
    """The training pictures of a folder in which nobody is. Raises OSError or ValueError if there are none."""
    pictures = split(folder, validation=False, keep=lambda picture: picture.all_boxed and not picture.people)
    if not pictures:
        raise ValueError(
            f"{folder} has no picture without people: expected pictures with all_people_boxed and no annotation, "
            "besides those held out, as backgrounds"
        )
    return pictures


class Backgrounds:
    """Random cuts of pictures."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = list(pictures)
        self._read = lru_cache(maxsize=512)(lambda number: self._pictures[number].read())

    def whole(self, rng: np.random.Generator) -> Image:
        """A picture, uint8 [H, W, 3] BGR; do not write to it."""
        return self._read(int(rng.integers(len(self._pictures))))

    def cut(self, rng: np.random.Generator, size: tuple[int, int]) -> Image:
        """A random part of a picture, uint8 [H, W, 3] BGR; size: width, height px."""
        picture, (width, height) = self.whole(rng), size
        scale = max(width / picture.shape[1], height / picture.shape[0])
        scale *= float(np.exp(rng.uniform(0, 0.7)))
        w, h = min(round(width / scale), picture.shape[1]), min(round(height / scale), picture.shape[0])
        x, y = rng.integers(picture.shape[1] - w + 1), rng.integers(picture.shape[0] - h + 1)
        part = picture[y : y + h, x : x + w]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(part, (width, height), interpolation=method).astype(np.uint8, copy=False)

    def patches(self, rng: np.random.Generator, count: int) -> Image:
        """Textures, uint8 [count, PATCH, PATCH, 3] RGB."""
        return np.stack([self.cut(rng, (PATCH, PATCH))[..., ::-1] for _ in range(count)])
