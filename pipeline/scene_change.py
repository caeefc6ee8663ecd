"""Whether the picture has changed altogether: a cut, a swung camera, the light switched on."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.types import FloatArray, Image

# Mean difference of two frames' thumbnails, grey levels. Consecutive frames of a standing camera differ by up to 4, of
# a walking one by 11, of a swung one by 20 to 50; two different photographs by 29 or more (docs/tracking.md).
CHANGED = 25.0
THUMBNAIL = 32, 24  # width and height px
READ_ROWS = 96  # and as many columns, at least, of the frame: enough for the thumbnail, little to read


class SceneChange:
    """Frames [H, W, 3] BGR of one source in order -> whether each has changed altogether from the one before.

    least: the mean difference of the grey thumbnails, 0 to 255, from which on it has. The first frame has not.
    """

    def __init__(self, least: float = CHANGED) -> None:
        self._least = least
        self._before: FloatArray | None = None

    def __call__(self, image: Image) -> bool:
        """Whether the next frame has changed."""
        before, self._before = self._before, thumbnail(image)
        return before is not None and float(np.abs(self._before - before).mean()) >= self._least


def thumbnail(image: Image) -> FloatArray:
    """A frame [H, W, 3] BGR as float32 [24, 32] of grey levels, read in steps: large frames then cost no more."""
    step = max(1, min(image.shape[:2]) // READ_ROWS)
    grey = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
