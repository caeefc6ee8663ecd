"""`python -m train pose` and `detector`: from data to checkpoints, alone or in each process that torchrun starts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.skeletons import definition_of
from train.allocator import keep_freed_memory
from train.datasets.coco_layout import split
from train.datasets.data_file import DataSet, read_data_file
from train.distillation import SHARE, read_teacher
from train.distributed import joined
from train.export import EDGE_NAME
from train.initial_weights import shipped_weights
from train.loop import fit
from train.options import weighted_path
from train.recipes import DETECTOR_BATCH, DETECTOR_SCHEDULE, Recipe, recipe_of
from train.schedule import Schedule
from train.tasks import DetectorTask, PoseTask, folder_data
from train.zoo import ZooModel, zoo, zoo_model


def add_pose_options(command: argparse.ArgumentParser) -> None:
    """The options of `pose`; what is not given is as in the model's recipe."""
    command.add_argument("--model", metavar="NAME", default=EDGE_NAME, help=f"name in the zoo ({EDGE_NAME})")
    command.add_argument(
        "--data", type=Path, required=True, help="folder with coco_train/ and lspet/, or the YAML file of a data set"
    )
    command.add_argument(
        "--teacher",
        type=weighted_path,
        action="append",
        default=[],
        metavar="FILE[=WEIGHT]",
        help="checkpoint of a larger network to learn from, or MoveNet as a TF.js graph; of several the mean",
    )
    command.add_argument("--teacher-share", type=float, default=SHARE, help=f"its part of the loss ({SHARE})")
    _add_options(command)
    command.set_defaults(run=train_pose)


def add_detector_options(command: argparse.ArgumentParser) -> None:
    """The options of `detector`."""
    command.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
    _add_options(command)
    command.set_defaults(run=train_detector)


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="weights to start from: a checkpoint of such a network or of its backbone, or MoveNet or NanoDet-g as a "
        "TF.js graph",
    )
    command.add_argument(
        "--more",
        type=weighted_path,
        action="append",
        default=[],
        metavar="FOLDER[=WEIGHT]",
        help="another folder with person_keypoints.json and images/, and how often its people are drawn (1)",
    )
    command.add_argument("--out", type=Path, required=True, help="folder for checkpoints and logs; a run resumes there")
    command.add_argument("--epochs", type=int)
    command.add_argument("--batch", type=int, help="samples that a process takes at a time")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--trunk-rate", type=float, metavar="SHARE", help="of the learning rate, for the trunk")
    command.add_argument("--validate-every", type=int, metavar="EPOCHS")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--workers", type=int, default=2, help="data processes of each process (2)")
    command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    command.add_argument("--float32", action="store_true", help="no mixed precision")


def train_pose(options: argparse.Namespace) -> int:
    """Train a pose network. Raises ValueError or OSError for a user's mistake."""
    keep_freed_memory()
    with joined(options.device) as (processes, device):
        data = read_data(options.data, options.more)
        model = model_for(zoo_model(options.model), data)
        recipe = recipe_of(model)
        batch = _or(options.batch, recipe.batch)
        recipe = replace(recipe, schedule=_schedule(recipe.schedule, options), batch=batch)
        sports = split(options.data / "lspet", True) if options.data.is_dir() else ()
        teacher = read_teacher(options.teacher, model, options.teacher_share) if options.teacher else None
        task = PoseTask(model, data, recipe, options.workers, init=options.init, sports=sports, teacher=teacher)
        if processes.first:
            print(_announced(model, data, recipe, processes.count, options.init), flush=True)
        best = fit(task, recipe.schedule, options.out, device, processes)
        if processes.first:
            print(f"best checkpoint: {best}")
    return 0


def train_detector(options: argparse.Namespace) -> int:
    """Train the person detector. Raises ValueError or OSError for a user's mistake."""
    keep_freed_memory()
    with joined(options.device) as (processes, device):
        schedule = _schedule(DETECTOR_SCHEDULE, options)
        batch = _or(options.batch, DETECTOR_BATCH)
        task = DetectorTask(options.data, batch, options.workers, options.init, options.more)
        best = fit(task, schedule, options.out, device, processes)
        if processes.first:
            print(f"best checkpoint: {best}")
    return 0


def read_data(path: Path, more: Sequence[tuple[Path, float]] = ()) -> DataSet:
    """The data set of a folder with coco_train/ and lspet/ and of `more` like them with weights, or of a YAML file."""
    if path.is_dir():
        return folder_data(path, more)
    if more:
        raise ValueError(f"--more goes with a folder of data: add {more[0][0]} under train: in {path} instead")
    return read_data_file(path)


def model_for(row: ZooModel, data: DataSet) -> ZooModel:
    """The zoo's row, or its like for a skeleton of the user's own. Raises ValueError for that of other rows."""
    definition = definition_of(data.skeleton)
    if definition == definition_of(row.skeleton):
        return row
    if isinstance(definition, str):
        fitting = [name for name, model in zoo().items() if definition_of(model.skeleton) == definition]
        raise ValueError(
            f"{row.name} has the {len(row.skeleton)} keypoints of skeleton {row.skeleton.name!r}, the data {data.name} "
            f"the {len(data.skeleton)} of {definition!r}: give such data, or one of {', '.join(fitting)}"
        )
    return row.for_data(data.name, data.skeleton)


def _schedule(schedule: Schedule, options: argparse.Namespace) -> Schedule:
    """The recipe's schedule with what the user wants else."""
    if options.epochs is not None:
        schedule = schedule.lasting(options.epochs)
    given = {name: getattr(options, name) for name in ("learning_rate", "trunk_rate", "validate_every")}
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(schedule, **chosen, seed=options.seed, mixed_precision=not options.float32)


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _announced(model: ZooModel, data: DataSet, recipe: Recipe, processes: int, init: Path | None) -> str:
    people = sum(
        person.joints is not None for part, _ in data.train for picture in part for person in picture.people
    )  # fmt: skip
    start = init or shipped_weights(model) or "random weights (no --init)"
    batch = f"{processes} x {recipe.batch}" if processes > 1 else str(recipe.batch)
    return (
        f"{model.name} on {people} people of {data.name}, from {start}: {recipe.schedule.epochs} epochs, batch {batch}"
    )
