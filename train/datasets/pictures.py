"""Pictures and the people in them: what every annotation file is read into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.types import FloatArray, Image


@dataclass(frozen=True)
class Person:
    """A person's annotation, or a detector's box.

    annotation_id: the annotation's in COCO layout; the number of the row, from 0, in MPII's file and in detections.
    box: float64 [4], x1 y1 x2 y2 px. joints: float32 [K, 3], x y px and visibility (0 unknown), or None where only a
    box is known. ignore: a region that is neither person nor background. area: of the person, px^2.
    box_score: the detector's, 0 to 1; 1 for an annotation.
    """

    annotation_id: int
    box: FloatArray
    joints: FloatArray | None
    ignore: bool
    area: float
    keypoints_source: str
    box_score: float = 1.0


@dataclass(frozen=True)
class Picture:
    """A picture with its people. all_boxed: every person in it has a box, so the rest is background.

    width, height: px; 0 where the annotations do not say (MPII).
    """

    image_id: int
    path: Path
    width: int
    height: int
    all_boxed: bool
    people: tuple[Person, ...]

    def read(self) -> Image:
        """The picture, uint8 [H, W, 3] BGR. Raises OSError when it cannot be read."""
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if image is None:
            raise OSError(f"cannot read the picture {self.path}: expected a JPEG or PNG file")
        return image.astype(np.uint8, copy=False)
