"""The rungs of the parity ladder for a network of the zoo, a checkpoint, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from engines.compose import weights_sha256
from engines.engine import Engine, read_manifest
from engines.manifest import Manifest
from engines.precision import store_float16
from pipeline.skeletons import skeleton_from
from pipeline.types import Skeleton
from train.export import KEYPOINT_THRESHOLD, export_pose_network, pose_manifest, pose_model
from train.models import TrainedModel, open_pose_model, trained_model
from train.parity import BFLOAT16, FLOAT16, FLOAT32, INT8, Limits, Rung, file_rung, torch_rung
from train.torch_engine import PoseEngine
from train.zoo import zoo

# (rung, limits, runtime, precision) of a file in float32.
RUNTIME_RUNGS = (
    ("ONNX Runtime float32", FLOAT32, "onnxruntime", "float32"),
    ("OpenVINO float32", FLOAT32, "openvino", "float32"),
    ("OpenVINO bfloat16", BFLOAT16, "openvino", "bfloat16"),
)
# A stored precision: its limits, and the runtime and precision that it is run in.
STORED: dict[str, tuple[Limits, str, str]] = {
    "float32": (FLOAT32, "onnxruntime", "float32"),
    "float16": (FLOAT16, "onnxruntime", "float32"),
    "int8": (INT8, "openvino", "auto"),
}


@dataclass(frozen=True)
class Ladder:
    """The rungs, what the network's crops and keypoints are, and the name of its row in the zoo, if it has one."""

    rungs: Sequence[Rung]
    input_size: tuple[int, int]
    skeleton: Skeleton
    zoo_name: str | None


def ladder_of(
    model: str, weights: Path | None, files: Sequence[Path], shipped: Path, folder: Path, flip_test: bool
) -> Ladder:
    """The ladder of a name in the zoo with `weights`, of a checkpoint, or of a network file.

    files: more files of the same network. Those in the folder `shipped` that hold the same weights are added.
    folder: for temporary files. flip_test: in what the figure is measured with. Raises ValueError for what is unusable.
    """
    if Path(model).suffix == ".onnx" and model not in zoo():
        return _ladder_of_file(Path(model), weights, files, folder, flip_test)
    trained = trained_model(model, weights)
    found = [file for file in _files_of(trained, shipped) if file not in files]
    top = torch_rung(*(_torch_engine(trained, flip) for flip in (False, flip_test)))
    exported = pose_model(trained.network, trained.model, precision="float32")
    rungs = [top, *_runtime_rungs(exported, folder, flip_test)]
    rungs += [_stored_rung(file, folder, flip_test) for file in (*found, *files)]
    row = trained.model.name if trained.model.name in zoo() else None
    return Ladder(rungs, trained.model.input_size, trained.model.skeleton, row)


def _ladder_of_file(file: Path, weights: Path | None, files: Sequence[Path], folder: Path, flip_test: bool) -> Ladder:
    manifest = read_manifest(file)
    if manifest.task != "pose" or manifest.skeleton is None:
        raise ValueError(f"{file} is a {manifest.task} network: expected a pose network")
    if weights is not None:
        raise ValueError(f"{file} holds its weights: leave out {weights}, or give a name of the zoo")
    _without_flip_test(file, manifest)
    rungs = [*_runtime_rungs(onnx.load(file), folder, flip_test)]
    rungs += [_stored_rung(other, folder, flip_test) for other in files]
    row = manifest.name if manifest.name in zoo() else None
    return Ladder(rungs, manifest.input_size, skeleton_from(manifest.skeleton), row)


def _without_flip_test(file: Path, manifest: Manifest) -> None:
    if manifest.flip_test:
        raise ValueError(f"{file} has the flip test inside: give the file without it, and --flip-test")


def _torch_engine(trained: TrainedModel, flip_test: bool) -> PoseEngine:
    manifest = pose_manifest(trained.model, KEYPOINT_THRESHOLD, "float32", flip_test)
    return PoseEngine(trained.network, manifest, trained.model.kernel)


def _runtime_rungs(model: onnx.ModelProto, folder: Path, flip_test: bool) -> list[Rung]:
    file = folder / "exported.onnx"
    onnx.save(model, file)
    return [_rung(*names, model, file, folder, flip_test) for names in RUNTIME_RUNGS]


def _stored_rung(file: Path, folder: Path, flip_test: bool) -> Rung:
    manifest = read_manifest(file)
    _without_flip_test(file, manifest)
    limits, runtime, precision = STORED[manifest.precision]
    return _rung(
        f"{file.name} ({manifest.precision})", limits, runtime, precision, onnx.load(file), file, folder, flip_test
    )


def _rung(
    name: str,
    limits: Limits,
    runtime: str,
    precision: str,
    model: onnx.ModelProto,
    file: Path,
    folder: Path,
    flip_test: bool,
) -> Rung:
    def engine() -> Engine:
        return open_pose_model(file, runtime=runtime, precision=precision, flip_test=flip_test)

    return file_rung(name, limits, model, folder, runtime, precision, engine)


def _files_of(trained: TrainedModel, folder: Path) -> list[Path]:
    """The files of a folder that hold these weights, as export stores them."""
    candidates = sorted(folder.glob(f"{trained.model.name}*.onnx"))
    if not candidates:
        return []
    stored = weights_sha256(store_float16(export_pose_network(trained.network, trained.model.input_size)))
    manifests = {file: read_manifest(file) for file in candidates}
    return [file for file, m in manifests.items() if m.network_sha256 == stored and not m.flip_test]
