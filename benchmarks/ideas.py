"""What each idea of the edge network's recipe is worth: a short training with one thing changed, against the same base.

    python -m benchmarks.ideas --data DATA --movenet GRAPHS --out RUNS [--synthetic DIR] [--labelled DIR] [--mended DIR]
                                [--ideas NAME ...] [--epochs 4]

DATA holds coco_train/ and lspet/, GRAPHS movenet-lightning.json and movenet-thunder.json; DIR are what `python -m train
synthesize`, `pseudo-label` and `relabel` write. The network is the edge network at 128x96 on MoveNet's trunk, trained
for as many steps in each row. Runs resume; `--ideas` trains only some, what is finished is measured. AP of the held-out
COCO people from annotated boxes, with the flip test; 95 % intervals, also of the difference to the base, by a bootstrap
over the pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.dark_effect import MODEL
from pipeline.pose import PoseEstimator
from train.allocator import keep_freed_memory
from train.average_precision import Results, average_precision
from train.checkpoints import load_checkpoint
from train.datasets.coco_layout import load_pictures, split
from train.datasets.data_file import DataSet
from train.datasets.pictures import Picture
from train.distillation import Teacher
from train.evaluate import best_of, labelled, numbered, predict, sports_pck
from train.export import KEYPOINT_THRESHOLD, pose_manifest
from train.intervals import average_precision_difference, average_precision_interval
from train.loop import fit
from train.mobile import BLOCKS
from train.recipes import EDGE, Recipe
from train.tasks import PoseTask, folder_data
from train.torch_engine import PoseEngine
from train.truth import Truth, truth_of
from train.zoo import ZooModel, zoo_model

BASE = "base"
# A larger network on the same data; one person of these data sets is drawn as often as a sports person.
LARGE = replace(MODEL, name="edge_large_128x96", network=zoo_model("coco_edge_large_256x192").network)
SYNTHETIC_WEIGHT = 0.5
UNTRAINED, LARGER = "no weights to start from", "larger network"


@dataclass(frozen=True)
class Given:
    """What a user gave: the data, MoveNet's graphs, where results go, folders of other labels, the base's epochs."""

    data: DataSet
    movenet: Path
    out: Path
    synthetic: Path | None
    labelled: Path | None
    mended: Path | None
    epochs: int


@dataclass(frozen=True)
class Run:
    """A training: recipe, data, what it starts from, how many times as long as the base, network, and its teacher."""

    recipe: Recipe
    data: DataSet
    init: Path
    times: int = 1
    model: ZooModel = MODEL
    teacher: Teacher | None = None


def _base(given: Given) -> Run:
    augmentation = replace(EDGE.augmentation, cut_probability=0.0, absent_weight=0.0)
    return Run(replace(EDGE, augmentation=augmentation), given.data, given.movenet / "movenet-lightning.json")


def _augmented(given: Given, **changes: float | bool) -> Run:
    run = _base(given)
    augmentation = replace(run.recipe.augmentation, **changes)  # type: ignore[arg-type]
    return replace(run, recipe=replace(run.recipe, augmentation=augmentation))


def _without_bystanders(given: Given) -> Run:
    def athletes(pictures: Sequence[Picture]) -> list[Picture]:
        return [replace(p, people=tuple(q for q in p.people if q.keypoints_source != "predicted")) for p in pictures]

    return _learning(given, [(athletes(pictures), weight) for pictures, weight in given.data.train])


def _unequal(given: Given) -> Run:
    return _learning(given, [(part, 1.0) for part, _ in given.data.train])


def _more(folder: Path | None, given: Given, weight: float) -> Run:
    return _learning(given, [*given.data.train, (load_pictures(_needed(folder)), weight)])


def _mended(given: Given) -> Run:
    return replace(_base(given), data=folder_data(_needed(given.mended)))


def _needed(folder: Path | None) -> Path:
    if folder is None:
        raise ValueError("this idea needs data that was not given: see --synthetic, --labelled and --mended")
    return folder


def _scheduled(given: Given, rate: float) -> Run:
    run = _base(given)
    return replace(run, recipe=replace(run.recipe, schedule=replace(run.recipe.schedule, trunk_rate=rate)))


def _frozen(given: Given, blocks: int) -> Run:
    run = _base(given)
    return replace(run, recipe=replace(run.recipe, frozen_blocks=blocks))


def _learning(given: Given, parts: list[tuple[list[Picture], float]]) -> Run:
    return replace(_base(given), data=replace(given.data, train=parts))


def _large(given: Given) -> Run:
    return replace(_base(given), init=given.movenet / "movenet-thunder.json", model=LARGE)


def _taught(given: Given) -> Run:
    network = LARGE.build()
    checkpoint = given.out / LARGER / "best.pt"
    if not checkpoint.exists():
        raise ValueError(f"no teacher at {checkpoint}: run the idea {LARGER!r} first")
    load_checkpoint(network, checkpoint)
    teacher = Teacher(network.eval().requires_grad_(False), 0.5, str(checkpoint), LARGE.skeleton.flip_order)
    return replace(_base(given), teacher=teacher)


IDEAS: Mapping[str, Callable[[Given], Run]] = {
    BASE: _base,
    "twice as long": lambda given: replace(_base(given), times=2),
    UNTRAINED: lambda given: _frozen(given, 0),
    "all of the trunk kept": lambda given: _frozen(given, BLOCKS),
    "nothing of the trunk kept": lambda given: _frozen(given, 0),
    "trunk as fast as the head": lambda given: _scheduled(given, 1.0),
    "no colour, blur and covers": lambda given: _augmented(given, appearance=False),
    "not turned upright": lambda given: _augmented(given, upright_probability=0.0),
    "no bystanders": _without_bystanders,
    "everyone drawn as often": _unequal,
    "sides cut off": lambda given: _augmented(given, cut_probability=0.3),
    "sides cut off, absent joints taught": lambda given: _augmented(given, cut_probability=0.3, absent_weight=0.5),
    "people labelled by networks": lambda given: _more(given.labelled, given, 1.0),
    "mended labels": _mended,
    "synthetic people": lambda given: _more(given.synthetic, given, SYNTHETIC_WEIGHT),
    LARGER: _large,
    "taught by the larger network": _taught,
}


def train(name: str, given: Given) -> None:
    """One run, or the rest of it; the same number of steps for all of a length, whatever their data."""
    run = IDEAS[name](given)
    share = _people(given.data.train) / _people(run.data.train, unlabelled=run.teacher is not None)
    data = replace(run.data, train=[(part, weight * share) for part, weight in run.data.train])
    epochs = run.times * given.epochs
    recipe = replace(run.recipe, schedule=replace(run.recipe.schedule.lasting(epochs), validate_every=epochs))
    task = PoseTask(run.model, data, recipe, workers=1, init=run.init, teacher=run.teacher)
    if name == UNTRAINED:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            task.network = run.model.build()
    fit(task, recipe.schedule, given.out / name, torch.device("cpu"))


def _people(parts: list[tuple[list[Picture], float]], unlabelled: bool = False) -> float:
    """How many people are drawn in an epoch; unlabelled: those of whom only a box is known, too."""

    def count(part: list[Picture]) -> int:
        people = [person for picture in part for person in picture.people if not person.ignore]
        return sum(unlabelled or person.joints is not None for person in people)

    return sum(weight * count(part) for part, weight in parts)


def estimates(name: str, out: Path, pictures: Sequence[Picture], sports: Sequence[Picture]) -> tuple[Results, float]:
    """What a finished run finds of the held-out people, and its PCK of the sports people."""
    model = LARGE if name == LARGER else MODEL
    network = model.build()
    load_checkpoint(network, out / name / "best.pt")
    manifest = pose_manifest(model, KEYPOINT_THRESHOLD, "float32", flip_test=True)
    estimator = PoseEstimator(PoseEngine(network, manifest, model.kernel))
    return best_of(predict(estimator, pictures), model.skeleton), sports_pck(estimator, sports)


def table(found: Mapping[str, tuple[Results, float]], truth: Truth) -> list[dict[str, object]]:
    """A row for each idea: AP and its interval, the difference to the base and its interval, AR, PCK."""
    rows = []
    for name, (results, pck) in found.items():
        figures = average_precision(truth, results, MODEL.skeleton)
        row: dict[str, object] = {"idea": name, "AP": figures["AP"], "AR": figures["AR"], "PCK@0.2": pck}
        row["AP, 95 %"] = average_precision_interval(truth, results, MODEL.skeleton)
        if name != BASE:
            row["gain, 95 %"] = average_precision_difference(truth, results, found[BASE][0], MODEL.skeleton)
        rows.append(row)
    return rows


def main() -> None:
    """Train what is missing, and print and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--movenet", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path)
    parser.add_argument("--labelled", type=Path)
    parser.add_argument("--mended", type=Path)
    parser.add_argument("--ideas", nargs="+", choices=list(IDEAS), default=list(IDEAS), metavar="NAME")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    keep_freed_memory()
    given = Given(
        folder_data(options.data),
        options.movenet,
        options.out,
        options.synthetic,
        options.labelled,
        options.mended,
        options.epochs,
    )
    for name in options.ideas:
        train(name, given)
    pictures, sports = labelled(numbered(split(options.data / "coco_train", True))), split(options.data / "lspet", True)
    done = [name for name in IDEAS if (given.out / name / "best.pt").exists()]
    found = {name: estimates(name, given.out, pictures, sports) for name in done}
    rows = table(found, truth_of(pictures))
    for row in rows:
        print(" | ".join(f"{name} {_cell(value)}" for name, value in row.items()))
    (given.out / "ideas.json").write_text(json.dumps(rows, indent=2) + "\n")


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return "{:+.3f} to {:+.3f}".format(*value)
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)


if __name__ == "__main__":
    main()
