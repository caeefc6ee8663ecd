"""A network that takes the whole frame: the production crop and letterbox inside, the same people and keypoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx.utils import Extractor

from engines.engine import ModelError, open_engine, read_manifest
from engines.frame_graph import PIXELS, frame_form
from engines.frames import shared
from engines.precision import to_float16
from pipeline.affine import crop_maps, crop_people
from pipeline.association import box_iou
from pipeline.detector import PersonDetector, letterbox
from pipeline.pose import PoseEstimator
from pipeline.pose_pipeline import Networks
from pipeline.sources import open_source
from pipeline.stats import StageStats
from pipeline.types import FloatArray, Image
from tests.helpers import REPOSITORY, golden_path
from tests.tiny_networks import detector_file, pose_file
from train.export import with_flip_test

Array = npt.NDArray[Any]
MODELS = REPOSITORY / "models"
POSE, DETECTOR = MODELS / "edge_coco_256x192.onnx", MODELS / "person_detector.onnx"
SIDE = read_manifest(DETECTOR).input_size[0]
SIZE = (192, 256)


def pixels_of(model: onnx.ModelProto) -> Callable[[dict[str, Array]], Array]:
    """What a file makes of its inputs at first: crops or a letterboxed picture float32 [N, h, w, 3]."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.value_info.append(onnx.helper.make_tensor_value_info(PIXELS, onnx.TensorProto.FLOAT, "Nhwc"))
    part = Extractor(opened).extract_model([value.name for value in model.graph.input], [PIXELS])
    session = ort.InferenceSession(part.SerializeToString())

    def run(inputs: dict[str, Array]) -> Array:
        pixels: Array = session.run(None, inputs)[0]
        return pixels

    return run


@pytest.fixture(scope="module")
def cut() -> Callable[[dict[str, Array]], Array]:
    return pixels_of(frame_form(onnx.load(POSE)))


def noise(height: int, width: int) -> Image:
    """The hardest picture there is: neighbours that have nothing in common."""
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def boxes_over(image: Image, count: int = 20) -> FloatArray:
    """Boxes [count, 4] all over an image; some reach out of it."""
    random, sides = np.random.default_rng(count), np.array([image.shape[1], image.shape[0]])
    centers = random.uniform(-0.1, 1.1, (count, 2)) * sides
    sizes = random.uniform(0.05, 0.8, (count, 2)) * sides
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], 1).astype(np.float32)


def assert_same_crops(cut: Callable[[dict[str, Array]], Array], image: Image, boxes: FloatArray) -> None:
    found = cut({"frame": image, "crop_to_frame": crop_maps(boxes, SIZE)})
    apart = np.abs(found - crop_people(image, boxes, SIZE)[0])
    assert apart.max() <= 1.5 and apart.mean() <= 0.5, (apart.max(), apart.mean())
    assert (apart > 0).mean() < 1e-4, "all positions but a few are production's, and then all values"


@pytest.mark.parametrize(("height", "width"), [(97, 131), (480, 640), (1079, 1919), (2, 3), (1, 1)])
def test_crops_are_production_s(cut: Callable[[dict[str, Array]], Array], height: int, width: int) -> None:
    image = noise(height, width)
    assert_same_crops(cut, image, boxes_over(image))


def test_crops_are_the_reference_s(cut: Callable[[dict[str, Array]], Array]) -> None:
    golden = {key.removeprefix("256x192/"): value for key, value in np.load(golden_path("affine.npz")).items()}
    x, y, width, height = golden["boxes"].T
    boxes = np.stack([x, y, x + width, y + height], 1)
    for number in (0, 1):
        mine = golden["img_idx"] == number
        bgr = np.ascontiguousarray(golden[f"img{number}_rgb"][..., ::-1])
        found = cut({"frame": bgr, "crop_to_frame": crop_maps(boxes[mine], SIZE)})
        np.testing.assert_array_equal(found[..., ::-1], golden["crops"][mine])


def test_outside_is_black_and_mixed_in_at_the_border(cut: Callable[[dict[str, Array]], Array]) -> None:
    """By maps of one px a px: half a px outside is half as bright, further out, however far, is black."""
    white = np.full((40, 50, 3), 255, np.uint8)
    shifts = np.array([[-0.5, -0.5], [48.5, 38.5], [1e12, 0], [-1e12, -1e12]])
    maps = np.array([[[1, 0, x], [0, 1, y]] for x, y in shifts], np.float32)
    found = cut({"frame": white, "crop_to_frame": maps})
    assert found[0, 0, 0, 0] == 64 and found[0, 0, 1, 0] == 128 and found[0, 1, 1, 0] == 255
    assert found[1, 1, 1, 0] == 64 and found[1, 0, 0, 0] == 255 and not found[1, 2:].any()
    assert not found[2:].any()


def test_a_turned_map_is_followed_as_warp_affine_does(cut: Callable[[dict[str, Array]], Array]) -> None:
    """cv2.remap with warpAffine's positions of OpenCV 4: OpenCV 5 interpolates otherwise in warpAffine itself."""
    image = noise(480, 640)
    turned = 1.3 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    affine = np.concatenate([turned, [[100.3], [50.7]]], 1).astype(np.float32)
    u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    x, y = (
        (np.rint(u * row[0] * 1024) + np.rint((v * row[1] + row[2]) * 1024)).astype(np.int64) + 16 >> 5
        for row in affine.astype(np.float64)
    )
    whole = np.stack([x >> 5, y >> 5], 2).astype(np.int16)
    expected = cv2.remap(image, whole, ((y & 31) << 5 | (x & 31)).astype(np.uint16), cv2.INTER_LINEAR)
    np.testing.assert_array_equal(cut({"frame": image, "crop_to_frame": affine[None]})[0], expected)


@pytest.mark.parametrize(
    ("height", "width"), [(576, 768), (540, 960), (720, 1280), (1280, 719), (SIDE, SIDE), (100, 1600), (3, 1000)]
)
def test_the_letterbox_is_production_s(height: int, width: int) -> None:
    """Exact areas up to four times the network's side; enlarged pictures as exact as OpenCV's whole-number weights."""
    image = noise(height, width)
    found, expected = pixels_of(frame_form(onnx.load(DETECTOR)))({"frame": image})[0], letterbox(image, SIDE)[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - expected).mean() < 0.01


@pytest.mark.parametrize(("height", "width", "mean"), [(313, 235, 0.3), (1, 1, 0.1), (2160, 3840, 0.6)])
def test_the_letterbox_of_other_frames_is_close(height: int, width: int, mean: float) -> None:
    image: Image = np.asarray(cv2.GaussianBlur(noise(height, width), (0, 0), 1.5), np.uint8)
    found, expected = pixels_of(frame_form(onnx.load(DETECTOR)))({"frame": image})[0], letterbox(image, SIDE)[0]
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < mean


def real_frames() -> Iterator[Image]:
    """Of the demonstration clip, as it is and in other sizes, and of the videos of $DARKSTREAM_VIDEOS, where it is."""
    folder = Path(os.environ.get("DARKSTREAM_VIDEOS") or REPOSITORY.parent / "shared" / "data" / "video")
    clips = [REPOSITORY / "assets" / "demo.mp4", *sorted(folder.glob("*.mp4")), *sorted(folder.glob("*.avi"))]
    for clip in clips:
        yield next(iter(open_source(str(clip)).frames())).image
    first = next(iter(open_source(str(clips[0])).frames())).image
    for size in ((1279, 959), (333, 251)):
        yield np.asarray(cv2.resize(first, size, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("file", [POSE, MODELS / "edge_coco_256x192_int8.onnx"], ids=["float16", "int8"])
@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
def test_keypoints_are_those_of_crops(file: Path, flip: bool, tmp_path: Path) -> None:
    model = with_flip_test(onnx.load(file)) if flip else onnx.load(file)
    onnx.save(model, tmp_path / "crops.onnx")
    onnx.save(frame_form(model), tmp_path / "frame.onnx")
    detector = PersonDetector(open_engine(DETECTOR))
    for runtime in ("onnxruntime", "openvino"):
        crops, frame = (
            PoseEstimator(open_engine(tmp_path / f"{name}.onnx", runtime, "float32")) for name in ("crops", "frame")
        )
        for image in real_frames():
            boxes = np.concatenate([detector(image).boxes[:4], boxes_over(image, 2)])
            (expected, expected_scores), (found, scores) = crops(image, boxes), frame(image, boxes)
            np.testing.assert_allclose(found, expected, atol=0.05)
            np.testing.assert_allclose(scores, expected_scores, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_detector_finds_the_same_people(runtime: str, tmp_path: Path) -> None:
    onnx.save(frame_form(onnx.load(DETECTOR)), tmp_path / "frame.onnx")
    crops, frame = (PersonDetector(open_engine(f, runtime, "float32")) for f in (DETECTOR, tmp_path / "frame.onnx"))
    people = 0
    for image in real_frames():
        expected, found = crops(image), frame(image)
        sure = expected.scores > 0.3  # The threshold is 0.25: no one falls below.
        overlaps = box_iou(expected.boxes[sure], found.boxes)
        assert (overlaps.max(1, initial=0) > 0.9).all(), image.shape
        np.testing.assert_allclose(found.scores[overlaps.argmax(1)], expected.scores[sure], atol=0.02)
        people += int(sure.sum())
    assert people > 10


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_any_number_of_people_in_one_call(runtime: str, tmp_path: Path) -> None:
    crops = PoseEstimator(open_engine(pose_file(tmp_path, largest_batch=5), runtime, "float32"))
    onnx.save(frame_form(onnx.load(tmp_path / "pose.onnx")), tmp_path / "frame.onnx")
    frame = PoseEstimator(open_engine(tmp_path / "frame.onnx", runtime, "float32"))
    for height, width in ((97, 131), (480, 640), (97, 131)):
        image = noise(height, width)
        for count in (0, 1, 5, 12):
            boxes = boxes_over(image, 12)[:count]
            (expected, expected_scores), (found, scores) = crops(image, boxes), frame(shared(image), boxes)
            assert found.shape == (count, 17, 2) and found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=0.01)
            np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
    mirrored = image[:, ::-1]  # Not in one piece of memory.
    np.testing.assert_allclose(frame(mirrored, boxes)[0], crops(mirrored, boxes)[0], atol=0.01)


def test_the_apps_pipeline_runs_either_file(tmp_path: Path) -> None:
    """In whatever precision the runtime chooses, which differs for the two."""
    for file in (DETECTOR, POSE):
        onnx.save(frame_form(onnx.load(file)), tmp_path / file.name)
    source = open_source(str(REPOSITORY / "assets" / "demo.mp4"))
    both = [
        Networks(folder / DETECTOR.name, folder / POSE.name, StageStats()).pipeline(source, 2)
        for folder in (MODELS, tmp_path)
    ]
    for frame, _ in zip(source.frames(), range(3), strict=False):
        expected, found = (pipeline(frame) for pipeline in both)
        overlaps = box_iou(expected.boxes, found.boxes)
        assert len(found) == len(expected) > 3 and np.median(overlaps.max(1)) > 0.8
        apart = np.linalg.norm(found.keypoints[overlaps.argmax(1)] - expected.keypoints, axis=2)
        assert np.median(apart) < 2


def test_the_order_of_changes_does_not_matter(tmp_path: Path) -> None:
    """The flip test and float16, before or after the frame form."""
    model = onnx.load(pose_file(tmp_path))
    image = noise(97, 131)
    inputs = {"frame": image, "crop_to_frame": crop_maps(boxes_over(image, 3), (48, 64))}
    for change in (with_flip_test, to_float16):
        found = []
        for changed in (change(frame_form(model)), frame_form(change(model))):
            onnx.save(changed, tmp_path / "changed.onnx")
            found.append(open_engine(tmp_path / "changed.onnx", "onnxruntime")(inputs))
        np.testing.assert_array_equal(found[0]["keypoints"], found[1]["keypoints"])


def test_the_file_says_what_it_takes(tmp_path: Path) -> None:
    model = frame_form(onnx.load(DETECTOR))
    onnx.save(model, tmp_path / "frame.onnx")
    assert read_manifest(tmp_path / "frame.onnx").input == "frame"
    (frame,) = model.graph.input
    assert [side.dim_param or side.dim_value for side in frame.type.tensor_type.shape.dim] == ["H", "W", 3]
    (cast,) = (node for node in model.graph.node if "frame" in node.input and node.op_type != "Shape")
    assert cast.op_type == "Cast", "TensorRT wants uint8 cast before anything else"
    assert sum(node.op_type == "GridSample" for node in model.graph.node) == 1


def test_files_that_cannot_take_the_frame(tmp_path: Path) -> None:
    model = frame_form(onnx.load(pose_file(tmp_path)))
    with pytest.raises(ValueError, match="expected a network that takes crops, got 'tiny_pose', which takes the frame"):
        frame_form(model)
    bare = onnx.load(tmp_path / "pose.onnx")
    del bare.graph.node[0]
    with pytest.raises(ValueError, match="expected a tensor normalise/bgr in 'tiny_pose', got none: export it again"):
        frame_form(bare)
    del bare.metadata_props[:]
    with pytest.raises(ValueError, match="expected a composed network with a manifest, got none: export it"):
        frame_form(bare)


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    onnx.save(frame_form(onnx.load(pose_file(tmp_path))), tmp_path / "frame.onnx")
    maps, image = np.zeros((1, 2, 3), np.float32), noise(64, 48)
    wrong: list[tuple[dict[str, Array], str]] = [
        ({"crops": image[None]}, r"\['crop_to_frame', 'frame'\], got \['crops'\]: .* --input crops"),
        ({"frame": image}, r"takes the inputs \['crop_to_frame', 'frame'\], got \['frame'\]$"),
        ({"frame": image[..., 0], "crop_to_frame": maps}, r"'frame' is uint8 \[any, any, 3\], got uint8 \[64, 48\]"),
        ({"frame": image[:0], "crop_to_frame": maps}, r"'frame' should have pixels, got \[0, 48, 3\]"),
        ({"frame": image, "crop_to_frame": maps[0]}, r"is float32 \[any, 2, 3\], got float32 \[2, 3\]"),
    ]
    for runtime in ("onnxruntime", "openvino"):
        engine = open_engine(tmp_path / "frame.onnx", runtime)
        for inputs, message in wrong:
            with pytest.raises(ValueError, match=message):
                engine(inputs)
    with pytest.raises(ValueError, match="got \\['frame'\\]: export it with --input frame"):
        open_engine(detector_file(tmp_path))({"frame": noise(64, 48)})
    with pytest.raises(ModelError, match="takes the frame, and OpenVINO runs that in float32 only"):
        open_engine(tmp_path / "frame.onnx", "openvino", "bfloat16")
