"""A batch on a Ray cluster of two nodes on this machine, one of which is lost."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps import video
from pipeline.batch.plan import RECORDS
from tests.fakes import read_lines, walk, write_video
from tests.fakes_batch import FRAME_S, TroubledNetworks, program, results, wait_until
from tests.helpers import REPOSITORY

ray = pytest.importorskip("ray", reason='Ray is not installed: pip install -e ".[ray]"')
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
HEAD = {**NODE, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
STARTED_S = 300.0  # processes start slowly on a busy machine


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes, which sees this repository and takes its time for a frame."""
    from ray.cluster_utils import Cluster

    changes = {FRAME_S: "0.1", "PYTHONPATH": str(REPOSITORY), "RAY_worker_niceness": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        two: Any = Cluster(initialize_head=True, head_node_args=HEAD)
        two.add_node(**NODE)
        yield two
        two.shutdown()


def inputs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        write_video(folder / f"{index}.mp4", walk(20 + index))
    return folder


def test_when_a_node_is_lost_every_frame_of_every_file_comes_once(cluster: Any, tmp_path: Path) -> None:
    folder, out = inputs(tmp_path / "in", 5), tmp_path / "out"
    (folder / "text.mp4").write_text("no video")
    arguments = [str(folder), "--out", str(out), "--no-video", "--summary", str(tmp_path / "summary.json")]
    process = program(0, *arguments, "--ray", cluster.address)
    wait_until(lambda: len(list(out.glob(f"{RECORDS}/work/*/*.partial.jsonl"))) == 2, STARTED_S)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    printed, told_text = process.communicate(timeout=STARTED_S)
    told = told_text.splitlines()
    assert process.returncode == 1  # the one that is no video
    assert told[-2] == "1 of 6 inputs failed:"
    (again,) = [line for line in told if "it is tried again" in line]
    assert "the node or process that worked on it was lost" in again
    assert printed == ""  # what Ray has to say of its nodes would stand there
    assert not [line for line in told if line.startswith("[") or "raylet" in line or "Traceback" in line]
    for index in range(5):
        assert [line["frame"] for line in read_lines(out / f"{index}.jsonl")] == list(range(20 + index))
    report = json.loads((tmp_path / "summary.json").read_text())
    assert report["frames"] == sum(range(20, 25))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "Networks", TroubledNetworks)
        patch.delenv(FRAME_S)
        assert video.main([str(folder), "--out", str(tmp_path / "here"), "--no-video", "--jobs", "1"]) == 1
    assert results(out) == results(tmp_path / "here")


def test_a_signal_ends_a_run_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    folder, out = inputs(tmp_path / "in", 2), tmp_path / "out"
    process = program(0, str(folder), "--out", str(out), "--no-video", "--ray", cluster.address, "--jobs", "1")
    wait_until(lambda: bool(list(out.glob(f"{RECORDS}/work/*/*.partial.jsonl"))), STARTED_S)
    process.send_signal(signal.SIGTERM)
    printed, told = process.communicate(timeout=STARTED_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in told
    assert (printed, "Traceback" in told) == ("", False)
    assert set(results(out)) <= {"0.partial.jsonl"}
