"""What tests of engine files share: a make-believe GPU with an engine on disk, its tensors and its answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import tensorrt_contexts
from engines.cuda import Device
from engines.sidecar import Profile, Sidecar, sha256, write_sidecar
from engines.tensorrt_engine import TensorRtEngine
from tests.fakes_tensorrt import Arrays, Gpu, Graphs, install
from tests.fakes_tensorrt_runtime import Tensor, World, fake_tensorrt
from tests.helpers import pose_manifest

PLAN = b"a plan"
CROPS: Profile = ((1, 4, 3, 3), (2, 4, 3, 3), (5, 4, 3, 3))
FRAME: Profile = ((2, 2, 3), (8, 8, 3), (16, 16, 3))
MATRICES: Profile = ((1, 2, 3), (2, 2, 3), (5, 2, 3))
OUTPUTS = [Tensor("keypoints", np.float32, (-1, 17, 2)), Tensor("scores", np.float32, (-1, 17))]
CROP_TENSORS = [Tensor("crops", np.uint8, (-1, 4, 3, 3), CROPS), *OUTPUTS]
FRAME_TENSORS = [
    Tensor("frame", np.uint8, (-1, -1, 3), FRAME),
    Tensor("crop_to_frame", np.float32, (-1, 2, 3), MATRICES),
    *OUTPUTS,
]


def answer(inputs: Arrays) -> Arrays:
    """Sums of what came in, which no other input has."""
    if "crops" in inputs:
        sums = inputs["crops"].astype(np.float32).reshape(len(inputs["crops"]), -1).sum(1)
    else:
        sums = inputs["crop_to_frame"].sum((1, 2)) + inputs["frame"].astype(np.float32).sum()
    keypoints = np.broadcast_to(sums[:, None, None], (len(sums), 17, 2))
    return {"keypoints": np.ascontiguousarray(keypoints), "scores": np.ascontiguousarray(keypoints[..., 0])}


def crops(count: int) -> Arrays:
    return {"crops": np.random.default_rng(count).integers(0, 256, (count, 4, 3, 3), dtype=np.uint8)}


def sidecar(**values: Any) -> Sidecar:
    made = Sidecar(
        "tensorrt", "10.3.0", ("8.6",), "Make Believe 3000", "float32", False, {}, "0" * 64, "", "", sha256(PLAN), None,
        "python apps/build_engine.py pose.onnx", pose_manifest(),
    )  # fmt: skip
    return replace(made, **values)


class Setting:
    """A GPU, an engine file on disk, and TensorRT."""

    def __init__(
        self, patch: pytest.MonkeyPatch, folder: Path, tensors: list[Tensor] = CROP_TENSORS, graphs: bool = False
    ) -> None:
        self.gpu = Gpu()
        self.world = World(self.gpu, tensors, answer)
        self.file = folder / "pose.engine"
        self.file.write_bytes(PLAN)
        patch.setenv("DARKSTREAM_CACHE", str(folder / "cache"))
        install(patch, "pycuda.driver", self.gpu.driver)
        install(patch, "tensorrt", fake_tensorrt(self.world))
        install(patch, "tensorrt_rtx", fake_tensorrt(self.world, "1.7.1"))
        install(patch, "cuda.bindings.driver", Graphs(self.gpu))
        patch.setattr(tensorrt_contexts, "graphs_available", lambda: graphs)
        self.device: Device | None = None

    def open(self, **values: Any) -> TensorRtEngine:
        write_sidecar(self.file, sidecar(**values))
        self.device = self.device or Device()
        return TensorRtEngine(self.file, self.device)

    def calls(self, *names: str) -> list[str]:
        """The calls since the last time, of these names if any are given."""
        calls, self.gpu.log[:] = [name for name in self.gpu.log if not names or name in names], []
        return calls
