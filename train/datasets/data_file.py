"""A user's data set in a YAML file: its skeleton, and where its annotations and pictures are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.skeletons import SKELETON_KEYS, SKELETONS, fits_file_names, skeleton_from
from pipeline.types import Skeleton
from train.datasets.annotations import load_annotations, with_detections
from train.datasets.files import read_yaml
from train.datasets.pictures import Picture

WHAT = "a data set's skeleton, train and validation in YAML"
SOURCE_KEYS = ("annotations", "images")


@dataclass(frozen=True)
class DataSet:
    """A data set that was read.

    train: (pictures, weight) of each part; a picture is drawn as often as its weight says.
    validation: pictures with their annotations. validation_boxes: the same, with the boxes in which people are to be
    estimated: those of a detector where the file names one, else the annotated.
    validation_annotations: the file that the truth is in.
    """

    name: str
    skeleton: Skeleton
    train: list[tuple[list[Picture], float]]
    validation: list[Picture]
    validation_boxes: list[Picture]
    validation_annotations: Path


def read_data_file(path: Path) -> DataSet:
    """The data set that a YAML file describes; its paths are relative to the file's folder.

    `skeleton` is a built-in's name, or else the file has the keys of a skeleton of its own. `name` is the file's
    unless given. `train` (one part or a list) and `validation` have `annotations` and `images`; a part of `train` may
    have a `weight`, `validation` a `detections` file. Raises ValueError or OSError that name the file and what is
    wrong in it.
    """
    content = read_yaml(path, WHAT)
    _check_keys(path, "", content, ("train", "validation"), ("name", "skeleton", *SKELETON_KEYS))
    name = content.get("name", path.stem)
    if not fits_file_names(name):
        raise ValueError(f"{path}: name should be of letters, digits, _ and -, as it names files; got {name!r}")
    skeleton = _skeleton(path, content, name)
    parts = content["train"] if isinstance(content["train"], list) else [content["train"]]
    if not parts:
        raise ValueError(f"{path}: train is an empty list: expected annotations and images, or a list of those")
    validation = content["validation"]
    _check_keys(path, "validation", validation, SOURCE_KEYS, ("detections",))
    truth = _pictures(path, validation, skeleton)
    boxes = truth
    if "detections" in validation:
        boxes = with_detections(truth, _file(path, validation, "detections"))
    annotations = _file(path, validation, "annotations")
    return DataSet(name, skeleton, [_part(path, part, skeleton) for part in parts], truth, boxes, annotations)


def _skeleton(path: Path, content: Mapping[str, Any], name: str) -> Skeleton:
    own = {key: content[key] for key in SKELETON_KEYS if key in content and key != "name"}
    if ("skeleton" in content) == bool(own):
        raise ValueError(
            f"{path}: expected either skeleton (one of {', '.join(SKELETONS)}) or the keys of your own skeleton "
            f"({', '.join(SKELETON_KEYS)}), got {', '.join(['skeleton', *own]) if own else 'neither'}"
        )
    try:
        return skeleton_from({"name": name, **own} if own else str(content["skeleton"]))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _part(path: Path, part: Any, skeleton: Skeleton) -> tuple[list[Picture], float]:
    _check_keys(path, "train", part, SOURCE_KEYS, ("weight",))
    weight = part.get("weight", 1.0)
    if type(weight) not in (int, float) or not 0 < weight < float("inf"):
        raise ValueError(f"{path}: weight should be a positive number, got {weight!r}")
    return _pictures(path, part, skeleton), float(weight)


def _pictures(path: Path, part: Mapping[str, Any], skeleton: Skeleton) -> list[Picture]:
    return load_annotations(_file(path, part, "annotations"), _file(path, part, "images"), skeleton)


def _file(path: Path, part: Mapping[str, Any], key: str) -> Path:
    name = part[key]
    if not isinstance(name, str):
        raise ValueError(f"{path}: {key} should be a path, got {name!r}")
    return path.parent / name


def _check_keys(path: Path, where: str, given: Any, needed: tuple[str, ...], optional: tuple[str, ...]) -> None:
    """Raises ValueError unless `given` is a mapping with the needed keys and none but these and the optional ones."""
    place = f"{path}: {where}".rstrip(": ")
    if not isinstance(given, dict):
        raise ValueError(f"{place}: expected {' and '.join(f'{key}: PATH' for key in needed)}, got {given!r}")
    valid = dict.fromkeys((*needed, *optional))
    if unknown := [str(key) for key in given if key not in valid]:
        raise ValueError(f"{place}: unknown key {', '.join(unknown)}; valid are {', '.join(valid)}")
    if missing := [key for key in needed if key not in given]:
        raise ValueError(f"{place}: {', '.join(missing)} missing; needed are {', '.join(needed)}")
