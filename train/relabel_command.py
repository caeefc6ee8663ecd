"""`python -m train relabel`: sports people's noisy labels, mended where networks agree against them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.pose import PoseEstimator
from train.datasets.coco_layout import split
from train.datasets.files import read_json, write_json
from train.datasets.pictures import Picture
from train.pseudo_label_command import ANNOTATIONS, add_pose_option, coco_estimator, link_pictures
from train.pseudo_labels import Agreement, agreed_keypoints, deviations, second_opinion

NOISY, CLEAN = "lspet", "coco_train"
RULE = Agreement(spread=1.0, keypoints=1)


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    command.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
    add_pose_option(command)
    command.add_argument("--out", type=Path, required=True, help="folder like --data; its pictures are links")
    command.add_argument("--score", type=float, default=RULE.score, help=f"least mean score of theirs ({RULE.score})")


def run(options: argparse.Namespace) -> int:
    """Write a folder to train from in which lspet's labels are mended, those of held-out pictures excepted."""
    rule = Agreement(options.score, RULE.spread, RULE.keypoints)
    source, out = options.data / NOISY, options.out / NOISY
    pictures = split(source, validation=False)
    estimators = [coco_estimator(path) for path in options.pose]
    out.mkdir(parents=True, exist_ok=True)
    link_pictures(out / "images", source / "images")
    link_pictures(options.out / CLEAN, options.data / CLEAN)
    mended: dict[int, list[float]] = {}
    filled = replaced = 0
    for picture in tqdm(pictures, "relabel", unit="picture", disable=None):
        labels, more, other = _opinions(estimators, picture, rule)
        mended |= labels
        filled, replaced = filled + more, replaced + other
    content = read_json(source / ANNOTATIONS, "annotations in COCO layout")
    for row in content["annotations"]:
        if row["id"] in mended:
            row["keypoints"] = mended[row["id"]]
            row["num_keypoints"] = sum(visible > 0 for visible in mended[row["id"]][2::3])
    write_json(out / ANNOTATIONS, content)
    print(f"{len(mended)} people: {filled} keypoints filled in, {replaced} replaced: {out / ANNOTATIONS}")
    return 0


def _opinions(
    estimators: list[PoseEstimator], picture: Picture, rule: Agreement
) -> tuple[dict[int, list[float]], int, int]:
    """The changed keypoints (x, y, v ...) by annotation, and how many were filled in and replaced."""
    people = [person for person in picture.people if person.joints is not None]
    if not people:
        return {}, 0, 0
    boxes, areas = np.stack([person.box for person in people]), np.array([person.area for person in people])
    joints = np.stack([person.joints for person in people if person.joints is not None])
    agreed = agreed_keypoints(estimators, picture.read(), boxes, areas, rule)
    labels, filled, replaced = second_opinion(joints, agreed, deviations(estimators[0], areas))
    changed = (labels != joints).any((1, 2))
    mended = {person.annotation_id: _numbers(labels[i]) for i, person in enumerate(people) if changed[i]}
    return mended, filled, replaced


def _numbers(labels: Any) -> list[float]:
    return [round(float(value), 1) for value in labels.ravel()]
