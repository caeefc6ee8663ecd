"""Graph models of TensorFlow.js: how the networks come that others trained and ours start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = Mapping[str, npt.NDArray[Any]]


def read_graph(path: Path) -> tuple[dict[str, Any], Weights]:
    """Topology and signature of a TF.js graph model, movenet-lightning.json say, and its weights by name.

    Its .bin lies beside it; weights stored as float16 become float32. Raises OSError for a file that is not there,
    ValueError for another one.
    """
    try:
        content = json.loads(path.read_text())
        parts = {part: content[part] for part in ("modelTopology", "signature")}
        return parts, _arrays(content["weightsManifest"], path.parent)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a TF.js graph model ({type(error).__name__}: {error}): expected a file of package/models/, "
            "movenet-thunder.json say, its .bin beside it"
        ) from error


def _arrays(manifest: list[Mapping[str, Any]], folder: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a weights manifest by name, from its files in `folder`."""
    arrays = {}
    for group in manifest:
        data, offset = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            stored = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"]))
            array = np.frombuffer(data, stored, count, offset).reshape(entry["shape"])
            arrays[entry["name"]] = array.astype(entry["dtype"])
            offset += count * stored.itemsize
    return arrays


def torch_kernel(kernel: npt.NDArray[Any], depthwise: bool = False) -> npt.NDArray[Any]:
    """Weights as PyTorch has them: [height, width, inputs, outputs] -> [outputs, inputs, height, width].

    depthwise: [height, width, channels, 1] -> [channels, 1, height, width].
    """
    return kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
