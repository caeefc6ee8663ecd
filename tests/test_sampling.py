"""The samples of a run are the same with any number of workers and processes, and wherever it resumes."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import torch

from tests.test_train_loop import same_state
from tests.tiny_tasks import drawn_data, quick, tiny_model
from train.augment import torch_seeded_rng
from train.distributed import Processes
from train.loop import fit
from train.sampling import Batch, Loader, Samples, drawn
from train.tasks import PoseTask


class Numbers:
    """Samples (index, a random number)."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[int, float]:
        return self.first + index, float(torch_seeded_rng().random())


def rows(batches: list[Batch]) -> list[list[list[float]]]:
    return [[part.double().tolist() for part in batch] for batch in batches]


def test_weights_say_how_often_a_sample_comes() -> None:
    weights = torch.tensor([1.0] * 10 + [3.0] * 4 + [0.5] * 20, dtype=torch.float64)
    epochs = [Counter(drawn(weights, 0, epoch).tolist()) for epoch in range(200)]
    for counts in epochs:
        assert counts.total() == 32
        assert all(counts[index] == 1 for index in range(10)) and all(counts[index] == 3 for index in range(10, 14))
        assert sum(counts[index] for index in range(14, 34)) == 10
    often = [sum(counts[index] for counts in epochs) for index in range(14, 34)]
    assert min(often) > 70 and max(often) < 130
    assert drawn(weights, 0, 1).tolist() != drawn(weights, 0, 2).tolist() != drawn(weights, 1, 2).tolist()
    assert drawn(weights, 5, 7).tolist() == drawn(weights, 5, 7).tolist()


def test_processes_share_what_one_sees_alone() -> None:
    parts = [(Numbers(0, 12), 1.0), (Numbers(12, 3), 2.0)]
    alone = rows(list(Loader(Samples(parts, 6, 0), seed=3).batches(4)))
    shares = [rows(list(Loader(Samples(parts, 2, 0), 3, Processes(rank, 3)).batches(4))) for rank in range(3)]
    joined = [[list(chain(*columns)) for columns in zip(*batch, strict=True)] for batch in zip(*shares, strict=True)]
    assert joined == alone and len(alone) == 3


def test_workers_and_beginning_in_the_middle_change_nothing() -> None:
    parts = [(Numbers(0, 13), 1.0)]
    whole = rows(list(Loader(Samples(parts, 3, 0), seed=1).batches(2)))
    with_workers = Loader(Samples(parts, 3, 2), seed=1)
    assert rows(list(with_workers.batches(2))) == whole
    assert rows(list(with_workers.batches(2, first=3))) == whole[3:]
    assert rows(list(with_workers.batches(3))) != whole
    assert len({number for _, numbers in whole for number in numbers}) == 12


def test_networks_of_0_and_2_workers_are_equal_to_the_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    for workers in (0, 2):
        task = PoseTask(tiny_model(), drawn_data(tmp_path / "data"), quick(), workers)
        fit(task, quick().schedule, tmp_path / str(workers), torch.device("cpu"))
    same_state(tmp_path / "0", tmp_path / "2")


def test_an_epoch_has_to_fill_a_batch_of_all_processes() -> None:
    with pytest.raises(ValueError, match=r"an epoch has 5 samples, a batch 6 \(3 x 2\): give a smaller batch"):
        Loader(Samples([(Numbers(0, 5), 1.0)], 2, 0), 0, Processes(1, 3))
