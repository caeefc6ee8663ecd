from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from pipeline import streaming
from pipeline.sinks import SinkError
from pipeline.sources import SourceError
from pipeline.stats import StageStats
from pipeline.streaming import WAITING, Channel, Process, Stop, Stream, stop_on_signals
from pipeline.types import Frame, Poses
from tests.fakes import ListSink, ListSource, poses_at, walk


def one_person(frame: Frame) -> Poses:
    return poses_at([[0, 0, 10, 20]])


def stream_of(
    source: ListSource, sinks: Sequence[ListSink], process: Process = one_person, frames: int | None = None
) -> Stream:
    return Stream(source, process, sinks, lambda frame, poses: frame.image, StageStats(), frames)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_a_file_loses_no_frame_and_keeps_their_order() -> None:
    source, sink = ListSource(walk(50)), ListSink()
    stream = stream_of(source, [sink])
    stream.run(Stop())
    assert sink.frames == list(range(50))
    assert (stream.counts.frames, stream.counts.people, stream.counts.dropped) == (50, 50, 0)
    assert source.closed


def test_a_slow_writer_holds_the_reader_back() -> None:
    source, sink = ListSource(walk(60)), ListSink()
    ahead: list[int] = []
    sink.write = lambda frame, poses, picture: ahead.append(source.given - frame.index)  # type: ignore[method-assign]
    stream_of(source, [sink]).run(Stop())
    assert max(ahead) <= 2 * WAITING + 4  # two channels, and one frame in each of three hands


def test_a_live_source_gives_its_newest_frame_and_counts_the_others() -> None:
    source, sink = ListSource(walk(60), live=True, interval_s=0.002), ListSink()

    def slow(frame: Frame) -> Poses:
        time.sleep(0.02)
        return one_person(frame)

    stream = stream_of(source, [sink], slow)
    stream.run(Stop())
    assert stream.counts.dropped > 0
    assert len(sink.frames) + stream.counts.dropped == 60
    assert sink.frames == sorted(sink.frames)
    assert sink.frames[-1] == 59


@pytest.mark.parametrize("live", [False, True])
def test_a_frame_limit_is_exact(live: bool) -> None:
    source, sink = ListSource(walk(50), live=live, interval_s=0.001), ListSink()
    stream_of(source, [sink], frames=7).run(Stop())
    assert len(sink.frames) == 7


def test_an_error_of_the_source_comes_after_the_frames_that_were_read() -> None:
    sink = ListSink()
    with pytest.raises(SourceError, match="cut short"):
        stream_of(ListSource(walk(20), error=SourceError("cut short")), [sink]).run(Stop())
    assert sink.frames == list(range(20))


def test_an_error_of_the_networks_reaches_the_caller_and_ends_everything() -> None:
    def failing(frame: Frame) -> Poses:
        if frame.index == 5:
            raise RuntimeError("network broke")
        return one_person(frame)

    source, sink = ListSource(walk(500)), ListSink()
    with pytest.raises(RuntimeError, match="network broke"):
        stream_of(source, [sink], failing).run(Stop())
    assert sink.frames == list(range(5))
    assert source.closed
    assert source.given < 500


def test_an_error_of_a_sink_reaches_the_caller_and_ends_everything() -> None:
    source, sink = ListSource(walk(500)), ListSink(fail_at=3, error=SinkError("disk full"))
    with pytest.raises(SinkError, match="disk full"):
        stream_of(source, [sink]).run(Stop())
    assert sink.frames == [0, 1, 2]
    assert source.given < 500


def test_a_picture_is_drawn_only_for_a_sink_that_wants_it() -> None:
    plain, pictures = ListSink(), ListSink(pictures=True)
    stream_of(ListSource(walk(3)), [plain]).run(Stop())
    assert plain.drawn == 0
    stream_of(ListSource(walk(3)), [pictures]).run(Stop())
    assert pictures.drawn == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_the_frames_under_way(number: signal.Signals, code: int) -> None:
    source, sink = ListSource(walk(500), interval_s=0.001), ListSink()

    def interrupted(frame: Frame) -> Poses:
        if frame.index == 10:
            os.kill(os.getpid(), number)
        return one_person(frame)

    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        stream_of(source, [sink], interrupted).run(stop)
    assert stop.exit_code == code
    assert sink.frames == list(range(len(sink.frames)))
    assert 10 <= len(sink.frames) < 500
    assert signal.getsignal(number) is before


def test_a_reader_stuck_in_a_silent_camera_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "JOIN_S", 0.01)
    source, sink, stop, comes_back = ListSource([], live=True), ListSink(), Stop(), threading.Event()

    def silent() -> Iterator[Frame]:
        yield from ListSource(walk(2)).frames()
        stop.request()
        comes_back.wait(30)

    source.frames = silent  # type: ignore[method-assign]
    others = set(threading.enumerate())
    stream_of(source, [sink]).run(stop)
    (reader,) = set(threading.enumerate()) - others
    comes_back.set()
    reader.join()
    assert source.closed


def test_a_run_without_a_signal_has_no_exit_code_of_its_own() -> None:
    assert Stop().exit_code == 0


def test_a_cancelled_channel_frees_the_giver_and_the_taker() -> None:
    channel: Channel[int] = Channel(1)
    assert channel.put(1)
    timer = threading.Timer(0.02, channel.cancel)
    timer.start()
    assert not channel.put(2)
    assert channel.get() is None
    assert channel.done
    timer.join()


def test_a_finished_channel_still_gives_what_it_holds() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.finish()
    assert not channel.done
    assert (channel.get(), channel.get(), channel.done) == (1, None, True)
