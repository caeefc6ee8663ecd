"""From a checkpoint to a file and to something that runs: the export command, and what `--model` may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engines.engine import Engine, open_engine, read_manifest
from engines.frame_graph import frame_form
from pipeline.skeletons import skeleton_from
from tests.helpers import REPOSITORY
from train.__main__ import main
from train.checkpoints import model_entry, read_checkpoint
from train.detector import PersonDetectorNetwork
from train.edge import EdgePose
from train.models import open_pose_model
from train.torch_engine import PoseEngine
from train.zoo import ZooModel, zoo_model

INT8 = REPOSITORY / "models" / "edge_coco_256x192_int8.onnx"
EDGE = "edge_coco_256x192"
PEN = skeleton_from({
    "name": "pen", "keypoint_names": ["tip", "left_clip", "right_clip"], "oks_sigmas": [0.1, 0.1, 0.1],
    "flip_pairs": [["left_clip", "right_clip"]],
})  # fmt: skip


def trained(model: ZooModel) -> nn.Module:
    """A network whose heatmaps have bumps."""
    torch.manual_seed(1)
    network = model.build()
    assert isinstance(network, EdgePose)
    nn.init.normal_(network.final.weight, std=0.3)
    return network.eval()


def checkpoint(folder: Path, model: ZooModel, named: bool = True) -> Path:
    content: dict[str, Any] = {"network": trained(model).state_dict(), "figures": {"AP": 0.5}}
    torch.save(content | ({"model": model_entry(model)} if named else {}), folder / "best.pt")
    return folder / "best.pt"


def crops(count: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth noise [N, 256, 192, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 16, 12, 3), np.uint8)
    return np.stack([cv2.resize(crop, (192, 256)).astype(np.uint8) for crop in coarse])


def assert_alike(one: Engine, other: Engine, atol: float = 1e-3) -> None:
    found, expected = one({"crops": crops()}), other({"crops": crops()})
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-3, atol=atol)
    apart = np.linalg.norm(found["keypoints"] - expected["keypoints"], axis=2)
    assert np.median(apart) < 0.05


@pytest.mark.parametrize("flip", [False, True])
def test_a_checkpoint_becomes_a_file(flip: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = checkpoint(tmp_path, zoo_model(EDGE), named=False)
    options = ["--store", "float32", *(["--flip-test"] if flip else [])]
    assert main(["export", "--model", EDGE, "--weights", str(weights), "--out", str(tmp_path / "new"), *options]) == 0
    file = tmp_path / "new" / (f"{EDGE}_flip.onnx" if flip else f"{EDGE}.onnx")
    assert f"{file}: " in capsys.readouterr().out
    manifest = read_manifest(file)
    assert (manifest.name, manifest.precision, manifest.flip_test) == (EDGE, "float32", flip)
    engine = open_pose_model(EDGE, weights, flip_test=flip)
    assert isinstance(engine, PoseEngine) and engine.manifest.flip_test == flip
    assert_alike(open_engine(file, "onnxruntime"), engine)


def test_a_user_s_own_model_needs_no_more_than_its_checkpoint(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, zoo_model(EDGE).for_data("pens", PEN))
    assert main(["export", "--weights", str(weights), "--out", str(tmp_path), "--keypoint-threshold", "0.4"]) == 0
    manifest = read_manifest(tmp_path / "pens_edge_256x192.onnx")
    assert manifest.precision == "float16" and manifest.score_threshold == 0.4
    assert isinstance(manifest.skeleton, dict) and manifest.skeleton["keypoint_names"] == list(PEN.keypoint_names)
    assert_alike(
        open_pose_model(tmp_path / "pens_edge_256x192.onnx", precision="float32"), open_pose_model(weights), 0.01
    )


def test_a_file_gets_the_flip_test(tmp_path: Path) -> None:
    assert main(["export", "--model", str(INT8), "--flip-test", "--out", str(tmp_path)]) == 0
    file = tmp_path / f"{INT8.stem}_flip.onnx"
    assert read_manifest(file).flip_test and read_manifest(file).precision == "int8"
    inside = open_pose_model(str(INT8), runtime="onnxruntime", flip_test=True)
    found, expected = (engine({"crops": crops()}) for engine in (open_engine(file, "onnxruntime"), inside))
    np.testing.assert_array_equal(found["keypoints"], expected["keypoints"])
    assert not open_pose_model(INT8, runtime="onnxruntime").manifest.flip_test


def test_files_take_the_frame(tmp_path: Path) -> None:
    """From a file that is exported already, with the flip test, and from a checkpoint; a file of either task."""
    weights = checkpoint(tmp_path, zoo_model(EDGE), named=False)
    detector = REPOSITORY / "models" / "person_detector.onnx"
    for options in (
        ["--model", str(INT8), "--flip-test"],
        ["--model", EDGE, "--weights", str(weights)],
        ["--model", str(detector)],
    ):
        assert main(["export", "--input", "frame", "--out", str(tmp_path), *options]) == 0
    made = {file.stem: read_manifest(file) for file in tmp_path.glob("*.onnx")}
    assert sorted(made) == [f"{EDGE}_frame", f"{INT8.stem}_flip_frame", "person_detector_frame"]
    assert all(manifest.input == "frame" for manifest in made.values())
    assert made[f"{INT8.stem}_flip_frame"].flip_test and made[f"{INT8.stem}_flip_frame"].precision == "int8"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_checkpoint_runs_in_every_runtime(runtime: str, tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, zoo_model(EDGE), named=False)
    named = open_pose_model(weights, expect=EDGE, runtime=runtime, precision="float32", flip_test=True)
    assert named.manifest.flip_test and named.manifest.precision == "float32"
    assert_alike(named, open_pose_model(EDGE, weights, flip_test=True))


def test_models_that_cannot_be_opened(tmp_path: Path) -> None:
    weights = checkpoint(tmp_path, zoo_model(EDGE), named=False)
    for given, message in (
        ({"model": EDGE}, "edge_coco_256x192 has no weights of its own: give a checkpoint"),
        ({"model": "coco_res18"}, r"no model 'coco_res18': expected a file .* or one of coco_res50_256x192, .*"),
        ({"model": weights}, r"best\.pt is a checkpoint of darkstream that names no model: give its name"),
        ({"model": weights, "weights": weights}, "is a checkpoint itself"),
        ({"model": weights, "expect": "coco_res50_256x192"}, "not of this network"),
        ({"model": INT8, "weights": weights}, "holds its weights"),
        ({"model": INT8, "runtime": "torch"}, "PyTorch does not run"),
        ({"model": INT8, "runtime": "tensorflow"}, "runtime should be one of auto, openvino, onnxruntime"),
        ({"model": EDGE, "weights": weights, "precision": "bfloat16"}, "PyTorch runs in float32"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            open_pose_model(**given)
        assert "\n" not in str(caught.value)


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(onnx.load(INT8), tmp_path / "pose.onnx")
    onnx.save(frame_form(onnx.load(INT8)), tmp_path / "frame.onnx")
    (tmp_path / "broken.onnx").write_text("milk")
    for options, message in (
        ([], "nothing to export"),
        (["--model", EDGE], "has no weights of its own"),
        (["--model", "coco_res18", "--weights", "x.pt"], "no model 'coco_res18' in the zoo"),
        (["--weights", str(tmp_path / "none.pt")], "none.pt does not exist"),
        (["--model", str(tmp_path / "pose.onnx")], "is exported already: give --flip-test or --input frame"),
        (["--model", str(tmp_path / "frame.onnx"), "--input", "frame"], "which takes the frame already"),
        (["--model", str(tmp_path / "none.onnx"), "--flip-test"], "no such network file"),
        (["--model", str(tmp_path / "broken.onnx"), "--flip-test"], "is not an ONNX network"),
        (["--model", str(REPOSITORY / "models" / "person_detector.onnx"), "--flip-test"], "is no pose network"),
    ):
        assert main(["export", "--out", str(tmp_path), *options]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_a_detector_is_mixed_with_what_its_training_started_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = [PersonDetectorNetwork(), PersonDetectorNetwork()]
    for network, name in zip(networks, ("trained.pt", "start.pt"), strict=True):
        torch.save({"network": network.state_dict(), "figures": {}}, tmp_path / name)
    asked = ["export", "--detector", str(tmp_path / "trained.pt"), "--with-checkpoint", "--out", str(tmp_path)]
    assert main([*asked, "--detector-blend", f"{tmp_path / 'start.pt'}=0.25"]) == 0
    mixed = read_checkpoint(tmp_path / "person_detector.pt").weights
    trained, start = (network.state_dict() for network in networks)
    for name, weight in mixed.items():
        torch.testing.assert_close(weight.float(), 0.75 * trained[name] + 0.25 * start[name], atol=1e-3, rtol=1e-3)
    assert main([*asked, "--detector-blend", f"{tmp_path / 'start.pt'}=1.5"]) == 1
    assert "should be above 0 and at most 1, got 1.5" in capsys.readouterr().err
