"""Which of the shipped files the apps take when none is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.benchmark import BenchmarkSettings
from apps.command_line import DETECTOR, POSE
from apps.video import VideoSettings
from apps.webcam import WebcamSettings
from engines import openvino_engine


def test_the_apps_take_files_that_are_there(tmp_path: Path) -> None:
    for settings in (WebcamSettings(), VideoSettings(inputs=["demo"], out=tmp_path), BenchmarkSettings()):
        assert (settings.detector, settings.pose) == (DETECTOR, POSE)
    assert DETECTOR.is_file() and POSE.is_file()


@pytest.mark.parametrize(("text", "amx"), [("flags : fma amx_bf16 amx_tile", True), ("flags : avx512_bf16", False)])
def test_matrix_instructions_are_read_from_the_list_of_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, amx: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(openvino_engine, "CPU_LIST", tmp_path / "cpuinfo")
    assert openvino_engine.has_amx() == amx
    monkeypatch.setattr(openvino_engine, "CPU_LIST", tmp_path / "none")
    assert not openvino_engine.has_amx()
