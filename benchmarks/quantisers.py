"""Three quantisers on one pose network: NNCF, which calib uses, ONNX Runtime's and NVIDIA Model Optimizer.

    python benchmarks/quantisers.py --images DIR ... --annotations A.json [--model FILE] [--crops 200]

Each gets the same calibration crops and makes int8 of the same convolutions, all but the last ones, ranges from the
least to the largest value; then all are measured as by python -m calib, times in OpenVINO. A quantiser that is not
installed is left out; for Model Optimizer: pip install "nvidia-modelopt[onnx]", best into an environment of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from calib.crops import calibrated_and_measured, folder_pictures, pose_crops
from calib.measure import Judge, Row, megabytes, milliseconds
from calib.methods import FloatArray
from calib.quantize import Form, behind_the_convolutions, network_of, normalised, quantize, with_network
from calib.report import rows_table
from engines.compose import manifest_of, with_manifest
from engines.engine import open_engine
from engines.manifest import Manifest
from engines.precision import expand_float32
from pipeline.detector import PersonDetector
from pipeline.skeletons import skeleton_from
from pipeline.types import Image
from train.datasets.annotations import load_annotations
from train.evaluate import labelled, numbered

MODELS = Path(__file__).resolve().parent.parent / "models"
METHOD = "minmax"
# What quantises a network alone: its file, normalised inputs, the names of nodes that stay float, the file to write.
Quantiser = Callable[[Path, Sequence[dict[str, FloatArray]], Sequence[str], Path], None]


def by_onnxruntime(network: Path, inputs: Sequence[dict[str, FloatArray]], floats: Sequence[str], out: Path) -> None:
    """ONNX Runtime's static quantisation, with the settings that TensorRT can read."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest: Iterator[dict[str, FloatArray]] = iter(inputs)

        def get_next(self) -> dict[str, FloatArray] | None:
            return next(self.rest, None)

    quantize_static(
        network,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
        nodes_to_exclude=list(floats),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"QuantizeBias": False, "ActivationSymmetric": True, "WeightSymmetric": True},
    )


def by_model_optimizer(
    network: Path, inputs: Sequence[dict[str, FloatArray]], floats: Sequence[str], out: Path
) -> None:
    """NVIDIA Model Optimizer on the CPU."""
    from modelopt.onnx.quantization import quantize as optimise

    optimise(
        str(network),
        quantize_mode="int8",
        calibration_data={"image": np.concatenate([image["image"] for image in inputs])},
        calibration_method="max",
        calibration_eps=["cpu"],
        nodes_to_exclude=list(floats),
        high_precision_dtype="fp32",
        output_path=str(out),
        log_level="ERROR",
    )


# Name -> (the module that has to be installed, what it does).
PEERS: dict[str, tuple[str, Quantiser]] = {
    "ONNX Runtime": ("onnxruntime", by_onnxruntime),
    "Model Optimizer": ("modelopt", by_model_optimizer),
}


def by_peer(
    model: onnx.ModelProto, manifest: Manifest, crops: Image, quantiser: Quantiser, folder: Path
) -> onnx.ModelProto:
    """The composed file with its network quantised by another quantiser."""
    network = network_of(expand_float32(model), manifest)
    before, after = folder / "network.onnx", folder / "quantised.onnx"
    onnx.save(network, before)
    inputs = [normalised(crop[None]) for crop in crops]
    quantiser(before, inputs, sorted(behind_the_convolutions(network)), after)
    made = with_network(model, network, onnx.load(after))
    opsets = {entry.domain: entry.version for entry in onnx.load(after).opset_import}
    made.opset_import.extend(
        onnx.helper.make_opsetid(domain, version)
        for domain, version in opsets.items()
        if domain not in {entry.domain for entry in made.opset_import}
    )
    return with_manifest(made, replace(manifest, precision="int8"))


def candidates(
    model: onnx.ModelProto, manifest: Manifest, crops: Image, folder: Path
) -> Iterator[tuple[str, Path, str]]:
    """(name, file, precision of OpenVINO) of float32, and of int8 by each quantiser that is installed."""

    def saved(name: str, made: onnx.ModelProto) -> Path:
        file = folder / f"{name}.onnx"
        onnx.save(made, file)
        return file

    yield "float32", saved("float32", expand_float32(model)), "float32"
    yield "NNCF", saved("NNCF", quantize(model, manifest, [crop[None] for crop in crops], METHOD)), "auto"
    signed = quantize(model, manifest, [crop[None] for crop in crops], METHOD, form=Form(signed=True))
    yield "NNCF, signed", saved("signed", signed), "auto"
    for name, (module, quantiser) in PEERS.items():
        if find_spec(module) is None:
            print(f"{name} is not installed ({module}): left out", file=sys.stderr)
            continue
        yield name, saved(name, by_peer(model, manifest, crops, quantiser, folder)), "auto"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODELS / "edge_coco_256x192.onnx", metavar="FILE")
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="as for python -m calib")
    parser.add_argument("--annotations", type=Path, required=True, metavar="JSON", help="of the first folder")
    parser.add_argument("--crops", type=int, default=200, help="calibration inputs (200)")
    options = parser.parse_args()
    model = onnx.load(options.model)
    manifest = manifest_of(model)
    assert manifest.skeleton is not None
    annotated = load_annotations(options.annotations, options.images[0], skeleton_from(manifest.skeleton))
    measured = labelled(numbered(calibrated_and_measured(annotated)[1]))
    pictures = calibrated_and_measured([p for folder in options.images for p in folder_pictures(folder)])[0]
    detector = PersonDetector(open_engine(MODELS / "person_detector.onnx"))
    crops, _ = pose_crops(pictures, detector, manifest.input_size, options.crops)
    with tempfile.TemporaryDirectory() as folder:
        made = list(candidates(model, manifest, crops, Path(folder)))
        engines: list[Any] = [open_engine(file, "openvino", precision) for _, file, precision in made]
        judge = Judge(engines[0], measured, annotated=True)
        times = milliseconds(engines, crops)
        rows = [
            Row(name, *judge(engine), ms, megabytes(file))
            for (name, file, _), engine, ms in zip(made, engines, times, strict=True)
        ]
    print("\n".join(rows_table(rows)))


if __name__ == "__main__":
    main()
