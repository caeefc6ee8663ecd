"""The network of a composed file in int8 by explicit Q/DQ (NNCF); what is before and behind it stays as it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import nncf
import numpy as np
import onnx
import torch
from onnx import NodeProto, helper
from onnx.utils import Extractor

from calib.methods import DEFAULT, FloatArray, range_estimator, set_entropy_ranges
from engines.compose import with_manifest
from engines.manifest import Manifest
from engines.onnx_facts import CALIBRATION_KEY
from engines.precision import expand_float32
from engines.quantized import signed_int8, unsigned_uint8
from pipeline.types import Image
from train.loop import normalise

NETWORK_OUTPUTS = {"pose": ["network/heatmaps"], "person_detector": ["network/boxes", "network/scores"]}


@dataclass(frozen=True)
class Form:
    """Which integers stand for the numbers. signed: int8 everywhere, no uint8.

    half_range: weights from -64 to 63, for CPUs without VNNI. Those add two products at a time in 16 bits, where uint8
    times the whole range of int8 does not fit in.
    """

    signed: bool = False
    half_range: bool = False


PLAIN = Form()


def quantize(
    model: onnx.ModelProto,
    manifest: Manifest,
    crops: Iterable[Image],
    method: str = DEFAULT,
    keep_float: Sequence[str] = (),
    form: Form = PLAIN,
) -> onnx.ModelProto:
    """The same file with an int8 network: weights and activations of its convolutions but the last ones.

    crops: calibration inputs, uint8 [1, h, w, 3] BGR each. Every node that no convolution follows stays float: the
    last convolutions, whose values are the answer, and all that reads them. method: one of calib.methods.METHODS.
    keep_float: names of nodes that stay float, too. The metadata gets a hash of inputs and settings.
    Raises ValueError for an unknown method, and names that are not in the network.
    """
    network = network_of(expand_float32(model), manifest)
    inputs = list(crops)
    made = _quantized(network, inputs, method, keep_float, form.half_range)
    versions = {**manifest.versions, "nncf": nncf.__version__}
    result = with_network(model, network, made)
    helper.set_model_props(
        result,
        {entry.key: entry.value for entry in result.metadata_props}
        | {CALIBRATION_KEY: _hash(inputs, method, *sorted(keep_float), repr(form))},
    )
    result = with_manifest(result, replace(manifest, precision="int8", versions=versions))
    if form.signed:
        return signed_int8(result)
    joins = any(node.op_type == "Concat" for node in network.graph.node)
    return unsigned_uint8(result) if joins else result


def network_of(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """The network of a composed file, from normalised images on to what the last convolutions make."""
    return Extractor(model).extract_model(["image"], NETWORK_OUTPUTS[manifest.task])


def normalised(crop: Image) -> dict[str, FloatArray]:
    """A network's input by name, image float32 [N, 3, h, w], of crops uint8 [N, h, w, 3] BGR."""
    return {"image": np.ascontiguousarray(normalise(torch.from_numpy(crop)).numpy())}


def behind_the_convolutions(network: onnx.ModelProto) -> set[str]:
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


def _quantized(
    network: onnx.ModelProto, inputs: Sequence[Image], method: str, keep_float: Sequence[str], half_range: bool
) -> onnx.ModelProto:
    if unknown := sorted(set(keep_float) - {node.name for node in network.graph.node}):
        raise ValueError(f"the network has no layer {', '.join(unknown)} that could be kept in float")
    nncf.set_log_level(logging.ERROR)  # It lists every node that it was told to leave alone.
    parameters = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if half_range else nncf.OverflowFix.FIRST_LAYER,
        activations_range_estimator_params=range_estimator(method),
    )
    ignored = nncf.IgnoredScope(names=sorted(behind_the_convolutions(network) | set(keep_float)), validate=False)
    made: onnx.ModelProto = nncf.quantize(
        network,
        nncf.Dataset(inputs, normalised),
        subset_size=len(inputs),
        ignored_scope=ignored,
        advanced_parameters=parameters,
    )
    if method == "entropy":
        set_entropy_ranges(made, network, map(normalised, inputs))
    return made


def _hash(inputs: Sequence[Image], *settings: str) -> str:
    """Of the calibration inputs and what was done with them, in hexadecimal digits."""
    digest = hashlib.sha256(repr((nncf.__version__, settings)).encode())
    for image in inputs:
        digest.update(f"{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def with_network(model: onnx.ModelProto, network: onnx.ModelProto, other: onnx.ModelProto) -> onnx.ModelProto:
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
