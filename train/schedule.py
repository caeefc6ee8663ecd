"""How fast and how long a network learns: warm-up, then steps or half a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

COSINE_END = 0.01


@dataclass(frozen=True)
class Schedule:
    """Adam's way through a training; a weight decay is decoupled from the gradients (AdamW).

    epochs: how many. learning_rate: the highest; a part of the network named `trunk` learns `trunk_rate` times it.
    milestones: epochs after which the rate falls to a tenth; without any it falls by half a cosine to 1 %.
    warmup_steps: over which it rises linearly, from `warmup_start` times the rate; at most a third of the training.
    weight_decay: of matrices and kernels, not of biases and normalisation. largest_gradient: norm to which gradients
    are cut; None: never.
    ema_decay: of the moving average of the weights, which is then what is validated and kept; None: no average.
    validate_every: epochs between two validations. mixed_precision: bfloat16 where the arithmetic and the processor
    allow, or float32. seed: of initial weights, order of the samples and augmentation.
    """

    epochs: int
    learning_rate: float
    milestones: tuple[int, ...] = ()
    warmup_steps: int = 200
    warmup_start: float = 0.005
    trunk_rate: float = 0.5
    weight_decay: float = 0.02
    largest_gradient: float | None = 5.0
    ema_decay: float | None = 0.998
    validate_every: int = 1
    mixed_precision: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the first value that no training can have."""
        for name in ("epochs", "learning_rate", "trunk_rate", "validate_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', ' ')} should be above 0, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed should be 0 or more, got {self.seed}")

    def rate(self, step: int, steps_an_epoch: int) -> float:
        """What the learning rate is multiplied by in that step, counted from 0."""
        total = self.epochs * steps_an_epoch
        warmup_steps = min(self.warmup_steps, total // 3)
        warm = min(1.0, step / warmup_steps) if warmup_steps else 1.0
        rising = self.warmup_start + (1 - self.warmup_start) * warm
        if self.milestones:
            return rising * 0.1 ** sum(step // steps_an_epoch >= epoch for epoch in self.milestones)
        falling = max(1, total - warmup_steps)
        done = min(1.0, max(0, step - warmup_steps) / falling)
        return rising * (COSINE_END + (1 - COSINE_END) * 0.5 * (1 + math.cos(math.pi * done)))

    def lasting(self, epochs: int) -> Schedule:
        """The same with another number of epochs; the milestones keep their places in it."""
        milestones = tuple(round(epoch * epochs / self.epochs) for epoch in self.milestones)
        return replace(self, epochs=epochs, milestones=milestones)
