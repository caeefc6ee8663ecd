"""MediaPipe Pose: one person, by its own detector and tracking; and its landmarks on pictures of people, for accuracy.

job.variant: lite, full or heavy, its model_complexity 0, 1 or 2.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import cv2
import mediapipe
import numpy as np

from benchmarks.peers_runners.protocol import LANDMARKS, Array, Finder, Job, arguments, print_result, read_job, run

COMPLEXITY = {"lite": 0, "full": 1, "heavy": 2}
# Where COCO's 17 keypoints are among MediaPipe's 33 landmarks.
COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)


def finder(job: Job) -> Finder:
    """MediaPipe on the pictures of a video, with its defaults."""
    pose = mediapipe.solutions.pose.Pose(model_complexity=COMPLEXITY[job.variant])

    def find(image: Array) -> int:
        found = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return int(found.pose_landmarks is not None)

    return find


def answer_landmarks(variant: str) -> None:
    """For each path of a .npy file on standard input, crops uint8 [N, h, w, 3] BGR, a line of JSON.

    It has COCO's keypoints [17, 3] of each crop, x y px and visibility, or null where nobody is found.
    """
    pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=COMPLEXITY[variant])
    for path in map(str.strip, sys.stdin):
        print(json.dumps([landmarks(pose, crop) for crop in np.load(path)]), flush=True)


def landmarks(pose: Any, crop: Array) -> Any:
    """COCO's keypoints of one picture, or None."""
    found = pose.process(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)).pose_landmarks
    if found is None:
        return None
    height, width = crop.shape[:2]
    points = [found.landmark[number] for number in COCO]
    return [(width * point.x, height * point.y, point.visibility) for point in points]


def main() -> None:
    """Run the job of the command line, or with --landmarks VARIANT answer what standard input asks."""
    if sys.argv[1:2] == [LANDMARKS]:
        answer_landmarks(sys.argv[2])
        return
    job = read_job(arguments())
    versions = {"mediapipe": mediapipe.__version__, "opencv": cv2.__version__}
    print_result(run(job, None, lambda: finder(job)), versions)


if __name__ == "__main__":
    main()
