"""What we train: the edge pose network and the person detector, with their data, losses and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, WeightedRandomSampler

from pipeline.pose import PoseEstimator
from train.assign import detector_loss
from train.augment import EDGE as EDGE_AUGMENTATION
from train.datasets.coco_layout import split
from train.datasets.crowds import CrowdDataset, collate
from train.datasets.people import PeopleDataset
from train.datasets.pictures import Picture
from train.detector import PersonDetectorNetwork, cells, decode_boxes
from train.edge import EdgePose
from train.evaluate import pose_figures
from train.export import DETECTOR_SIDE, EDGE_NAME, KEYPOINT_THRESHOLD, detector_manifest, pose_manifest
from train.lite0 import load_imagenet
from train.loop import Batch, Loader, normalise
from train.torch_engine import PoseEngine
from train.zoo import zoo_model

EDGE = zoo_model(EDGE_NAME)
EDGE_INPUT_SIZE, EDGE_SIGMA, EDGE_KERNEL = EDGE.input_size, EDGE.sigma, EDGE.kernel
DETECTOR_TRAINING_SIDE = 352
# COCO's pictures are what cameras see, and few: one is drawn as often as this many of the sports pictures.
COCO_WEIGHT = 6.0
# Blocks of the trunk that keep their ImageNet weights: the data here is too little to better them.
FROZEN_BLOCKS = 5


def _loader(datasets: list[tuple[Any, float]], batch: int, workers: int, collate_fn: Any = None) -> Loader:
    """Batches drawn from (data set, weight of each of its samples); an epoch is as long as the weights say."""
    weights = torch.cat([torch.full((len(data),), weight) for data, weight in datasets])
    sampler = WeightedRandomSampler(weights.tolist(), int(weights.sum()))
    joined: ConcatDataset[Any] = ConcatDataset([data for data, _ in datasets])
    return DataLoader(
        joined,
        batch,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate_fn,
        drop_last=True,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    """Data workers share the cores with the training: one thread each."""
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def pose_network() -> EdgePose:
    """The edge network as it is trained: its first blocks frozen."""
    network = EdgePose()
    network.trunk.freeze(FROZEN_BLOCKS)
    return network


def detector_network() -> PersonDetectorNetwork:
    """The person detector as it is trained: its first blocks frozen."""
    network = PersonDetectorNetwork()
    network.trunk.freeze(FROZEN_BLOCKS)
    return network


class PoseTask:
    """The edge network on COCO and Leeds Sports people; heatmaps by DARK's unbiased encoding, mean squared error."""

    metric = "AP"

    def __init__(self, data: Path, batch: int, workers: int) -> None:
        self.network = EdgePose()
        load_imagenet(self.network.trunk)
        self.network.trunk.freeze(FROZEN_BLOCKS)
        weights = {"coco_train": COCO_WEIGHT, "lspet": 1.0}
        parts = [(self._people(split(data / name, False)), weight) for name, weight in weights.items()]
        self.loader = _loader(parts, batch, workers)
        self.held_out = {name: split(data / name, True) for name in weights}

    @staticmethod
    def _people(pictures: list[Picture]) -> PeopleDataset:
        return PeopleDataset(pictures, EDGE.skeleton, EDGE_INPUT_SIZE, EDGE_SIGMA, EDGE_AUGMENTATION)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error of the heatmaps over known joints, times 1000 (the JointsMSE loss)."""
        crops, heatmaps, weights = batch
        predicted = network(normalise(crops)).float()
        error = (predicted - heatmaps).square().mean((2, 3)) * weights
        return 1000 * torch.mean(error)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """AP of held-out COCO people and PCK of held-out Leeds people, ground-truth boxes, flip test."""
        network.eval()
        manifest = pose_manifest(EDGE, KEYPOINT_THRESHOLD, "float32", flip_test=True)
        return pose_figures(PoseEstimator(PoseEngine(network, manifest, EDGE_KERNEL)), self.held_out)


class DetectorTask:
    """The person detector on pictures whose people are all boxed, alone and in mosaics."""

    metric = "AP .5"

    def __init__(self, data: Path, batch: int, workers: int) -> None:
        self.network = PersonDetectorNetwork()
        load_imagenet(self.network.trunk)
        self.network.trunk.freeze(FROZEN_BLOCKS)
        weights = {"coco_train": COCO_WEIGHT, "lspet": 0.5}
        parts = [
            (CrowdDataset(split(data / name, False, lambda picture: picture.all_boxed), DETECTOR_TRAINING_SIDE), weight)
            for name, weight in weights.items()
        ]
        self.loader = _loader(parts, batch, workers, collate)
        self.held_out = split(data / "coco_train", True, lambda picture: picture.all_boxed)
        self.centres, self.strides = cells(DETECTOR_TRAINING_SIDE, DETECTOR_TRAINING_SIDE)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Task-aligned score and box loss."""
        images, truth = batch
        raw = network(normalise(images)).float()
        centres, strides = self.centres.to(raw.device), self.strides.to(raw.device)
        return detector_loss(raw, decode_boxes(raw, centres, strides), centres, truth)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """AP at IoU 0.5 and recall at 85 % precision on held-out COCO pictures, through the production detector."""
        from pipeline.detector import PersonDetector
        from train.evaluate_detector import detection_curve
        from train.torch_engine import DetectorEngine

        network.eval()
        assert isinstance(network, PersonDetectorNetwork)
        engine = DetectorEngine(network, detector_manifest(DETECTOR_SIDE, 0.02, "float32"))
        curve = detection_curve(PersonDetector(engine), self.held_out)
        recall, threshold = curve.recall_at(0.85)
        return {"AP .5": curve.average_precision, "recall": recall, "threshold": threshold}
