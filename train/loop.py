"""The training loop: mixed precision, moving average of the weights, cosine schedule, checkpoints that resume."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from train.lite0 import IMAGENET_MEAN, IMAGENET_STD

Batch = tuple[Tensor, ...]


class Loader(Sized, Iterable[Batch], Protocol):
    """What the loop needs of a torch DataLoader: its batches, and how many there are."""


class Task(Protocol):
    """What is trained: a network, its data, its loss and its figure of merit."""

    network: nn.Module
    loader: Loader
    metric: str

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar. batch[0] is uint8 [N, h, w, 3] BGR."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on the held-out pictures; `metric` names the one to maximise."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: epochs, peak learning rate (trunk: times trunk_rate), warm-up steps, EMA decay."""

    epochs: int
    learning_rate: float
    trunk_rate: float = 0.5
    warmup_steps: int = 200
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    validate_every: int = 1


def normalise(images: Tensor) -> Tensor:
    """uint8 [N, h, w, 3] BGR -> normalised RGB float32 [N, 3, h, w], channels last in memory."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device)
    std = torch.tensor(IMAGENET_STD, device=images.device)
    return ((images.flip(3).float() - mean) / std).permute(0, 3, 1, 2)


def fit(task: Task, schedule: Schedule, out: Path, device: torch.device) -> Path:
    """Train until the schedule ends and return the best checkpoint; continues where `out` was interrupted.

    Writes last.pt (everything), best.pt (averaged weights and figures) and log.csv into `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(task, schedule, out, device)
    for epoch in range(run.start_epoch, schedule.epochs):
        started = time.monotonic()
        loss = run.train_epoch(epoch)
        figures = {"epoch": epoch + 1, "loss": loss, "seconds": time.monotonic() - started}
        last = epoch + 1 == schedule.epochs
        if last or (epoch + 1) % schedule.validate_every == 0:
            figures |= task.validate(run.average.module)
        run.finish_epoch(epoch, figures)
    return run.best_path


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average that forgets the start: the decay grows with the number of steps up to `decay`."""

    def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        weight = max(1 - decay, 9 / (10 + int(steps)))
        return torch.lerp(averaged, current.to(averaged.dtype), weight)

    return average


class _Run:
    """The state of one training: network, average, optimiser and where it stands."""

    def __init__(self, task: Task, schedule: Schedule, out: Path, device: torch.device) -> None:
        self.task, self.schedule, self.device = task, schedule, device
        self.last_path, self.best_path, self.log_path = out / "last.pt", out / "best.pt", out / "log.csv"
        self.network = task.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, avg_fn=_moving_average(schedule.ema_decay), use_buffers=True)
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=schedule.weight_decay, fused=True)
        self.steps = max(1, schedule.epochs * len(task.loader))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.start_epoch, self.best = 0, -math.inf
        if self.last_path.exists():
            self._resume()

    def _groups(self) -> list[dict[str, Any]]:
        """Trunk and head apart; no decay for biases and normalisation."""
        groups = []
        for in_trunk in (True, False):
            for decays in (True, False):
                weights = [
                    w
                    for name, w in self.network.named_parameters()
                    if w.requires_grad and name.startswith("trunk.") == in_trunk and (w.ndim > 1) == decays
                ]
                rate = self.schedule.learning_rate * (self.schedule.trunk_rate if in_trunk else 1.0)
                decay = self.schedule.weight_decay if decays else 0.0
                groups.append({"params": weights, "lr": rate, "weight_decay": decay})
        return groups

    def _rate(self, step: int) -> float:
        if step < self.schedule.warmup_steps:
            return (step + 1) / self.schedule.warmup_steps
        done = (step - self.schedule.warmup_steps) / max(1, self.steps - self.schedule.warmup_steps)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def train_epoch(self, epoch: int) -> float:
        """One pass over the data; the mean loss."""
        torch.manual_seed(epoch)
        self.network.train()
        total = 0.0
        for batch in tqdm(self.task.loader, desc=f"epoch {epoch + 1}/{self.schedule.epochs}", disable=None):
            moved = tuple(part.to(self.device) for part in batch)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.task.loss(self.network, moved)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.scheduler.step()
            self.average.update_parameters(self.network)
            total += loss.item()
        return total / max(1, len(self.task.loader))

    def finish_epoch(self, epoch: int, figures: dict[str, float]) -> None:
        """Log the epoch and keep the last and, when it is, the best state."""
        self._log(figures)
        if figures.get(self.task.metric, -math.inf) > self.best:
            self.best = figures[self.task.metric]
            _save({"network": self.average.module.state_dict(), "figures": figures}, self.best_path)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": epoch + 1,
            "best": self.best,
        }
        _save(state, self.last_path)

    def _log(self, figures: dict[str, float]) -> None:
        new = not self.log_path.exists()
        with self.log_path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "figure", "value"])
            writer.writerows((int(figures["epoch"]), name, f"{value:.6g}") for name, value in figures.items())
        print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)

    def _resume(self) -> None:
        state = torch.load(self.last_path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.start_epoch, self.best = state["epoch"], state["best"]
        print(f"resuming {self.last_path} after epoch {self.start_epoch}", flush=True)


def _save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that an interruption leaves the old one whole."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)
