"""The training loop: epochs, validation, logs, and checkpoints that a run resumes from."""

from __future__ import annotations

import fcntl
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from tqdm import tqdm

from engines.compose import MEAN, STD
from train.checkpoints import model_entry
from train.distributed import ALONE, Processes
from train.runlog import RunLog
from train.schedule import Schedule
from train.training import Task, Training

SAVE_EVERY = 1000  # steps
SHOW_EVERY = 20  # steps: to read the loss is to wait for the GPU


def normalise(images: Tensor) -> Tensor:
    """uint8 [N, h, w, 3] BGR -> normalised RGB float32 [N, 3, h, w], channels last in memory."""
    mean = 255 * torch.tensor(MEAN, device=images.device)
    std = 255 * torch.tensor(STD, device=images.device)
    return ((images.flip(3).float() - mean) / std).permute(0, 3, 1, 2)


def fit(
    task: Task,
    schedule: Schedule,
    out: Path,
    device: torch.device,
    processes: Processes = ALONE,
    save_every: int = SAVE_EVERY,
) -> Path:
    """Train until the schedule ends and return the best checkpoint; continues where `out` was interrupted.

    The first process writes last.pt (everything, after each epoch and every `save_every` steps of one), best.pt
    (weights and figures), log.csv and tensorboard/ into `out`. All of them have to call this.
    Raises ValueError if `out` is of a run with other settings, or if the loss is no longer a number.
    """
    run = _Run(Training(task, schedule, device, processes), out, processes)
    try:
        run.start()
        while run.epoch < schedule.epochs:
            run.learn_epoch(save_every)
    finally:
        run.close()
    return run.best_path


class _Run:
    """Where a training stands, in the folder that it is kept in."""

    def __init__(self, training: Training, out: Path, processes: Processes) -> None:
        self.training, self.out, self.processes = training, out, processes
        self.last_path, self.best_path = out / "last.pt", out / "best.pt"
        self.epoch, self.loss_sum, self.best = 0, 0.0, -math.inf
        self.figures: dict[str, float] = {}
        self.log: RunLog | None = None
        self._lock: IO[str] | None = None

    def start(self) -> None:
        """Take up what the folder holds, if it is of this run."""
        state = self.processes.from_first(self._load)
        if state is not None:
            self.training.restore(state)
            self.epoch, self.loss_sum = state["epoch"], state["loss_sum"]
            self.best, self.figures = state["best"], state["figures"]
        if self.processes.first:
            self.log = RunLog(self.out, self.epoch, self.training.steps)

    def close(self) -> None:
        """Close the log, and leave the folder to others."""
        for file in (self.log, self._lock):
            if file is not None:
                file.close()

    def _take(self) -> None:
        """Make the folder this process's own, until it ends in whatever way. Raises ValueError if it is another's."""
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = (self.out / "lock").open("w")
        try:
            # Of the process alone: one that data workers inherit would outlive it.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another training is writing into {self.out}: wait for it, end it, or give another folder"
            ) from None

    def _load(self) -> dict[str, Any] | None:
        self._take()
        if not self.last_path.exists():
            if self.best_path.exists():
                raise ValueError(f"{self.out} has a best.pt and no last.pt to resume from: give another folder")
            return None
        try:
            state: dict[str, Any] = torch.load(self.last_path, map_location="cpu", weights_only=True)
            theirs, ours = state["settings"], self._settings()
        except Exception as error:  # A file of another kind can end in any exception.
            raise ValueError(f"{self.last_path} is not of a run that can be resumed: give another folder") from error
        names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        if names:
            differences = ", ".join(f"{name} {theirs.get(name)} there and {ours.get(name)} here" for name in names)
            raise ValueError(f"{self.out} holds a run of other settings: {differences}; give those or another folder")
        done = state["steps"] - state["epoch"] * len(self.training.loader)
        print(f"resuming {self.last_path} after {state['epoch']} epochs and {done} steps", flush=True)
        return state

    def _settings(self) -> dict[str, Any]:
        """What has to be the same for the result to be: plain values by name."""
        task, loader = self.training.task, self.training.loader
        schedule = {name.replace("_", " "): value for name, value in asdict(self.training.schedule).items()}
        batches = {"batch of all processes": loader.samples_a_batch, "batches an epoch": len(loader)}
        return {**task.settings, **batches, **schedule}

    def learn_epoch(self, save_every: int) -> None:
        """The rest of an epoch, its figures and its checkpoints."""
        training, epochs = self.training, self.training.schedule.epochs
        first = training.steps - self.epoch * len(training.loader)
        if first == 0:
            self.loss_sum = 0.0
        samples_a_batch = training.loader.samples_a_batch
        bar = tqdm(
            total=len(training.loader) * samples_a_batch,
            initial=first * samples_a_batch,
            desc=f"epoch {self.epoch + 1}/{epochs}",
            unit="samples",
            disable=None if self.processes.first else True,
        )
        started = time.monotonic()
        training.network.train()
        unread: list[Tensor] = []
        for number, batch in enumerate(training.loader.batches(self.epoch, first), first + 1):
            unread.append(training.step(batch))
            bar.update(samples_a_batch)
            if number % SHOW_EVERY == 0 or number % save_every == 0 or number == len(training.loader):
                loss = self._read(unread)
                bar.set_postfix(loss=f"{loss:.4g}")
            if number % save_every == 0 and number < len(training.loader):
                self._save()
        bar.close()
        seconds = time.monotonic() - started
        speed = (len(training.loader) - first) * samples_a_batch / seconds
        self._finish_epoch(seconds, speed)

    def _read(self, unread: list[Tensor]) -> float:
        """The mean of the losses not yet read, over the processes; they are added to the epoch's."""
        loss = self.processes.mean(torch.stack(unread).double().mean())
        self.loss_sum += loss * len(unread)
        unread.clear()
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss} after step {self.training.steps}: give a lower learning rate")
        if self.log is not None:
            self.log.step(self.training.steps, loss, self.training.rate)
        return loss

    def _finish_epoch(self, seconds: float, samples_a_second: float) -> None:
        """Validate where it is due, log the epoch and keep the last and, when it is, the best state."""
        training, task = self.training, self.training.task
        self.epoch += 1
        if self.log is None:
            return
        loss = self.loss_sum / len(training.loader)
        self.figures = {"loss": loss, "seconds": seconds, "samples/s": samples_a_second}
        picture = None
        if self.epoch == training.schedule.epochs or self.epoch % training.schedule.validate_every == 0:
            self.figures |= task.validate(training.best_network)
            picture = task.picture(training.best_network)
        self.log.epoch(self.epoch, training.steps, self.figures, picture)
        if self.figures.get(task.metric, -math.inf) > self.best:
            self.best = self.figures[task.metric]
            _write({"network": training.best_network.state_dict(), **self._described()}, self.best_path)
        self._save()

    def _save(self) -> None:
        if self.log is not None:
            position = {"epoch": self.epoch, "loss_sum": self.loss_sum, "best": self.best}
            state = {**self.training.state(), **position, **self._described(), "settings": self._settings()}
            _write(state, self.last_path)

    def _described(self) -> dict[str, Any]:
        """What both checkpoints say of themselves."""
        model = self.training.task.model
        return {"figures": self.figures} | ({} if model is None else {"model": model_entry(model)})


def _write(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that an interruption leaves the old one whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
