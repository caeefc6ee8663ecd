"""Training samples of the person detector: single pictures and mosaics of many, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.detector import PADDING_GREY
from pipeline.types import FloatArray, Image
from train.augment import change_appearance, torch_seeded_rng
from train.datasets.pictures import Picture

SMALLEST_BOX_PX = 6.0
Sample = tuple[Image, FloatArray]


def boxes_with_ignore(picture: Picture) -> FloatArray:
    """Float32 [M, 5]: x1 y1 x2 y2 px and 1 where the region is to be ignored.

    Of a picture in which not everyone is boxed, only the boxes count: all of it is such a region.
    """
    rows = [(*person.box, float(person.ignore)) for person in picture.people]
    if not picture.all_boxed:
        rows.append((0, 0, picture.width, picture.height, 1.0))
    return np.array(rows, np.float32).reshape(-1, 5)


def clip_boxes(boxes: FloatArray, width: float, height: float) -> FloatArray:
    """Boxes [M, 5] cut to the picture. Tiny ones go; those of which less than 30 % is left are to be ignored."""
    clipped = boxes.copy()
    clipped[:, [0, 2]] = clipped[:, [0, 2]].clip(0, width)
    clipped[:, [1, 3]] = clipped[:, [1, 3]].clip(0, height)
    size, before = clipped[:, 2:4] - clipped[:, :2], boxes[:, 2:4] - boxes[:, :2]
    cut_away = size.prod(1) < 0.3 * before.prod(1)
    clipped[cut_away | (size.max(1) < SMALLEST_BOX_PX), 4] = 1
    kept: FloatArray = clipped[size.min(1) > 2]
    return kept


class CrowdDataset(Dataset[Sample]):
    """(image uint8 [side, side, 3] BGR, boxes float32 [M, 5]: x1 y1 x2 y2 px, ignore) for training.

    Half of the samples are mosaics of 2x2, a quarter of 3x3 or 4x4 pictures: many small people.
    """

    def __init__(self, pictures: Sequence[Picture], side: int) -> None:
        self.pictures, self.side = pictures, side

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        rng = torch_seeded_rng()
        tiles = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.5, 0.15, 0.1]))
        edges = self._edges(tiles, rng)
        canvas = np.full((self.side, self.side, 3), PADDING_GREY, np.uint8)
        found = []
        for row in range(tiles):
            for column in range(tiles):
                picture = self.pictures[index if row == column == 0 else int(rng.integers(len(self.pictures)))]
                left, top = edges[0][column], edges[1][row]
                tile = canvas[top : edges[1][row + 1], left : edges[0][column + 1]]
                boxes = paste(picture, tile, rng)
                boxes[:, :4] += np.array([left, top, left, top], np.float32)
                found.append(boxes)
        return change_appearance(canvas, rng), np.concatenate(found)

    def _edges(self, tiles: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Where the tiles begin and end, across and down; moved at random by a fifth of a tile."""
        moved = rng.uniform(-0.2, 0.2, (2, tiles - 1)) + np.arange(1, tiles)
        inner = (moved * self.side / tiles).astype(int)
        across, down = ([0, *axis.tolist(), self.side] for axis in inner)
        return across, down


def paste(picture: Picture, tile: Image, rng: np.random.Generator) -> FloatArray:
    """Draw the picture into `tile` (a view of the canvas) at random size, place and side; its boxes [M, 5] there."""
    image, boxes = picture.read(), boxes_with_ignore(picture)
    height, width = tile.shape[:2]
    fit = min(width / image.shape[1], height / image.shape[0])
    scale = fit * rng.uniform(0.7, 2.0)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=shrinks).astype(np.uint8)
    boxes[:, :4] *= np.float32(scale)
    if rng.random() < 0.5:
        image = image[:, ::-1]
        boxes[:, [0, 2]] = size[0] - boxes[:, [2, 0]]
    x, y = (round(rng.uniform(min(0, free), max(0, free))) for free in (width - size[0], height - size[1]))
    inside = image[max(0, -y) : height - y, max(0, -x) : width - x]
    tile[max(0, y) : max(0, y) + inside.shape[0], max(0, x) : max(0, x) + inside.shape[1]] = inside
    boxes[:, :4] += np.array([x, y, x, y], np.float32)
    return clip_boxes(boxes, width, height)


def collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, side, side, 3] and boxes float32 [N, M, 5], filled up with rows whose ignore is -1."""
    most = max(1, *(len(boxes) for _, boxes in samples))
    padded = np.full((len(samples), most, 5), -1, np.float32)
    for row, (_, boxes) in zip(padded, samples, strict=True):
        row[: len(boxes)] = boxes
    return torch.from_numpy(np.stack([image for image, _ in samples])), torch.from_numpy(padded)
