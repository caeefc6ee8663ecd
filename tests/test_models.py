"""The networks that ship: they open, agree in all runtimes, and find the people of the demonstration clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.engine import open_engine, read_manifest
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from pipeline.pose_pipeline import Networks
from pipeline.sources import DEMO_CLIP, open_source
from pipeline.stats import StageStats
from pipeline.types import Frame
from tests.helpers import REPOSITORY

MODELS = REPOSITORY / "models"
POSE = sorted(MODELS.glob("edge_coco_256x192*.onnx"))
DETECTORS = sorted(MODELS.glob("person_detector*.onnx"))


def test_the_default_networks_are_there() -> None:
    assert MODELS / "edge_coco_256x192.onnx" in POSE
    assert MODELS / "person_detector.onnx" in DETECTORS


@pytest.mark.parametrize("path", [*POSE, *DETECTORS], ids=lambda path: path.stem)
def test_files_are_small_and_say_what_they_are(path: Path) -> None:
    manifest = read_manifest(path)
    assert path.stat().st_size <= 15e6
    assert manifest.task == ("pose" if path in POSE else "person_detector")
    assert (manifest.precision == "int8") == path.stem.endswith("_int8")
    assert path.stem.startswith(manifest.name)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """The first second of the clip."""
    source = open_source(str(DEMO_CLIP))
    frames = [frame for frame, _ in zip(source.frames(), range(10), strict=False)]
    source.close()
    return frames


@pytest.mark.parametrize("path", DETECTORS, ids=lambda path: path.stem)
def test_runtimes_find_the_same_people(path: Path, frames: list[Frame]) -> None:
    reference = PersonDetector(open_engine(path, "onnxruntime"))(frames[0].image)
    found = PersonDetector(open_engine(path, "openvino", "float32"))(frames[0].image)
    assert 4 <= len(reference) <= 15 and len(found) == len(reference)
    near = np.abs(reference.boxes[:, None] - found.boxes[None]).max(2).min(1)
    assert np.median(near) < 2


@pytest.mark.parametrize("path", POSE, ids=lambda path: path.stem)
def test_runtimes_give_the_same_poses(path: Path, frames: list[Frame]) -> None:
    boxes = PersonDetector(open_engine(DETECTORS[0]))(frames[0].image).boxes
    points, scores = PoseEstimator(open_engine(path, "onnxruntime"))(frames[0].image, boxes)
    for precision in ("float32", "auto"):
        found, found_scores = PoseEstimator(open_engine(path, "openvino", precision))(frames[0].image, boxes)
        sure = scores > 0.4
        apart = np.linalg.norm(found - points, axis=2)[sure]
        assert sure.sum() > 20 and np.median(apart) < 0.5 and np.abs(found_scores - scores).mean() < 0.03


def test_people_of_the_clip_keep_their_ids(frames: list[Frame]) -> None:
    networks = Networks(MODELS / "person_detector.onnx", MODELS / "edge_coco_256x192.onnx", StageStats())
    source = open_source(str(DEMO_CLIP))
    pipeline = networks.pipeline(source)
    source.close()
    poses = [pipeline(frame) for frame in frames]
    assert all(len(found) >= 3 for found in poses)
    assert len(set(poses[0].track_ids) & set(poses[-1].track_ids)) >= 3
    upright = poses[0].keypoints[:, 15:, 1].mean(1) > poses[0].keypoints[:, 0, 1]
    assert upright.mean() > 0.8
