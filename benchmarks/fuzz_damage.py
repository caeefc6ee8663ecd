"""The files that the fuzz run damages, and the ways in which it does."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from pipeline.capture import quiet_opencv
from pipeline.sources import DEMO_CLIP, open_source

SIZE, FRAMES, FPS = (160, 120), 120, 25.0
VIDEOS = {"clip.mp4": "mp4v", "clip.avi": "MJPG", "clip.mkv": "mp4v"}
PICTURES = ("picture.jpg", "picture.png", "picture.webp")
BLOCKS = (64, 512, 4096)  # bytes
HEADER = 2048  # bytes
Damage = Callable[[bytes, random.Random], bytes]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """1, 8 or 64 bits turned over, anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut_off(data: bytes, rng: random.Random) -> bytes:
    """The beginning only."""
    return data[: rng.randrange(len(data))]


def zero_block(data: bytes, rng: random.Random) -> bytes:
    """A block of zeros."""
    start, length = rng.randrange(len(data)), rng.choice(BLOCKS)
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def double_block(data: bytes, rng: random.Random) -> bytes:
    """A block twice."""
    start, length = rng.randrange(len(data)), rng.choice(BLOCKS)
    return data[: start + length] + data[start : start + length] + data[start + length :]


def swap_blocks(data: bytes, rng: random.Random) -> bytes:
    """Two blocks in each other's place."""
    length = min(rng.choice(BLOCKS), len(data) // 4)
    one = rng.randrange(len(data) - 2 * length)
    other = rng.randrange(one + length, len(data) - length + 1)
    changed = bytearray(data)
    changed[one : one + length], changed[other : other + length] = (
        data[other : other + length],
        data[one : one + length],
    )
    return bytes(changed)


def edit_header(data: bytes, rng: random.Random) -> bytes:
    """1 to 4 bytes of the first 2048 replaced."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(HEADER, len(changed)))] = rng.randrange(256)
    return bytes(changed)


DAMAGES: dict[str, Damage] = {
    "bits flipped": flip_bits,
    "cut off": cut_off,
    "zeroed": zero_block,
    "doubled": double_block,
    "swapped": swap_blocks,
    "header": edit_header,
}


def write_material(folder: Path) -> None:
    """The whole files that are damaged."""
    quiet_opencv()
    with closing(open_source(str(DEMO_CLIP))) as source:
        large = [frame.image for frame, _ in zip(source.frames(), range(FRAMES), strict=False)]
    small = [np.asarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), np.uint8) for image in large]
    for name, codec in VIDEOS.items():
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), FPS, SIZE)
        for number in range(FRAMES):
            writer.write(small[number % len(small)])
        writer.release()
    for name in PICTURES:
        cv2.imwrite(str(folder / name), small[0])
