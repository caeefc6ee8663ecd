"""Annotation files and detectors' boxes: the reference's cleaning rules, and what is said about a wrong file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.affine import boxes_to_center_scale
from pipeline.skeletons import COCO, SKELETONS, skeleton_from
from pipeline.types import Skeleton
from tests.helpers import golden_path
from tests.tiny_data import HORSE, make_horses
from train.datasets.annotations import load_annotations, with_detections
from train.datasets.coco_layout import WHOLEBODY_PARTS, load_pictures
from train.datasets.pictures import Person, Picture

WHOLEBODY, MPII = SKELETONS["wholebody"], SKELETONS["mpii"]
POINT_COUNTS = dict(zip(WHOLEBODY_PARTS, (6, 68, 21, 21), strict=True))


def people(pictures: list[Picture]) -> list[tuple[Picture, Person]]:
    """The people with joints."""
    return [(picture, person) for picture in pictures for person in picture.people if person.joints is not None]


def written(folder: Path, content: Any, name: str = "file.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder / name


def with_empty_pictures(annotations: Path, folder: Path) -> tuple[Path, Path]:
    """The annotations, and a folder with files of the names of their pictures."""
    content = json.loads(annotations.read_text())
    for row in content["images"] if isinstance(content, dict) else content:
        (folder / row.get("file_name", row.get("image"))).touch()
    return annotations, folder


def coco_row(**changes: Any) -> dict[str, Any]:
    row = {"id": 1, "image_id": 1, "bbox": [10, 10, 20, 30], "area": 300.0, "iscrowd": 0, "num_keypoints": 17}
    return {**row, "keypoints": [12, 13, 2] * 17, **changes}


def wholebody_row(**changes: Any) -> dict[str, Any]:
    parts = {part: [number, number, 0.25] * count for number, (part, count) in enumerate(POINT_COUNTS.items(), 1)}
    return coco_row(**parts, **changes)


def mpii_row(**changes: Any) -> dict[str, Any]:
    row = {"image": "1.png", "center": [60.0, 50.0], "scale": 0.4, "joints_vis": [1] * 15 + [0]}
    return {**row, "joints": [[31.5, 41.0]] * 15 + [[-1, -1]], **changes}


def read_rows(folder: Path, rows: list[dict[str, Any]], skeleton: Skeleton = COCO) -> list[Picture]:
    """Pictures of annotations of one picture of 100 x 80 px."""
    images = [{"id": 1, "file_name": "1.png", "width": 100, "height": 80}]
    path = written(folder, {"images": images, "annotations": rows})
    return load_annotations(*with_empty_pictures(path, folder), skeleton)


@pytest.mark.parametrize(("name", "skeleton"), [("coco", COCO), ("wholebody", WHOLEBODY)], ids=["coco", "wholebody"])
def test_people_are_the_references(name: str, skeleton: Skeleton, tmp_path: Path) -> None:
    golden = np.load(golden_path("evaluate.npz"))
    file = golden_path("test_coco_wholebody.json" if name == "wholebody" else "test_coco.json")
    found = people(load_annotations(*with_empty_pictures(file, tmp_path), skeleton))
    assert [picture.image_id for picture, _ in found] == golden[f"{name}/db_image"].tolist()
    boxes = np.stack([person.box for _, person in found])
    np.testing.assert_array_equal(boxes[:, :2], golden[f"{name}/db_bbox"][:, :2])
    np.testing.assert_array_equal(boxes[:, 2:] - boxes[:, :2], golden[f"{name}/db_bbox"][:, 2:])
    joints = np.stack([person.joints for _, person in found if person.joints is not None])
    np.testing.assert_array_equal(joints[..., :2], golden[f"{name}/db_joints"])
    np.testing.assert_array_equal(np.minimum(joints[..., 2], 1), golden[f"{name}/db_visible"])


def test_people_of_mpii_are_the_references(tmp_path: Path) -> None:
    golden = np.load(golden_path("evaluate.npz"))
    found = people(load_annotations(*with_empty_pictures(golden_path("test_mpii.json"), tmp_path), MPII))
    persons = sorted((person for _, person in found), key=lambda person: person.annotation_id)
    centers, scales = boxes_to_center_scale(np.stack([person.box for person in persons]), (256, 256))
    np.testing.assert_array_equal(centers, golden["mpii/db_center"])
    np.testing.assert_array_equal(scales, golden["mpii/db_scale"] * np.float32(1.25))
    joints = np.stack([person.joints for person in persons if person.joints is not None])
    np.testing.assert_array_equal(joints[..., :2], golden["mpii/db_joints"])
    np.testing.assert_array_equal(joints[..., 2], golden["mpii/db_visible"])


@pytest.mark.parametrize(
    ("bbox", "clean"),
    [
        ([10.5, 10, 20, 30], [10.5, 10, 30.5, 40]),
        # The width is counted from the picture's edge, not from where the box began.
        ([-10, -5, 40, 30], [0, 0, 40, 30]),
        ([90, 70, 40, 30], [90, 70, 99, 79]),
        ([99, 10, 5, 5], None),
        ([10, 10, -5, 5], None),
    ],
)  # fmt: skip
def test_boxes_are_cut_to_the_picture_as_by_the_reference(
    bbox: list[float], clean: list[float] | None, tmp_path: Path
) -> None:
    (picture,) = read_rows(tmp_path, [coco_row(bbox=bbox)])
    assert [person.box.tolist() for person in picture.people] == ([] if clean is None else [clean])


def test_annotations_that_the_reference_leaves_out_have_no_joints(tmp_path: Path) -> None:
    unnumbered = coco_row(id=5)
    del unnumbered["num_keypoints"], unnumbered["area"], unnumbered["iscrowd"]
    boxless = coco_row(id=6)
    del boxless["bbox"]
    rows = [
        coco_row(id=2, iscrowd=1),
        coco_row(id=3, keypoints=[0] * 51),
        coco_row(id=4, num_keypoints=0),
        unnumbered,
        boxless,
        coco_row(id=7, area=0),
        coco_row(id=8, image_id=99),
    ]
    (picture,) = read_rows(tmp_path, rows)
    found = {person.annotation_id: person for person in picture.people}
    assert sorted(found) == [2, 3, 4, 5] and found[2].ignore
    assert [person.annotation_id for _, person in people([picture])] == [5]
    assert found[5].area == 600 and found[5].box_score == 1


def test_the_parts_of_a_whole_body_follow_in_the_references_order(tmp_path: Path) -> None:
    rows = [wholebody_row(num_keypoints=0), wholebody_row(id=2, keypoints=[0] * 51)]
    ((_, person),) = people(read_rows(tmp_path, rows, WHOLEBODY))
    assert person.joints is not None
    expected = np.repeat([12, 1, 2, 3, 4], (17, *POINT_COUNTS.values()))
    np.testing.assert_array_equal(person.joints[:, 0], expected)
    np.testing.assert_array_equal(person.joints[:, 2], 1)
    # The same file trains a network for the body alone.
    ((_, body),) = people(read_rows(tmp_path, [wholebody_row()], COCO))
    assert body.joints is not None and body.joints.shape == (17, 3)


def test_mpii_rows_become_squares_counted_from_zero(tmp_path: Path) -> None:
    rows = [mpii_row(), mpii_row(image="2.png"), mpii_row(center=[-1, -1])]
    pictures = load_annotations(*with_empty_pictures(written(tmp_path, rows), tmp_path), MPII)
    assert [(p.path.name, [person.annotation_id for person in p.people]) for p in pictures] == [
        ("1.png", [0, 2]), ("2.png", [1]),
    ]  # fmt: skip
    first, unplaced = pictures[0].people
    # 15 * 0.4 px down, then one px less; 200 * 0.4 px wide.
    np.testing.assert_allclose(first.box, [19, 15, 99, 95], atol=1e-5)
    np.testing.assert_allclose(unplaced.box, [-42, -42, 38, 38], atol=1e-5)
    assert first.joints is not None
    np.testing.assert_array_equal(first.joints[[0, 15]], [[30.5, 40, 1], [-2, -2, 0]])
    del rows[0]["joints"], rows[1:]
    (without,) = load_annotations(written(tmp_path, rows), tmp_path, MPII)[0].people
    assert without.joints is None


def test_boxes_of_a_detector_replace_people(tmp_path: Path) -> None:
    pictures = load_pictures_of_two(tmp_path)
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [-5, 4, 20, 30.5], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.05},
        {"image_id": 2, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 2, "category_id": 1, "bbox": [1, 2, 0, 0], "score": 0.9},
        {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
    ]
    detections = written(tmp_path, rows, "detections.json")
    one, two = with_detections(pictures, detections)
    assert [person.annotation_id for person in (*one.people, *two.people)] == [1, 0]
    (person,) = two.people
    assert person.box.tolist() == [-5, 4, 15, 34.5] and person.box_score == 0.9 and person.joints is None
    assert [len(picture.people) for picture in with_detections(pictures, detections, 0.1)] == [0, 1]
    with pytest.raises(ValueError, match=r"detections\.json has no box of a person \(category 1, score from 0\.95\)"):
        with_detections(pictures, detections, 0.95)


def load_pictures_of_two(folder: Path) -> list[Picture]:
    images = [{"id": number, "file_name": f"{number}.png", "width": 100, "height": 80} for number in (1, 2)]
    path = written(folder, {"images": images, "annotations": [coco_row()]})
    return load_annotations(*with_empty_pictures(path, folder), COCO)


DETECTION = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
IMAGE = {"id": 1, "file_name": "1.png", "width": 100, "height": 80}


def coco_file(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"images": [IMAGE], "annotations": list(rows), **changes}


@pytest.mark.parametrize(
    ("content", "skeleton", "message"),
    [
        ([DETECTION], COCO, r"results with scores, such as a detector's: expected annotations"),
        ([], COCO, r"unknown layout: expected annotations in COCO, COCO-WholeBody or MPII layout"),
        ([1, 2], COCO, r"unknown layout"),
        ("text", COCO, r"unknown layout"),
        ({"annotations": []}, COCO, r"not in COCO layout: it lacks 'images'"),
        ({"images": [IMAGE]}, COCO, r"not in COCO layout: it lacks 'annotations'"),
        (coco_file({"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]}), COCO, r"has no keypoints in .* not of boxes only"),
        (coco_file({"keypoints": [1, 2, 2] * 17}), COCO, r"not in COCO layout: it lacks 'image_id'"),
        (coco_file(coco_row(keypoints=[1, 2, 2] * 17 + [3])), COCO, r"has 17\.3333 keypoints in annotation 1"),
        (coco_file(coco_row(bbox=[1, 2])), COCO, r"not in COCO layout: expected 'images' and 'annotations'"),
        (coco_file(coco_row(bbox=5)), COCO, r"not in COCO layout: expected 'images' and 'annotations'"),
        (coco_file(coco_row()), MPII, r"has 17 keypoints in annotation 1, but skeleton 'mpii' has 16"),
        (coco_file(coco_row()), WHOLEBODY, r"has 17 keypoints \(foot_kpts, .* missing\) in annotation 1, but .* 133"),
        (coco_file(coco_row(), coco_row(id=2, keypoints=[1, 2, 2] * 4)), COCO, r"has 4 keypoints in annotation 2"),
        ([mpii_row()], COCO, r"row 0 has 16 joints, skeleton 'coco' has 17"),
        ([mpii_row(), mpii_row(center=3)], MPII, r"not in MPII layout: row 1 is wrong"),
        (
            coco_file(coco_row(), categories=[{"id": 1, "keypoints": list(reversed(COCO.keypoint_names))}]),
            COCO,
            r"keypoints of skeleton 'coco' in another order: give keypoint_names as right_ankle, left_ankle",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_annotations_is_said(content: Any, skeleton: Skeleton, message: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    with pytest.raises(ValueError, match=message) as error:
        load_annotations(written(tmp_path, content, "mine.json"), tmp_path, skeleton)
    assert "mine.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco_file(coco_row()), r"holds annotations or something else, not boxes: expected a detector's results"),
        ([mpii_row()], r"holds annotations or something else, not boxes"),
        ([{"image_id": 1, "category_id": 1, "keypoints": [1] * 51, "score": 1}], r"lacks one of .*bbox"),
        ([], r"lacks one of image_id, category_id, bbox, score"),
        ([{**DETECTION, "image_id": 3}], r"no box of a person .* in any of the 2 pictures"),
        ([{**DETECTION, "category_id": 3}], r"no box of a person \(category 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_detections_is_said(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        with_detections(load_pictures_of_two(tmp_path), written(tmp_path, content, "boxes.json"))


def test_each_kind_of_wrong_path_is_said(tmp_path: Path) -> None:
    path, photos = make_horses(tmp_path)
    horse = skeleton_from(HORSE)
    kinds = {"empty.json": b" \n", "text.json": b"{'a'", "photo.json": b"\xff\xd8\xff\xe0"}
    for name, content in kinds.items():
        (tmp_path / name).write_bytes(content)
    for file, images, kind, message in (
        (tmp_path / "no.json", photos, FileNotFoundError, r"there is no file .*no\.json: expected annotations in COCO"),
        (photos, photos, IsADirectoryError, r"photos is a folder: expected annotations"),
        (tmp_path / "empty.json", photos, ValueError, r"empty\.json is empty"),
        (tmp_path / "text.json", photos, ValueError, r"text\.json is not JSON \(Expecting property name.*line 1"),
        (tmp_path / "photo.json", photos, ValueError, r"photo\.json is not a text file"),
        (path, tmp_path / "none", NotADirectoryError, r"none does not exist: expected the folder with the pictures"),
        (path, path, NotADirectoryError, r"horses\.json is a file: expected the folder with the pictures"),
        (path, tmp_path, FileNotFoundError, r"1 of 1 pictures of .* are not in .*, the first is horse\.png"),
    ):  # fmt: skip
        with pytest.raises(kind, match=message):
            load_annotations(file, images, horse)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*boxes\.json: expected a detector's results"):
        with_detections(load_annotations(path, photos, horse), tmp_path / "boxes.json")
    with pytest.raises(FileNotFoundError, match=r"no annotations at .*person_keypoints\.json"):
        load_pictures(photos)
