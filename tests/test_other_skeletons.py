"""Networks of other keypoints than COCO's run through the same pipeline: WholeBody's, MPII's and a user's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from apps.video import main
from engines.compose import compose_pose
from engines.engine import ModelError
from pipeline.drawing import LEFT, MIDDLE, RIGHT, PoseDrawing
from pipeline.pose import PoseEstimator
from pipeline.skeletons import SKELETONS, definition_of, skeleton_from
from pipeline.tracker import Tracker
from pipeline.types import Detections, Poses, Skeleton
from tests.fakes import frame_of, picture, video_facts, write_video
from tests.helpers import FakeEngine, pose_manifest
from tests.tiny_networks import argmax_decode, detector_file, pose_network

CROW = skeleton_from({
    "name": "crow",
    "keypoint_names": ["beak", "wing_right", "wing_left", "tail", "foot-L"],
    "flip_pairs": [["wing_right", "wing_left"]],
    "oks_sigmas": [0.03, 0.08, 0.08, 0.1, 0.05],
    "links": [["beak", "tail"], ["wing_right", "wing_left"]],
})  # fmt: skip
ALL = [CROW, SKELETONS["wholebody"], SKELETONS["mpii"]]


@pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
def test_a_video_with_another_skeleton(skeleton: Skeleton, tmp_path: Path) -> None:
    """From the network file, which says what its keypoints are, to the JSON lines and the drawn video."""
    count = len(skeleton)
    manifest = replace(pose_manifest(), skeleton=definition_of(skeleton))
    onnx.save(compose_pose(pose_network(keypoints=count), argmax_decode(count), manifest), tmp_path / "pose.onnx")
    clip = write_video(tmp_path / "clip.mp4", [picture((0, 0, 320, 240))] * 6)
    options = ["--pose", str(tmp_path / "pose.onnx"), "--detector", str(detector_file(tmp_path))]
    assert main([str(clip), "--out", str(tmp_path / "out"), *options]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "clip.jsonl").read_text().splitlines()]
    people = [person for line in lines for person in line["people"]]
    assert people and {len(person["keypoints"]) for person in people} == {count}
    assert video_facts(tmp_path / "out" / "clip.mp4") == (320, 240, 6)


def test_a_definition_that_is_wrong_is_named() -> None:
    broken = replace(pose_manifest(), skeleton={"name": "crow", "keypoint_names": ["beak"]})
    with pytest.raises(ModelError, match=r"'tiny_pose' cannot be used: .*crow.*oks_sigmas"):
        PoseEstimator(FakeEngine(broken, lambda inputs: inputs))


def spread(skeleton: Skeleton, box: tuple[float, float, float, float], jitter: float = 0.0, seed: int = 0) -> Poses:
    """Someone whose keypoints are spread over a box, each moved by about `jitter` px."""
    places = np.random.default_rng(7).random((1, len(skeleton), 2)).astype(np.float32)
    corners = np.array([box], np.float32)
    points = corners[:, None, :2] + places * (corners[:, 2:] - corners[:, :2])[:, None]
    points += np.random.default_rng(seed).normal(0, jitter, points.shape)
    scores = np.full((1, len(skeleton)), 0.9, np.float32)
    return Poses(points.astype(np.float32), scores, corners, np.ones(1, np.float32), np.ones(1, np.int64))


@pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
def test_left_and_right_have_their_colours(skeleton: Skeleton) -> None:
    """By the words in their names."""
    pose = spread(skeleton, (100, 50, 300, 450))
    for index, name in enumerate(skeleton.keypoint_names):
        one = replace(pose, scores=np.eye(len(skeleton), dtype=np.float32)[index : index + 1])
        drawn = PoseDrawing(skeleton, 0.3)(frame_of(np.zeros((480, 640, 3), np.uint8)), one)
        x, y = pose.keypoints[0, index].round().astype(int)
        side = LEFT if "left" in name or name == "foot-L" else RIGHT if "right" in name else MIDDLE
        if drawn[y, x].tolist() != [255, 255, 255]:  # the label of the person may lie on top
            assert tuple(drawn[y, x]) == side, name


@pytest.mark.parametrize("skeleton", ALL, ids=lambda skeleton: skeleton.name)
def test_ids_and_duplicates(skeleton: Skeleton) -> None:
    """Two boxes on one person are one pose, also where most keypoints are too fine to be found alike twice."""
    tracker, ids = Tracker(skeleton, 0.3), set()
    for step in range(8):
        box = (100.0 + 6 * step, 100.0, 200.0 + 6 * step, 350.0)
        one, again = spread(skeleton, box, 3.0, 2 * step), spread(skeleton, box, 3.0, 2 * step + 1)
        people = Detections(np.concatenate([one.boxes, again.boxes + 4]), np.array([0.9, 0.8], np.float32))
        keypoints = np.concatenate([one.keypoints, again.keypoints])
        found = tracker.update(people, keypoints, np.concatenate([one.scores, again.scores]), step / 10)
        ids.update(found.track_ids.tolist())
        assert len(found) == 1
    assert ids == {1}
