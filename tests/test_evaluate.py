"""Evaluation by the rules of the results tables: the reference's cases, and each rule on a case of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.skeletons import COCO, SKELETONS, skeleton_named
from pipeline.types import Skeleton
from tests.helpers import Array, golden_path
from train.average_precision import FIGURES, PARTS
from train.evaluate import Predictions, best_of, evaluate_predictions
from train.oks import decayed, hard_nms, oks, pose_scores, soft_nms


def golden() -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads(golden_path("evaluate.json").read_text()), dict(np.load(golden_path("evaluate.npz")))


def test_every_golden_case() -> None:
    """The estimates kept, their scores, and all figures of COCO and of each part of COCO-WholeBody."""
    cases, arrays = golden()
    for case in cases["cases"]:
        settings, family = case["settings"], case["family"]
        keypoints, boxes, image_ids, box_ids = (
            arrays[f"{family}/seed{case['seed']}/{name}"] for name in ("kpts", "box", "image_id", "bbox_id")
        )
        nms = "none" if not settings["use_nms"] else "soft" if settings["soft_nms"] else "hard"
        rules = (settings["oks_thr"], settings["vis_thr"], nms, settings["rle_score"])
        best = best_of(Predictions(keypoints, boxes, image_ids, box_ids), skeleton_named(family), *rules)
        assert best.image_ids.tolist() == [image_id for image_id, _, _ in case["kept"]]
        np.testing.assert_allclose(best.scores, [score for _, _, score in case["kept"]], rtol=0, atol=1e-6)
        file = golden_path("test_coco.json" if family == "coco" else "test_coco_wholebody.json")
        figures = evaluate_predictions(file, keypoints, boxes, image_ids, box_ids, family, *rules)
        assert {name: figures[name] for name in FIGURES} == pytest.approx(case["metrics"], abs=1e-6)
        for name, expected in case["per_iou_type"] if family == "wholebody" else []:
            part = figures["parts"][name.removeprefix("keypoints_")]
            assert list(part.values()) == pytest.approx(expected, abs=1e-6)


def test_golden_similarities_and_suppression() -> None:
    cases, arrays = golden()
    names = {"coco": "coco", "coco_wholebody": "wholebody", "mpii": "mpii", "default17": "coco"}
    for case in cases["nms"]:
        if case["vis_thr"] is not None:
            continue  # evaluation passes none
        keypoints, scores, areas = (arrays[f"nms/{case['case']}/{name}"] for name in ("kpts", "score", "area"))
        similarity = oks(keypoints, areas, SKELETONS[names[case["dataset"]]].oks_sigmas)
        np.testing.assert_array_equal(similarity, arrays[f"nms/{case['case']}/oks_matrix"])
        if case.get("score_per_joint"):
            # Means of joint scores are equal for some people, whose order is not defined.
            found = hard_nms(similarity, keypoints[..., 2].mean(1), case["thr"])
            assert set(found) == set(case["hard"])
            continue
        assert hard_nms(similarity, scores, case["thr"]) == case["hard"]
        if "soft" in case:
            assert soft_nms(similarity, scores, case["thr"]) == case["soft"]
            assert soft_nms(similarity, scores, case["thr"], 5) == case["soft_max5"]
    for case in cases["rescore"]:
        found_scores = decayed(np.array(case["overlap"]), np.array(case["scores"]), case["thr"])
        np.testing.assert_allclose(found_scores, case["gaussian"], rtol=0, atol=1e-12)


def standing(x: float, y: float = 50.0, keypoints: int = 17) -> Array:
    """Keypoints [K, 3] on a grid of 60x100 px from (x, y), all visible."""
    places = np.arange(keypoints)
    points = np.stack((x + places % 7 * 10.0, y + places // 7 % 11 * 10.0, np.full(keypoints, 2.0)), 1)
    return points.astype(np.float32)


def sure(joints: Array, score: float = 0.8) -> Array:
    """The estimate that is exactly the truth."""
    estimate = joints.copy()
    estimate[:, 2] = score
    return estimate


def annotation_file(folder: Path, people: list[Array], **changes: Any) -> Path:
    """A file of one picture (id 5) and an empty one (id 6), each person 40x100 px in size."""
    rows = []
    for number, joints in enumerate(people):
        row: dict[str, Any] = {"id": number, "image_id": 5, "category_id": 1, "iscrowd": 0, "area": 4000.0}
        row |= {"bbox": [float(joints[0, 0]), float(joints[0, 1]), 40.0, 100.0]}
        row |= {"keypoints": joints[:17].flatten().tolist(), "num_keypoints": 17}
        slices = {key: PARTS[key.removesuffix("_kpts")] for key in ("foot_kpts", "face_kpts")}
        slices |= {key: PARTS[key.removesuffix("_kpts")] for key in ("lefthand_kpts", "righthand_kpts")}
        row |= {key: joints[part].flatten().tolist() for key, part in slices.items() if len(joints) == 133}
        rows.append(row | changes)
    file = folder / "annotations.json"
    file.write_text(json.dumps({"images": [{"id": 5}, {"id": 6}], "annotations": rows}))
    return file


def measured(
    file: Path,
    estimates: list[Array],
    box_scores: list[float] | None = None,
    skeleton: str | Skeleton = "coco",
    **rules: Any,
) -> dict[str, Any]:
    boxes = np.tile(np.array([0, 0, 1, 1, 4000, 1], np.float32), (len(estimates), 1))
    boxes[:, 5] = box_scores or 1
    ids = np.arange(len(estimates))
    return evaluate_predictions(file, np.array(estimates), boxes, np.full(len(ids), 5), ids, skeleton)


def test_the_truth_is_perfect_and_areas_have_their_own_figures(tmp_path: Path) -> None:
    people = [standing(20), standing(200)]
    figures = measured(annotation_file(tmp_path, people), [sure(person) for person in people])
    assert list(figures) == list(FIGURES)
    large = {"AP (L)", "AR (L)"}  # 4000 px² is medium: there is no truth among the large
    assert {name: value for name, value in figures.items() if name in large} == dict.fromkeys(large, -1.0)
    others = [value for name, value in figures.items() if name not in large]
    assert others == pytest.approx([1.0] * 8)


def test_an_estimate_without_a_positive_score_finds_nobody(tmp_path: Path) -> None:
    people = [standing(20), standing(200)]
    figures = measured(annotation_file(tmp_path, people), [sure(people[0]), sure(people[1], 0.0)])
    # Half of the people: precision 1 at 51 of the 101 recall points.
    assert (figures["AR"], figures["AP"]) == (pytest.approx(0.5), pytest.approx(51 / 101))
    nobody = measured(annotation_file(tmp_path, people), [sure(person, -0.1) for person in people])
    assert (nobody["AP"], nobody["AR"]) == (0, 0)


def test_no_estimates_find_nobody(tmp_path: Path) -> None:
    file = annotation_file(tmp_path, [standing(20)])
    for empty in (np.array([]), np.zeros((0, 17, 3), np.float32)):
        figures = evaluate_predictions(file, empty, np.array([]), np.array([], np.int64), np.array([], np.int64))
        assert (figures["AP"], figures["AR"], figures["AP (L)"]) == (0, 0, -1)


def test_crowds_and_people_without_keypoints_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    for changes in ({"iscrowd": 1}, {"keypoints": [0] * 51}):
        figures = measured(annotation_file(tmp_path, [standing(20)], **changes), [sure(standing(20))])
        assert set(figures.values()) == {-1.0}


def test_of_estimates_with_the_same_box_id_the_first_counts(tmp_path: Path) -> None:
    right, wrong = sure(standing(20)), sure(standing(300))
    file = annotation_file(tmp_path, [standing(20)])
    boxes = np.tile(np.array([0, 0, 1, 1, 4000, 1], np.float32), (2, 1))
    for estimates, found in (([right, wrong], 1), ([wrong, right], 0)):
        figures = evaluate_predictions(file, np.array(estimates), boxes, np.full(2, 5), np.full(2, 9), nms="none")
        assert figures["AR"] == found


def test_scores_are_means_of_sure_keypoints_times_the_box() -> None:
    keypoint_scores = np.array([[0.2, 0.6, 0.1], [0.1, 0.0, -0.5]], np.float32)
    boxes = np.array([0.5, 0.9], np.float32)
    # float32's 0.2 is above 0.2.
    np.testing.assert_allclose(pose_scores(keypoint_scores, boxes, 0.2), [0.5 * 0.4, 0], atol=1e-7)
    np.testing.assert_allclose(pose_scores(keypoint_scores, boxes, 0.3), [0.5 * 0.6, 0], atol=1e-7)
    plain = pose_scores(keypoint_scores, boxes, 0.2, rle_score=True)
    np.testing.assert_allclose(plain, [0.5 + 0.3 + 0.6, 0.9 - 0.4 / 3 + 0.1], atol=1e-6)


def test_suppression_keeps_the_threshold_itself_and_one_of_equals() -> None:
    similarity = np.array([[1, 0.9, 0.95], [0.9, 1, 0.9], [0.95, 0.9, 1]], np.float32)
    assert hard_nms(similarity, np.array([0.5, 0.4, 0.3]), 0.9) == [0, 1]
    assert len(hard_nms(np.ones((30, 30), np.float32), np.full(30, 0.5), 0.9)) == 1
    assert hard_nms(similarity[:0, :0], np.zeros(0), 0.9) == soft_nms(similarity[:0, :0], np.zeros(0), 0.9) == []


def test_soft_suppression_reorders_and_keeps_twenty_with_their_scores() -> None:
    people = 25
    keypoints = np.stack([sure(standing(20), 0.9 - 0.01 * number) for number in range(people)])
    keypoints[-1, :, :2] += 1000
    boxes = np.tile(np.array([0, 0, 1, 1, 4000, 1], np.float32), (people, 1))
    rows = np.arange(people)
    best = best_of(Predictions(keypoints, boxes, np.zeros(people, np.int64), rows), COCO, nms="soft")
    assert len(best.scores) == 20
    # Who is like nobody else comes second, with the lowest score of all.
    assert best.keypoints[1, 0, 0] > 1000 and best.scores[1] == pytest.approx(0.66)
    assert best.scores.max() == pytest.approx(0.9)


def test_pictures_keep_their_order_and_do_not_suppress_each_other() -> None:
    keypoints = np.stack([sure(standing(20))] * 3)
    boxes = np.tile(np.array([0, 0, 1, 1, 4000, 0.5], np.float32), (3, 1))
    best = best_of(Predictions(keypoints, boxes, np.array([9, 2, 9]), np.array([2, 1, 0])), COCO)
    assert best.image_ids.tolist() == [9, 2]


def test_each_part_of_a_whole_body_is_judged_by_itself(tmp_path: Path) -> None:
    truth = standing(20, keypoints=133)
    truth[PARTS["lefthand"], 2] = 0
    estimate = sure(truth)
    estimate[PARTS["foot"], 2] = 0
    estimate[PARTS["righthand"], 0] += 500
    figures = measured(annotation_file(tmp_path, [truth]), [estimate], skeleton="wholebody")
    found = {name: part["AP"] for name, part in figures["parts"].items()}
    expected = {"body": 1.0, "foot": 0.0, "face": 1.0, "lefthand": -1.0, "righthand": 0.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert figures["AP"] == found["wholebody"] and 0 < found["wholebody"] < 1


def test_a_skeleton_of_ones_own(tmp_path: Path) -> None:
    horse = Skeleton("horse", ("nose", "tail", "hoof"), (), (), np.array([0.05, 0.05, 0.05]))
    content = {"id": 3, "image_id": 1, "bbox": [10, 10, 60, 60], "keypoints": [20, 20, 2, 60, 20, 1, 0, 0, 0]}
    file = tmp_path / "horses.json"
    file.write_text(json.dumps({"images": [{"id": 1}], "annotations": [content]}))
    keypoints = np.array([[[20, 20, 0.9], [60, 20, 0.9], [40, 40, 0.9]]], np.float32)
    one = np.ones(1, np.int64)
    assert evaluate_predictions(file, keypoints, np.ones((1, 6)), one, one, horse)["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nms": "fuzzy"}, "hard, soft, none"),
        ({"skeleton": "dog"}, "unknown skeleton 'dog'"),
        ({"skeleton": "mpii"}, "annotation 0 has 17 keypoints, expected the 16 of the skeleton 'mpii'"),
        ({"keypoints": np.zeros((1, 16, 3))}, "expected the 17 keypoints of the skeleton 'coco', got 16"),
        ({"keypoints": np.zeros((1, 17))}, "expected keypoints"),
        ({"boxes": np.zeros((2, 6))}, "expected keypoints"),
        ({"keypoints": np.full((1, 17, 3), np.nan)}, "not all finite"),
        ({"image_ids": np.array([77])}, r"1 pictures that .* does not have \(ids \[77\]\)"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = annotation_file(tmp_path, [standing(20)])
    arguments = {"keypoints": np.zeros((1, 17, 3)), "boxes": np.zeros((1, 6)), "image_ids": np.array([5])}
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(file, **{**arguments, "box_ids": np.array([0]), **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image": "a.jpg"}], "is a list, as MPII's"),
        ({"images": []}, "lacks 'annotations'"),
        ({"images": [], "annotations": [{"bbox": [0, 0, 1, 1]}]}, "no keypoints"),
        ({"images": [], "annotations": None}, "not in COCO layout"),
        ({"images": [], "annotations": [{"keypoints": [0] * 51, "image_id": 1}]}, "lacks 'bbox'"),
        ("text", "not in COCO layout"),
    ],
)
def test_files_of_another_layout_are_named(tmp_path: Path, content: object, message: str) -> None:
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        measured(file, [])
