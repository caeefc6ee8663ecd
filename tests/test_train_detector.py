"""The detector's geometry, assignment and loss, and its figures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from engines.engine import open_engine
from pipeline.types import Detections, Image
from train.assign import assign, detector_loss, generalized_iou_loss, pairwise_iou
from train.datasets.pictures import Person, Picture
from train.detector import BINS, BoxesAndScores, PersonDetectorNetwork, cells, decode_boxes
from train.evaluate_detector import curve_of, detection_matches, match
from train.export import detector_model


def test_cells_and_boxes() -> None:
    centres, strides = cells(64, 96)
    assert len(centres) == 8 * 12 + 4 * 6 + 2 * 3
    np.testing.assert_array_equal(centres[[0, 1, 12]], [[4, 4], [12, 4], [4, 12]])
    raw = torch.full((1, len(centres), 1 + 4 * BINS), -100.0)
    distances = raw[..., 1:].view(1, -1, 4, BINS)
    distances[..., 1] = 0.0
    distances[:, 0, 2, 2] = 0.0  # To the right as likely two strides as one.
    boxes = decode_boxes(raw, centres, strides)
    np.testing.assert_allclose(boxes[0, 0], [-4, -4, 16, 12], atol=1e-4)
    np.testing.assert_allclose(boxes[0, -1, 2:] - boxes[0, -1, :2], [64, 64], atol=1e-4)


def test_iou_of_pairs_and_its_generalisation() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    np.testing.assert_allclose(pairwise_iou(a, b), [[1, 1 / 3, 0]], atol=1e-6)
    np.testing.assert_allclose(generalized_iou_loss(a.expand(3, 4), b), [0, 2 / 3, 1 + 1 / 3], atol=1e-6)


def perfect_prediction(truth: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, boxes and centres of a detector that sees the one person of truth [1, 1, 5] in every cell inside."""
    centres, _ = cells(size, size)
    inside = ((centres > truth[0, 0, :2]) & (centres < truth[0, 0, 2:4])).all(1)
    logits = torch.where(inside, 4.0, -6.0)[None]
    return logits, truth[:, :1, :4].expand(1, len(centres), 4), centres


def test_assignment_gives_a_person_its_best_cells_and_no_others() -> None:
    truth = torch.tensor([[[32.0, 32, 96, 128, 0]]])
    logits, boxes, centres = perfect_prediction(truth, 160)
    target, owner, counts = assign(logits.sigmoid(), boxes, centres, truth)
    assert counts.all() and (owner[target > 0] == 0).all()
    inside = ((centres > truth[0, 0, :2]) & (centres < truth[0, 0, 2:4])).all(1)
    assert target.max() == pytest.approx(1.0, abs=1e-4) and (target[0][~inside] == 0).all()


def test_ignored_regions_are_neither_person_nor_background() -> None:
    truth = torch.tensor([[[32.0, 32, 96, 128, 1], [0, 0, 0, 0, -1]]])
    logits, boxes, centres = perfect_prediction(truth, 160)
    target, _, counts = assign(logits.sigmoid(), boxes, centres, truth)
    inside = ((centres > truth[0, 0, :2]) & (centres < truth[0, 0, 2:4])).all(1)
    assert (target == 0).all()
    np.testing.assert_array_equal(counts[0], ~inside)


def test_the_loss_falls_where_the_prediction_is_right() -> None:
    truth = torch.tensor([[[32.0, 32, 96, 128, 0]]])
    logits, boxes, centres = perfect_prediction(truth, 160)
    raw = torch.zeros(1, len(centres), 5)
    raw[..., 0] = logits
    right = detector_loss(raw, boxes, centres, truth)
    shifted = detector_loss(raw, boxes + 20, centres, truth)
    blind = raw.clone()
    blind[..., 0] = -6
    assert right < shifted and right < detector_loss(blind, boxes, centres, truth)


def test_a_picture_without_people_has_a_loss() -> None:
    network = PersonDetectorNetwork()
    raw = network(torch.zeros(1, 3, 64, 64))
    centres, strides = cells(64, 64)
    loss = detector_loss(raw, decode_boxes(raw, centres, strides), centres, torch.full((1, 1, 5), -1.0))
    loss.backward()
    assert loss.isfinite()


def test_the_detector_is_small() -> None:
    assert sum(weight.numel() for weight in PersonDetectorNetwork().parameters()) <= 4_000_000


def test_matching_finds_everyone_once_and_leaves_out_what_is_ignored() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [80, 80, 90, 90]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32))
    hits, counts = match(found, boxes[:1], np.array([[45, 45, 70, 70]], np.float32), 0.5)
    np.testing.assert_array_equal(hits, [True, False, False, False])
    np.testing.assert_array_equal(counts, [True, True, False, True])


def test_the_curve_counts_over_pictures(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.zeros((100, 100, 3), np.uint8))
    people = tuple(
        Person(n, np.array(box, np.float32), None, False, 100.0, "labelled")
        for n, box in enumerate([(0, 0, 20, 40), (50, 50, 70, 90)])
    )
    picture = Picture(1, path, 100, 100, True, people)

    def find(image: Image) -> Detections:
        boxes = np.array([[0, 0, 20, 40], [30, 0, 50, 40], [50, 50, 70, 90]], np.float32)
        return Detections(boxes, np.array([0.9, 0.6, 0.4], np.float32))

    curve = curve_of(detection_matches(find, [picture]))
    assert curve.at(0.5) == (0.5, 0.5)
    assert curve.at(0.95) == (0.0, 1.0)
    assert np.allclose(curve.recall_at(0.6), (1.0, 0.4))
    assert curve.average_precision == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_the_exported_detector_equals_the_network_at_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PersonDetectorNetwork().eval()
    onnx.save(detector_model(network, 416, 0.4), tmp_path / "detector.onnx")
    engine = open_engine(tmp_path / "detector.onnx", "onnxruntime")
    for height, width in ((416, 416), (256, 416), (320, 224)):
        image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
        found = engine({"crops": image})
        rgb = torch.from_numpy(image[..., ::-1].copy()).float().permute(0, 3, 1, 2) / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        with torch.inference_mode():
            boxes, scores = BoxesAndScores(network)((rgb - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        best = scores[0].argsort(descending=True, stable=True)[:10].numpy()
        # The file keeps its weights as float16.
        np.testing.assert_allclose(found["scores"][:10], scores[0].numpy()[best], rtol=2e-3)
        assert found["boxes"].shape == (200, 4)
        assert np.abs(found["boxes"][0] - boxes[0].numpy()).max(1).min() < 0.5
