"""The conventional PyTorch loop: crops box by box, one eager float32 batch of all boxes, whole-map decode by numpy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.conventional import full_map_decode, network_inputs, to_frame
from benchmarks.peers_runners.protocol import Array, GivenBoxes, Job, arguments, print_result, read_job, run
from train.checkpoints import read_checkpoint


def given_boxes(job: Job) -> GivenBoxes:
    """The loop with the weights of job.network, a checkpoint that says what it is of."""
    torch.set_num_threads(job.threads)
    checkpoint = read_checkpoint(Path(job.network))
    model = checkpoint.info.model
    assert model is not None
    network, size = model.build().eval(), model.input_size
    checkpoint.load_into(network)

    def estimate(image: Array, boxes: Array) -> tuple[Array, Array]:
        inputs, centers, scales = network_inputs(image, boxes, size)
        with torch.inference_mode():
            heatmaps = network(torch.from_numpy(inputs)).numpy()
        points, scores = full_map_decode(heatmaps)
        return to_frame(points, centers, scales, heatmaps.shape[:1:-1]), scores

    return estimate


def main() -> None:
    """Run the job of the command line."""
    job = read_job(arguments())
    versions = {"torch": torch.__version__, "opencv": cv2.__version__, "numpy": np.__version__}
    print_result(run(job, given_boxes(job), None), versions)


if __name__ == "__main__":
    main()
