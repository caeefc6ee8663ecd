"""What has changed in the picture: all of it (a cut, a swung camera, the light switched on), or a part."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, Image

# Mean difference of two frames' thumbnails, grey levels. Consecutive frames of a standing camera differ by up to 4, of
# a walking one by 11, of a swung one by 20 to 50; two different photographs by 29 or more (docs/tracking.md).
CHANGED = 25.0
THUMBNAIL = 32, 24  # width and height px
# Difference of one cell of two thumbnails, grey levels, beside that of the light of the whole picture. A cell is the
# mean of 16 px that are read, so that a camera's noise stays below 4.
CELL_CHANGED = 8.0
MARGIN = 0.1  # of a person's box, on each side, that is theirs, too
READ_ROWS = 96  # and as many columns, at least, of the frame: enough for the thumbnail, little to read


class SceneChange:
    """Thumbnails of the frames of one source in order -> whether each has changed altogether from the one before.

    least: the mean difference of the grey thumbnails, 0 to 255, from which on it has. The first frame has not.
    """

    def __init__(self, least: float = CHANGED) -> None:
        self._least = least
        self._before: FloatArray | None = None

    def __call__(self, seen: FloatArray) -> bool:
        """Whether the next frame, of that thumbnail, has changed."""
        before, self._before = self._before, seen
        return before is not None and float(np.abs(seen - before).mean()) >= self._least


class Surroundings:
    """What is round the people, as it was when the detector last looked."""

    def __init__(self) -> None:
        self._looked_at: FloatArray | None = None

    def remember(self, seen: FloatArray) -> None:
        """Say that the detector looks at the frame of that thumbnail."""
        self._looked_at = seen

    def are_still(self, seen: FloatArray, boxes: FloatArray, size: tuple[int, int]) -> bool:
        """Whether nobody can have come: nothing outside the people's boxes has changed since the detector looked.

        boxes: [N, 4] x1 y1 x2 y2 px, where the people are now; what they have left has changed. size: width and height
        of the frame, px. A change of the light of the whole picture, the median of all, is none.
        """
        if self._looked_at is None:
            return False
        difference = seen - self._looked_at
        changed = np.abs(difference - np.median(difference)) >= CELL_CHANGED
        return not bool((changed & ~_touched(boxes, size)).any())


def _touched(boxes: FloatArray, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which cells of a thumbnail, bool [24, 32], the boxes [N, 4] px with their margin touch."""
    cells = np.array(THUMBNAIL) / size
    margins = MARGIN * (boxes[:, 2:] - boxes[:, :2])
    low = np.floor((boxes[:, :2] - margins) * cells)
    high = (boxes[:, 2:] + margins) * cells
    columns, rows = (
        (np.arange(count) >= low[:, axis, None]) & (np.arange(count) < high[:, axis, None])
        for axis, count in enumerate(THUMBNAIL)
    )
    return np.asarray((rows[:, :, None] & columns[:, None]).any(axis=0), np.bool_)


def thumbnail(image: Image) -> FloatArray:
    """A frame [H, W, 3] BGR as float32 [24, 32] of grey levels, read in steps: large frames then cost no more."""
    step = max(1, min(image.shape[:2]) // READ_ROWS)
    grey = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
