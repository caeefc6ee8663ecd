"""What a training leaves behind beside its checkpoints: log.csv, TensorBoard's curves and pictures, printed lines."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from pipeline.types import Image

HEADER = ["epoch", "figure", "value"]


class RunLog:
    """The log of a run in `folder`, which may have been interrupted: what it did after `epochs` and `steps` is undone.

    TensorBoard counts in optimiser steps, so that all curves share an axis.
    """

    def __init__(self, folder: Path, epochs: int, steps: int) -> None:
        self._path = folder / "log.csv"
        rows = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(HEADER) and int(row[0]) <= epochs]
        with self._path.open("w", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
        # Whoever only runs networks needs no TensorBoard.
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=steps + 1)

    def step(self, step: int, loss: float, rate: float) -> None:
        """The loss of a few steps up to `step`, and the learning rate."""
        self._board.add_scalar("loss", loss, step)
        self._board.add_scalar("learning rate", rate, step)

    def epoch(self, epoch: int, step: int, figures: Mapping[str, float], picture: Image | None) -> None:
        """The figures after an epoch (from 1), and a picture of predictions, uint8 [H, W, 3] BGR."""
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows((epoch, name, f"{value:.6g}") for name, value in figures.items())
        for name, value in figures.items():
            self._board.add_scalar("loss of the epoch" if name == "loss" else name, value, step)
        if picture is not None:
            self._board.add_image("predictions", picture[:, :, ::-1].copy(), step, dataformats="HWC")
        self._board.flush()
        print(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)

    def close(self) -> None:
        """Write what is left."""
        self._board.close()
