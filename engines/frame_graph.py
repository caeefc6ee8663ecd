"""A composed file that takes crops -> the same that takes the camera's frame and answers in its px, for GPUs.

The crops of all people, or a detector's letterbox, become one GridSample over the frame, which is in device memory
already. What reads them stays as it is: of any precision, with the flip test or without.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engines.compose import manifest_of, with_manifest
from engines.manifest import PADDING_GREY, SIDE_MULTIPLE

# cv2.warpAffine computes positions in 1/1024 px and rounds them to 1/32 px.
FINE, COARSE = 1024, 32
# Samples along each side of a letterbox's px: exact areas for frames of up to so many times the network's side.
AREA_SAMPLES = 4
# In GridSample's coordinates, in which a frame reaches from -1 to 1: outside of any.
OUTSIDE = 4.0
PIXELS = "normalise/bgr"  # float32 [N, h, w, 3] BGR, of a composed file: what it makes of its crops at first


def frame_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A file composed with the input `crops` -> a copy that does the same with the whole frame; H, W, N are free.

    pose: frame uint8 [H, W, 3] BGR, crop_to_frame float32 [N, 2, 3], the affine map of each crop's px to frame px ->
    keypoints [N, K, 2] in frame px, scores [N, K]. The crops are those of cv2.warpAffine with WARP_INVERSE_MAP:
    bilinear, black outside, positions rounded to 1/32 px, values to whole grey levels.
    person_detector: frame -> boxes [M, 4] in frame px, scores [M]. The frame is shrunk to the manifest's size by
    areas, or enlarged bilinearly, and padded right and below.
    Raises ValueError for a file that is not composed, or takes the frame already.
    """
    manifest = manifest_of(model)
    if manifest.input == "frame":
        raise ValueError(f"expected a network that takes crops, got {manifest.name!r}, which takes the frame already")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    body = [node for node in result.graph.node if list(node.output) != [PIXELS]]
    if len(body) != len(result.graph.node) - 1:
        raise ValueError(f"expected a tensor {PIXELS} in {manifest.name!r}, got none: export it again")
    inputs = [helper.make_tensor_value_info("frame", TensorProto.UINT8, ("H", "W", 3))]
    before, after = _Operations("frame/"), _Operations("to_frame/")
    if manifest.task == "pose":
        inputs.append(helper.make_tensor_value_info("crop_to_frame", TensorProto.FLOAT, ("N", 2, 3)))
        _crop(before, *manifest.input_size)
        answer = _points_to_frame(after, "to_frame/crop_px")
    else:
        step = _letterbox(before, manifest.input_size[0])
        answer = after("Mul", "to_frame/crop_px", after("Gather", step, _ints(0, 1, 0, 1), axis=0), output="boxes")
    for node in body:
        node.output[:] = ["to_frame/crop_px" if name == answer else name for name in node.output]
    del result.graph.node[:], result.graph.input[:]
    result.graph.node.extend([*before.nodes, *body, *after.nodes])
    result.graph.input.extend(inputs)
    result.graph.initializer.extend([*before.constants, *after.constants])
    return with_manifest(result, replace(manifest, input="frame"))


class _Operations:
    """Nodes in the making: a call adds one, whose inputs are tensors' names or constants, and gives its output."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._prefix = prefix

    def __call__(self, kind: str, *inputs: str | npt.NDArray[Any], output: str = "", **attributes: Any) -> str:
        name = output or f"{self._prefix}{kind.lower()}_{len(self.nodes)}"
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, names, [name], name, **attributes))
        return name

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def _crop(do: _Operations, width: int, height: int) -> None:
    """frame, crop_to_frame -> the crops of width x height px."""
    planes, size = _frame(do)
    fine = do("Mul", "crop_to_frame", _floats(FINE))
    # Of a product with a column's or row's number, the part from the whole px is exact in float32, and the rest small:
    # the positions are those of float64, as the reference has it.
    whole = do("Round", fine)
    rest = do("Sub", fine, whole)
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    (whole_x, whole_y, whole_shift), (rest_x, rest_y, rest_shift) = (
        [do("Gather", part, _ints(i), axis=2) for i in range(3)] for part in (whole, rest)
    )
    across = do("Add", do("Mul", whole_x, columns), do("Round", do("Mul", rest_x, columns)))
    down_whole = do("Add", do("Mul", whole_y, rows), whole_shift)
    down = do("Add", down_whole, do("Round", do("Add", do("Mul", rest_y, rows), rest_shift)))
    places = do("Add", do("Unsqueeze", across, _ints(2)), do("Unsqueeze", down, _ints(3)))  # [N, 2, h, w]
    coarse = do("Floor", do("Add", do("Mul", places, _floats(COARSE / FINE)), _floats(0.5)))
    _sample(do, planes, size, do("Mul", coarse, _floats(1 / COARSE)), (width, height))


def _sample(do: _Operations, planes: str, size: str, places: str, crop_size: tuple[int, int]) -> None:
    """The crops, from where their px lie in the frame, [N, 2, h, w] px."""
    width, height = crop_size
    # The four px round each place, weighted here: GridSample's own weights have the rounding of its coordinates, which
    # moves an int8 network's keypoints by px. The crops one below the other: one GridSample, the frame is there once.
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32).reshape(4, 1, 2, 1, 1)
    first = do("Floor", places)
    distances = do("Abs", do("Sub", do("Sub", places, first), 1 - corners))
    weights = do("Mul", *(do("Gather", distances, np.array(axis), axis=2) for axis in range(2)))  # [4, N, h, w]
    grid = _normalised(do, do("Add", first, corners), do("Unsqueeze", size, _ints(1, 2)))
    grid = do("Clip", grid, np.array(-OUTSIDE, np.float32), np.array(OUTSIDE, np.float32))
    grid = do("Reshape", do("Transpose", grid, perm=[0, 1, 3, 4, 2]), _ints(1, -1, width, 2))
    found = do("GridSample", planes, grid, mode="nearest", padding_mode="zeros", align_corners=0)
    found = do("Mul", do("Reshape", found, _ints(3, 4, -1, height, width)), weights)
    levels = do("Floor", do("Add", do("ReduceSum", found, _ints(1), keepdims=0), _floats(0.5)))
    do("Transpose", levels, perm=[1, 2, 3, 0], output=PIXELS)


def _points_to_frame(do: _Operations, points: str) -> str:
    """points [N, K, 2] in crop px, crop_to_frame -> keypoints in frame px."""
    # Multiply and sum: a matrix product may be run in TF32 or bfloat16.
    turned = do("Unsqueeze", do("Gather", "crop_to_frame", _ints(0, 1), axis=2), _ints(1))
    products = do("Mul", do("Unsqueeze", points, _ints(2)), turned)
    shift = do("Transpose", do("Gather", "crop_to_frame", _ints(2), axis=2), perm=[0, 2, 1])
    return do("Add", do("ReduceSum", products, _ints(3), keepdims=0), shift, output="keypoints")


def _letterbox(do: _Operations, side: int) -> str:
    """frame -> the picture of that longest side; the name of its step, float32 [2]: frame px (x, y) a px of it."""
    planes, size = _frame(do)
    extent = do("Gather", do("Shape", "frame"), _ints(1, 0), axis=0)
    longest = do("Max", *(do("Gather", extent, _ints(i), axis=0) for i in range(2)))
    twice = do("Add", do("Mul", extent, _ints(2 * side)), longest)
    inner = do("Max", do("Div", twice, do("Mul", longest, _ints(2))), _ints(1))
    up = do("Div", do("Add", inner, _ints(SIDE_MULTIPLE - 1)), _ints(SIDE_MULTIPLE))
    padded = do("Mul", up, _ints(SIDE_MULTIPLE))
    most = -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE
    filled = do("Cast", inner, to=TensorProto.FLOAT)
    step = do("Div", size, filled)
    places = _area_places(do, do("Unsqueeze", step, _ints(1)), most)
    places = _normalised(do, places, do("Unsqueeze", size, _ints(1)))
    inside = do("Less", np.arange(most, dtype=np.float32), do("Unsqueeze", filled, _ints(1)))
    x, y = (_side(do, places, axis, do("Mul", padded, _ints(AREA_SAMPLES))) for axis in range(2))
    columns, rows = (_side(do, inside, axis, padded) for axis in range(2))
    x, y = do("Unsqueeze", x, _ints(0, 1, 3)), do("Unsqueeze", y, _ints(0, 2, 3))
    grid = do("Add", do("Mul", x, _floats(1, 0)), do("Mul", y, _floats(0, 1)))
    sampled = do("GridSample", planes, grid, mode="bilinear", padding_mode="border", align_corners=0)
    pooled = do("AveragePool", sampled, kernel_shape=[AREA_SAMPLES] * 2, strides=[AREA_SAMPLES] * 2)
    mask = do("And", do("Unsqueeze", columns, _ints(0)), do("Unsqueeze", rows, _ints(1)))
    picture = do("Where", mask, do("Round", pooled), _floats(PADDING_GREY))
    do("Transpose", picture, perm=[0, 2, 3, 1], output=PIXELS)
    return step


def _area_places(do: _Operations, step: str, count: int) -> str:
    """Where to sample for `count` px along x and y of a step [2, 1] of frame px: [2, count * AREA_SAMPLES] frame px.

    The mean of AREA_SAMPLES bilinear samples is then the mean over the px's area, as cv2.INTER_AREA has it, for each
    sample stands for a part of at most one px's length, on two px, between which it lies as its part does. Where the
    parts are longer, samples lie in their middles. A picture that is enlarged is sampled in the middle of its px only.
    """
    number = np.arange(count * AREA_SAMPLES, dtype=np.float32)
    length = do("Mul", step, _floats(1 / AREA_SAMPLES))
    start = do("Mul", length, number)
    first = do("Floor", start)
    behind = do("Sub", do("Sub", do("Add", start, length), first), _floats(1))
    exact = do("Add", first, do("Div", do("Max", behind, _floats(0)), length))
    middle = do("Sub", do("Add", start, do("Mul", length, _floats(0.5))), _floats(0.5))
    shrunk = do("Where", do("Greater", length, _floats(1)), middle, exact)
    enlarged = do("Sub", do("Mul", step, number // AREA_SAMPLES + np.float32(0.5)), _floats(0.5))
    return do("Where", do("Greater", step, _floats(1)), shrunk, enlarged)


def _frame(do: _Operations) -> tuple[str, str]:
    """frame -> float32 [1, 3, H, W], and its width and height, float32 [2]."""
    # To float first: TensorRT takes uint8 only as an input that is cast at once.
    levels = do("Cast", "frame", to=TensorProto.FLOAT)
    planes = do("Unsqueeze", do("Transpose", levels, perm=[2, 0, 1]), _ints(0))
    size = do("Cast", do("Gather", do("Shape", "frame"), _ints(1, 0), axis=0), to=TensorProto.FLOAT)
    return planes, size


def _normalised(do: _Operations, places: str, size: str) -> str:
    """Places in px, whose whole numbers are the px's middles -> in GridSample's coordinates, without align_corners."""
    doubled = do("Add", do("Mul", places, _floats(2)), _floats(1))
    return do("Sub", do("Div", doubled, size), _floats(1))


def _side(do: _Operations, both: str, axis: int, lengths: str) -> str:
    """Of a tensor [2, M] for x and y, the first values of one, as many as lengths [2] says."""
    one = do("Squeeze", do("Gather", both, _ints(axis), axis=0), _ints(0))
    return do("Slice", one, _ints(0), do("Gather", lengths, _ints(axis), axis=0))


def _ints(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


def _floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)
