"""What we train: pose networks on any data set, and the person detector, with their losses and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from pipeline.skeletons import COCO, definition_of
from pipeline.types import Image
from train.assign import detector_loss
from train.checkpoints import model_entry
from train.datasets.coco_layout import load_pictures, split
from train.datasets.crowds import CrowdDataset, collate
from train.datasets.data_file import DataSet
from train.datasets.people import PeopleDataset
from train.datasets.pictures import Picture
from train.detector import PersonDetectorNetwork, cells, decode_boxes
from train.distillation import Teacher
from train.evaluate import FIGURES, evaluate_pictures, labelled, pose_figures
from train.evaluate_detector import LOWEST_SCORE, PRECISION, curve_of, detection_matches
from train.export import DETECTOR_SIDE, KEYPOINT_THRESHOLD, detector_manifest, pose_manifest
from train.initial_weights import starting_detector, starting_network
from train.loop import normalise
from train.prediction_sheet import prediction_sheet
from train.recipes import Recipe
from train.sampling import Batch, Samples
from train.torch_engine import DetectorEngine, PoseEngine
from train.zoo import ZooModel

DETECTOR_TRAINING_SIDE = 448
# How often each person, and for the detector each picture, is drawn in an epoch: COCO's are what cameras see, and few.
POSE_WEIGHTS = {"coco_train": 20.0, "lspet": 0.4}
DETECTOR_WEIGHTS = {"coco_train": 6.0, "lspet": 0.1}


def folder_data(folder: Path, more: Sequence[tuple[Path, float]] = ()) -> DataSet:
    """The data of a folder with coco_train/ and lspet/, COCO's keypoints; the held-out COCO pictures validate.

    more: other folders with person_keypoints.json and images/, all of them for training, and their people's weights.
    """
    train = [(split(folder / name, False), weight) for name, weight in POSE_WEIGHTS.items()]
    train += [(load_pictures(part), weight) for part, weight in more]
    held_out = split(folder / "coco_train", True)
    annotations = folder / "coco_train" / "person_keypoints.json"
    return DataSet("coco", COCO, train, held_out, held_out, annotations)


def joints_mse(predicted: Tensor, heatmaps: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error of heatmaps [N, K, H, W]: of batch and px for each joint, times its weight [N, K], then mean.

    Joints of weight 0 count as right (MMPose 0.29's JointsMSELoss).
    """
    return ((predicted - heatmaps).square().mean((2, 3)) * weights).mean()


class PoseTask:
    """A pose network on people of the skeleton it is for; heatmaps by DARK's unbiased encoding, or the rounded one."""

    metric = "AP"

    def __init__(
        self,
        model: ZooModel,
        data: DataSet,
        recipe: Recipe,
        workers: int = 0,
        unbiased: bool = True,
        init: Path | None = None,
        sports: Sequence[Picture] = (),
        teacher: Teacher | None = None,
    ) -> None:
        """init: checkpoint to start from. sports: held-out Leeds Sports pictures, whose PCK is to be measured too.

        teacher: also to learn from, on boxed people without keypoints as well.
        Raises ValueError for data of another skeleton, or without anybody to train or validate on.
        """
        if definition_of(model.skeleton) != definition_of(data.skeleton):
            raise ValueError(
                f"{model.name} has the {len(model.skeleton)} keypoints of skeleton {model.skeleton.name!r}, the data "
                f"{data.name} the {len(data.skeleton)} of {data.skeleton.name!r}: expected the same"
            )
        if not any(picture.people for picture in labelled(data.validation)):
            raise ValueError(f"nobody in the {len(data.validation)} validation pictures of {data.name} has keypoints")
        self.model, self.recipe, self.unbiased, self.teacher = model, recipe, unbiased, teacher
        self.validation, self.sports = data.validation, sports
        self.network = starting_network(model, recipe, init)
        self.samples = Samples([(self._people(part), weight) for part, weight in data.train], recipe.batch, workers)

    def _people(self, pictures: Sequence[Picture]) -> PeopleDataset:
        model = self.model
        return PeopleDataset(
            pictures,
            model.skeleton,
            model.input_size,
            model.sigma,
            self.recipe.augmentation,
            self.unbiased,
            teacher_times=self.teacher.times if self.teacher else None,
        )

    @property
    def settings(self) -> Mapping[str, Any]:
        """The model, and how its samples are made."""
        model = {f"model {name}": value for name, value in model_entry(self.model).items()}
        augmentation = {f"augmentation {name}": value for name, value in asdict(self.recipe.augmentation).items()}
        scale = {"loss scale": self.recipe.loss_scale, "frozen blocks": self.recipe.frozen_blocks}
        taught = {"teacher": self.teacher.source, "teacher's share": self.teacher.share} if self.teacher else {}
        return {**model, **augmentation, **scale, **taught, "unbiased": self.unbiased}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """JointsMSE of (crops uint8 [N, h, w, 3], heatmaps [N, K, H, W], weights [N, K]), and the teacher's share.

        With a teacher the batch has a fourth part: the crops that it sees, as the first.
        """
        crops, heatmaps, weights, *plain = batch
        predicted = network(normalise(crops)).float()
        loss = joints_mse(predicted, heatmaps, weights)
        if self.teacher is not None:
            taught = joints_mse(predicted, self.teacher.heatmaps(normalise(plain[0])), torch.ones_like(weights))
            loss = torch.lerp(loss, taught, self.teacher.share)
        return self.recipe.loss_scale * loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        """AP and AR of the validation people, and PCK of the sports people, from annotated boxes, with flip test."""
        estimator = PoseEstimator(self._engine(network))
        if self.sports:
            return pose_figures(estimator, {"coco_train": self.validation, "lspet": self.sports})
        figures = evaluate_pictures(estimator, self.validation)
        return {name: figures[name] for name in FIGURES}

    def picture(self, network: nn.Module) -> Image:
        """What the network finds of some validation people."""
        return prediction_sheet(self._engine(network), self.model.skeleton, labelled(self.validation))

    def _engine(self, network: nn.Module) -> PoseEngine:
        manifest = pose_manifest(self.model, KEYPOINT_THRESHOLD, "float32", flip_test=True)
        return PoseEngine(network, manifest, self.model.kernel)


class DetectorTask:
    """The person detector on pictures, alone and in mosaics."""

    metric = "AP .5"
    model = None

    def __init__(
        self,
        data: Path,
        batch: int,
        workers: int,
        init: Path | None = None,
        more: Sequence[tuple[Path, float]] = (),
    ) -> None:
        """data: folder with coco_train/ and lspet/. init: as for `starting_detector`.

        more: other folders with person_keypoints.json and images/, all of them for training, and their weights.
        """
        self.network: nn.Module = starting_detector(init)
        parts = [(split(data / name, validation=False), weight) for name, weight in DETECTOR_WEIGHTS.items()]
        parts += [(load_pictures(folder), weight) for folder, weight in more]
        crowds = [(CrowdDataset(pictures, DETECTOR_TRAINING_SIDE), weight) for pictures, weight in parts]
        self.samples = Samples(crowds, batch, workers, collate)
        self.held_out = split(data / "coco_train", True, lambda picture: picture.all_boxed)
        self.centres, self.strides = cells(DETECTOR_TRAINING_SIDE, DETECTOR_TRAINING_SIDE)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What tells its runs from those of poses."""
        return {"model name": "person_detector", "training side": DETECTOR_TRAINING_SIDE}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Task-aligned score and box loss."""
        images, truth = batch
        raw = network(normalise(images)).float()
        centres, strides = self.centres.to(raw.device), self.strides.to(raw.device)
        return detector_loss(raw, decode_boxes(raw, centres, strides), centres, truth)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """AP at IoU 0.5 and recall at 85 % precision on held-out COCO pictures, through the production detector."""
        network.eval()
        assert isinstance(network, PersonDetectorNetwork)
        engine = DetectorEngine(network, detector_manifest(DETECTOR_SIDE, LOWEST_SCORE, "float32"))
        curve = curve_of(detection_matches(PersonDetector(engine), self.held_out))
        recall, threshold = curve.recall_at(PRECISION)
        return {"AP .5": curve.average_precision, "recall": recall, "threshold": threshold}

    def picture(self, network: nn.Module) -> None:
        """None: only poses are drawn."""
