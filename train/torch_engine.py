"""PyTorch networks in the shape of engines, so that what measures and runs exported files takes checkpoints too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engines.batching import Arrays, TensorSpec, check_inputs, run_in_batches
from engines.manifest import Manifest
from pipeline.skeletons import skeleton_from
from pipeline.types import Image
from train.dark import DarkDecode
from train.detector import BoxesAndScores, PersonDetectorNetwork
from train.loop import normalise


def flip_merge(heatmaps: Tensor, mirrored: Tensor, flip_order: Sequence[int]) -> Tensor:
    """The flip test: heatmaps [N, K, H, W] of crops averaged with those of the mirrored crops (MMPose 0.29's rule).

    Left and right swap, the map is mirrored back and moved by one column, the first column keeping its own value.
    """
    back = mirrored[:, list(flip_order)].flip(3)
    shifted = torch.cat((back[..., :1], back[..., :-1]), 3)
    return (heatmaps + shifted) / 2


class PoseEngine:
    """crops uint8 [N, h, w, 3] BGR -> keypoints [N, K, 2] crop px and scores [N, K] of a pose network and DARK.

    The manifest says what the keypoints mean, and whether the flip test is run. The network is put into evaluation
    mode and stays on its device.
    """

    def __init__(self, network: nn.Module, manifest: Manifest, kernel: int) -> None:
        self.manifest = manifest
        self.network = network.eval()
        self._device = next(network.parameters()).device
        self._decode = DarkDecode(kernel).to(self._device)
        assert manifest.skeleton is not None
        self._flip_order = skeleton_from(manifest.skeleton).flip_order
        width, height = manifest.input_size
        keypoints = len(self._flip_order)
        self._inputs = [TensorSpec("crops", np.dtype(np.uint8), (None, height, width, 3))]
        self._outputs = [
            TensorSpec("keypoints", np.dtype(np.float32), (None, keypoints, 2)),
            TensorSpec("scores", np.dtype(np.float32), (None, keypoints)),
        ]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run the network on N crops; see engines.engine.Engine."""
        check_inputs(inputs, self._inputs)
        return run_in_batches(inputs, self._outputs, self.manifest.largest_batch, self._run)

    @torch.inference_mode()
    def heatmaps(self, crops: Image) -> Tensor:
        """Heatmaps [N, K, H, W] of crops uint8 [N, h, w, 3] BGR, on the network's device."""
        images = normalise(torch.from_numpy(np.ascontiguousarray(crops)).to(self._device))
        if not self.manifest.flip_test:
            heatmaps: Tensor = self.network(images).float()
            return heatmaps
        upright, mirrored = self.network(torch.cat((images, images.flip(3)))).float().chunk(2)
        return flip_merge(upright, mirrored, self._flip_order)

    @torch.inference_mode()
    def _run(self, inputs: Arrays) -> Arrays:
        heatmaps = self.heatmaps(inputs["crops"])
        points, scores = self._decode(heatmaps)
        stride = self.manifest.input_size[0] / heatmaps.shape[3]
        return {"keypoints": (points * stride).cpu().numpy(), "scores": scores.cpu().numpy()}


class DetectorEngine:
    """crops uint8 [1, h, w, 3] BGR -> boxes [A, 4] px and scores [A] of a person detector's network."""

    def __init__(self, network: PersonDetectorNetwork, manifest: Manifest) -> None:
        self.manifest = manifest
        self.detector = BoxesAndScores(network)

    @torch.inference_mode()
    def __call__(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        device = next(self.detector.parameters()).device
        crops = torch.from_numpy(np.ascontiguousarray(inputs["crops"])).to(device)
        boxes, scores = self.detector(normalise(crops))
        return {"boxes": boxes[0].cpu().numpy(), "scores": scores[0].cpu().numpy()}
