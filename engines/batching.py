"""What every runtime adapter shares: the check of the inputs, and the split of a batch that is larger than a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
# The input that is no batch: uint8 [H, W, 3], seen by all N.
FRAME = "frame"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a network: its name, element type and shape; None is a dimension that varies."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join('any' if side is None else str(side) for side in self.shape)}]"

    def accepts(self, array: Array) -> bool:
        """Whether an array has this element type and shape."""
        sides = zip(self.shape, array.shape, strict=False)
        same_rank = len(self.shape) == array.ndim
        return array.dtype == self.dtype and same_rank and all(want in (None, got) for want, got in sides)


def check_inputs(inputs: Arrays, specs: Sequence[TensorSpec]) -> None:
    """Raises ValueError with what was expected and what came, if the inputs are not those of the specs."""
    expected = {spec.name for spec in specs}
    if inputs.keys() != expected:
        cure = f": export it with --input {'frame' if FRAME in inputs else 'crops'}"
        other = (FRAME in expected) != (FRAME in inputs)
        raise ValueError(
            f"the network takes the inputs {sorted(expected)}, got {sorted(inputs)}{cure if other else ''}"
        )
    for spec in specs:
        array = inputs[spec.name]
        if not spec.accepts(array):
            raise ValueError(f"the network's input {spec.name!r} is {spec}, got {array.dtype} {list(array.shape)}")
        if spec.name == FRAME and array.size == 0:
            raise ValueError(f"the network's input {FRAME!r} should have pixels, got {list(array.shape)}")


def run_in_batches(
    inputs: Arrays, outputs: Sequence[TensorSpec], largest_batch: int, run: Callable[[Arrays], Arrays]
) -> Arrays:
    """The outputs of all N first entries of the inputs, `largest_batch` at a time; for N = 0 nothing is run.

    A `frame` among the inputs goes into every run as it is; alone, it is one run.
    """
    whole = {name: array for name, array in inputs.items() if name == FRAME}
    split = {name: array for name, array in inputs.items() if name != FRAME}
    if not split:
        return run(inputs)
    count = len(next(iter(split.values())))
    if count == 0:
        return {spec.name: np.zeros((0, *(side or 0 for side in spec.shape[1:])), spec.dtype) for spec in outputs}
    if count <= largest_batch:
        return run(inputs)
    starts = range(0, count, largest_batch)
    parts = [run(whole | {name: array[i : i + largest_batch] for name, array in split.items()}) for i in starts]
    return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in outputs}
