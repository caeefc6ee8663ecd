"""What TensorRT makes of a network: the layers of an engine with their data types, read from the builder's messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# TensorRT for RTX calls a convolution a correlation. What it fused is named by its parts, as in "CorrAdd", "FcAddRelu"
# (a 1x1 convolution) and "DecoMulAddRelu" (a transposed one).
CONVOLUTIONS, FUSION = ("correlation", "deconv"), "runtime_fusion"
_FUSED = re.compile("Corr|Fc|Deco")
_LAYER = re.compile(r"\s*Name: (.*?), LayerType: (\S+?), Inputs: \[")
_TYPE = re.compile(r"Datatype: (\w+)")
_TENSOR = re.compile(r"\{ Name: ([^,]*),")
# A kernel that TensorRT for RTX generates: elementwise operations, reductions, copies.
GENERATED = "kgen"
# In names of layers: the decode has convolutions too, see train/dark.py.
DECODE = "decode/"


@dataclass(frozen=True)
class Layer:
    """A layer of an engine: its name, made of those of the nodes in it, its kind, and the data types that it reads
    and writes, as in "Float", "Half", "Int8", and the names of these tensors.
    """

    name: str
    kind: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    @property
    def is_convolution(self) -> bool:
        """Whether it computes a convolution."""
        return self.kind in CONVOLUTIONS or (self.kind == FUSION and _FUSED.search(self.name) is not None)

    @property
    def precision(self) -> str:
        """What it computes in: the smallest of the types it reads."""
        return next((name for name in ("Int8", "UInt8", "Half", "Float") if name in self.inputs), "other")


def network_convolutions(layers: Iterable[Layer]) -> list[Layer]:
    """The layers that compute the network's convolutions; the decode's are left out."""
    return [layer for layer in layers if layer.is_convolution and DECODE not in layer.name]


def fused_convolutions(layers: Sequence[Layer]) -> list[Layer]:
    """Those of the network's convolutions whose output no generated kernel reads.

    Their activation, addition or rounding is in their own kernel. A listing cannot say it of others, such as one whose
    output is upsampled.
    """
    read = {name for layer in layers if layer.kind == GENERATED for name in layer.reads}
    return [layer for layer in network_convolutions(layers) if not read & layer.writes]


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
    before = before.split("Constants:")[0]
    types = [frozenset(_TYPE.findall(part)) for part in (before, after)]
    names = [frozenset(_TENSOR.findall(part)) for part in (before, after)]
    return Layer(match[1], match[2], *types, *names)
