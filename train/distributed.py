"""Several processes that train one network together, as `torchrun` starts them: on one machine or on several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as group
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
# The others wait while the first process validates. A process that fails ends all at once: torchrun sees to it.
LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """The processes of a training, seen from one of them. rank: its number, from 0. count: of all machines together.

    The first one validates, writes and prints.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, writes and prints."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the processes; batch statistics stay each process's own."""
        return DistributedDataParallel(network) if self.count > 1 else network

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over the processes; all have to call it."""
        if self.count > 1:
            group.all_reduce(value)
        return value.item() / self.count

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, in all of them, which all have to call it; its error likewise."""
        if self.count == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer[0] = make()
            except (OSError, ValueError) as error:
                answer[1] = error
        group.broadcast_object_list(answer)
        if answer[1] is not None:
            raise answer[1]
        made: T = answer[0]
        return made


ALONE = Processes()


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """This process among those of `torchrun`, or alone, and the device it trains on: "cpu" or "cuda".

    Raises ValueError where there is no such device, or not one for each process.
    """
    chosen = _device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, chosen
        return
    group.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    # After an error there is no common end to wait for.
    yield Processes(group.get_rank(), group.get_world_size()), chosen
    group.barrier()
    group.destroy_process_group()


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device should be cpu or cuda, got {name!r} (CUDA_VISIBLE_DEVICES chooses among GPUs)")
    if name == "cpu":
        return torch.device("cpu")
    found, needed = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if found < needed:
        raise ValueError(
            f"device cuda: expected a GPU for each of the {needed} processes here, PyTorch {torch.__version__} sees "
            f"{found}: start fewer, install PyTorch for CUDA, or give --device cpu"
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device
