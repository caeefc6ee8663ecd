from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from apps import video, webcam
from pipeline.types import FloatArray
from tests.fakes import picture, read_lines, write_video

pytestmark = pytest.mark.usefixtures("blob_networks")


@pytest.fixture
def trembling(tmp_path: Path) -> Path:
    """Someone who stands and changes their height all the time."""
    heights = np.random.default_rng(0).integers(-4, 5, 15).tolist()
    return write_video(tmp_path / "clip.mp4", [picture((100, 60 + height, 140, 180)) for height in heights])


def noses(file: Path) -> FloatArray:
    """x and y of the first person's first keypoint in each frame."""
    return np.array([line["people"][0]["keypoints"][0][:2] for line in read_lines(file)])


def by_video(clip: Path, folder: Path, *options: str) -> FloatArray:
    assert video.main([str(clip), "--out", str(folder / "out"), "--no-video", *options]) == 0
    return noses(folder / "out" / "clip.jsonl")


def by_webcam(clip: Path, folder: Path, *options: str) -> FloatArray:
    assert webcam.main(["--source", str(clip), "--headless", "--json", str(folder / "out.jsonl"), *options]) == 0
    return noses(folder / "out.jsonl")


@pytest.mark.parametrize("run", [by_video, by_webcam])
def test_videos_are_smoothed_unless_the_user_says_no(
    run: Callable[..., FloatArray], trembling: Path, tmp_path: Path
) -> None:
    smooth, raw = run(trembling, tmp_path), run(trembling, tmp_path, "--no-smoothing")
    np.testing.assert_allclose(smooth[0], raw[0], atol=0.1)
    assert np.abs(np.diff(smooth[:, 1])).mean() < np.abs(np.diff(raw[:, 1])).mean() / 1.3
