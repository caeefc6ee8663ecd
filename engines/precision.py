"""float32 ONNX -> ONNX with float16 weights: half the file, the same arithmetic."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def store_float16(network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that keeps the weights of convolutions and matrix products as float16, each with a Cast to float32.

    Runtimes fold the casts away when they load the file. Biases and all other constants stay float32. To be used on
    the network before it is composed. Raises ValueError for a weight beyond float16's range.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network)
    weights = {name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input[1:2]}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in weights or tensor.data_type != TensorProto.FLOAT:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise ValueError(f"the weight {name} reaches {np.abs(values).max():g}, more than float16 can hold")
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model
