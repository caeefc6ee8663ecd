"""The skeletons of the people in a frame: crops, network, and back to the frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engines.engine import Engine, ModelError
from pipeline.affine import crop_maps, crop_people, transform_points
from pipeline.skeletons import skeleton_from
from pipeline.types import FloatArray, Image


class PoseEstimator:
    """Frame [H, W, 3] BGR and boxes [N, 4] px -> keypoints [N, K, 2] px and scores [N, K], all people in one call."""

    def __init__(self, engine: Engine) -> None:
        """Raises ModelError for another network than one of poses, or of a skeleton that is not known."""
        manifest = engine.manifest
        if manifest.task != "pose" or manifest.skeleton is None:
            raise ModelError(f"expected a pose network, got the {manifest.task} network {manifest.name!r}")
        self.engine = engine
        self.input_size = manifest.input_size
        try:
            self.skeleton = skeleton_from(manifest.skeleton)
        except ValueError as error:
            raise ModelError(f"the network {manifest.name!r} cannot be used: {error}") from error

    def __call__(self, image: Image, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Keypoints [N, K, 2] in px of the image [H, W, 3] BGR and scores [N, K] of the people in boxes [N, 4] px."""
        return self.together([(image, boxes)])[0]

    def together(self, pictures: Sequence[tuple[Image, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
        """As a call for each picture and its boxes, but all crops run through the network as one batch.

        A network that takes the frame runs once for each.
        """
        if self.engine.manifest.input == "frame":
            return [self._in_frame(image, boxes) for image, boxes in pictures]
        cut = [crop_people(image, boxes, self.input_size) for image, boxes in pictures]
        crops = [some for some, _ in cut]
        found = self.engine({"crops": crops[0] if len(crops) == 1 else np.concatenate(crops)})
        ends = np.cumsum([len(some) for some in crops])[:-1]
        parts = zip(np.split(found["keypoints"], ends), np.split(found["scores"], ends), cut, strict=True)
        return [(transform_points(keypoints, to_frame), scores) for keypoints, scores, (_, to_frame) in parts]

    def _in_frame(self, image: Image, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        found = self.engine({"frame": image, "crop_to_frame": crop_maps(boxes, self.input_size)})
        return found["keypoints"], found["scores"]
