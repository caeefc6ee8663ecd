from __future__ import annotations

import numpy as np
import pytest

from pipeline.drawing import LEFT, MIDDLE, RIGHT, PoseDrawing, line_width
from pipeline.skeletons import COCO
from pipeline.types import Image, Poses
from tests.fakes import frame_of, poses_at


def drawn(poses: Poses, size: tuple[int, int] = (640, 480)) -> Image:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    return PoseDrawing(COCO, 0.3)(frame_of(image), poses)


def has_colour(image: Image, colour: tuple[int, int, int]) -> bool:
    return bool((image == np.array(colour, np.uint8)).all(axis=-1).any())


def test_left_and_right_have_colours_of_their_own_on_their_own_side() -> None:
    image = drawn(poses_at([[200, 100, 350, 450]]))
    assert has_colour(image, MIDDLE)
    assert has_colour(image[:, 290:], LEFT)  # a person facing us has their left on the right of the picture
    assert not has_colour(image[150:, :260], LEFT)
    assert has_colour(image[:, :260], RIGHT)


def test_unsure_points_and_their_links_are_hidden() -> None:
    poses = poses_at([[200, 100, 350, 450]])
    poses.scores[0, 11:] = 0.2
    image = drawn(poses)
    assert image[300:440].max() == 0
    assert image[100:250].max() > 0


def test_bold_for_the_large_and_thin_for_the_small() -> None:
    widths = [line_width(np.array([0, 0, height / 3, height])) for height in (20, 60, 300, 1000, 5000)]
    assert widths == [1, 1, 3, 8, 8]


def test_a_person_60_px_tall_keeps_limbs_apart() -> None:
    image = drawn(poses_at([[300, 200, 324, 260]]))
    row = image[245]  # at the height of the knees
    lit = np.flatnonzero(row.max(axis=-1) > 100)
    assert (np.diff(lit) > 1).any()


@pytest.mark.parametrize("box", [[-500.0, -500, -300, -200], [600, 400, 900, 1000], [1e9, 1e9, 2e9, 2e9], [5, 5, 5, 5]])
def test_people_outside_the_picture_do_no_harm(box: list[float]) -> None:
    assert drawn(poses_at([box])).shape == (480, 640, 3)


def test_nobody_changes_nothing_and_no_copy_is_made() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    result = PoseDrawing(COCO, 0.3)(frame_of(image), Poses.none(17))
    assert result is image
    assert image.max() == 0
