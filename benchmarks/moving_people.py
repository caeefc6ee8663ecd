"""A labelled clip: cut-out people of held-out pictures walk through each other before panned backgrounds.

Keypoints, boxes and ids of every frame are known exactly, since each person is one labelled picture that is moved.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, Frame, Image, IntArray
from train.datasets.coco_layout import split
from train.datasets.pictures import Person, Picture
from train.synthetic.backgrounds import Backgrounds, person_free

WIDTH, HEIGHT, FPS = 640, 480, 25.0
SCENE_FRAMES = 75
PEOPLE = 4  # of a scene: one walks right, one left, one turns back half-way, one stands
CUT_MARGIN = 0.12  # of a person's box is cut out beyond it, on each side, and blends into the background
SEEN_SHARE = 0.5  # of the labelled keypoints must be seen for a person to be asked for
BODY_SHARE = 0.53  # of a box is body, as in COCO's areas
NOISE = 3.0  # grey levels, of the camera
NOISE_SHIFT = 64  # px: each frame has another part of one field of noise


@dataclass(frozen=True)
class Labels:
    """The people of a frame. keypoints: [P, 17, 3], x y px and whether seen; boxes: [P, 4], x1 y1 x2 y2 px, within it.

    ids: [P], the same for the same person of a scene, others in the next. counted: [P], whether enough is seen.
    areas: [P], px² of the whole person.
    """

    keypoints: FloatArray
    boxes: FloatArray
    ids: IntArray
    counted: npt.NDArray[np.bool_]
    areas: FloatArray


@dataclass(frozen=True)
class Cutout:
    """A person's part of a picture. image: float32 [h, w, 3]; alpha: float32 [h, w, 1]; joints: [17, 3]; box: [4]."""

    image: FloatArray
    alpha: FloatArray
    joints: FloatArray
    box: FloatArray


@dataclass(frozen=True)
class Walk:
    """How a person moves: place, px, at the middle of the scene, speed and its change, size, sway."""

    cutout: Cutout
    height: float
    place: FloatArray
    speed: float
    turn: float
    phase: float

    def matrix(self, time_s: float) -> FloatArray:
        """Affine map [2, 3] of the cut-out's px to the frame's, `time_s` from the middle of the scene."""
        low, high = self.cutout.box[:2], self.cutout.box[2:]
        step = 2 * np.pi * 1.8 * time_s + self.phase
        scale = self.height / (high[1] - low[1]) * (1 + 0.03 * np.sin(0.7 * time_s + self.phase))
        angle = np.radians(2.5) * np.sin(step / 2)
        x = self.place[0] + self.speed * time_s + self.turn * time_s**2
        y = self.place[1] + 0.012 * self.height * np.sin(step) * min(1.0, abs(self.speed) / 60)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.concatenate([turn, (np.array([x, y]) - turn @ ((low + high) / 2))[:, None]], axis=1)


class MovingPeople:
    """`scenes` scenes of 3 s each, cut hard one behind the other. A given seed always makes the same clip.

    data: the folder with coco_train/ and lspet/. Raises OSError or ValueError if they are not there.
    """

    name, live, still, fps = "moving people", False, False, FPS

    def __init__(self, data: Path, scenes: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        held_out = [split(data / name, validation=True) for name in ("coco_train", "lspet")]
        self._people = [[(p, q) for p in pictures for q in p.people if _fits(p, q)] for pictures in held_out]
        self._backgrounds = Backgrounds(person_free(data / "coco_train"))
        self._scenes = [self._scene() for _ in range(scenes)]
        field = (HEIGHT + NOISE_SHIFT, WIDTH + NOISE_SHIFT, 3)
        self._noise = self._rng.normal(0, NOISE, field).astype(np.float32)
        self._seed = seed
        self.frame_count: int | None = scenes * SCENE_FRAMES

    def frames(self) -> Iterator[Frame]:
        """Every frame of the clip."""
        for index in range(len(self._scenes) * SCENE_FRAMES):
            image = self._draw(index)
            yield Frame(image, index, index / FPS, self.name, time.monotonic())

    def close(self) -> None:
        """Nothing to free."""

    def labels(self, index: int) -> Labels:
        """Who is where in a frame."""
        number, time_s = _moment(index)
        walks, _ = self._scenes[number]
        people = [_placed(walk, time_s) for walk in walks]
        keypoints = np.stack([joints for joints, _ in people])
        boxes = np.stack([box for _, box in people])
        for near in range(len(people)):
            far = keypoints[:near]
            covered = (far[..., :2] > boxes[near, :2]).all(-1) & (far[..., :2] < boxes[near, 2:]).all(-1)
            far[covered, 2] = 0
        inside = (keypoints[..., :2] >= 0).all(-1) & (keypoints[..., :2] < (WIDTH, HEIGHT)).all(-1)
        keypoints[~inside, 2] = 0
        labelled = np.array([(walk.cutout.joints[:, 2] > 0).sum() for walk in walks])
        seen = (keypoints[..., 2] > 0).sum(1)
        areas = BODY_SHARE * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        there = seen > 0
        return Labels(
            keypoints[there],
            np.clip(boxes, 0, [WIDTH, HEIGHT] * 2)[there],
            (number * PEOPLE + np.arange(len(people)) + 1)[there],
            (seen >= SEEN_SHARE * labelled)[there],
            areas[there],
        )

    def _scene(self) -> tuple[list[Walk], tuple[Image, FloatArray]]:
        """The walks, the far ones first, and the background with how fast it moves, px/s."""
        rng = self._rng
        speeds = [rng.uniform(60, 180), -rng.uniform(60, 180), rng.uniform(-40, 40), 0.0]
        turns = [0.0, 0.0, rng.choice([-1, 1]) * rng.uniform(60, 100), 0.0]
        walks = []
        for speed, turn in zip(speeds, turns, strict=True):
            people = self._people[int(rng.random() < 0.5)]
            picture, person = people[int(rng.integers(len(people)))]
            height = rng.uniform(150, 250)
            place = np.array([rng.uniform(0.3, 0.7) * WIDTH, HEIGHT - rng.uniform(0.5, 0.7) * height - 20])
            walks.append(Walk(_cut_out(picture, person), height, place, speed, turn, rng.uniform(0, 6)))
        order = rng.permutation(len(walks))
        background = self._backgrounds.cut(rng, (WIDTH + 120, HEIGHT + 60))
        return [walks[number] for number in order], (background, rng.uniform(-15, 15, 2) * (2, 1))

    def _draw(self, index: int) -> Image:
        number, time_s = _moment(index)
        walks, (background, pan) = self._scenes[number]
        move = np.hstack([np.eye(2), (pan * time_s - (60, 30))[:, None]])
        image = cv2.warpAffine(background, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        for walk in walks:
            _paste(image, walk.cutout, walk.matrix(time_s))
        x, y = np.random.default_rng([self._seed, index]).integers(NOISE_SHIFT, size=2)
        noisy = image + self._noise[y : y + HEIGHT, x : x + WIDTH]
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _paste(image: FloatArray, cutout: Cutout, matrix: FloatArray) -> None:
    """Draw a person into the image, by the affine map [2, 3] of the cut-out's px to it."""
    height, width = cutout.alpha.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
    x1, y1 = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    x2, y2 = np.minimum(np.ceil(corners.max(0)).astype(int), (WIDTH, HEIGHT))
    if x1 >= x2 or y1 >= y2:
        return
    local = matrix - [[0, 0, x1], [0, 0, y1]]
    person = cv2.warpAffine(cutout.image, local, (x2 - x1, y2 - y1), borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(cutout.alpha, local, (x2 - x1, y2 - y1))[..., None]
    image[y1:y2, x1:x2] += alpha * (person - image[y1:y2, x1:x2])


def _moment(index: int) -> tuple[int, float]:
    """The scene of a frame, and the time from its middle."""
    number, frame = divmod(index, SCENE_FRAMES)
    return number, (frame - SCENE_FRAMES / 2) / FPS


def _fits(picture: Picture, person: Person) -> bool:
    """Whether someone is labelled well, upright, large enough, and alone in their box."""
    if person.joints is None or person.ignore or person.keypoints_source != "labelled":
        return False
    (width, height), joints = person.box[2:] - person.box[:2], person.joints
    known = joints[:, 2] > 0
    if height < 110 or width > height or known.sum() < 11 or not known[[5, 6, 11, 12]].all():
        return False
    upright = joints[[5, 6], 1].mean() + 0.15 * height < joints[[11, 12], 1].mean()
    others = [other.box for other in picture.people if other is not person]
    return bool(upright and all(_share(person.box, box) < 0.2 for box in others))


def _share(box: FloatArray, other: FloatArray) -> float:
    """Of a box, what another covers."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)) / np.prod(box[2:] - box[:2]))


def _cut_out(picture: Picture, person: Person) -> Cutout:
    assert person.joints is not None
    sides = person.box[2:] - person.box[:2]
    low = np.maximum(np.floor(person.box[:2] - CUT_MARGIN * sides), 0).astype(int)
    high = np.minimum(np.ceil(person.box[2:] + CUT_MARGIN * sides), (picture.width, picture.height)).astype(int)
    image = picture.read()[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    edge = [np.minimum(np.arange(n) + 0.5, np.arange(n)[::-1] + 0.5) / (0.06 * n) for n in image.shape[:2]]
    alpha = np.clip(np.minimum(edge[0][:, None], edge[1][None]), 0, 1).astype(np.float32)[..., None]
    joints = person.joints.astype(np.float64) - [*low, 0]
    joints[:, 2] = joints[:, 2] > 0
    return Cutout(image, alpha, joints, person.box - np.tile(low, 2))


def _placed(walk: Walk, time_s: float) -> tuple[FloatArray, FloatArray]:
    """Joints [17, 3] and box [4] of a person in the frame, also where they are outside."""
    matrix, (x1, y1, x2, y2) = walk.matrix(time_s), walk.cutout.box
    corners = np.array([[x1, y1], [x2, y1], [x1, y2], [x2, y2]]) @ matrix[:, :2].T + matrix[:, 2]
    joints = walk.cutout.joints.copy()
    joints[:, :2] = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return joints, np.concatenate([corners.min(0), corners.max(0)])
