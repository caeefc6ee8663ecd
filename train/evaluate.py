"""Accuracy of a pose network on held-out people: COCO AP with ground-truth boxes, and PCK."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from engines.engine import open_engine
from engines.manifest import Manifest
from pipeline.affine import crop_people, transform_points
from pipeline.skeletons import COCO
from pipeline.types import FloatArray, Image
from train.dark import decode
from train.datasets.coco_layout import Person, Picture
from train.loop import normalise

KEYPOINT_SCORE_THRESHOLD = 0.2
LIMB_JOINTS = slice(5, 17)
LEFT_SHOULDER, RIGHT_HIP = 5, 12

# An estimator of one picture's people: (image, boxes [N, 4]) -> (keypoints [N, K, 2] px, scores [N, K]).
Estimator = Callable[[Image, FloatArray], tuple[FloatArray, FloatArray]]
# A network: crops uint8 [N, h, w, 3] BGR -> heatmaps [N, K, H, W].
Heatmaps = Callable[[Image], Tensor]


def flip_merge(heatmaps: Tensor, mirrored: Tensor) -> Tensor:
    """The flip test: heatmaps [N, K, H, W] of crops averaged with those of the mirrored crops.

    Left and right swap, the map is mirrored back and moved by one column, the first column keeping its own value.
    """
    back = mirrored[:, COCO.flip_order].flip(3)
    shifted = torch.cat((back[..., :1], back[..., :-1]), 3)
    return (heatmaps + shifted) / 2


def heatmap_estimator(heatmaps_of: Heatmaps, input_size: tuple[int, int], kernel: int, flip_test: bool) -> Estimator:
    """Estimate from heatmaps: production crop, network, flip test if asked for, DARK."""

    def estimate(image: Image, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
        crops, to_frame = crop_people(image, boxes, input_size)
        heatmaps = heatmaps_of(crops)
        if flip_test:
            heatmaps = flip_merge(heatmaps, heatmaps_of(np.ascontiguousarray(crops[:, :, ::-1])))
        points, scores = decode(heatmaps, kernel)
        stride = input_size[0] / heatmaps.shape[3]
        return transform_points(points.cpu().numpy() * stride, to_frame), scores.cpu().numpy()

    return estimate


def network_heatmaps(network: nn.Module) -> Heatmaps:
    """Heatmaps by a PyTorch network."""

    @torch.inference_mode()
    def heatmaps_of(crops: Image) -> Tensor:
        device = next(network.parameters()).device
        heatmaps: Tensor = network(normalise(torch.from_numpy(crops).to(device))).float()
        return heatmaps

    return heatmaps_of


def file_heatmaps(path: Path, folder: Path) -> tuple[Heatmaps, Manifest]:
    """Heatmaps by an exported file, and its manifest: a copy without the decode is made in `folder` and run there."""
    manifest = open_engine(path, "onnxruntime").manifest
    model = onnx.load(path)
    name = next(name for node in model.graph.node for name in node.output if name.endswith("/heatmaps"))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", "K", "H", "W"]))
    onnx.save(model, folder / "heatmaps.onnx")
    engine = open_engine(folder / "heatmaps.onnx", "onnxruntime")
    return lambda crops: torch.from_numpy(engine({"crops": crops})[name]), manifest


def predictions(estimate: Estimator, pictures: Sequence[Picture]) -> Iterator[tuple[Picture, Person, FloatArray]]:
    """(picture, person, keypoints [K, 3]: x, y frame px, score) for each annotated person, from the true boxes."""
    for picture in pictures:
        people = [person for person in picture.people if person.joints is not None]
        if people:
            points, scores = estimate(picture.read(), np.stack([person.box for person in people]))
            for person, xy, score in zip(people, points, scores, strict=True):
                yield picture, person, np.concatenate((xy, score[:, None]), 1)


def keypoint_average_precision(found: Sequence[tuple[Picture, Person, FloatArray]]) -> dict[str, float]:
    """COCO keypoint AP, AP .5, AP .75 and AR with ground-truth boxes, by pycocotools."""
    from pycocotools.coco import COCO as Annotations
    from pycocotools.cocoeval import COCOeval

    truth, results = Annotations(), []
    image_ids = {path: number for number, path in enumerate(dict.fromkeys(p.path for p, _, _ in found), 1)}
    rows: list[dict[str, Any]] = []
    for picture, person, keypoints in found:
        image_id = image_ids[picture.path]
        rows.append(_truth_row(person, image_id, len(rows) + 1))
        sure = keypoints[keypoints[:, 2] > KEYPOINT_SCORE_THRESHOLD, 2]
        score = float(sure.mean()) if len(sure) else 0.0
        flat = keypoints.flatten().tolist()
        results.append({"image_id": image_id, "category_id": 1, "keypoints": flat, "score": score})
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in image_ids.values()],
        "annotations": rows,
        "categories": [{"id": 1, "name": "person"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP .5", "AP .75")
    return {name: float(value) for name, value in zip(names, evaluation.stats, strict=False)} | {
        "AR": float(evaluation.stats[5])
    }


def _truth_row(person: Person, image_id: int, number: int) -> dict[str, Any]:
    assert person.joints is not None
    x1, y1, x2, y2 = person.box.tolist()
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "area": person.area,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "keypoints": person.joints.flatten().tolist(),
        "num_keypoints": int((person.joints[:, 2] > 0).sum()),
    }


def pck(found: Sequence[tuple[Picture, Person, FloatArray]], threshold: float = 0.2) -> float:
    """The share of limb joints (12) within `threshold` torso lengths (left shoulder to right hip) of the label.

    Only people labelled by hand count (Yang & Ramanan, PAMI 2013; the measure of the Leeds Sports Pose results).
    """
    correct = []
    for _, person, keypoints in found:
        joints = person.joints
        assert joints is not None
        if person.keypoints_source != "labelled" or min(joints[LEFT_SHOULDER, 2], joints[RIGHT_HIP, 2]) <= 0:
            continue
        torso = np.linalg.norm(joints[LEFT_SHOULDER, :2] - joints[RIGHT_HIP, :2])
        distance = np.linalg.norm(joints[LIMB_JOINTS, :2] - keypoints[LIMB_JOINTS, :2], axis=1)
        correct.extend((distance <= threshold * torso)[joints[LIMB_JOINTS, 2] > 0])
    return float(np.mean(correct)) if correct else 0.0


def pose_figures(estimate: Estimator, held_out: Mapping[str, Sequence[Picture]]) -> dict[str, float]:
    """AP of the COCO people and PCK of the Leeds people among the held-out pictures, from ground-truth boxes."""
    figures = keypoint_average_precision(list(predictions(estimate, held_out["coco_train"])))
    return figures | {"PCK@0.2": pck(list(predictions(estimate, held_out["lspet"])))}
