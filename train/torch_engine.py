"""A PyTorch network in the shape of an engine, so that the production detector evaluates checkpoints too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engines.manifest import Manifest
from train.detector import BoxesAndScores, PersonDetectorNetwork
from train.loop import normalise


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
