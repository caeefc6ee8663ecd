"""The skeletons of the people in a frame: crops, network, and back to the frame."""

from __future__ import annotations

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
        if self.engine.manifest.input == "frame":
            found = self.engine({"frame": image, "crop_to_frame": crop_maps(boxes, self.input_size)})
            return found["keypoints"], found["scores"]
        crops, crop_to_frame = crop_people(image, boxes, self.input_size)
        found = self.engine({"crops": crops})
        return transform_points(found["keypoints"], crop_to_frame), found["scores"]
