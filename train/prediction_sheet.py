"""A sheet of pictures of what a pose network finds, to be looked at while it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.engine import Engine
from pipeline.affine import crop_people
from pipeline.drawing import PoseDrawing
from pipeline.types import Frame, Image, Poses, Skeleton
from train.datasets.pictures import Picture

ROWS, COLUMNS = 2, 4


def prediction_sheet(engine: Engine, skeleton: Skeleton, pictures: Sequence[Picture]) -> Image:
    """Crops of up to 8 of the people in the pictures, from all over them, with their estimates: uint8 [H, W, 3] BGR.

    Keypoints below the engine's threshold are not drawn.
    """
    size, draw = engine.manifest.input_size, PoseDrawing(skeleton, engine.manifest.score_threshold)
    sheet = np.zeros((ROWS, COLUMNS, size[1], size[0], 3), np.uint8)
    people = [(picture, person) for picture in pictures for person in picture.people]
    for tile, place in enumerate(np.linspace(0, len(people) - 1, min(len(people), ROWS * COLUMNS)).astype(int)):
        picture, person = people[place]
        crops, _ = crop_people(picture.read(), person.box[None], size)
        found = engine({"crops": crops})
        box, one = np.array([[0, 0, *size]], np.float32), np.ones(1, np.float32)
        poses = Poses(found["keypoints"], found["scores"], box, one, np.array([person.annotation_id]))
        sheet[tile // COLUMNS, tile % COLUMNS] = draw(Frame(crops[0], tile, 0.0, str(picture.path), 0.0), poses)
    return np.ascontiguousarray(sheet.swapaxes(1, 2).reshape(ROWS * size[1], COLUMNS * size[0], 3))
