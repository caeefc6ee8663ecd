"""A user's data set in a YAML file, and what is said about a wrong one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.skeletons import COCO
from tests.tiny_data import HORSE, make_folder, make_horses
from train.datasets.data_file import read_data_file

PART = {"annotations": "horses.json", "images": "photos"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_horses(tmp_path)
    return tmp_path


def data_file(folder: Path, content: Any, name: str = "stable.yaml") -> Path:
    (folder / name).write_text(yaml.safe_dump(content))
    return folder / name


def horse_data(**changes: Any) -> dict[str, Any]:
    content = {**HORSE, "train": PART, "validation": PART, **changes}
    return {key: value for key, value in content.items() if value is not None}


def test_a_data_set_with_its_own_skeleton_is_read(folder: Path) -> None:
    data = read_data_file(data_file(folder, horse_data(train=[PART, {**PART, "weight": 3}])))
    assert (data.name, data.skeleton.name, data.skeleton.flip_pairs) == ("horse", "horse", ((2, 3),))
    assert [(len(pictures), weight) for pictures, weight in data.train] == [(1, 1.0), (1, 3.0)]
    (horse,) = data.validation[0].people
    assert horse.joints is not None and horse.joints.shape == (4, 3)
    assert data.validation_boxes is data.validation and data.validation_annotations == folder / "horses.json"


def test_a_data_set_without_a_name_has_its_files(folder: Path) -> None:
    data = read_data_file(data_file(folder, horse_data(name=None)))
    assert (data.name, data.skeleton.name) == ("stable", "stable")


def test_a_data_set_of_a_known_skeleton_is_read_with_detections(tmp_path: Path) -> None:
    make_folder(tmp_path / "people")
    rows = [{"image_id": 1, "category_id": 1, "bbox": [30, 10, 50, 120], "score": 0.75}]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    part = {"annotations": "people/person_keypoints.json", "images": "people/images"}
    content = {"skeleton": "coco", "train": part, "validation": {**part, "detections": "boxes.json"}}
    data = read_data_file(data_file(tmp_path, content))
    assert data.skeleton is COCO and len(data.train) == 1 and data.name == "stable"
    assert [len(picture.people) for picture in data.validation] == [1, 2, 0]
    assert [person.box_score for picture in data.validation_boxes for person in picture.people] == [0.75]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": PART}, r"stable\.yaml: unknown key test; valid are train, validation, name, skeleton"),
        ({"validation": None}, r"stable\.yaml: validation missing; needed are train, validation"),
        ({"train": []}, r"train is an empty list"),
        ({"train": "horses.json"}, r"train: expected annotations: PATH and images: PATH, got 'horses\.json'"),
        ({"train": {"annotations": "horses.json"}}, r"train: images missing; needed are annotations, images"),
        ({"train": {**PART, "image": "photos"}}, r"train: unknown key image; valid are annotations, images, weight"),
        ({"train": {**PART, "weight": 0}}, r"weight should be a positive number, got 0"),
        ({"train": {**PART, "weight": "much"}}, r"weight should be a positive number, got 'much'"),
        ({"validation": {**PART, "weight": 2}}, r"validation: unknown key weight; .*detections"),
        ({"validation": {**PART, "images": 3}}, r"images should be a path, got 3"),
        ({"validation": {**PART, "detections": "horses.json"}}, r"horses\.json holds annotations or something else"),
        ({"skeleton": "coco"}, r"either skeleton \(one of coco, wholebody, mpii\) or the keys of your own"),
        (dict.fromkeys(HORSE), r"either skeleton .*got neither"),
        (dict.fromkeys(HORSE) | {"skeleton": "horse"}, r"unknown skeleton 'horse': expected one of coco, mpii"),
        ({"oks_sigmas": [1]}, r"stable\.yaml: skeleton 'horse': oks_sigmas should be 4 positive numbers"),
        ({"name": "my horse"}, r"name should be of letters, digits, _ and -"),
        ({"keypoint_names": ["nose", "tail"], "flip_pairs": []}, r"upper_body|links|oks_sigmas"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_data_file_is_said(changes: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_data_file(data_file(folder, horse_data(**changes)))
    assert "\n" not in str(error.value)


def test_wrong_data_files_and_paths_in_them_are_said(folder: Path) -> None:
    (folder / "broken.yaml").write_text("train: [")
    (folder / "text.yaml").write_text("just text")
    (folder / "empty.yaml").write_text("")
    for path, kind, message in (
        (folder / "none.yaml", FileNotFoundError, r"there is no file .*none\.yaml: expected a data set's skeleton"),
        (folder, IsADirectoryError, r"is a folder"),
        (folder / "broken.yaml", ValueError, r"broken\.yaml is not YAML \(while parsing"),
        (folder / "text.yaml", ValueError, r"text\.yaml holds a str and no 'key: value' lines"),
        (folder / "empty.yaml", ValueError, r"empty\.yaml is empty"),
        (
            data_file(folder, horse_data(train={**PART, "annotations": "no.json"})),
            FileNotFoundError,
            r"there is no file .*no\.json",
        ),
    ):
        with pytest.raises(kind, match=message):
            read_data_file(path)
