"""What a network file says about itself: everything that is needed to run it, carried in its ONNX metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from engines.versioned_json import fields_from_json

METADATA_KEY = "darkstream"
MANIFEST_VERSION = 1
TASKS = ("person_detector", "pose")
INPUTS = ("crops", "frame")
PRECISIONS = ("float32", "float16", "int8")
# A detector sees the frame padded with this grey level, right and below, to multiples of this many px.
PADDING_GREY = 114
SIDE_MULTIPLE = 32


class ModelError(ValueError):
    """A network file that cannot be used; the message says what was expected, what came and how to mend it."""


@dataclass(frozen=True)
class Manifest:
    """What a network file needs to be run.

    name: the network's name, as in "edge_coco_256x192". task: one of TASKS.
    input: one of INPUTS: crops that are made outside, or the whole frame, in whose px the answers are then.
    input_size: (width, height) in px of a pose crop; for a detector the longest side of its input is the first
    number, and height and width are any multiples of 32 up to it.
    skeleton: the keypoints' skeleton, a built-in one's name or a whole definition; None for a detector.
    precision: how the weights are stored, one of PRECISIONS. largest_batch: inputs that one run takes at most.
    score_threshold: 0 to 1, the apps' default for showing a detection or a keypoint.
    versions: tool versions at export. network_sha256: hash of the network's weights, before composition.
    flip_test: whether the network also sees each crop mirrored and decodes the mean of both heatmaps.
    """

    name: str
    task: str
    input: str
    input_size: tuple[int, int]
    skeleton: str | dict[str, Any] | None
    precision: str
    largest_batch: int
    score_threshold: float
    versions: dict[str, str]
    network_sha256: str
    flip_test: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError naming the first field with a value that no network can have."""
        _one_of("task", self.task, TASKS)
        _one_of("input", self.input, INPUTS)
        _one_of("precision", self.precision, PRECISIONS)
        size: object = self.input_size
        if not isinstance(size, tuple) or len(size) != 2 or not all(map(_is_positive_int, size)):
            raise ValueError(f"manifest: input_size should be (width, height) in px, got {self.input_size!r}")
        if not _is_positive_int(self.largest_batch):
            raise ValueError(f"manifest: largest_batch should be a positive integer, got {self.largest_batch!r}")
        if not isinstance(self.score_threshold, (int, float)) or not 0 <= self.score_threshold <= 1:
            raise ValueError(f"manifest: score_threshold should be 0 to 1, got {self.score_threshold!r}")
        if (self.skeleton is not None) != (self.task == "pose"):
            raise ValueError(f"manifest: a {self.task} network has skeleton {self.skeleton!r}; only poses have one")
        if not isinstance(self.skeleton, (str, dict, NoneType)):
            raise ValueError(f"manifest: skeleton should be a name or a definition, got {self.skeleton!r}")
        if not isinstance(self.flip_test, bool) or (self.flip_test and self.task != "pose"):
            raise ValueError(
                f"manifest: flip_test should be true or false, and true only for poses: {self.flip_test!r}"
            )

    def to_json(self) -> str:
        """The manifest as one JSON object, with its version."""
        return json.dumps({"manifest_version": MANIFEST_VERSION, **asdict(self)})

    @staticmethod
    def from_json(text: str) -> Manifest:
        """The manifest of such a JSON object. Raises ValueError naming an unknown version, unknown or missing keys."""
        values = fields_from_json(text, Manifest, "manifest", MANIFEST_VERSION)
        if isinstance(values["input_size"], list):
            values["input_size"] = tuple(values["input_size"])
        return Manifest(**values)


def manifest_from_metadata(metadata: Mapping[str, str], file: Path) -> Manifest:
    """The manifest among a file's ONNX metadata. Raises ModelError, which names the file, if there is no valid one."""
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{file} is not a darkstream network: no manifest in its metadata; export it with python -m train export"
        )
    try:
        return Manifest.from_json(metadata[METADATA_KEY])
    except ValueError as error:
        raise ModelError(f"{file}: {error}; export it again with python -m train export") from error


def unusable(file: Path, error: Exception) -> ModelError:
    """What a runtime said about a file, in one line: the last line of its message is the one that says it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return ModelError(f"{file} is not an ONNX network that can be run, or only a part of one: {reason}")


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"manifest: {field} should be one of {', '.join(allowed)}, got {value!r}")


def _is_positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
