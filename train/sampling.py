"""Which samples are drawn when: the same for a run with any workers and processes, and wherever it resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from train.distributed import ALONE, Processes

Batch = tuple[Tensor, ...]


class SampleSource(Protocol):
    """What samples are taken from: a torch data set with a length. Its random numbers follow torch's seed."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Samples:
    """Data sets with the weight of their samples: how often each is drawn in an epoch, on average.

    batch: samples that a process takes at a time. workers: data processes. collate: of a batch, torch's own if None.
    """

    parts: Sequence[tuple[SampleSource, float]]
    batch: int
    workers: int
    collate: Callable[[Sequence[Any]], Batch] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no training can have."""
        if self.batch < 1 or self.workers < 0:
            raise ValueError(f"expected a batch of 1 or more and 0 workers or more, got {self.batch}, {self.workers}")

    @property
    def weights(self) -> Tensor:
        """Of each sample, float64 [S]."""
        return torch.cat([torch.full((len(data),), weight, dtype=torch.float64) for data, weight in self.parts])


class Draw(NamedTuple):
    """A sample to be taken, and which draw of which epoch it is."""

    sample: int
    epoch: int
    number: int


def drawn(weights: Tensor, seed: int, epoch: int) -> Tensor:
    """The indices of an epoch's samples, int64 [sum of the weights], in random order.

    Systematic sampling: a sample of weight 1 comes once in each epoch, of 6 six times, of 0.5 in half of them.
    """
    random = torch.Generator().manual_seed(mixed(seed, epoch))
    bounds = weights.cumsum(0)
    offset = torch.rand((), generator=random, dtype=torch.float64)
    places = torch.arange(round(float(bounds[-1])), dtype=torch.float64) + offset
    indices = torch.searchsorted(bounds, places, right=True).clamp_max(len(weights) - 1)
    return indices[torch.randperm(len(indices), generator=random)]


def mixed(*numbers: int) -> int:
    """A seed that differs for every row of numbers, each 0 or more."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class _Seeded(Dataset[Any]):
    """Each draw's random numbers depend on run, epoch and number of the draw alone."""

    def __init__(self, data: Dataset[Any], seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, draw: Draw) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mixed(self.seed, draw.epoch, draw.number))
            return self.data[draw.sample]


class _Batches(Sampler[list[Draw]]):
    """This process's share of each batch, from `first` on: of all the processes' samples, the rank-th slice."""

    def __init__(self, samples: Samples, seed: int, processes: Processes) -> None:
        self.weights, self.batch, self.seed, self.processes = samples.weights, samples.batch, seed, processes
        self.epoch = self.first = 0

    def __len__(self) -> int:
        return round(float(self.weights.sum())) // (self.batch * self.processes.count)

    def __iter__(self) -> Iterator[list[Draw]]:
        indices = drawn(self.weights, self.seed, self.epoch).tolist()
        for number in range(self.first, len(self)):
            start = (number * self.processes.count + self.processes.rank) * self.batch
            yield [Draw(indices[draw], self.epoch, draw) for draw in range(start, start + self.batch)]


class Loader:
    """The batches of each epoch for one of the processes. Its length is their number in an epoch."""

    def __init__(self, samples: Samples, seed: int, processes: Processes = ALONE, pin_memory: bool = False) -> None:
        """Raises ValueError when an epoch does not fill one batch."""
        self._batches = _Batches(samples, seed, processes)
        self.samples_a_batch = samples.batch * processes.count
        if not len(self):
            raise ValueError(
                f"an epoch has {round(float(samples.weights.sum()))} samples, a batch {self.samples_a_batch} "
                f"({processes.count} x {samples.batch}): give a smaller batch or more data"
            )
        joined: ConcatDataset[Any] = ConcatDataset([data for data, _ in samples.parts])  # type: ignore[misc]
        self._loader: DataLoader[Any] = DataLoader(
            _Seeded(joined, seed),
            batch_sampler=self._batches,
            num_workers=samples.workers,
            collate_fn=samples.collate,
            pin_memory=pin_memory,
            persistent_workers=samples.workers > 0,
            worker_init_fn=_one_thread,
        )

    def __len__(self) -> int:
        return len(self._batches)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `first` on."""
        self._batches.epoch, self._batches.first = epoch, first
        # OpenCV's own threads do not survive in a new process, which would wait for them for ever.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        batches = iter(self._loader)
        cv2.setNumThreads(threads)
        return batches


def _one_thread(worker: int) -> None:
    """Data workers share the cores with the training: one thread each."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
