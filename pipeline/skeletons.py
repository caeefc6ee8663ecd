"""The skeletons that networks are trained for, by name, and those that users define in the same format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.types import Skeleton

SKELETON_FILE = Path(__file__).with_name("skeletons.yaml")
REQUIRED_KEYS = ("name", "keypoint_names", "flip_pairs", "oks_sigmas")
SKELETON_KEYS = (*REQUIRED_KEYS, "links", "upper_body")


def skeleton_named(name: str) -> Skeleton:
    """The built-in skeleton of that name. Raises ValueError with the valid names for any other."""
    if name not in SKELETONS:
        raise ValueError(f"unknown skeleton {name!r}: expected one of {', '.join(sorted(SKELETONS))}")
    return SKELETONS[name]


def skeleton_from(definition: str | Mapping[str, Any]) -> Skeleton:
    """The skeleton of a built-in's name, or of a definition as in skeletons.yaml.

    Raises ValueError that names the wrong key, keypoint or length and says what is valid.
    """
    if isinstance(definition, str):
        return skeleton_named(definition)
    skeleton = _read(definition)
    if skeleton.name in SKELETONS and definition_of(skeleton) != skeleton.name:
        raise ValueError(f"skeleton {skeleton.name!r} is built in with other keypoints: give your own another name")
    return skeleton


def definition_of(skeleton: Skeleton) -> str | dict[str, Any]:
    """What `skeleton_from` makes the skeleton of again: the name of a built-in, or its definition, fit for JSON."""
    written = _written(skeleton)
    built_in = SKELETONS.get(skeleton.name)
    return skeleton.name if built_in is not None and _written(built_in) == written else written


def fits_file_names(name: object) -> bool:
    """Whether it is text of letters, digits, _ and -: names of skeletons and data sets become parts of file names."""
    return isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum()


def _written(skeleton: Skeleton) -> dict[str, Any]:
    names = skeleton.keypoint_names
    return {
        "name": skeleton.name,
        "keypoint_names": list(names),
        "flip_pairs": [[names[i] for i in pair] for pair in skeleton.flip_pairs],
        "oks_sigmas": skeleton.oks_sigmas.tolist(),
        "links": [[names[i] for i in pair] for pair in skeleton.links],
        "upper_body": [names[i] for i in skeleton.upper_body],
    }


def _read(definition: Mapping[str, Any]) -> Skeleton:
    where = f"skeleton {definition.get('name', '')!r}"
    if unknown := [str(key) for key in definition if key not in SKELETON_KEYS]:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; valid are {', '.join(SKELETON_KEYS)}")
    if missing := [key for key in REQUIRED_KEYS if key not in definition]:
        raise ValueError(f"{where}: {', '.join(missing)} missing; needed are {', '.join(REQUIRED_KEYS)}")
    name = definition["name"]
    if not fits_file_names(name):
        raise ValueError(f"{where}: expected a name of letters, digits, _ and -, which can be part of a file's name")
    names = _names(where, definition["keypoint_names"])
    flips = _pairs(where, "flip_pairs", definition["flip_pairs"], names)
    swapped = [index for pair in flips for index in pair]
    if twice := sorted({names[index] for index in swapped if swapped.count(index) > 1}):
        raise ValueError(f"{where}: flip_pairs names {', '.join(twice)} twice; a keypoint swaps with one other")
    upper = definition.get("upper_body", [])
    return Skeleton(
        name=name,
        keypoint_names=tuple(names),
        links=_pairs(where, "links", definition.get("links", []), names),
        flip_pairs=flips,
        oks_sigmas=_sigmas(where, definition["oks_sigmas"], len(names)),
        upper_body=_indices(where, "upper_body", upper, names),
    )


def _names(where: str, given: Any) -> list[str]:
    if not isinstance(given, list | tuple) or not given or not all(isinstance(name, str) and name for name in given):
        raise ValueError(
            f"{where}: keypoint_names should be a list of names (yes, no, on, off in quotes), got {given!r}"
        )
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"{where}: keypoint_names holds {', '.join(twice)} twice")
    return list(given)


def _indices(where: str, key: str, given: Any, names: list[str]) -> tuple[int, ...]:
    """The places of the keypoints that `given` names."""
    if not isinstance(given, list | tuple):
        raise ValueError(f"{where}: {key} should be a list of keypoint names, got {given!r}")
    if unknown := [str(name) for name in given if name not in names]:
        raise ValueError(f"{where}: {key} has unknown keypoint {', '.join(unknown)}; valid are {', '.join(names)}")
    return tuple(names.index(name) for name in given)


def _pairs(where: str, key: str, given: Any, names: list[str]) -> tuple[tuple[int, int], ...]:
    if not isinstance(given, list | tuple):
        raise ValueError(f"{where}: {key} should be a list of pairs of keypoint names, got {given!r}")
    pairs = []
    for pair in given:
        indices = _indices(where, key, pair, names)
        if len(set(indices)) != 2 or len(indices) != 2:
            raise ValueError(f"{where}: {key} should hold pairs of two keypoints, got {pair!r}")
        pairs.append((indices[0], indices[1]))
    return tuple(pairs)


def _sigmas(where: str, given: Any, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    numbers = isinstance(given, list | tuple) and all(type(value) in (int, float) and value > 0 for value in given)
    if not numbers or len(given) != count:
        found = f"{len(given)} of them" if numbers else repr(given)
        raise ValueError(f"{where}: oks_sigmas should be {count} positive numbers, one a keypoint, got {found}")
    return np.array(given, np.float64)


def _built_in() -> dict[str, Skeleton]:
    documents = yaml.safe_load_all(SKELETON_FILE.read_text(encoding="utf-8"))
    return {skeleton.name: skeleton for skeleton in map(_read, documents)}


SKELETONS: Mapping[str, Skeleton] = _built_in()
COCO = SKELETONS["coco"]
