from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.sink_errors import SinkError
from pipeline.skeletons import COCO
from pipeline.sources import open_source
from pipeline.tables import CocoResultsSink, CsvSink, image_ids_of, person_scores
from pipeline.types import Frame, Poses
from tests.fakes import frame_of, picture, poses_at
from train.datasets.annotations import load_annotations, with_detections

NOBODY = Poses.none(17)
TWO = [[10.0, 20, 30.456, 60.123], [100.0, 20, 180, 200]]


def test_a_csv_has_a_row_a_person_and_reads_back_as_what_went_in(tmp_path: Path) -> None:
    sink = CsvSink(tmp_path / "out.csv", COCO)
    source = 'stairs, "north"\nside'
    for index, poses in enumerate((poses_at(TWO), NOBODY, poses_at(TWO[1:]))):
        sink.write(Frame(picture(), index, index / 25, source, 0.0), poses, None)
    sink.close()
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:12] == [
        "source", "frame", "time_s", "id", "x1", "y1", "x2", "y2", "score", "nose_x", "nose_y", "nose_score"
    ]  # fmt: skip
    assert len(rows[0]) == 9 + 3 * 17
    assert [(row["source"], row["frame"], row["time_s"], row["id"]) for row in rows] == [
        (source, "0", "0.0", "1"), (source, "0", "0.0", "2"), (source, "2", "0.08", "1")
    ]  # fmt: skip
    found = [[float(rows[1][f"{name}_{axis}"]) for axis in ("x", "y")] for name in COCO.keypoint_names]
    np.testing.assert_allclose(found, poses_at(TWO).keypoints[1], atol=0.005)
    assert [rows[0][key] for key in ("x1", "y1", "x2", "y2", "score")] == ["10.0", "20.0", "30.46", "60.12", "0.8"]


@pytest.mark.parametrize("kind", [lambda path: CsvSink(path, COCO), CocoResultsSink])
def test_a_table_is_partial_until_it_is_closed(kind: type[CocoResultsSink], tmp_path: Path) -> None:
    sink = kind(tmp_path / "out.txt")
    sink.write(frame_of(picture()), poses_at(TWO), None)
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial.txt"]
    assert (tmp_path / "out.partial.txt").read_text().count("\n") >= 2  # it is written as it comes
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    with pytest.raises(SinkError, match=r"nowhere/out: cannot be written \(No such file"):
        kind(tmp_path / "nowhere" / "out")


def test_coco_results_are_one_json_list_also_without_people(tmp_path: Path) -> None:
    for name, many in (("none", []), ("some", [NOBODY, poses_at(TWO), poses_at(TWO[:1])])):
        sink = CocoResultsSink(tmp_path / name)
        for index, poses in enumerate(many):
            sink.write(frame_of(picture(), index), poses, None)
        sink.close()
    assert json.loads((tmp_path / "none").read_text()) == []
    results = json.loads((tmp_path / "some").read_text())
    assert [result["image_id"] for result in results] == [1, 1, 2]
    assert list(results[0]) == ["image_id", "category_id", "keypoints", "score", "bbox"]
    assert (results[0]["category_id"], results[0]["bbox"]) == (1, [10.0, 20.0, 20.46, 40.12])
    assert results[0]["keypoints"][:3] == [20.23, 22.81, 0.9]
    assert len(results[0]["keypoints"]) == 51
    assert results[0]["score"] == pytest.approx(0.8 * 0.9, abs=1e-4)


def annotated(folder: Path, boxes: dict[str, list[list[float]]]) -> Path:
    """COCO annotations of standing people in pictures of these names, whose ids are the names' numbers."""
    people = [(int(name[:-4]), box) for name, found in boxes.items() for box in found]
    rows = [
        {
            "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "num_keypoints": 17, "area": 5000.0,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "keypoints": np.c_[poses_at([box]).keypoints[0], np.full(17, 2)].ravel().tolist(),
        }
        for number, (image, box) in enumerate(people, 1)
    ]  # fmt: skip
    images = [{"id": int(name[:-4]), "file_name": name, "width": 320, "height": 240} for name in boxes]
    category = {"id": 1, "name": "person", "keypoints": list(COCO.keypoint_names), "skeleton": []}
    (folder / "people.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": [category]}))
    return folder / "people.json"


def test_coco_results_of_a_folder_are_evaluated_as_they_are(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    folder = tmp_path / "images"
    folder.mkdir()
    boxes = {"000000000139.jpg": TWO, "000000000042.jpg": TWO[1:]}
    for name in boxes:
        cv2.imwrite(str(folder / name), picture())
    (folder / "000000000007.jpg").write_bytes(b"damaged")
    boxes["000000000007.jpg"] = []
    annotations = annotated(tmp_path, boxes)
    sink = CocoResultsSink(tmp_path / "out.json", image_ids_of(sorted(folder.iterdir())))
    with pytest.raises(ValueError, match="1 of 3 files"):
        for frame in open_source(str(folder)).frames():
            sink.write(frame, poses_at(boxes[frame.file_name]), None)
    sink.close()
    truth = coco.COCO(str(annotations))
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(str(tmp_path / "out.json")), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] > 0.99
    boxed = with_detections(load_annotations(annotations, folder, COCO), tmp_path / "out.json")
    assert sorted(len(picture.people) for picture in boxed) == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000042.jpg", "000000000139.jpg"], [42, 139]),
        (["COCO_val2014_000000000042.jpg"], [42]),
        (["a1.jpg", "b1.jpg"], [0, 1]),
        (["3.jpg", "holiday.jpg"], [0, 1]),
        ([], []),
    ],
)
def test_image_ids_are_the_names_numbers_where_those_tell_pictures_apart(names: list[str], ids: list[int]) -> None:
    assert image_ids_of([Path("folder") / name for name in names]) == dict(zip(names, ids, strict=True))


def test_a_person_without_a_sure_keypoint_scores_nothing() -> None:
    scores = person_scores(np.array([[0.1, 0.6], [0.1, 0.2]]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(scores, [0.3, 0])
