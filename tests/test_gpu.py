"""On an NVIDIA GPU: engines are built, run, and answer as the CPU does. Skipped with a reason where there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from apps.build_engine import main
from engines.cuda import open_device
from engines.engine import Engine, ModelError, open_engine
from engines.frames import shared
from engines.tensorrt_library import TENSORRT_RUNTIMES, load_tensorrt
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from pipeline.sources import open_source
from tests.helpers import REPOSITORY

pytestmark = pytest.mark.gpu
MODELS = REPOSITORY / "models"
POSE, DETECTOR = "edge_coco_256x192", "person_detector"
# Median distance from the CPU's keypoints in frame px, and of the scores.
LIMITS = {"fp32": (0.02, 0.01), "fp16": (0.1, 0.02), "int8": (1.5, 0.1)}
Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module", params=TENSORRT_RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Each runtime that is installed, where there is a GPU."""
    if importlib.util.find_spec("pycuda") is None:
        pytest.skip("no pycuda, which GPUs need")
    try:
        open_device()
        load_tensorrt(request.param)
    except ModelError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKSTREAM_CACHE", str(made / "cache"))
        yield made


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    return [frame.image for frame in open_source("demo").frames() if frame.index % 25 == 0][:4]


def built(folder: Path, runtime: str, name: str, precision: str, form: str) -> Engine:
    source = MODELS / f"{name}{'_int8' * (precision == 'int8')}.onnx"
    out = folder / f"{name}_{precision}_{runtime}_{form}.engine"
    options = ["--precision", precision, "--runtime", runtime, "--input", form, "--batch", "1,4,8", "--out", str(out)]
    assert main([str(source), *options]) == 0
    return open_engine(out)


@pytest.mark.parametrize("form", ["frame", "crops"])
@pytest.mark.parametrize("precision", LIMITS)
def test_keypoints_are_the_cpus(folder: Path, frames: list[Image], runtime: str, precision: str, form: str) -> None:
    detector = PersonDetector(open_engine(MODELS / f"{DETECTOR}.onnx"))
    there = PoseEstimator(open_engine(MODELS / f"{POSE}.onnx", "onnxruntime"))
    here = PoseEstimator(built(folder, runtime, POSE, precision, form))
    distance, difference = [], []
    # The second round replays what the first recorded.
    for image in [*frames, *frames]:
        boxes = detector(image).boxes
        for people in (boxes[:1], np.tile(boxes, (4, 1)), boxes[:0]):
            (keypoints, scores), (expected, heights) = here(image, people), there(image, people)
            assert keypoints.shape == expected.shape
            seen = heights > 0.3
            distance.append(np.linalg.norm(keypoints - expected, axis=2)[seen])
            difference.append(np.abs(scores - heights)[seen])
    assert np.median(np.concatenate(distance)) < LIMITS[precision][0]
    assert np.median(np.concatenate(difference)) < LIMITS[precision][1]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_people_found_are_the_cpus(folder: Path, frames: list[Image], runtime: str, precision: str) -> None:
    there = PersonDetector(open_engine(MODELS / f"{DETECTOR}.onnx", "onnxruntime"))
    here = PersonDetector(built(folder, runtime, DETECTOR, precision, "frame"))
    for image in frames:
        found, expected = here(image), there(image)
        likely = expected.boxes[expected.scores > here.score_threshold + 0.05]
        gaps = np.abs(found.boxes[None] - likely[:, None]).max(axis=2).min(axis=1)
        assert len(likely) and np.median(gaps) < 3


def test_a_shared_frame_is_uploaded_once(folder: Path, frames: list[Image], runtime: str) -> None:
    detector = PersonDetector(built(folder, runtime, DETECTOR, "fp16", "frame"))
    estimator = PoseEstimator(built(folder, runtime, POSE, "fp16", "frame"))
    before = open_device().frame.uploads
    for image in frames:
        frame = shared(image)
        people = detector(frame)
        alone, together = estimator(image, people.boxes), estimator(frame, people.boxes)
        np.testing.assert_allclose(together[0], alone[0], atol=0.05)
        estimator(frame, people.boxes)
    # The detector's and, as the buffer was overwritten, the estimator's; the one in between is not shared.
    assert open_device().frame.uploads - before == 3 * len(frames)
