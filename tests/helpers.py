"""Small fakes and look-ups that several tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engines.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parent.parent
Array = npt.NDArray[np.floating[Any]]
Arrays = dict[str, npt.NDArray[np.generic]]


def golden_path(name: str) -> Path:
    """The golden case of that name, in $DARKSTREAM_GOLDEN or else ../shared/golden. Skips the test if it is absent."""
    folder = Path(os.environ.get("DARKSTREAM_GOLDEN") or REPOSITORY.parent / "shared" / "golden")
    if not (folder / name).is_file():
        pytest.skip(f"golden case {name} is not in {folder}: set DARKSTREAM_GOLDEN to the folder that holds it")
    return folder / name


def golden_inputs() -> ModuleType:
    """The golden folder's `regen.py` as a module: it rebuilds the inputs of the golden cases."""
    spec = importlib.util.spec_from_file_location("golden_regen", golden_path("regen.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def short_steps(points: Array, heatmaps: Array, longest: float = 3.0) -> npt.NDArray[np.bool_]:
    """Where a decode [N, K, 2] went less than `longest` px from the maximum: further on the step is ill-conditioned."""
    place = heatmaps.reshape(*heatmaps.shape[:2], -1).argmax(-1)
    peak = np.stack([place % heatmaps.shape[3], place // heatmaps.shape[3]], -1)
    return np.asarray(np.abs(points - peak).max(-1) < longest)


def pose_manifest(width: int = 48, height: int = 64, largest_batch: int = 32) -> Manifest:
    """The manifest of a small COCO pose network."""
    return Manifest("tiny_pose", "pose", "crops", (width, height), "coco", "float32", largest_batch, 0.3, {}, "0" * 64)


def detector_manifest(longest_side: int = 96) -> Manifest:
    """The manifest of a small person detector."""
    size = (longest_side, longest_side)
    return Manifest("tiny_detector", "person_detector", "crops", size, None, "float32", 1, 0.4, {}, "0" * 64)


class FakeEngine:
    """An engine that answers with `answer(inputs)` and remembers what it was given."""

    def __init__(self, manifest: Manifest, answer: Callable[[Arrays], Arrays]) -> None:
        self.manifest = manifest
        self.answer = answer
        self.calls: list[Arrays] = []

    def __call__(self, inputs: Arrays) -> Arrays:
        self.calls.append({name: value.copy() for name, value in inputs.items()})
        return self.answer(inputs)
