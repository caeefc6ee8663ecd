"""Which of the shipped files the apps take when none is given."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from apps.benchmark import BenchmarkSettings
from apps.command_line import DETECTOR, DETECTOR_INT8, POSE, default_detector
from apps.video import VideoSettings
from apps.webcam import WebcamSettings
from engines import engine, openvino_engine
from pipeline.association import box_iou
from pipeline.detector import PersonDetector
from pipeline.sources import DEMO_CLIP, open_source
from pipeline.types import Detections, FloatArray
from tests.helpers import REPOSITORY


@pytest.mark.parametrize(
    ("machine", "openvino", "amx", "file"),
    [
        ("x86_64", True, True, DETECTOR),
        ("x86_64", True, False, DETECTOR_INT8),
        ("AMD64", True, False, DETECTOR_INT8),
        ("AMD64", False, False, DETECTOR),
        ("aarch64", True, False, DETECTOR),
    ],
)
def test_the_detector_is_the_faster_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, openvino: bool, amx: bool, file: Path
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(engine, "find_spec", lambda name: name if openvino else None)
    monkeypatch.setattr(openvino_engine, "has_amx", lambda: amx)
    assert default_detector() == file
    for settings in (WebcamSettings(), VideoSettings(inputs=["demo"], out=tmp_path), BenchmarkSettings()):
        assert settings.detector == file


def test_the_files_are_there() -> None:
    assert all(path.is_file() for path in (DETECTOR, DETECTOR_INT8, POSE))


@pytest.mark.parametrize(("text", "amx"), [("flags : fma amx_bf16 amx_tile", True), ("flags : avx512_bf16", False)])
def test_matrix_instructions_are_read_from_the_list_of_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, amx: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(openvino_engine, "CPU_LIST", tmp_path / "cpuinfo")
    assert openvino_engine.has_amx() == amx
    monkeypatch.setattr(openvino_engine, "CPU_LIST", tmp_path / "none")
    assert not openvino_engine.has_amx()


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_both_detectors_find_the_same_people_in_every_runtime(runtime: str) -> None:
    expect_the_same_people(runtime)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instructions are those of x86 CPUs")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE_VNNI"])
def test_both_detectors_find_the_same_people_on_lesser_cpus(instructions: str) -> None:
    """OpenVINO chooses other kernels there, and other ways to round."""
    check = "from tests.test_default_networks import expect_the_same_people as check; check('openvino', 'float32')"
    lesser = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, env=lesser, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def expect_the_same_people(runtime: str, precision: str = "auto") -> None:
    plain, int8 = (PersonDetector(engine.open_engine(file, runtime, precision)) for file in (DETECTOR, DETECTOR_INT8))
    frames = [frame.image for frame in open_source(str(DEMO_CLIP)).frames()][::10]
    people = 0
    for image in frames:
        expected, found = (boxes_of_the_sure(detector(image)) for detector in (plain, int8))
        assert len(expected) == len(found) and (box_iou(expected, found).max(axis=1) > 0.7).all()
        people += len(expected)
    assert people > 2 * len(frames)


def boxes_of_the_sure(found: Detections) -> FloatArray:
    return found.boxes[found.scores >= 0.6]
