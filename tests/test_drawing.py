from __future__ import annotations

import numpy as np
import pytest

from pipeline.drawing import LEFT, MIDDLE, RIGHT, DrawStyle, PoseDrawing, draw_style, line_width
from pipeline.settings import SettingsError
from pipeline.skeletons import COCO
from pipeline.types import Image, Poses, Skeleton
from tests.fakes import frame_of, poses_at


def drawn(poses: Poses, style: str = "", ground: int = 0) -> Image:
    image = np.full((480, 640, 3), ground, np.uint8)
    return PoseDrawing(COCO, 0.3, draw_style(style))(frame_of(image), poses)


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


def test_the_style_is_read_from_text_in_any_order() -> None:
    assert draw_style("") == DrawStyle()
    assert draw_style("ids=off, score=0.55,width=4,boxes=on,faces=off") == DrawStyle(0.55, 4, True, False, False)
    assert draw_style("score=0").score == 0.0


@pytest.mark.parametrize(
    "text",
    ["box=on", "boxes", "boxes=yes", "ids=1", "score=2", "score=nan", "score=", "width=0", "width=31", "width=1.5"],
)
def test_a_style_that_is_none_says_what_is_valid(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected score=0\.\.\.1, width=1\.\.\.30, boxes=on\|off"):
        draw_style(text)


def test_the_style_hides_and_shows() -> None:
    poses = poses_at([[200, 150, 350, 450]])
    poses.scores[0, 11:] = 0.2
    legs, head, label = np.s_[310:448, 205:345], np.s_[150:195, 205:345], np.s_[120:148, :]
    plain = drawn(poses)
    assert (plain[legs].max(), plain[head].max() > 0, plain[label].max() > 0) == (0, True, True)
    assert drawn(poses, "score=0.1")[legs].max() > 0
    assert drawn(poses, "faces=off")[head].max() == 0
    assert drawn(poses, "ids=off")[label].max() == 0
    assert has_colour(drawn(poses, "boxes=on")[400, 190:210][None], MIDDLE)
    assert (drawn(poses, "width=12,score=0.1") > 0).sum() > 1.5 * (drawn(poses, "score=0.1") > 0).sum()


def test_lines_keep_a_dark_outline_on_a_bright_ground() -> None:
    image = drawn(poses_at([[300, 200, 350, 320]]), ground=235)
    row = image[305].max(axis=-1)  # at the height of the shins
    assert row.min() < 110


def test_keypoints_of_a_face_are_told_by_their_names() -> None:
    poses = Poses(
        np.array([[[100, 100], [300, 300]]], np.float32), np.ones((1, 2), np.float32),
        np.array([[50, 50, 350, 350]], np.float32), np.ones(1, np.float32), np.ones(1, np.int64),
    )  # fmt: skip
    skeleton = Skeleton("robot", ("left-eye", "left_forearm"), (), (), np.ones(2))
    image = PoseDrawing(skeleton, 0.3, draw_style("faces=off,ids=off"))(
        frame_of(np.zeros((480, 640, 3), np.uint8)), poses
    )
    assert (image[90:110, 90:110].max(), image[290:310, 290:310].max() > 0) == (0, True)
