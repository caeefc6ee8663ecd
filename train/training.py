"""A network as it learns: mixed precision, moving average of the weights, gradients shared between processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.types import Image
from train.distributed import ALONE, Processes
from train.sampling import Batch, Loader, Samples
from train.schedule import Schedule
from train.zoo import ZooModel


class Task(Protocol):
    """What is trained: a network, its samples, its loss and its figure of merit."""

    network: nn.Module
    samples: Samples
    metric: str

    @property
    def model(self) -> ZooModel | None:
        """What the checkpoints are of, for poses."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What, beside the schedule, makes the run what it is: plain values by name."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar. batch[0] is uint8 [N, h, w, 3] BGR."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on the held-out pictures; `metric` names the one to maximise."""

    def picture(self, network: nn.Module) -> Image | None:
        """Some of what the network finds in held-out pictures, drawn, uint8 [H, W, 3] BGR."""


# What PyTorch calls the instructions that multiply in bfloat16, on x86 and ARM.
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 pays on the device: a CPU without instructions for it takes twice the time of float32."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # PyTorch before 2.11 cannot tell.
    if device.type != "cpu" or ask is None:
        return True
    return any(ask().get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average that forgets the start: the decay grows with the number of steps up to `decay`."""

    def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        weight = max(1 - decay, 9 / (10 + int(steps)))
        return torch.lerp(averaged, current.to(averaged.dtype), weight)

    return average


class Training:
    """A network as it learns: its average, optimiser and data. `steps` counts the optimiser's."""

    def __init__(self, task: Task, schedule: Schedule, device: torch.device, processes: Processes = ALONE) -> None:
        self.task, self.schedule, self.device = task, schedule, device
        self.loader = Loader(task.samples, schedule.seed, processes, pin_memory=device.type == "cuda")
        self.network = task.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: AveragedModel | None = None
        if schedule.ema_decay is not None:
            self.average = AveragedModel(self.network, avg_fn=_moving_average(schedule.ema_decay), use_buffers=True)
        self._parallel = processes.parallel(self.network)
        self._mixed = schedule.mixed_precision and multiplies_bfloat16(device)
        self.optimizer = torch.optim.AdamW(self._groups(), fused=True)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = 0

    @property
    def best_network(self) -> nn.Module:
        """The network to validate and to keep: the average where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def rate(self) -> float:
        """The learning rate of the coming step."""
        return self.schedule.learning_rate * self.schedule.rate(self.steps, len(self.loader))

    def _groups(self) -> list[dict[str, Any]]:
        """Trunk and the rest apart; no decay for biases and normalisation."""
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

    def step(self, batch: Batch) -> Tensor:
        """Learn from a batch; its loss, a scalar on the device."""
        factor = self.schedule.rate(self.steps, len(self.loader))
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        moved = tuple(part.to(self.device, non_blocking=True) for part in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
            loss = self.task.loss(self._parallel, moved)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.schedule.largest_gradient is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.largest_gradient)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.steps += 1
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """All that the coming steps depend on."""
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
