from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.scene_change import SceneChange, thumbnail
from pipeline.sources import DEMO_CLIP, open_source
from pipeline.types import Image


@pytest.fixture(scope="module")
def clip() -> list[Image]:
    """Every fifth frame of people who walk before a standing camera."""
    return [frame.image for frame in open_source(str(DEMO_CLIP)).frames()][::5]


def changes(images: list[Image]) -> list[bool]:
    changed = SceneChange()
    return [changed(image) for image in images]


def test_people_who_walk_change_nothing_even_in_every_fifth_frame(clip: list[Image]) -> None:
    assert len(clip) > 10
    assert not any(changes(clip))


def test_a_cut_is_seen_once(clip: list[Image]) -> None:
    other = [np.ascontiguousarray(image[::-1]) for image in clip[:4]]
    assert changes([*clip[:4], *other, *clip[:4]]) == [False] * 4 + [True] + [False] * 3 + [True] + [False] * 3


def test_a_swung_camera_is_seen(clip: list[Image]) -> None:
    height, width = clip[0].shape[:2]
    large = cv2.resize(clip[0], (2 * width, 2 * height)).astype(np.uint8)
    swung = [np.ascontiguousarray(large[:height, x : x + width]) for x in (0, width // 2, width)]
    slow = [np.ascontiguousarray(large[:height, x : x + width]) for x in range(0, 60, 6)]
    assert changes(swung) == [False, True, True]
    assert not any(changes(slow))


@pytest.mark.parametrize("shift", [10, -10])
def test_the_exposure_may_drift(clip: list[Image], shift: int) -> None:
    brighter = np.clip(clip[0].astype(int) + shift, 0, 255).astype(np.uint8)
    assert changes([clip[0], brighter]) == [False, False]


def test_the_light_switched_on_is_a_change(clip: list[Image]) -> None:
    assert changes([clip[0] // 8, clip[0]]) == [False, True]


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (24, 32), (480, 640), (2160, 3840)])
def test_any_size_has_a_thumbnail(size: tuple[int, int]) -> None:
    small = thumbnail(np.full((*size, 3), 77, np.uint8))
    assert small.shape == (24, 32)
    np.testing.assert_allclose(small, 77)
