"""What each process of tests/test_distributed.py runs: `torchrun -m tests.two_processes agree|die FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.tiny_tasks import RECIPE, drawn_data, quick, tiny_model
from train.distributed import Processes, joined
from train.loop import fit
from train.sampling import Batch
from train.tasks import PoseTask

SAVE_EVERY = 2


def plain_recipe(batch: int) -> Any:
    """A recipe whose result does not depend on how a batch is shared, but for the order of sums."""
    return quick(batch=batch, mixed_precision=False, ema_decay=0.8)


class CutTask(PoseTask):
    """Is interrupted, or killed outright, at the start of its sixth step."""

    steps_left = 5
    killed = False

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        self.steps_left -= 1
        if self.steps_left < 0:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        return super().loss(network, batch)


def agree(folder: Path, processes: Processes, device: torch.device) -> None:
    """A whole training into whole/; another, cut in the middle of its second epoch and resumed, into cut/."""
    recipe = plain_recipe(RECIPE.batch)

    def train(out: str, make: type[PoseTask] = PoseTask) -> None:
        task = make(tiny_model(plain=True), drawn_data(folder / "data", weight=2.0), recipe)
        fit(task, recipe.schedule, folder / out, device, processes, SAVE_EVERY)

    train("whole")
    try:
        train("cut", CutTask)
    except KeyboardInterrupt:
        train("cut")
    try:
        fit(
            PoseTask(tiny_model(plain=True), drawn_data(folder / "data", weight=2.0), recipe),
            quick(epochs=9).schedule, folder / "cut", device, processes,
        )  # fmt: skip
    except ValueError as error:
        (folder / f"refused_{processes.rank}").write_text(str(error))


def die(folder: Path, processes: Processes, device: torch.device) -> None:
    """The second process is killed in the middle of the second epoch; the first would wait for it."""
    task_type = PoseTask if processes.first else CutTask
    recipe = plain_recipe(RECIPE.batch)
    task = task_type(tiny_model(plain=True), drawn_data(folder / "data", weight=2.0), recipe)
    if isinstance(task, CutTask):
        task.killed = True
    fit(task, recipe.schedule, folder / "run", device, processes, SAVE_EVERY)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu") as (together, cpu):
        {"agree": agree, "die": die}[sys.argv[1]](Path(sys.argv[2]), together, cpu)
