"""What TensorRT makes of a network: the layers of an engine with their data types, read from the builder's messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# TensorRT for RTX calls a convolution a correlation. What it fused is named by its parts, as in "CorrAdd", "FcAddRelu"
# (a 1x1 convolution) and "DecoMulAddRelu" (a transposed one).
CONVOLUTIONS, FUSION = ("correlation", "deconv"), "runtime_fusion"
_FUSED = re.compile("Corr|Fc|Deco")
_LAYER = re.compile(r"\s*Name: (.*?), LayerType: (\S+?), Inputs: \[")
_TYPE = re.compile(r"Datatype: (\w+)")


@dataclass(frozen=True)
class Layer:
    """A layer of an engine: its name, made of those of the nodes in it, its kind, and the data types that it reads
    and writes, as in "Float", "Half", "Int8".
    """

    name: str
    kind: str
    inputs: frozenset[str]
    outputs: frozenset[str]

    @property
    def is_convolution(self) -> bool:
        """Whether it computes a convolution."""
        return self.kind in CONVOLUTIONS or (self.kind == FUSION and _FUSED.search(self.name) is not None)

    @property
    def precision(self) -> str:
        """What it computes in: the smallest of the types it reads."""
        return next((name for name in ("Int8", "UInt8", "Half", "Float") if name in self.inputs), "other")


def listed_layers(messages: Iterable[str]) -> list[Layer]:
    """The layers in the messages of a detailed build, in the order of the run; none where TensorRT lists none."""
    lines = (line for text in messages if "LayerType: " in text for line in text.splitlines())
    return [layer for layer in map(_layer, lines) if layer is not None]


def _layer(line: str) -> Layer | None:
    match = _LAYER.match(line)
    if match is None or "Outputs:" not in line:
        return None
    before, after = line.split("Outputs:", 1)
    # Behind "Constants:" are the weights.
    inputs = frozenset(_TYPE.findall(before.split("Constants:")[0]))
    return Layer(match[1], match[2], inputs, frozenset(_TYPE.findall(after)))
