"""Training samples of a pose network: one person's crop, target heatmaps and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from pipeline.affine import boxes_to_center_scale, crop_matrix
from pipeline.types import FloatArray, Image, Skeleton
from train.augment import (
    Augmentation,
    View,
    change_appearance,
    cover_part,
    cut_off,
    lies_inside,
    mirrored,
    random_view,
    torch_seeded_rng,
)
from train.dark import encode
from train.datasets.pictures import Person, Picture

COVER_PROBABILITY = 0.3
Sample = tuple[npt.NDArray[Any], ...]


class PeopleDataset(Dataset[Sample]):
    """(crop uint8 [h, w, 3] BGR, heatmaps float32 [K, H, W], weights float32 [K]) of every person with keypoints.

    input_size: (width, height) px of the crops; the heatmaps' is a quarter. sigma: of the Gaussians, heatmap px.
    augmentation: None for the crops that the network sees in production. unbiased: DARK's encoding, else the rounded.
    teacher_times: for a student of a teacher, how many times as large as input_size what that one sees is. Also people
    of whom only a box is known, all weights 0; and a fourth part of each sample, the crop in that size as it was before
    its appearance changed.
    Raises ValueError when nobody in the pictures has keypoints.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        skeleton: Skeleton,
        input_size: tuple[int, int],
        sigma: float,
        augmentation: Augmentation | None,
        unbiased: bool = True,
        teacher_times: int | None = None,
    ) -> None:
        everyone = [(picture, person) for picture in pictures for person in picture.people if not person.ignore]
        labelled = [(picture, person) for picture, person in everyone if person.joints is not None]
        self.people: list[tuple[Picture, Person]] = labelled if teacher_times is None else everyone
        if not labelled:
            raise ValueError(f"nobody in the {len(pictures)} pictures has keypoints: there is nothing to train on")
        self.skeleton, self.input_size, self.sigma = skeleton, input_size, sigma
        self.augmentation, self.unbiased, self.teacher_times = augmentation, unbiased, teacher_times

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Sample:
        picture, person = self.people[index]
        rng = torch_seeded_rng()
        joints = np.zeros((len(self.skeleton), 3), np.float32) if person.joints is None else person.joints
        centers, scales = boxes_to_center_scale(person.box[None], self.input_size)
        view, how = View(centers[0], scales[0]), self.augmentation
        if how is not None:
            view = random_view(view, joints, self.skeleton, self.input_size[0] / self.input_size[1], how, rng)
        matrix: FloatArray = crop_matrix(view.center, view.scale, self.input_size, view.rotation)
        if view.mirrored:
            matrix, joints = mirrored(matrix, joints, self.input_size[0], self.skeleton)
        image = picture.read()
        crop = plain = _warped(image, matrix, self.input_size)
        times = self.teacher_times or 1
        if times > 1:
            plain = _warped(image, times * matrix, (times * self.input_size[0], times * self.input_size[1]))
        if how is not None and how.appearance:
            crop = self._changed(crop, rng)
        points = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        visible = np.minimum(joints[:, 2], 1)
        if view.kept is not None:
            corners = view.kept @ matrix[:, :2].T + matrix[:, 2]
            crop, plain = cut_off(crop, corners), cut_off(plain, times * corners)
            visible = visible * lies_inside(points, corners)
        heatmap_size = (self.input_size[0] // 4, self.input_size[1] // 4)
        heatmaps, weights = encode(points, visible, self.input_size, heatmap_size, self.sigma, self.unbiased)
        if how is not None:
            weights[(joints[:, 2] > 0) & (weights == 0)] = how.absent_weight
        return (crop, heatmaps, weights) if self.teacher_times is None else (crop, heatmaps, weights, plain)

    def _changed(self, crop: Image, rng: np.random.Generator) -> Image:
        """The crop in other colours and light, and sometimes with a part covered, also by a part of another picture."""
        crop = change_appearance(crop, rng)
        if rng.random() >= COVER_PROBABILITY:
            return crop
        other = self.people[int(rng.integers(len(self.people)))][0].read() if rng.random() < 0.5 else None
        return cover_part(crop, rng, other)


def _warped(image: Image, matrix: FloatArray, size: tuple[int, int]) -> Image:
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR).astype(np.uint8)
