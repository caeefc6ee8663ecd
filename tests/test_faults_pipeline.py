"""The whole pipeline on awkward frames, crowds and clocks, and with outputs that are slow or stuck."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from apps import webcam
from apps.command_line import run_app
from engines.engine import open_engine
from pipeline.drawing import PoseDrawing
from pipeline.pipes import PipeOutput, Waiting
from pipeline.pose import PoseEstimator
from pipeline.pose_pipeline import Networks, PosePipeline, together
from pipeline.sink_errors import SinkError
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink
from pipeline.skeletons import COCO
from pipeline.smoothing import PoseSmoother
from pipeline.sources import SourceError, open_source
from pipeline.stats import StageStats
from pipeline.stopping import Stop
from pipeline.streaming import Feed, Stream
from pipeline.tables import CsvSink
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Image
from tests.conftest import Pipe
from tests.fakes import (
    BlobDetector,
    BlobEstimator,
    BlobNetworks,
    ListSink,
    ListSource,
    picture,
    poses_at,
    read_lines,
    video_facts,
    walk,
    write_video,
)
from tests.tiny_networks import detector_file, pose_file


def stream_of(source: ListSource, pipeline: PosePipeline, sinks: Sequence[Sink]) -> Stream:
    return Stream([Feed(source, sinks)], together([pipeline]), PoseDrawing(COCO, 0.3), StageStats())


def blobs(smooth: bool = True) -> PosePipeline:
    smoother = PoseSmoother(17, 0.3) if smooth else None
    return PosePipeline(BlobDetector(), BlobEstimator(), Tracker(COCO, 0.3), 5, StageStats(), smoother)


@pytest.mark.parametrize("people", [0, 1, 50])
def test_any_number_of_people_goes_through_every_output(people: int, tmp_path: Path) -> None:
    places = [(60.0 * (number % 10), 100.0 * (number // 10)) for number in range(people)]
    boxes = np.array([(x, y, x + 40, y + 80) for x, y in places], np.float32).reshape(-1, 4)

    def everybody(image: Image) -> Detections:
        return Detections(boxes, np.full(people, 0.9, np.float32))

    estimator = PoseEstimator(open_engine(pose_file(tmp_path, largest_batch=32)))
    pipeline = PosePipeline(everybody, estimator, Tracker(COCO, -1.0, at_once=True), 1, StageStats())
    outputs = [tmp_path / f"out.{suffix}" for suffix in ("jsonl", "csv", "mp4")]
    sinks: list[Sink] = [JsonLinesSink(outputs[0]), CsvSink(outputs[1], COCO), Mp4Sink(outputs[2], 25)]
    noise = np.random.default_rng(0).integers(0, 255, (500, 640, 3), dtype=np.uint8)
    stream_of(ListSource([noise] * 4), pipeline, sinks).run(Stop())
    for sink in sinks:
        sink.close()
    lines = read_lines(outputs[0])
    assert [len(line["people"]) for line in lines] == [people] * 4
    assert [sorted(person["id"] for person in line["people"]) for line in lines] == [list(range(1, people + 1))] * 4
    assert len(outputs[1].read_text().splitlines()) == 1 + 4 * people
    assert video_facts(outputs[2]) == (640, 500, 4)


TIMES = [0.0, 0.04, 0.08, -5.0, -4.96, 100.0, 100.04, 100.04, 0.0, 1e9]


def test_a_clock_that_jumps_back_and_forth_is_survived(tmp_path: Path) -> None:
    pipeline, sink = blobs(), JsonLinesSink(tmp_path / "out.jsonl")
    video = Mp4Sink(tmp_path / "out.mp4", 25, by_time=True)
    for index, (image, time_s) in enumerate(zip(walk(len(TIMES)), TIMES, strict=True)):
        frame = Frame(image, index, time_s, "camera", 0.0)
        poses = pipeline(frame)
        assert len(poses) == 1 and np.isfinite(poses.keypoints).all()
        assert np.abs(poses.boxes[0] - [20 + 4 * index, 60, 60 + 4 * index, 180]).max() < 30
        sink.write(frame, poses, None)
        video.write(frame, poses, image)
    sink.close()
    video.close()
    assert [line["time_s"] for line in read_lines(tmp_path / "out.jsonl")] == TIMES
    assert video_facts(tmp_path / "out.mp4")[2] < 510, "each of the two jumps holds a picture for 10 s at most"


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (2, 300), (333, 2), (241, 321), (6000, 8000)])
def test_frames_of_any_size_are_processed(shape: tuple[int, int], tmp_path: Path) -> None:
    networks = Networks(detector_file(tmp_path), pose_file(tmp_path), StageStats())
    source = ListSource([np.full((*shape, 3), 255, np.uint8)] * 2)
    sinks: list[Sink] = [JsonLinesSink(tmp_path / "out.jsonl"), ListSink(pictures=True)]
    if max(shape) < 1000:
        sinks.append(Mp4Sink(tmp_path / "out.mp4", 25))
    stream_of(source, networks.pipeline(source), sinks).run(Stop())
    for sink in sinks:
        sink.close()
    assert len(read_lines(tmp_path / "out.jsonl")) == 2
    if max(shape) < 1000:
        height, width = (max(side & ~1, 2) for side in shape)
        assert video_facts(tmp_path / "out.mp4") == (width, height, 2)


def test_a_picture_that_is_too_large_for_crops_is_said(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "panorama.png"), np.zeros((2, 33_000, 3), np.uint8))
    with pytest.raises(SourceError, match=r"panorama\.png: not an image that can be read \(33000 x 2 px, where 32766"):
        list(open_source(str(tmp_path / "panorama.png")).frames())


def layouts(image: Image) -> Iterator[Image]:
    """The same picture, laid out otherwise in memory."""
    height, width = image.shape[:2]
    wide = np.zeros((height, 2 * width, 3), np.uint8)
    wide[:, ::2] = image
    yield wide[:, ::2]
    yield np.asfortranarray(image)
    yield np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    fixed = image.copy()
    fixed.flags.writeable = False
    yield fixed


def test_views_and_read_only_arrays_are_pictures_like_any_other(tmp_path: Path) -> None:
    networks = Networks(detector_file(tmp_path), pose_file(tmp_path), StageStats())
    draw = PoseDrawing(COCO, -1.0)
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    image[:, 80:] = 255
    expected = networks.pipeline(ListSource([]))(Frame(image, 0, 0.0, "array", 0.0))
    drawn = draw(Frame(image.copy(), 0, 0.0, "array", 0.0), expected)
    assert len(expected) and (drawn != image).any()
    for other in layouts(image):
        poses = networks.pipeline(ListSource([]))(Frame(other, 0, 0.0, "array", 0.0))
        np.testing.assert_array_equal(poses.keypoints, expected.keypoints)
        np.testing.assert_array_equal(draw(Frame(other, 0, 0.0, "array", 0.0), poses), drawn)


class SlowSink(ListSink):
    def write(self, *given: object) -> None:
        time.sleep(0.02)
        super().write(*given)  # type: ignore[arg-type]


def test_a_slow_disk_makes_a_live_run_drop_and_a_file_wait() -> None:
    live, sink = ListSource(walk(60, speed=1), live=True, interval_s=0.002), SlowSink()
    stream = stream_of(live, blobs(), [sink])
    stream.run(Stop())
    assert len(sink.frames) < 60 and sink.frames[-1] == 59
    file, sink = ListSource(walk(20)), SlowSink()
    stream_of(file, blobs(), [sink]).run(Stop())
    assert sink.frames == list(range(20))


def test_a_reader_that_is_stuck_does_not_hold_up_a_live_run(pipe: Pipe) -> None:
    lines, others = JsonLinesSink(pipe.path, waiting=Waiting(live=True)), ListSink()
    source = ListSource([picture(*[(x, 20, x + 10, 60) for x in range(0, 300, 20)])] * 400, live=True, interval_s=0.001)
    stream_of(source, blobs(), [lines, others]).run(Stop())
    assert others.frames[-1] == 399
    with pytest.raises(SinkError, match="its reader fell behind"):
        lines.close()


def test_ctrl_c_ends_a_run_whose_reader_is_stuck(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webcam, "Networks", BlobNetworks)
    fcntl.fcntl(pipe.reader, fcntl.F_SETPIPE_SZ, 4096)  # full with the first line
    is_ready, asked = PipeOutput._is_ready, list[int]()

    def interrupted(output: PipeOutput) -> bool:
        asked.append(1)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return is_ready(output)

    monkeypatch.setattr(PipeOutput, "_is_ready", interrupted)
    clip = write_video(tmp_path / "walk.mp4", walk(60))
    arguments = ["--source", str(clip), "--headless", "--json", str(pipe.path), "--save", str(tmp_path / "out.mp4")]
    assert webcam.main(arguments) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
    assert errors == [f"error: {pipe.path}: stopped while nothing read from it"]
    assert video_facts(tmp_path / "out.mp4")[2] > 0


def test_two_mistakes_are_two_lines_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    def run(argv: Sequence[str] | None) -> int:
        try:
            raise SourceError("the video is cut short")
        finally:
            try:
                raise OSError("no space")
            except OSError as error:
                raise SinkError("the file cannot be written") from error

    assert run_app(run, None) == 1
    assert capfd.readouterr().err == "error: the video is cut short\nerror: the file cannot be written\n"


def test_poses_of_a_crowd_are_written_as_they_are(tmp_path: Path) -> None:
    crowd: FloatArray = np.array([[10.0 * n, 20, 10.0 * n + 9, 60] for n in range(50)], np.float32)
    sink = JsonLinesSink(tmp_path / "out.jsonl")
    sink.write(Frame(picture(), 0, 0.0, "array", 0.0), poses_at(crowd.tolist()), None)
    sink.close()
    (line,) = read_lines(tmp_path / "out.jsonl")
    assert [person["box"] for person in line["people"]] == crowd.tolist()
