"""Frames that several engines see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class SharedFrame(np.ndarray[Any, np.dtype[np.uint8]]):
    """A frame uint8 [H, W, 3] that nobody changes any more, so that a GPU's engines upload it once.

    It is the object that is known again, not its content: make one for each frame and hand it to every engine.
    """


def shared(image: npt.NDArray[np.uint8]) -> SharedFrame:
    """A view of an image for all engines that are to see it. To change the image afterwards is a mistake."""
    return image.view(SharedFrame)
