"""Image files as BGR pictures, or the reason why not."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.types import Image

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
LONGEST_SIDE = 32_766  # px; OpenCV cuts crops out of no larger picture
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


class ImageError(ValueError):
    """A file that is no whole image; the message is the reason, empty where none is known."""


def read_image(path: Path) -> Image:
    """The image uint8 [H, W, 3] BGR: upright by its EXIF orientation, 16 bit scaled to 8, without transparency."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    if damage := _damage(data):
        raise ImageError(damage)
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError("too large, or damaged") from error
    if image is None:
        raise ImageError("")
    if max(image.shape) > LONGEST_SIDE:
        size = f"{image.shape[1]} x {image.shape[0]} px"
        raise ImageError(f"{size}, where {LONGEST_SIDE} is the longest side that can be read")
    return np.asarray(image, np.uint8)


def _damage(data: bytes) -> str | None:
    """What is seen without decoding: OpenCV fills what is missing of some pictures with grey, without an error."""
    if not data:
        return "empty"
    # Inside of a scan 0xff is always followed by 0 or a restart marker.
    if data.startswith(JPEG_START) and data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
        return "cut short"
    return _png_damage(data) if data.startswith(PNG_START) else None


def _png_damage(data: bytes) -> str | None:
    """By the length of each chunk, and the checksum of those that the picture needs (PNG specification, 5.3, 5.4)."""
    place, view = len(PNG_START), memoryview(data)
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        if end + 4 > len(data):
            break
        needed = not view[place + 4] & 32  # an upper-case letter
        if needed and zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return "damaged"
        if view[place + 4 : place + 8] == PNG_END:
            return None
        place = end + 4
    return "cut short"
