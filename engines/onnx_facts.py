"""What an ONNX model in memory says of itself."""

from __future__ import annotations

from onnx import ModelProto

from engines.sidecar import Shape

CALIBRATION_KEY = "darkstream_calibration_sha256"


def calibration_of(model: ModelProto) -> str | None:
    """The hash of the data that a quantised model was calibrated with, where it says so."""
    return next((entry.value for entry in model.metadata_props if entry.key == CALIBRATION_KEY), None)


def input_shapes(model: ModelProto) -> dict[str, Shape]:
    """The inputs' shapes; -1 is a side that varies."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    sides = {value.name: value.type.tensor_type.shape.dim for value in inputs}
    return {name: tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in sides[name]) for name in sides}
