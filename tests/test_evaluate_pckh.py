"""MPII's PCKh: the reference's case, each rule on two people, and the file of the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.helpers import Array, golden_path
from train.evaluate import Predictions, evaluate_mpii
from train.pckh import HeadTruth, pckh, read_mpii_truth

PEOPLE = 2


def matlab_arrays(people: int = PEOPLE) -> dict[str, Array]:
    """Heads of 60x80 px, so of size 60, and joints at (100, 200), 1-based; of the second the ankles are missing."""
    missing = np.zeros((16, people))
    missing[[0, 5], 1] = 1
    joints = np.tile(np.array([[100.0], [200.0]]), (16, 1, people))
    heads = np.zeros((2, 2, people))
    heads[1] = [[60.0], [80.0]]
    return {"jnt_missing": missing, "pos_gt_src": joints, "headboxes_src": heads}


def matlab_file(folder: Path, arrays: dict[str, Array]) -> Path:
    file = folder / "mpii_gt_val.mat"
    savemat(file, arrays)
    return file


def right(people: int = PEOPLE) -> Array:
    """The truth as an estimate, 0-based."""
    return np.tile(np.array([99.0, 199.0, 0.9], np.float32), (people, 16, 1))


def test_golden_case_and_any_order(tmp_path: Path) -> None:
    case = json.loads(golden_path("evaluate.json").read_text())["mpii"][0]
    arrays = np.load(golden_path("evaluate.npz"))
    names = {"jnt_missing": "missing", "pos_gt_src": "gt", "headboxes_src": "headboxes"}
    contents = {key: arrays[f"mpii/seed{case['seed']}/{name}"] for key, name in names.items()}
    estimates, order = arrays[f"mpii/seed{case['seed']}/pred"], np.array(case["pred_order"])
    truth = read_mpii_truth(matlab_file(tmp_path, contents), len(order))
    assert pckh(estimates, truth) == pytest.approx(case["metrics"], abs=1e-6)
    shuffled = Predictions(estimates[order], np.zeros((len(order), 6)), np.zeros(len(order), np.int64), order)
    assert evaluate_mpii(shuffled, truth) == pytest.approx(case["metrics"], abs=1e-6)


def test_distances_are_shares_of_the_head(tmp_path: Path) -> None:
    truth = read_mpii_truth(matlab_file(tmp_path, matlab_arrays()), PEOPLE)
    assert truth.head_sizes.tolist() == [60.0, 60.0]
    estimates = right()
    estimates[0, 9, 0] += 30  # half a head: right
    estimates[1, 9, 0] += 31
    estimates[0, 10, 1] += 6  # a tenth
    estimates[0, 11, 1] += 7
    figures = pckh(estimates, truth)
    assert (figures["Head"], figures["Wrist"], figures["Elbow"]) == (50.0, 100.0, 100.0)
    known = 2 * 14 - 2
    assert figures["PCKh"] == pytest.approx(100 * (known - 1) / known)
    assert figures["PCKh@0.1"] == pytest.approx(100 * (known - 3) / known, abs=1e-5)


def test_missing_joints_pelvis_and_thorax_count_nowhere(tmp_path: Path) -> None:
    truth = read_mpii_truth(matlab_file(tmp_path, matlab_arrays()), PEOPLE)
    estimates = right()
    estimates[:, [6, 7], :2] += 1000
    estimates[1, [0, 5], :2] += 1000
    assert set(pckh(estimates, truth).values()) == {100.0}


def test_what_is_known_of_nobody_is_minus_one() -> None:
    known = np.ones((1, 16), bool)
    known[:, 9] = False
    truth = HeadTruth(right(1)[..., :2] + 1, known, np.array([60.0]))
    figures = pckh(right(1), truth)
    assert (figures["Head"], figures["PCKh"]) == (-1, 100)
    nothing = HeadTruth(truth.joints, np.zeros_like(known), truth.head_sizes)
    assert set(pckh(right(1), nothing).values()) == {-1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_gt_src": None}, "has no pos_gt_src"),
        ({"jnt_missing": np.zeros((14, PEOPLE))}, r"jnt_missing of shape \[16, P\], got \[14, 2\]"),
        ({"pos_gt_src": np.zeros((16, 2, 3))}, "of 3 people, the annotations are of 2"),
    ],
)
def test_wrong_truth_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arrays = {key: value for key, value in (matlab_arrays() | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        read_mpii_truth(matlab_file(tmp_path, arrays), PEOPLE)


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.mat"):
        read_mpii_truth(tmp_path / "none.mat", PEOPLE)
    whole = matlab_file(tmp_path, matlab_arrays()).read_bytes()
    for content in (b"", b"no MATLAB file", b"\x00" * 200, b"text " * 100, whole[: len(whole) // 2], whole[:200]):
        (tmp_path / "other.mat").write_bytes(content)
        with pytest.raises(ValueError, match="no MATLAB file of MPII's ground truth"):
            read_mpii_truth(tmp_path / "other.mat", PEOPLE)
