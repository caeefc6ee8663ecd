"""apps/benchmark.py: figures of a clip and by the number of people, the plot, and mistakes told in a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from apps import benchmark
from apps.benchmark import BenchmarkSettings
from apps.clip_times import ClipRun, clip_figures, clip_table
from apps.command_line import MODELS, POSE
from apps.latency_plot import layers
from apps.stage_times import DECODE, NETWORK, Spread, decode_engine, given_boxes, measure_people, people_table
from pipeline.stats import RunCounts
from tests.fakes import walk, write_video


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "REPEATS", 2)


def test_the_demo_clip_is_measured_drawn_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    plot, figures = tmp_path / "latency.png", tmp_path / "figures.json"
    options = ["--frames", "6", "--runs", "2", "--people", "3", "1", "--plot", str(plot), "--json", str(figures)]
    assert benchmark.main(options) == 0
    shown = capsys.readouterr().out
    assert "frames/s: " in shown and "pose crop" in shown and "1 person" in shown and "3 people" in shown
    found = json.loads(figures.read_text())
    assert found["clip"]["frames"] == 6 and found["clip"]["people_per_frame"] > 2
    stages = found["clip"]["ms_a_frame"]
    assert {"read", "detect", "pose", "pose crop", "pose network", "track", "draw", "write"} <= set(stages)
    assert stages["pose"]["median"] > stages["pose network"]["median"] > 0
    assert list(found["people"]) == ["1", "3"]
    assert 0 < found["people"]["3"]["decode"]["median"] < found["people"]["3"]["pose network"]["median"]
    picture = cv2.imread(str(plot))
    assert picture is not None and picture.shape[0] > 400 and picture.std() > 10


def test_without_video_nothing_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_video(tmp_path / "walk.mp4", walk(5))
    assert benchmark.main(["--video", str(clip), "--runs", "1", "--people", "1", "--no-video"]) == 0
    table = capsys.readouterr().out.split("ms of one frame")[0]
    assert "5 frames" in table and "write" in table and "draw" not in table


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["--pose", str(MODELS / "person_detector.onnx")], "expected a pose network"),
        (["--pose", "nothing.onnx"], "nothing.onnx"),
        (["--people", "0"], "people should be at least 1, got 0"),
        (["--runs", "0"], "runs should be at least 1, got 0"),
        (["--json", "nowhere/f.json"], "nowhere/f.json: there is no folder nowhere"),
        (["--plot", "nowhere/p.png"], "nowhere/p.png: there is no folder nowhere"),
        (["--frames", "2", "--runs", "1", "--plot", "plot.nonsense"], "plot.nonsense: the plot cannot"),
    ],
)
def test_a_mistake_is_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


def test_a_plot_without_matplotlib_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert benchmark.main(["--plot", "x.png"]) == 1
    BenchmarkSettings()


def test_boxes_are_those_found_and_then_the_same_aside() -> None:
    found = np.array([[0, 0, 10, 20], [50, 0, 60, 20]], np.float32)
    boxes = given_boxes(found, 5, (100, 200, 3))
    assert boxes.shape == (5, 4) and boxes.dtype == np.float32
    assert (boxes[:2] == found).all() and np.allclose(boxes[2:, 0], [11.3, 61.3, 22.6])
    assert np.allclose(boxes[2:, 2] - boxes[2:, 0], 10) and (boxes[2:, [1, 3]] == [0, 20]).all()
    many = given_boxes(found, 60, (100, 200, 3))
    assert many[:, 0].min() >= 0 and many[:, 2].max() <= 200
    (middle,) = given_boxes(np.zeros((0, 4)), 1, (120, 200, 3))
    assert middle.tolist() == [90, 40, 110, 80]


@pytest.mark.parametrize("file", [POSE, MODELS / "edge_coco_256x192.onnx"], ids=lambda file: file.stem)
def test_the_decode_is_told_apart_where_it_can_be(file: Path) -> None:
    with decode_engine(file) as decode:
        assert decode is not None
        maps = np.zeros((2, 17, 64, 48), np.float32)
        maps[:, :, 30:33, 20:23] = 0.5
        maps[:, :, 31, 21] = 0.9
        found = decode({"whole_heatmaps": maps})
    assert np.allclose(found["keypoints"], (84, 124), atol=0.1) and found["scores"].shape == (2, 17)
    with decode_engine(MODELS / "person_detector.onnx") as none, decode_engine(Path("built.engine")) as neither:
        assert none is None and neither is None


def test_people_take_turns_and_spread() -> None:
    asked: list[int] = []

    def times(count: int) -> dict[str, float]:
        asked.append(count)
        return {NETWORK: 10.0 * count + len(asked)}

    found = measure_people(times, [1, 4], 3)
    assert asked == [1, 4, 1, 4, 1, 4]
    assert found[1][NETWORK] == Spread(13, 11, 15) and found[4][NETWORK] == Spread(44, 42, 46)
    assert people_table(found).splitlines()[1].split("  ")[-1].strip() == "44.0 (42.0 to 46.0)"


def test_layers_add_up_with_the_decode_taken_from_its_network() -> None:
    row = {NETWORK: Spread(10, 9, 11), DECODE: Spread(2, 2, 2)}
    assert layers({3: row}) == {NETWORK: [8], DECODE: [2]}


def test_a_clips_figures_are_medians_over_its_runs() -> None:
    def run(seconds: float) -> ClipRun:
        stage: dict[str, Any] = {"count": 10, "total": 100 * seconds, "p50": 1.0, "p95": seconds, "p99": 3.0}
        crop = {"count": 10, "total": 10 * seconds}
        counts = RunCounts(frames=10, people=30, seconds=seconds)
        return ClipRun(counts, {"pose": stage, "capture to output": stage, "pose crop": crop}, 0.2)

    figures = clip_figures([run(1), run(2), run(5)])
    assert figures["frames_per_s"] == Spread(5, 2, 10) and figures["people_per_frame"] == 3
    assert figures["ms_a_frame"]["pose"] == Spread(20, 10, 50) and figures["ms_a_frame"]["pose crop"].median == 2
    assert figures["p95_of_a_call_ms"] == {"pose": 2} and "outside the two networks: 20%" in clip_table(figures)
