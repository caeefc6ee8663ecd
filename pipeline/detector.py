"""People in a frame: letterbox, network, non-maximum suppression."""

from __future__ import annotations

import cv2
import numpy as np

from engines.engine import Engine, ModelError
from engines.manifest import PADDING_GREY, SIDE_MULTIPLE
from pipeline.types import Detections, FloatArray, Image

__all__ = ["PADDING_GREY", "PersonDetector", "distinct", "letterbox"]


class PersonDetector:
    """Frame [H, W, 3] BGR -> the people in it."""

    def __init__(self, engine: Engine, score_threshold: float | None = None, iou_threshold: float = 0.5) -> None:
        """Keep what scores at least the threshold, by default the network's own, and overlaps no better one by more.

        iou_threshold: the largest intersection over union of two people. Raises ModelError for another network.
        """
        manifest = engine.manifest
        if manifest.task != "person_detector":
            raise ModelError(f"expected a person_detector network, got the {manifest.task} network {manifest.name!r}")
        self.engine = engine
        self.longest_side = manifest.input_size[0]
        self.score_threshold = manifest.score_threshold if score_threshold is None else score_threshold
        self.iou_threshold = iou_threshold

    def __call__(self, image: Image) -> Detections:
        """People of an image [H, W, 3] BGR, best first; boxes in its px, clipped to it."""
        boxes, scores = self._found(image)
        likely = scores >= self.score_threshold
        inside = np.clip(boxes[likely], 0, [image.shape[1], image.shape[0]] * 2)
        return distinct(Detections(inside.astype(np.float32), scores[likely]), self.iou_threshold)

    def _found(self, image: Image) -> tuple[FloatArray, FloatArray]:
        """All boxes [M, 4] in px of the image, and their scores [M]."""
        if self.engine.manifest.input == "frame":
            found = self.engine({"frame": image})
            return found["boxes"], found["scores"]
        canvas, zoom = letterbox(image, self.longest_side)
        found = self.engine({"crops": canvas[None]})
        return found["boxes"] / zoom, found["scores"]


def letterbox(image: Image, longest_side: int) -> tuple[Image, FloatArray]:
    """The image with that longest side, padded right and below to multiples of 32 px, and the zoom [4] of x y x y."""
    height, width = image.shape[:2]
    factor = longest_side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    padded_width, padded_height = (-(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE for side in size)
    canvas = np.full((padded_height, padded_width, 3), PADDING_GREY, np.uint8)
    canvas[: size[1], : size[0]] = resized
    return canvas, np.array([size[0] / width, size[1] / height] * 2)


def distinct(people: Detections, iou_threshold: float) -> Detections:
    """Without empty boxes and those that overlap a better one by more than the threshold; best first."""
    sizes = people.boxes[:, 2:] - people.boxes[:, :2]
    whole = (sizes > 0).all(axis=1)
    boxes, sizes, scores = people.boxes[whole], sizes[whole], people.scores[whole]
    corners_and_sizes = np.concatenate([boxes[:, :2], sizes], axis=1)
    kept = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), 0.0, iou_threshold)
    order = np.asarray(kept, np.int64).reshape(-1)
    return Detections(boxes[order], scores[order])
