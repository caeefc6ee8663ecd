"""TF.js graph models as their converter writes them, of any weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def saved_graph(weights: Mapping[str, Tensor], path: Path, stored: str = "float32") -> Path:
    """Weights by TensorFlow's names, kernels in PyTorch's layout, as a graph model at `path`."""
    entries, data = [], b""
    for name, weight in weights.items():
        if weight.ndim == 4:
            weight = weight.movedim((0, 1), (2, 3) if "depthwise" in name else (3, 2))
        array = weight.detach().numpy().astype(stored)
        data += array.tobytes()
        entry = {"name": name, "shape": array.shape, "dtype": "float32"}
        entries.append({**entry, "quantization": {"dtype": stored}} if stored != "float32" else entry)
    path.with_suffix(".bin").write_bytes(data)
    manifest = [{"paths": [path.with_suffix(".bin").name], "weights": entries}]
    path.write_text(json.dumps({"modelTopology": {}, "signature": {}, "weightsManifest": manifest}))
    return path
