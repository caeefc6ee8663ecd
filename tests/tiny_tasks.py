"""Trainings of a moment: pose networks of one layer on drawn people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from pipeline.skeletons import COCO
from pipeline.types import Skeleton
from train.augment import REFERENCE
from train.datasets.data_file import DataSet
from train.datasets.pictures import Person, Picture
from train.recipes import Recipe
from train.schedule import Schedule
from train.zoo import ZooModel

SCHEDULE = Schedule(epochs=3, learning_rate=0.01, warmup_steps=4, ema_decay=0.8)
RECIPE = Recipe(SCHEDULE, batch=4, augmentation=REFERENCE, loss_scale=100.0)


class TinyNetwork(nn.Module):
    """Normalised RGB crops [N, 3, h, w] -> heatmaps [N, K, h/4, w/4] by two convolutions."""

    def __init__(self, keypoints: int, normalised: bool = True) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 7, 4, 3), nn.BatchNorm2d(8) if normalised else nn.Identity(), nn.ReLU()
        )
        self.keypoint_head = nn.Conv2d(8, keypoints, 3, padding=1)

    def forward(self, image: Any) -> Any:
        return self.keypoint_head(self.backbone(image))


class TinyModel(ZooModel):
    """A model of 64x48 px with a tiny network in place of the one it names, without batch statistics if wanted."""

    normalised = True

    def build(self) -> nn.Module:
        return TinyNetwork(len(self.skeleton), self.normalised)


class PlainModel(TinyModel):
    """The same without batch normalisation."""

    normalised = False


def tiny_model(skeleton: Skeleton = COCO, plain: bool = False) -> ZooModel:
    make = PlainModel if plain else TinyModel
    return make(f"{skeleton.name}_res50_64x48", skeleton.name, "res50", skeleton, (48, 64), 2.0, 11, {})


def drawn_data(folder: Path, skeleton: Skeleton = COCO, people: int = 12, weight: float = 1.0) -> DataSet:
    """As many pictures of one person each, a dot at every keypoint; the first three also validate."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    pictures = []
    for number in range(people):
        image = random.integers(0, 60, (120, 100, 3), np.uint8)
        joints = np.full((len(skeleton), 3), 2, np.float32)
        joints[:, :2] = random.uniform((15, 15), (85, 105), (len(skeleton), 2))
        for keypoint, (x, y, _) in enumerate(joints):
            colour = (255, 40 + 50 * (keypoint % 4), 40 + 50 * (keypoint // 4 % 4))
            cv2.circle(image, (round(float(x)), round(float(y))), 3, colour, -1)
        if not (folder / f"{number}.png").exists():
            cv2.imwrite(str(folder / f"{number}.png"), image)
        person = Person(number, np.array([10, 10, 90, 110], np.float64), joints, False, 8000.0, "labelled")
        pictures.append(Picture(number, folder / f"{number}.png", 100, 120, True, (person,)))
    return DataSet(skeleton.name, skeleton, [(pictures, weight)], pictures[:3], pictures[:3], folder / "none.json")


def quick(**changes: Any) -> Recipe:
    """The recipe with some of its schedule, or of itself, changed."""
    own = {name: changes.pop(name) for name in list(changes) if name in Recipe.__dataclass_fields__}
    return replace(RECIPE, schedule=replace(SCHEDULE, **changes), **own)
