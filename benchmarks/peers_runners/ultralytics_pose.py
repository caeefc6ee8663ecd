"""Ultralytics' pose pipeline with the smallest of its networks, untrained: it finds nobody, so it is timed without NMS'
and the decode's work, and flattered by that.
"""

from __future__ import annotations

import cv2
import torch
import ultralytics
from ultralytics import YOLO

from benchmarks.peers_runners.protocol import Array, Finder, Job, arguments, print_result, read_job, run


def finder(job: Job) -> Finder:
    """Ultralytics' own call for one picture, with its own defaults (640 px); job.variant names the network."""
    model = YOLO(job.variant, task="pose")
    model.predict(torch.zeros(1, 3, 64, 64), verbose=False, device="cpu")
    torch.set_num_threads(job.threads)

    def find(image: Array) -> int:
        return sum(len(result.boxes) for result in model.predict(image, verbose=False, device="cpu"))

    return find


def main() -> None:
    """Run the job of the command line."""
    job = read_job(arguments())
    versions = {"ultralytics": ultralytics.__version__, "torch": torch.__version__, "opencv": cv2.__version__}
    print_result(run(job, None, lambda: finder(job)), versions)


if __name__ == "__main__":
    main()
