"""Exported networks give what PyTorch gives, in the fewest operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.edge import EdgePose
from train.export import export_pose_network


def test_the_exported_network_equals_torch_and_pads_inside_its_convolutions() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = EdgePose()
    network.trunk.freeze(5)
    torch.nn.init.normal_(network.final.weight, std=0.1)
    model = export_pose_network(network, (192, 256))
    assert "Pad" not in {node.op_type for node in model.graph.node}
    image = torch.randn(3, 3, 256, 192)
    with torch.inference_mode():
        expected = network.eval()(image).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(["heatmaps"], {"image": image.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max() + 1e-6)
