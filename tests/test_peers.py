"""The comparison with peers: what tables make of measurements, how runners are asked, what all of them are given."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import peers
from benchmarks.conventional import full_map_decode, network_inputs, to_frame
from benchmarks.peers_inputs import one_person
from benchmarks.peers_runners import protocol
from benchmarks.peers_runners.protocol import FILE, PERSON, Job, Measurement
from benchmarks.peers_table import Contender, Outcome, as_json, lines_of, markdown
from pipeline.affine import crop_people
from tests.fakes import frame_of, picture, poses_at, walk, write_video
from train.dark import decode, encode


def contender(label: str, **changes: Any) -> Contender:
    return Contender(
        **{"table": "poses", "label": label, "environment": "", "runner": "none", "variant": "", **changes}
    )


def measurement(frames_per_s: float, **changes: Any) -> Measurement:
    values = {
        "case": "5 given", "frames": 10, "seconds": 10 / frames_per_s, "cpu_s": 20 / frames_per_s, "peak_mb": 100.0,
        "people": 50, "latencies_ms": [1000 / frames_per_s] * 10, "keypoints": [], "scores": [],
    }  # fmt: skip
    return Measurement(**{**values, **changes})


def outcome(label: str, runs: list[Measurement], **changes: Any) -> Outcome:
    made = Outcome(contender(label, **changes))
    for run in runs:
        made.runs.setdefault(run.case, []).append(run)
    return made


def job(folder: Path, **changes: Any) -> Job:
    values = {
        "network": "net", "variant": "v", "inputs": str(folder), "video": str(folder / "clip.mp4"), "people": [2],
        "cases": [], "threads": 1, "warm_up": 1, "frames": 6, "seconds": 60.0,
    }  # fmt: skip
    return Job(**{**values, **changes})


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # The machine slows down by half in the second round and by ten in the third: the ratio stays four.
    ours = outcome("ours", [measurement(rate) for rate in (40, 20, 4)], reference=True)
    slow = outcome("slow", [measurement(rate) for rate in (10, 5, 1)])
    first, second = lines_of([ours, slow])
    assert first.ratio == pytest.approx(1) and second.ratio == pytest.approx(4)
    assert (second.frames_per_s, second.least, second.most) == pytest.approx((5, 1, 10))
    assert second.p50_ms == pytest.approx(200) and second.p99_ms == pytest.approx(1000)
    assert second.cpu_s == pytest.approx(0.4) and second.people == 5


def test_a_table_has_its_own_reference_and_cases_together() -> None:
    ours = outcome("ours", [measurement(8), measurement(9, case="1 given")], reference=True)
    peer = outcome("peer", [measurement(2), measurement(3, case="1 given")])
    other = outcome("alone", [measurement(7)], table="elsewhere", environment="theirs")
    text = markdown([ours, peer, other])
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:5] == [["ours", "5 given"], ["peer", "5 given"], ["ours", "1 given"], ["peer", "1 given"]]
    assert lines_of([ours, peer, other])[-1].ratio is None
    assert "4.00" in text and "3.00" in text and "**elsewhere**" in text


def test_where_the_reference_cannot_be_measured_the_first_of_ours_is_it() -> None:
    refused = outcome("ours, bfloat16", [], reference=True)
    peer = outcome("peer", [measurement(2)], environment="theirs")
    lines = lines_of([refused, peer, outcome("ours, int8", [measurement(8)]), outcome("ours", [measurement(4)])])
    assert [line.ratio for line in lines] == pytest.approx([4, 1, 2])


def test_distances_are_of_keypoints_that_ours_is_sure_of() -> None:
    ours = measurement(8, keypoints=[[[0, 0], [10, 10]]], scores=[[0.9, 0.1]])
    peer = measurement(2, keypoints=[[[3, 4], [90, 90]]], scores=[[0.9, 0.9]])
    lines = lines_of([outcome("ours", [ours], reference=True), outcome("peer", [peer])])
    assert lines[0].apart_px is None and lines[1].apart_px == pytest.approx(5)
    untrained = [outcome("ours", [ours], reference=True), outcome("peer", [peer], compared=False)]
    assert lines_of(untrained)[1].apart_px is None


@pytest.mark.parametrize("people", [(0, 0, 0), (0, 0, 9), (1, 1, 0)], ids=["nobody", "once", "hardly anybody"])
def test_who_finds_hardly_anybody_has_no_ratio(people: tuple[int, ...]) -> None:
    blind = outcome("blind", [measurement(80, people=count, frames=100) for count in people])
    found = [outcome("ours", [measurement(8)] * 3, reference=True), blind]
    assert lines_of(found)[1].ratio is None and "blind (finds hardly anybody)" in markdown(found)


def test_what_fails_is_said_and_not_counted() -> None:
    broken = outcome("broken", [])
    broken.failure = "no such module"
    found = [outcome("ours", [measurement(8)], reference=True), broken]
    assert "broken: not measured (no such module)" in markdown(found)
    assert json.loads(json.dumps(as_json(found)))[1]["failure"] == "no such module"


RUNNER = """
import json, sys
job = json.load(open(sys.argv[1]))
print("some library says hello")
one = dict(case="2 given", frames=4, seconds=2.0, cpu_s=1.0, peak_mb=9.0, people=8, latencies_ms=[1.0], keypoints=[],
           scores=[])
if job["variant"] == "broken":
    raise SystemExit("Traceback\\nValueError: it broke")
if job["variant"] != "silent":
    print(json.dumps({"measurements": [one], "versions": {"threads": str(job["threads"])}}))
"""


@pytest.fixture
def fake_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """benchmarks.peers_runners.none below a folder that runners find their modules in."""
    package = tmp_path / "root" / "benchmarks" / "peers_runners"
    package.mkdir(parents=True)
    (package / "none.py").write_text(RUNNER)
    monkeypatch.setattr(peers, "ROOT", tmp_path / "root")
    return tmp_path


def test_a_runner_is_a_process_that_gets_a_job_and_prints_json(fake_runner: Path) -> None:
    result = peers.run_once(contender("fake"), Path(sys.executable), job(fake_runner), fake_runner)
    made = Outcome(contender("fake"))
    made.add(result)
    assert made.runs["2 given"][0].frames == 4 and made.versions == {"threads": "1"}


@pytest.mark.parametrize(("variant", "words"), [("broken", "it broke"), ("silent", "printed no result")])
def test_a_runner_that_fails_is_an_error_with_its_last_words(fake_runner: Path, variant: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        peers.run_once(contender("fake"), Path(sys.executable), job(fake_runner, variant=variant), fake_runner)


def test_a_missing_environment_is_an_error(fake_runner: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        peers.run_once(contender("fake"), fake_runner / "nowhere" / "python", job(fake_runner), fake_runner)


def test_rounds_go_on_without_those_who_fail(fake_runner: Path) -> None:
    options = argparse.Namespace(
        runs=2, environments=fake_runner, out=fake_runner, video=fake_runner / "clip.mp4", threads=1, warm_up=0,
        frames=5, seconds=1.0, weights=None,
    )  # fmt: skip
    some = [contender("fine", people=(2,), reference=True), contender("broken", variant="broken", people=(2,))]
    fine, broken = peers.measure(some, options)
    assert len(fine.runs["2 given"]) == 2 and broken.failure == "ValueError: it broke" and not broken.runs
    assert "broken: not measured" in (fake_runner / "peers.md").read_text()
    assert json.loads((fake_runner / "peers.json").read_text())["about"]["runs"] == 2


def test_the_clock_counts_frames_after_the_warm_up_and_people_of_each(tmp_path: Path) -> None:
    frames = np.stack(walk(3))
    np.save(tmp_path / "frames.npy", frames)
    np.save(tmp_path / "boxes_2.npy", np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4))
    np.save(tmp_path / "person.npy", frames[:, :100, :100])
    write_video(tmp_path / "clip.mp4", list(walk(9)))
    seen: list[float] = []

    def given(image: Any, boxes: Any) -> tuple[Any, Any]:
        seen.append(float(boxes[0, 0]))
        return np.zeros((len(boxes), 17, 2)), np.ones((len(boxes), 17))

    work = job(tmp_path, cases=[PERSON, FILE])
    made = protocol.run(work, given, lambda: lambda image: 1)
    assert [(one.case, one.frames, one.people) for one in made] == [("2 given", 6, 12), (PERSON, 6, 6), (FILE, 6, 6)]
    assert seen == [0, 0, 0, 8, 16, 0, 8, 16]  # a warm-up, the compared frame, then all in turn
    assert all(len(one.latencies_ms) == one.frames and one.peak_mb > 1 for one in made)
    assert np.shape(made[0].keypoints) == (2, 17, 2)
    # Five frames are timed however long they take; a clip that ends early gives what it has.
    assert protocol.run(job(tmp_path, seconds=0.0), given, None)[0].frames == 5
    assert protocol.run(job(tmp_path, people=[], cases=[FILE], frames=99), None, lambda: lambda image: 0)[0].frames == 8


def test_the_conventional_steps_agree_with_ours() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (240, 320, 3), np.uint8)
    boxes = np.array([[50.5, 40.25, 110.0, 200.0], [200.0, 10.0, 260.0, 90.0]], np.float32)
    inputs, centers, scales = network_inputs(image, boxes, (192, 256))
    crops, _ = crop_people(image, boxes, (192, 256))
    pixels = inputs.transpose(0, 2, 3, 1) * np.array((0.229, 0.224, 0.225)) + np.array((0.485, 0.456, 0.406))
    assert np.abs(255 * pixels[..., ::-1] - crops).mean() < 1
    joints = rng.uniform(40, 150, (2, 17, 2))
    maps = np.stack([encode(one, np.ones(17), (192, 256), (48, 64), 2.0)[0] for one in joints])
    points, scores = full_map_decode(maps)
    expected, heights = decode(torch.from_numpy(maps), 11)
    assert np.abs(points - expected.numpy()).max() < 1e-3 and np.allclose(scores, heights.numpy())
    corners = to_frame(np.array([[[0, 0], [48, 64]]] * 2, np.float32), centers, scales, (48, 64))
    assert np.allclose(corners.mean(1), centers, atol=1e-3)
    assert np.allclose(corners[:, 1] - corners[:, 0], 200 * scales, rtol=1e-5)


def test_one_person_is_shown_where_nobody_else_reaches_in() -> None:
    frames = [frame_of(picture((20, 60, 60, 160)), index) for index in range(6)]
    near, far = [40.0, 70.0, 80.0, 150.0], [250.0, 70.0, 290.0, 150.0]
    poses = [poses_at([[20, 60, 60, 160], near if index == 1 else far]) for index in range(6)]
    shown = one_person(frames, poses)
    assert shown.shape == (4, 180, 180, 3) and shown[0, 40:140, 20:60].min() == 255
    with pytest.raises(ValueError, match="nobody is alone"):
        one_person(frames[:1], [poses_at([])])
