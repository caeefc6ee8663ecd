"""rtmlib's ViTPose class, which takes any heatmap network as ONNX, with its own crop, normalisation and decode."""

from __future__ import annotations

from importlib.metadata import version

import onnxruntime
import rtmlib
from rtmlib.tools.pose_estimation.vitpose import ViTPose

from benchmarks.peers_runners.protocol import Array, GivenBoxes, Job, arguments, print_result, read_job, run

# rtmlib hands its networks BGR: the file's first convolution is turned for it, and so are the statistics.
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
WIDTH, HEIGHT = 192, 256


def given_boxes(job: Job) -> GivenBoxes:
    """ViTPose on job.network; job.variant is rtmlib's backend."""
    if job.variant == "onnxruntime":
        hold_to_threads(job.threads)
    model = ViTPose(
        job.network, model_input_size=(WIDTH, HEIGHT), mean=MEAN, std=STD, backend=job.variant, device="cpu"
    )

    def estimate(image: Array, boxes: Array) -> tuple[Array, Array]:
        found: tuple[Array, Array] = model(image, bboxes=boxes)
        return found

    return estimate


def hold_to_threads(threads: int) -> None:
    """Make the sessions that rtmlib opens, which has no option for it, run on so many threads."""
    session = onnxruntime.InferenceSession

    def limited(*args: object, **kwargs: object) -> object:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return session(*args, sess_options=options, **kwargs)

    onnxruntime.InferenceSession = limited


def main() -> None:
    """Run the job of the command line."""
    job = read_job(arguments())
    versions = {"rtmlib": version("rtmlib"), job.variant: version(job.variant)}
    assert rtmlib.__name__ == "rtmlib"
    print_result(run(job, given_boxes(job), None), versions)


if __name__ == "__main__":
    main()
