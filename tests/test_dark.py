"""DARK: encode and decode against the golden cases, and against the paper's steps written out with OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from engines.compose import compose_pose
from engines.engine import open_engine
from tests.helpers import golden_inputs, golden_path, short_steps
from train.dark import decode, decode_quarter_offset, encode, gaussian_taps
from train.edge import EdgePose
from train.export import export_decode, export_pose_network, pose_manifest
from train.zoo import zoo_model

SIZES = {"64x48": (48, 64), "96x72": (72, 96), "64x64": (64, 64)}
INPUTS = {"64x48": (192, 256), "96x72": (288, 384), "64x64": (256, 256)}
# The kinds of maps, and how near the decode has to come, in heatmap px.
KINDS = dict.fromkeys(("clean", "noisy", "multi", "border", "zero", "tiny", "negative"), 1e-4) | {"constant": 1e-3}


def full_map_decode(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """The usual decode of one map [H, W]: the whole map blurred by OpenCV, then the Newton step."""
    height, width = heatmap.shape
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    if heatmap.max() <= 0:
        return np.array([-1.0, -1.0])
    if not (2 <= x <= width - 3 and 2 <= y <= height - 3):
        return np.array([x, y], float)
    r = kernel // 2
    blurred = cv2.GaussianBlur(np.pad(heatmap, r), (kernel, kernel), 0)[r:-r, r:-r].astype(np.float64)
    p = np.log(np.maximum(blurred * (heatmap.max() / blurred.max()), 1e-10))
    gradient = np.array([p[y, x + 1] - p[y, x - 1], p[y + 1, x] - p[y - 1, x]]) / 2
    dxx = (p[y, x + 2] - 2 * p[y, x] + p[y, x - 2]) / 4
    dyy = (p[y + 2, x] - 2 * p[y, x] + p[y - 2, x]) / 4
    dxy = (p[y + 1, x + 1] - p[y - 1, x + 1] - p[y + 1, x - 1] + p[y - 1, x - 1]) / 4
    return np.array([x, y]) - np.linalg.solve([[dxx, dxy], [dxy, dyy]], gradient)


def random_heatmaps(count: int = 3, keypoints: int = 17, seed: int = 0) -> np.ndarray:
    """Noisy Gaussians, float32 [count, keypoints, 64, 48], some of them at the border."""
    random = np.random.default_rng(seed)
    joints = random.uniform(0, (188, 252), (count, keypoints, 2))
    ones = np.ones(keypoints)
    maps = np.stack([encode(person, ones, (192, 256), (48, 64), 2.0)[0] for person in joints])
    return (maps * 0.8 + random.normal(0, 0.02, maps.shape)).astype(np.float32)


@pytest.mark.parametrize("kernel", [11, 17])
def test_decode_equals_the_full_map_steps(kernel: int) -> None:
    heatmaps = random_heatmaps()
    points, scores = decode(torch.from_numpy(heatmaps), kernel)
    expected = [[full_map_decode(heatmap, kernel) for heatmap in person] for person in heatmaps]
    np.testing.assert_allclose(points.numpy(), expected, atol=1e-4)
    np.testing.assert_array_equal(scores.numpy(), heatmaps.max((2, 3)))


def test_decode_inverts_the_unbiased_encode() -> None:
    joints = np.random.default_rng(1).uniform(40, (150, 210), (17, 2))
    heatmaps, weights = encode(joints, np.ones(17), (192, 256), (48, 64), 2.0)
    points, _ = decode(torch.from_numpy(heatmaps[None]), 11)
    assert (weights == 1).all()
    np.testing.assert_allclose(points[0].numpy() * 4, joints, atol=4 * 4e-4)


def test_decode_of_odd_maps_is_finite() -> None:
    odd = torch.zeros(1, 4, 64, 48)
    odd[0, 1] = -0.5
    odd[0, 2] = 0.3
    odd[0, 3, 30, 20] = 1e-20
    points, scores = decode(odd, 11)
    assert points.isfinite().all() and scores.isfinite().all()
    np.testing.assert_array_equal(points[0].numpy(), [[-1, -1], [-1, -1], [0, 0], [20, 30]])


@pytest.mark.parametrize("kernel", [11, 17])
@pytest.mark.parametrize("kind", list(KINDS))
def test_decode_agrees_with_the_golden_cases(kind: str, kernel: int) -> None:
    golden = np.load(golden_path("decode.npz"))
    regen = golden_inputs()
    sizes = [size for size in SIZES if f"{kind}/{size}/unbiased_k{kernel}/heat" in golden]
    assert sizes
    for size in sizes:
        heatmaps, _ = regen.heatmaps(kind, size)
        points, scores = decode(torch.from_numpy(heatmaps), kernel)
        assert points.isfinite().all()
        np.testing.assert_array_equal(scores.numpy(), golden[f"{kind}/{size}/maxvals"].reshape(scores.shape))
        expected = golden[f"{kind}/{size}/unbiased_k{kernel}/heat"]
        sane = short_steps(expected, heatmaps)
        np.testing.assert_allclose(points.numpy()[sane], expected[sane], atol=KINDS[kind])


@pytest.mark.parametrize("kind", list(KINDS))
def test_quarter_offset_decode_agrees_with_the_golden_cases(kind: str) -> None:
    golden = np.load(golden_path("decode.npz"))
    regen = golden_inputs()
    sizes = [size for size in SIZES if f"{kind}/{size}/default/heat" in golden]
    assert sizes
    for size in sizes:
        points, scores = decode_quarter_offset(torch.from_numpy(regen.heatmaps(kind, size)[0]))
        np.testing.assert_array_equal(points.numpy(), golden[f"{kind}/{size}/default/heat"])
        np.testing.assert_array_equal(scores.numpy(), golden[f"{kind}/{size}/maxvals"].reshape(scores.shape))


def test_quarter_offset_decode_moves_towards_the_higher_neighbour() -> None:
    joints = np.array([[81.0, 99.0], [78.6, 101.4], [0.0, 4.0]])
    heatmaps, _ = encode(joints, np.ones(3), (192, 256), (48, 64), 2.0)
    points, _ = decode_quarter_offset(torch.from_numpy(heatmaps[None]))
    np.testing.assert_array_equal(points[0].numpy(), [[20.25, 24.75], [19.75, 25.25], [0, 1]])


@pytest.fixture(scope="module")
def decode_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decode alone, as it is exported."""
    path = tmp_path_factory.mktemp("decode") / "decode.onnx"
    onnx.save(export_decode(17, SIZES["64x48"], 11), path)
    return path


def run_decode(path: Path, runtime: str, heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if runtime == "onnxruntime":
        onnxruntime = pytest.importorskip("onnxruntime")
        points, scores = onnxruntime.InferenceSession(str(path)).run(["points", "scores"], {"heatmaps": heatmaps})
        return points, scores
    openvino = pytest.importorskip("openvino")
    found = openvino.Core().compile_model(str(path), "CPU")([heatmaps])
    return found["points"], found["scores"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_exported_decode_equals_torch(runtime: str, decode_file: Path) -> None:
    heatmaps = random_heatmaps(seed=2)
    points, scores = run_decode(decode_file, runtime, heatmaps)
    expected, _ = decode(torch.from_numpy(heatmaps), 11)
    np.testing.assert_allclose(points, expected.numpy(), atol=1e-4)
    np.testing.assert_array_equal(scores, heatmaps.max((2, 3)))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
# Of the tiny maps half lie at the logarithm's floor, where a blurred maximum in bfloat16 shows.
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"tiny"}))
def test_exported_decode_agrees_with_the_golden_cases(kind: str, runtime: str, decode_file: Path) -> None:
    expected = np.load(golden_path("decode.npz"))[f"{kind}/64x48/unbiased_k11/heat"]
    heatmaps, _ = golden_inputs().heatmaps(kind, "64x48")
    points, _ = run_decode(decode_file, runtime, heatmaps)
    sane = short_steps(expected, heatmaps)
    np.testing.assert_allclose(points[sane], expected[sane], atol=KINDS[kind])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_decode_stays_float32_behind_a_network_in_openvino(precision: str, tmp_path: Path) -> None:
    """The heatmaps that the network made, decoded in torch, give what the engine returned, whatever it ran in."""
    openvino = pytest.importorskip("openvino")
    torch.manual_seed(3)
    network = EdgePose()
    torch.nn.init.normal_(network.final.weight, std=0.5)
    exported = export_pose_network(network, (192, 256))
    manifest = pose_manifest(zoo_model("edge_coco_256x192"), 0.3, "float32")
    model = compose_pose(exported, export_decode(17, (48, 64), 11), manifest)
    # What the decode reads.
    model.graph.output.append(onnx.helper.make_tensor_value_info("whole_heatmaps", onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "pose.onnx")
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    compiled = openvino.Core().compile_model(tmp_path / "pose.onnx", "CPU", {"INFERENCE_PRECISION_HINT": hint})
    crops = np.random.default_rng(4).integers(0, 256, (4, 256, 192, 3), np.uint8)
    found = compiled([crops])
    heatmaps = found["whole_heatmaps"]
    points, scores = decode(torch.from_numpy(heatmaps), 11)
    np.testing.assert_array_equal(found["scores"], scores.numpy())
    sane = short_steps(points.numpy(), heatmaps, longest=1.0)
    assert sane.mean() > 0.5
    np.testing.assert_allclose(found["keypoints"][sane], points.numpy()[sane] * 4, atol=4e-4)


@pytest.mark.parametrize("sigma", [2, 3])
@pytest.mark.parametrize("unbiased", [False, True])
def test_encode_agrees_with_the_golden_cases(unbiased: bool, sigma: int) -> None:
    golden = np.load(golden_path("encode.npz"))
    sizes = [size for size in SIZES if f"{size}/joints" in golden]
    assert sizes
    for size in sizes:
        case = f"{size}/sigma{sigma}/unbiased{int(unbiased)}"
        joints, visible = golden[f"{size}/joints"], golden[f"{size}/visible"]
        for index in range(len(joints)):
            maps, weights = encode(
                joints[index], visible[index][:, 0], INPUTS[size], SIZES[size], sigma, unbiased=unbiased
            )
            np.testing.assert_array_equal(weights, golden[f"{case}/weight"][index])
            np.testing.assert_allclose(maps.sum(2), golden[f"{case}/rowsum"][index], atol=2e-6)
            np.testing.assert_allclose(maps.sum(1), golden[f"{case}/colsum"][index], atol=2e-6)
            np.testing.assert_array_equal(np.count_nonzero(maps, (1, 2)), golden[f"{case}/nnz"][index])
            if index == 1:
                # Whole maps are kept of the first two people, or of the second one's first joints only.
                full = golden[f"{case}/full"][-1]
                np.testing.assert_allclose(maps[: len(full)], full, atol=1e-6)


def test_biased_encode_is_centred_on_a_pixel_and_cut_at_three_sigma() -> None:
    maps, weights = encode(np.array([[41.0, 81.0]]), np.ones(1), (192, 256), (48, 64), 2.0, unbiased=False)
    assert weights[0] == 1 and maps[0, 20, 10] == 1
    assert np.count_nonzero(maps[0]) == 13 * 13


def test_encode_leaves_out_what_is_unknown_or_far_outside() -> None:
    joints = np.array([[50.0, 50.0], [-200.0, 50.0], [50.0, 290.0], [-20.0, 50.0]])
    maps, weights = encode(joints, np.array([0, 1, 1, 1]), (192, 256), (48, 64), 2.0)
    np.testing.assert_array_equal(weights, [0, 0, 0, 1])
    np.testing.assert_array_equal(maps[:3].max((1, 2)), 0)
    assert maps[3].max() > 0


def test_taps_are_those_of_opencv() -> None:
    for kernel in (11, 17):
        np.testing.assert_allclose(gaussian_taps(kernel), cv2.getGaussianKernel(kernel, 0)[:, 0], atol=1e-7)
    with pytest.raises(ValueError, match="odd kernel"):
        gaussian_taps(10)


def test_composed_file_opens_in_both_runtimes_alike(tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = EdgePose()
    torch.nn.init.normal_(network.final.weight, std=0.5)
    manifest = pose_manifest(zoo_model("edge_coco_256x192"), 0.3, "float32")
    model = compose_pose(export_pose_network(network, (192, 256)), export_decode(17, (48, 64), 11), manifest)
    onnx.save(model, tmp_path / "pose.onnx")
    crops = np.random.default_rng(6).integers(0, 256, (3, 256, 192, 3), np.uint8)
    reference = open_engine(tmp_path / "pose.onnx", "onnxruntime")({"crops": crops})
    found = open_engine(tmp_path / "pose.onnx", "openvino", "float32")({"crops": crops})
    np.testing.assert_allclose(found["scores"], reference["scores"], atol=1e-3)
    apart = np.linalg.norm(found["keypoints"] - reference["keypoints"], axis=2)
    # A random network's maxima can tie; the rest agree.
    assert np.median(apart) < 0.05
