"""Which of the shipped files the apps take when none is given."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from apps import command_line
from apps.benchmark import BenchmarkSettings
from apps.command_line import DETECTOR, DETECTOR_INT8, POSE, default_detector
from apps.video import VideoSettings
from apps.webcam import WebcamSettings


@pytest.mark.parametrize(
    ("machine", "bfloat16", "file"),
    [
        ("x86_64", True, DETECTOR),
        ("x86_64", False, DETECTOR_INT8),
        ("AMD64", False, DETECTOR_INT8),
        ("aarch64", False, DETECTOR),
    ],
)
def test_the_detector_is_the_faster_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, bfloat16: bool, file: object
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(command_line, "runs_bfloat16", lambda: bfloat16)
    assert default_detector() == file
    for settings in (WebcamSettings(), VideoSettings(inputs=["demo"], out=tmp_path), BenchmarkSettings()):
        assert settings.detector == file


def test_the_files_are_there() -> None:
    assert all(path.is_file() for path in (DETECTOR, DETECTOR_INT8, POSE))
