"""AP of ours and of MediaPipe on the same held-out COCO people, from annotated boxes, by the same evaluation.

MediaPipe takes the shape of one of our engines: it is given the crop of each person that our networks get, at twice the
resolution, as a picture of its own, and seeks and marks the person in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apps.command_line import MODELS, POSE
from benchmarks.peers_runners.protocol import LANDMARKS
from engines.engine import Engine, open_engine
from engines.manifest import Manifest
from pipeline.pose import PoseEstimator
from train.average_precision import Results, average_precision
from train.datasets.coco_layout import split
from train.datasets.pictures import Person, Picture
from train.evaluate import best_of, labelled, numbered, predict
from train.intervals import average_precision_difference, average_precision_interval
from train.truth import truth_of

ROOT = Path(__file__).resolve().parent.parent
SIZE = (384, 512)
GROWN = (1.0, 1.2, 1.6)  # of the box, before the crop's own 1.25: MediaPipe is told with the one that suits it best
KEYPOINTS = 17


class MediaPipeEngine:
    """crops uint8 [N, h, w, 3] BGR -> keypoints [N, 17, 2] crop px, scores [N, 17]; zeros where nobody is found."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, variant: str) -> None:
        name = f"mediapipe_{variant}"
        self.manifest = Manifest(name, "pose", "crops", SIZE, "coco", "float32", 1_000, 0.5, {}, "")
        self._process, self._file = process, folder / "crops.npy"
        self.found = self.asked = 0

    def __call__(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """MediaPipe's landmarks of each crop. Raises RuntimeError when its process has ended."""
        crops = inputs["crops"]
        np.save(self._file, crops)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{self._file}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.manifest.name} ended with exit code {self._process.wait()}")
        rows = json.loads(answer)
        self.asked, self.found = self.asked + len(rows), self.found + sum(row is not None for row in rows)
        nobody = np.zeros((KEYPOINTS, 3)).tolist()
        points = np.array([row or nobody for row in rows], np.float32).reshape(-1, KEYPOINTS, 3)
        return {"keypoints": points[..., :2], "scores": points[..., 2]}


@contextmanager
def mediapipe_engine(python: Path, variant: str) -> Iterator[MediaPipeEngine]:
    """MediaPipe in its own environment, one of lite, full and heavy, for as long as it is needed."""
    command = [str(python), "-m", "benchmarks.peers_runners.mediapipe_pose", LANDMARKS, variant]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield MediaPipeEngine(process, Path(folder), variant)
        finally:
            process.terminate()


def accuracy_table(data: Path, python: Path, variants: Sequence[str]) -> str:
    """Markdown: AP with its interval, and how much higher ours is. data: folder with coco_train/."""
    pictures = labelled(numbered(split(data / "coco_train", validation=True)))
    truth, skeleton = truth_of(pictures), PoseEstimator(open_engine(POSE)).skeleton
    engines = {"ours, int8": open_engine(POSE), "ours, float32": open_engine(MODELS / "edge_coco_256x192.onnx",
               precision="float32")}  # fmt: skip
    results = {name: _results(engine, pictures, 1.0) for name, engine in engines.items()}
    notes = dict.fromkeys(results, "")
    for variant in variants:
        with mediapipe_engine(python, variant) as engine:
            tried = []
            for grown in GROWN:
                engine.found = engine.asked = 0
                found = _results(engine, pictures, grown)
                share = engine.found / engine.asked
                tried.append((average_precision(truth, found, skeleton)["AP"], grown, share, found))
        _, grown, share, found = max(tried, key=lambda one: one[0])
        name = f"MediaPipe, {variant}"
        others = ", ".join(f"{1.25 * one[1]:g}: {one[0]:.3f}" for one in tried)
        results[name], notes[name] = found, f"finds {share:.0%}; crop of {1.25 * grown:g} boxes (AP by crop: {others})"
    people = sum(len(picture.people) for picture in pictures)
    lines = [
        f"{people} people in {len(pictures)} held-out pictures of COCO train2017, annotated boxes, 95 % intervals",
        "",
        "| network | AP | AP .5 | AR | ours, int8, is higher by | note |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        figures, (low, high) = average_precision(truth, found, skeleton), average_precision_interval(
            truth, found, skeleton)  # fmt: skip
        more = average_precision_difference(truth, results["ours, int8"], found, skeleton)
        difference = f"{more[0]:+.3f} to {more[1]:+.3f}" if name != "ours, int8" else "-"
        lines.append(
            f"| {name} | {figures['AP']:.3f} ({low:.3f} to {high:.3f}) | {figures['AP .5']:.3f} | {figures['AR']:.3f} "
            f"| {difference} | {notes[name]} |"
        )
    return "\n".join(lines) + "\n"


def _results(engine: Engine, pictures: Sequence[Picture], grown: float) -> Results:
    estimator = PoseEstimator(engine)
    wider = [replace(one, people=tuple(_grown(person, grown) for person in one.people)) for one in pictures]
    return best_of(predict(estimator, wider), estimator.skeleton)


def _grown(person: Person, factor: float) -> Person:
    """The person with a box of that many times the width and height."""
    middle, half = (person.box[:2] + person.box[2:]) / 2, (person.box[2:] - person.box[:2]) / 2 * factor
    return replace(person, box=np.concatenate((middle - half, middle + half)))
