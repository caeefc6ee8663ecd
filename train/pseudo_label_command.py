"""`python -m train pseudo-label`: trained networks' keypoints for the people of whom only a box is known."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.pose import PoseEstimator
from pipeline.skeletons import COCO
from train.datasets.coco_layout import split
from train.datasets.files import write_json
from train.datasets.pictures import Person, Picture
from train.models import open_pose_model
from train.pseudo_labels import Agreement, agreed_keypoints

RULE = Agreement()
ANNOTATIONS = "person_keypoints.json"


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    command.add_argument("--data", type=Path, required=True, help="folder of pictures, such as DATA/lspet")
    add_pose_option(command)
    command.add_argument("--out", type=Path, required=True, help="folder for the annotations; its images/ is a link")
    command.add_argument("--score", type=float, default=RULE.score, help=f"least score of a label ({RULE.score})")
    command.add_argument(
        "--spread", type=float, default=RULE.spread, help=f"furthest that views may differ, in OKS ({RULE.spread})"
    )
    command.add_argument(
        "--keypoints", type=int, default=RULE.keypoints, help=f"least labels of a person ({RULE.keypoints})"
    )
    command.add_argument("--height", type=float, default=RULE.height, help=f"least height of a box, px ({RULE.height})")


def add_pose_option(command: argparse.ArgumentParser) -> None:
    """The networks that label."""
    command.add_argument(
        "--pose",
        type=Path,
        required=True,
        action="append",
        help="checkpoint or ONNX file of a COCO network; may be given again: they have to agree",
    )


def run(options: argparse.Namespace) -> int:
    """Write annotations of the training pictures that hold the new labels only, and say how many there are."""
    rule = Agreement(options.score, options.spread, options.keypoints, options.height)
    pictures = split(options.data, validation=False, keep=lambda picture: bool(_wanted(picture, rule)))
    if not pictures:
        raise ValueError(
            f"everyone in {options.data} has keypoints already or is less than {rule.height:g} px tall: there is "
            "nobody to label"
        )
    estimators = [coco_estimator(path) for path in options.pose]
    options.out.mkdir(parents=True, exist_ok=True)
    link_pictures(options.out / "images", options.data / "images")
    images, rows = [], list[dict[str, Any]]()
    for picture in tqdm(pictures, "label", unit="picture", disable=None):
        found = list(_labels(estimators, picture, rule))
        if found:
            images.append(_image(picture))
            rows += found
    _write(options.out / ANNOTATIONS, images, rows)
    wanted = sum(len(_wanted(picture, rule)) for picture in pictures)
    each = sum(row["num_keypoints"] for row in rows) / max(1, len(rows))
    print(f"{len(rows)} of {wanted} people labelled, {each:.1f} keypoints each: {options.out / ANNOTATIONS}")
    return 0


def coco_estimator(pose: Path) -> PoseEstimator:
    """The network of that checkpoint or ONNX file. Raises ValueError for one of other keypoints than COCO's."""
    estimator = PoseEstimator(open_pose_model(pose, runtime="openvino"))
    if estimator.skeleton.keypoint_names != COCO.keypoint_names:
        raise ValueError(f"{pose} has the keypoints of {estimator.skeleton.name!r}: expected COCO's")
    return estimator


def _wanted(picture: Picture, rule: Agreement) -> list[Person]:
    """The people of whom only a box is known, and that is tall enough."""
    return [
        person
        for person in picture.people
        if person.joints is None and not person.ignore and person.box[3] - person.box[1] >= rule.height
    ]


def _labels(estimators: Sequence[PoseEstimator], picture: Picture, rule: Agreement) -> Iterator[dict[str, Any]]:
    """The annotations, in COCO's layout, of those people of the picture whom the networks are sure of."""
    people = _wanted(picture, rule)
    boxes = np.stack([person.box for person in people])
    areas = np.array([person.area for person in people])
    agreed = agreed_keypoints(estimators, picture.read(), boxes, areas, rule)
    for person, keypoints in zip(people, agreed, strict=True):
        known = int((keypoints[:, 2] > 0).sum())
        if not known:
            continue
        x1, y1, x2, y2 = person.box.tolist()
        yield {
            "id": person.annotation_id,
            "image_id": picture.image_id,
            "category_id": 1,
            # Reading leaves out the last row and column of a picture, which these boxes have lost already.
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": person.area,
            "iscrowd": 0,
            "keypoints": [round(float(value), 1) for value in keypoints.ravel()],
            "num_keypoints": known,
            "keypoints_source": "pseudo",
        }


def _image(picture: Picture) -> dict[str, Any]:
    size = {"width": picture.width, "height": picture.height}
    return {"id": picture.image_id, "file_name": picture.path.name, **size, "all_people_boxed": False}


def link_pictures(link: Path, images: Path) -> None:
    """Make `link` point to the pictures, which are not copied.

    Raises ValueError where they are themselves, as their annotations would be written over, or where others are.
    """
    if link.parent.resolve() == images.parent.resolve():
        raise ValueError(f"{images.parent} holds the labels that are there already: give another folder")
    if not link.is_symlink() and not link.exists():
        link.symlink_to(images.resolve(), target_is_directory=True)
    elif link.resolve() != images.resolve():
        raise ValueError(f"{link} is of other pictures than {images}: give another folder")


def _write(path: Path, images: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
    """Write annotations in COCO's layout."""
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO.keypoint_names)}
    write_json(path, {"images": images, "annotations": rows, "categories": [category]})
