"""Training samples of the pose network: one person's crop, target heatmaps and weights."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch.utils.data import Dataset

from pipeline.affine import boxes_to_center_scale, crop_matrix
from pipeline.skeletons import COCO
from pipeline.types import FloatArray, Image
from train.augment import (
    View,
    change_appearance,
    cover_part,
    half_body_view,
    mirror,
    rotated_view,
    shaken,
    torch_seeded_rng,
    upright_angle,
)
from train.dark import encode
from train.datasets.pictures import Person, Picture

Sample = tuple[Image, FloatArray, FloatArray]


class PeopleDataset(Dataset[Sample]):
    """(crop uint8 [h, w, 3] BGR, heatmaps float32 [K, H, W], weights float32 [K]) of every person with keypoints.

    `augment` shakes crops as the DarkPose recipes do (scale 0.5, rotation 40 degrees, half body, mirror), turns
    people of any attitude upright half of the time, and changes their appearance.
    """

    def __init__(self, pictures: Sequence[Picture], input_size: tuple[int, int], sigma: float, augment: bool) -> None:
        self.people: list[tuple[Picture, Person]] = [
            (picture, person) for picture in pictures for person in picture.people if person.joints is not None
        ]
        self.input_size, self.sigma, self.augment = input_size, sigma, augment

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Sample:
        picture, person = self.people[index]
        rng = torch_seeded_rng()
        assert person.joints is not None
        view = self._random_view(person, rng) if self.augment else self._box_view(person)
        matrix = crop_matrix(view.center, view.scale, self.input_size, view.rotation)
        crop = cv2.warpAffine(picture.read(), matrix, self.input_size, flags=cv2.INTER_LINEAR).astype(np.uint8)
        joints = person.joints.copy()
        joints[:, :2] = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        if self.augment:
            crop, joints = self._appearance(crop, joints, rng)
        heatmap_size = (self.input_size[0] // 4, self.input_size[1] // 4)
        visible = np.minimum(joints[:, 2], 1)
        heatmaps, weights = encode(joints[:, :2], visible, self.input_size, heatmap_size, self.sigma)
        return crop, heatmaps, weights

    def _box_view(self, person: Person) -> View:
        centers, scales = boxes_to_center_scale(person.box[None], self.input_size)
        return View(centers[0], scales[0], 0.0)

    def _random_view(self, person: Person, rng: np.random.Generator) -> View:
        joints = person.joints
        assert joints is not None
        aspect = self.input_size[0] / self.input_size[1]
        known = int((joints[:, 2] > 0).sum())
        angle = upright_angle(joints)
        view = self._box_view(person)
        if angle is not None and abs(angle) > 30 and rng.random() < 0.7:
            view = rotated_view(joints, angle, aspect, 1.25 * 1.15)
        elif known > 8 and rng.random() < 0.3:
            view = half_body_view(joints, aspect, rng) or view
        return shaken(view, rng, scale=0.4, rotation=30.0, shift=0.08)

    @staticmethod
    def _appearance(crop: Image, joints: FloatArray, rng: np.random.Generator) -> tuple[Image, FloatArray]:
        if rng.random() < 0.5:
            crop, joints = mirror(crop, joints, COCO)
        crop = change_appearance(crop, rng)
        if rng.random() < 0.25:
            crop = cover_part(crop, rng)
        return crop, joints
