"""The manifest survives its trip through a file, and says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.engine import ModelError
from engines.manifest import METADATA_KEY, Manifest, manifest_from_metadata
from tests.helpers import detector_manifest, pose_manifest


def changed(**values: Any) -> str:
    """The JSON of a pose manifest with other values; None takes a key out."""
    fields = {**json.loads(pose_manifest().to_json()), **values}
    return json.dumps({key: value for key, value in fields.items() if value != "absent"})


OWN_SKELETON = replace(pose_manifest(), skeleton={"name": "pen", "keypoint_names": ["tip", "end"]}, flip_test=True)
ON_FRAMES = replace(detector_manifest(), input="frame")


@pytest.mark.parametrize("manifest", [pose_manifest(), detector_manifest(), OWN_SKELETON, ON_FRAMES])
def test_json_there_and_back(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_file_from_before_the_flip_test_has_none() -> None:
    assert not Manifest.from_json(changed(flip_test="absent")).flip_test


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": 1}, "unknown key color"),
        ({"task": "absent"}, "missing key task"),
        ({"manifest_version": 99}, "version 99 is unknown"),
        ({"manifest_version": "absent"}, "version None is unknown"),
        ({"task": "segmentation"}, "task should be one of person_detector, pose, got 'segmentation'"),
        ({"task": ["pose"]}, "task should be one of"),
        ({"input": "video"}, "input should be one of crops, frame, got 'video'"),
        ({"precision": "float8"}, "precision should be one of"),
        ({"input_size": [192]}, "input_size should be"),
        ({"input_size": [192, -1]}, "input_size should be"),
        ({"input_size": 192}, "input_size should be"),
        ({"largest_batch": 0}, "largest_batch should be"),
        ({"largest_batch": True}, "largest_batch should be"),
        ({"score_threshold": "high"}, "score_threshold should be"),
        ({"score_threshold": 1.5}, "score_threshold should be"),
        ({"skeleton": None}, "only poses have one"),
        ({"skeleton": 3}, "skeleton should be a name or a definition, got 3"),
        ({"flip_test": "yes"}, "flip_test should be true or false"),
    ],
)
def test_a_wrong_manifest_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Manifest.from_json(changed(**values))


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_no_json_object_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Manifest.from_json(text)


def test_errors_name_the_file_and_the_cure() -> None:
    with pytest.raises(ModelError, match=r"net\.onnx is not a darkstream network: no manifest .* train export"):
        manifest_from_metadata({}, Path("net.onnx"))
    with pytest.raises(ModelError, match=r"net\.onnx: manifest: missing key task; export it again"):
        manifest_from_metadata({METADATA_KEY: changed(task="absent")}, Path("net.onnx"))
