"""Networks on the CPU through ONNX Runtime, the neutral reference that an exported file is checked with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from engines.batching import Arrays, TensorSpec, check_inputs, run_in_batches
from engines.manifest import ModelError, manifest_from_metadata, unusable

DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}


class OnnxRuntimeEngine:
    """An Engine; see engines.engine."""

    def __init__(self, file: Path, precision: str, threads: int | None) -> None:
        """Read and prepare a file. Raises ModelError without a manifest, or for another precision than float32."""
        if precision == "bfloat16":
            raise ModelError("onnxruntime has no bfloat16 on CPUs: choose the precision auto or float32, or openvino")
        self._session = _open(file, threads)
        self.manifest = manifest_from_metadata(_metadata(self._session), file)
        self._inputs = [_spec(value) for value in self._session.get_inputs()]
        self._outputs = [_spec(value) for value in self._session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run the network on N inputs; see engines.engine.Engine."""
        check_inputs(inputs, self._inputs)
        return run_in_batches(inputs, self._outputs, self.manifest.largest_batch, self._run)

    def _run(self, inputs: Arrays) -> Arrays:
        names = [spec.name for spec in self._outputs]
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def read_metadata(file: Path) -> dict[str, str]:
    """The ONNX metadata of a file."""
    return _metadata(_open(file, None))


def _open(file: Path, threads: int | None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # Errors only: they come as exceptions, the rest is not for users.
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no class in common.
        raise unusable(file, error) from error


def _metadata(session: ort.InferenceSession) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def _spec(value: Any) -> TensorSpec:
    shape = tuple(side if isinstance(side, int) else None for side in value.shape)
    return TensorSpec(value.name, np.dtype(DTYPES[value.type]), shape)
