"""Which of the shipped files the apps take when none is given."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from apps.benchmark import BenchmarkSettings
from apps.command_line import DETECTOR, DETECTOR_INT8, POSE, default_detector
from apps.video import VideoSettings
from apps.webcam import WebcamSettings
from engines import engine, openvino_engine


@pytest.mark.parametrize(
    ("machine", "openvino", "bfloat16", "file"),
    [
        ("x86_64", True, True, DETECTOR),
        ("x86_64", True, False, DETECTOR_INT8),
        ("AMD64", True, False, DETECTOR_INT8),
        ("AMD64", False, False, DETECTOR),
        ("aarch64", True, False, DETECTOR),
    ],
)
def test_the_detector_is_the_faster_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, openvino: bool, bfloat16: bool, file: Path
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(engine, "find_spec", lambda name: name if openvino else None)
    monkeypatch.setattr(openvino_engine, "has_bfloat16", lambda: bfloat16)
    assert default_detector() == file
    for settings in (WebcamSettings(), VideoSettings(inputs=["demo"], out=tmp_path), BenchmarkSettings()):
        assert settings.detector == file


def test_the_files_are_there() -> None:
    assert all(path.is_file() for path in (DETECTOR, DETECTOR_INT8, POSE))
