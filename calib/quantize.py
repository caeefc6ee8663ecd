"""The network of a composed file in int8 by explicit Q/DQ (NNCF); what is before and behind it stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import nncf
import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.utils import Extractor

from engines.compose import with_manifest
from engines.manifest import Manifest
from pipeline.types import Image
from train.loop import normalise

NETWORK_OUTPUTS = {"pose": ["network/heatmaps"], "person_detector": ["network/boxes", "network/scores"]}


def quantize(model: onnx.ModelProto, manifest: Manifest, crops: Iterable[Image]) -> onnx.ModelProto:
    """The same file with an int8 network: weights and activations of its convolutions but the last ones.

    crops: calibration inputs, uint8 [1, h, w, 3] BGR each. Every node that no convolution follows stays float: the
    last convolutions, whose values are the answer, and all that reads them.
    """
    network = _with_float32_weights(_network_of(model, manifest))
    images = [{"image": normalise(torch.from_numpy(crop)).numpy()} for crop in crops]
    ignored = nncf.IgnoredScope(names=sorted(_behind_the_convolutions(network)), validate=False)
    quantized = nncf.quantize(network, nncf.Dataset(images), subset_size=len(images), ignored_scope=ignored)
    versions = {**manifest.versions, "nncf": nncf.__version__}
    made = replace(manifest, precision="int8", versions=versions)
    return with_manifest(_replaced(model, network, quantized), made)


def _network_of(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    return Extractor(model).extract_model(["image"], NETWORK_OUTPUTS[manifest.task])


def _with_float32_weights(network: onnx.ModelProto) -> onnx.ModelProto:
    """The casts of weights that are stored as float16 done away with: the quantiser wants plain constants."""
    stored = {tensor.name: tensor for tensor in network.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    kept = []
    for node in network.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
            stored[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del network.graph.node[:]
    network.graph.node.extend(kept)
    return network


def _behind_the_convolutions(network: onnx.ModelProto) -> set[str]:
    """The names of the nodes from which no convolution follows."""
    leads_to_convolution: set[str] = set()
    ignored = set()
    for node in reversed(network.graph.node):
        leads = any(name in leads_to_convolution for name in node.output)
        if leads or node.op_type == "Conv":
            leads_to_convolution.update(node.input)
        if not leads:
            ignored.add(node.name)
    return ignored


def _replaced(model: onnx.ModelProto, network: onnx.ModelProto, other: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of `network`, a part of it, replaced by those of `other`."""
    made = {name for node in network.graph.node for name in node.output}
    made |= {tensor.name for tensor in network.graph.initializer}
    last = max(i for i, node in enumerate(model.graph.node) if made.intersection(node.output))
    before: list[NodeProto] = [n for n in model.graph.node[:last] if not made.intersection(n.output)]
    after: list[NodeProto] = list(model.graph.node[last + 1 :])
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend([*before, *other.graph.node, *after])
    used = {name for node in result.graph.node for name in node.input}
    tensors = {tensor.name: tensor for tensor in (*model.graph.initializer, *other.graph.initializer)}
    result.graph.initializer.extend(tensor for name, tensor in tensors.items() if name in used)
    return result
