"""Skeletons: the built-in ones against the reference, a user's own, and what is wrong with a definition."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pipeline.skeletons import SKELETONS, definition_of, skeleton_from, skeleton_named
from tests.helpers import golden_path
from tests.tiny_data import HORSE

REFERENCE_NAMES = {"coco": "coco", "wholebody": "coco_wholebody", "mpii": "mpii"}


@pytest.mark.parametrize("name", REFERENCE_NAMES)
def test_built_in_skeletons_are_the_references(name: str) -> None:
    info = json.loads(golden_path("zoo.json").read_text())["dataset_info"][REFERENCE_NAMES[name]]
    skeleton = skeleton_named(name)
    assert list(skeleton.keypoint_names) == info["keypoint_names"]
    assert [list(pair) for pair in skeleton.flip_pairs] == info["flip_pairs"]
    assert skeleton.flip_order == info["flip_index"]
    assert [list(link) for link in skeleton.links] == info["skeleton"]
    assert list(skeleton.upper_body) == info["upper_body_ids"]
    np.testing.assert_array_equal(skeleton.oks_sigmas, info["sigmas"])


def test_the_built_in_skeletons_have_their_keypoints() -> None:
    assert {name: len(skeleton) for name, skeleton in SKELETONS.items()} == {"coco": 17, "wholebody": 133, "mpii": 16}
    for skeleton in SKELETONS.values():
        assert len(skeleton.oks_sigmas) == len(skeleton)
        for left, right in skeleton.flip_pairs:
            names = skeleton.keypoint_names[left], skeleton.keypoint_names[right]
            assert names[0].startswith("face") or {name.split("_")[0] for name in names} == {"left", "right"}


def test_a_definition_survives_json() -> None:
    for skeleton in (*SKELETONS.values(), skeleton_from(HORSE)):
        definition = json.loads(json.dumps(definition_of(skeleton)))
        again = skeleton_from(definition)
        assert isinstance(definition, str) == (skeleton.name in SKELETONS)
        assert (again.keypoint_names, again.links, again.flip_pairs, again.upper_body) == (
            skeleton.keypoint_names, skeleton.links, skeleton.flip_pairs, skeleton.upper_body,
        )  # fmt: skip
        np.testing.assert_array_equal(again.oks_sigmas, skeleton.oks_sigmas)


def test_a_users_skeleton_is_read_by_names() -> None:
    horse = skeleton_from(HORSE)
    assert horse.keypoint_names == ("nose", "withers", "left_hoof", "right_hoof")
    assert (horse.flip_pairs, horse.links, horse.upper_body) == (((2, 3),), ((0, 1), (1, 2), (1, 3)), (0, 1))
    bare = skeleton_from({key: HORSE[key] for key in ("name", "keypoint_names", "flip_pairs", "oks_sigmas")})
    assert (bare.links, bare.upper_body) == ((), ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": [1]}, r"'horse': unknown key sigmas; valid are name, keypoint_names, .*upper_body"),
        ({"oks_sigmas": None}, r"oks_sigmas should be 4 positive numbers, one a keypoint, got None"),
        ({"oks_sigmas": [0.1, 0.1]}, r"oks_sigmas should be 4 positive numbers, one a keypoint, got 2 of them"),
        ({"oks_sigmas": [0.1, 0.1, 0.1, 0]}, r"4 positive numbers, one a keypoint, got \[0\.1, 0\.1, 0\.1, 0\]"),
        ({"name": "my/horse"}, r"a name of letters, digits, _ and -"),
        ({"name": "coco"}, r"'coco' is built in with other keypoints: give your own another name"),
        ({"keypoint_names": "nose"}, r"keypoint_names should be a list of names"),
        ({"keypoint_names": ["nose", False]}, r"yes, no, on, off in quotes"),
        ({"keypoint_names": ["nose", "withers", "nose", "eye"]}, r"keypoint_names holds nose twice"),
        ({"flip_pairs": [["left_hoof", "right_hof"]]}, r"unknown keypoint right_hof; valid are nose, withers"),
        ({"flip_pairs": [["left_hoof"]]}, r"flip_pairs should hold pairs of two keypoints, got \['left_hoof'\]"),
        ({"flip_pairs": [["nose", "withers"], ["withers", "left_hoof"]]}, r"flip_pairs names withers twice"),
        ({"flip_pairs": "left"}, r"flip_pairs should be a list of pairs of keypoint names, got 'left'"),
        ({"upper_body": "nose"}, r"upper_body should be a list of keypoint names, got 'nose'"),
        ({"links": [["nose", 3]]}, r"links has unknown keypoint 3"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_definition_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skeleton_from({**HORSE, **change})


def test_missing_keys_and_unknown_names_are_listed() -> None:
    with pytest.raises(ValueError, match=r"'horse': flip_pairs, oks_sigmas missing; needed are name, keypoint_names"):
        skeleton_from({"name": "horse", "keypoint_names": ["nose"]})
    with pytest.raises(ValueError, match=r"unknown skeleton 'cocoa': expected one of coco, mpii, wholebody"):
        skeleton_from("cocoa")
