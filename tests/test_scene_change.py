from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.scene_change import SceneChange, Surroundings, thumbnail
from pipeline.sources import DEMO_CLIP, open_source
from pipeline.types import FloatArray, Image


@pytest.fixture(scope="module")
def clip() -> list[Image]:
    """Every fifth frame of people who walk before a standing camera."""
    return [frame.image for frame in open_source(str(DEMO_CLIP)).frames()][::5]


def changes(images: list[Image]) -> list[bool]:
    changed = SceneChange()
    return [changed(thumbnail(image)) for image in images]


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


SIZE = 640, 480
ONE = np.array([[200, 100, 300, 400]], np.float32)
NOBODY = np.zeros((0, 4), np.float32)


def noisy_room(light: float = 100.0, noise: float = 4.0, seed: int = 0) -> Image:
    picture = np.random.default_rng(seed).normal(light, noise, (SIZE[1], SIZE[0], 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def are_still(before: Image, after: Image, boxes: FloatArray) -> bool:
    surroundings = Surroundings()
    surroundings.remember(thumbnail(before))
    return surroundings.are_still(thumbnail(after), boxes, SIZE)


def test_a_room_is_still_with_a_camera_s_noise_and_in_another_light() -> None:
    for seed in range(1, 20):
        assert are_still(noisy_room(), noisy_room(seed=seed), NOBODY)
    assert are_still(noisy_room(), noisy_room(120, seed=1), NOBODY)


@pytest.mark.parametrize("contrast", [-25, 25])
def test_somebody_who_comes_in_far_away_is_seen(contrast: int) -> None:
    for x, y in np.random.default_rng(1).integers(0, (620, 420), (40, 2)):
        after = noisy_room(seed=1).astype(int)
        after[y : y + 60, x : x + 20] += contrast
        assert not are_still(noisy_room(), after.astype(np.uint8), ONE[:0])


def test_what_people_do_is_theirs_and_what_they_leave_has_changed() -> None:
    room, person = noisy_room(), noisy_room()
    person[100:400, 200:300] = 180
    waving = person.copy()
    waving[120:250, 195:305] = (np.arange(110) * 2 % 200)[:, None]
    assert are_still(person, waving, ONE)
    assert are_still(room, person, ONE)
    gone = ONE + np.array([60, 0, 60, 0], np.float32)
    moved = noisy_room()
    moved[100:400, 260:360] = 180
    assert not are_still(person, moved, gone)
    assert not are_still(person, waving, NOBODY)


def test_boxes_may_reach_out_of_the_frame() -> None:
    after = noisy_room()
    after[:, :100] = 200
    assert are_still(noisy_room(), after, np.array([[-50, -80, 95, 700]], np.float32))
    assert not are_still(noisy_room(), after, np.array([[-500, -80, -100, 700]], np.float32))


def test_nothing_is_still_before_the_detector_has_looked() -> None:
    assert not Surroundings().are_still(thumbnail(noisy_room()), NOBODY, SIZE)


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (24, 32), (480, 640), (2160, 3840)])
def test_any_size_has_a_thumbnail(size: tuple[int, int]) -> None:
    small = thumbnail(np.full((*size, 3), 77, np.uint8))
    assert small.shape == (24, 32)
    np.testing.assert_allclose(small, 77)
