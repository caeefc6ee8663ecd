from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from pipeline import reconnecting, streaming
from pipeline.lanes import Lanes
from pipeline.sink_errors import SinkError
from pipeline.sources import SourceError
from pipeline.stats import StageStats
from pipeline.stopping import Stop, stop_on_signals
from pipeline.streaming import WAITING, Feed, Stream
from pipeline.types import Frame, Poses
from tests.fakes import ListSink, ListSource, poses_at, walk


def one_person(frame: Frame) -> Poses:
    return poses_at([[0, 0, 10, 20]])


def stream_of(
    source: ListSource,
    sinks: Sequence[ListSink],
    process: Callable[[Frame], Poses] = one_person,
    frames: int | None = None,
) -> Stream:
    return streams_of([Feed(source, sinks)], process, frames)


def streams_of(
    feeds: Sequence[Feed], process: Callable[[Frame], Poses] = one_person, frames: int | None = None
) -> Stream:
    def rounds(numbered: Sequence[tuple[int, Frame]]) -> list[Poses]:
        return [process(frame) for _, frame in numbered]

    return Stream(feeds, rounds, lambda frame, poses: frame.image, StageStats(), frames)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_a_file_loses_no_frame_and_keeps_their_order() -> None:
    source, sink = ListSource(walk(50)), ListSink()
    feed = Feed(source, [sink])
    streams_of([feed]).run(Stop())
    assert sink.frames == list(range(50))
    assert (feed.counts.frames, feed.counts.people, feed.counts.dropped) == (50, 50, 0)
    assert source.closed


def test_a_slow_writer_holds_the_reader_back() -> None:
    source, sink = ListSource(walk(60)), ListSink()
    ahead: list[int] = []
    sink.write = lambda frame, poses, picture: ahead.append(source.given - frame.index)  # type: ignore[method-assign]
    stream_of(source, [sink]).run(Stop())
    assert max(ahead) <= 2 * WAITING + 4  # two channels, and one frame in each of three hands


def test_packets_without_a_picture_are_counted_and_told() -> None:
    class Damaged(ListSource):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                yield replace(frame, undecoded=2 if frame.index in (3, 7) else 0)

    feed = Feed(Damaged(walk(10)), [ListSink()])
    streams_of([feed]).run(Stop())
    assert feed.counts.undecoded == feed.counts.as_dict()["undecoded"] == 4
    assert "4 packets could not be decoded" in feed.counts.in_words()


def test_a_live_source_gives_its_newest_frame_and_counts_the_others() -> None:
    source, sink = ListSource(walk(60), live=True, interval_s=0.002), ListSink()

    def slow(frame: Frame) -> Poses:
        time.sleep(0.02)
        return one_person(frame)

    feed = Feed(source, [sink])
    streams_of([feed], slow).run(Stop())
    assert feed.counts.dropped > 0
    assert len(sink.frames) + feed.counts.dropped == 60
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


def test_files_of_several_sources_each_lose_no_frame_and_keep_their_order() -> None:
    feeds = [Feed(ListSource(walk(frames)), [ListSink()], f"file {frames}") for frames in (7, 40, 1)]
    streams_of(feeds).run(Stop())
    for feed, frames in zip(feeds, (7, 40, 1), strict=True):
        assert feed.sinks[0].frames == list(range(frames))  # type: ignore[attr-defined]
        assert (feed.counts.frames, feed.counts.dropped) == (frames, 0)


def test_frames_that_are_ready_are_processed_together_and_say_whose_they_are() -> None:
    sizes: list[int] = []
    names: set[str] = set()

    def process(numbered: Sequence[tuple[int, Frame]]) -> list[Poses]:
        time.sleep(0.002)
        sizes.append(len(numbered))
        names.update(frame.source for _, frame in numbered)
        return [one_person(frame) for _, frame in numbered]

    feeds = [Feed(ListSource(walk(20)), [ListSink()], name) for name in ("door", "yard")]
    Stream(feeds, process, lambda frame, poses: frame.image, StageStats()).run(Stop())
    assert sum(sizes) == 40
    assert sizes.count(2) >= 15
    assert names == {"door", "yard"}


def test_a_frame_limit_is_each_source_s_own() -> None:
    feeds = [Feed(ListSource(walk(frames)), [ListSink()], str(frames)) for frames in (5, 30)]
    streams_of(feeds, frames=8).run(Stop())
    assert [feed.counts.frames for feed in feeds] == [5, 8]


def test_a_failing_source_ends_the_others_and_what_was_read_is_kept() -> None:
    broken = Feed(ListSource(walk(5), error=SourceError("cut short")), [ListSink()], "broken")
    endless = Feed(ListSource(walk(2000), live=True, interval_s=0.005), [ListSink()], "endless")
    with pytest.raises(SourceError, match="cut short"):
        streams_of([broken, endless]).run(Stop())
    assert broken.counts.frames == 5
    assert endless.source.given < 2000  # type: ignore[attr-defined]


def test_a_camera_that_is_gone_comes_back_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "FIRST_DELAY_S", 0.05)
    told: list[str] = []
    gone = ListSource(walk(4), live=True, interval_s=0.002, error=SourceError("door: nothing came for 5 s"))
    again: Iterator[SourceError | ListSource] = iter(
        [SourceError("door: no answer"), ListSource(walk(200), live=True, interval_s=0.002)]
    )

    def reopen() -> ListSource:
        found = next(again)
        if isinstance(found, SourceError):
            raise found
        return found

    door = Feed(gone, [ListSink()], "door", reopen)
    yard = Feed(ListSource(walk(1000), live=True, interval_s=0.002), [ListSink()], "yard")

    def process(numbered: Sequence[tuple[int, Frame]]) -> list[Poses]:
        return [one_person(frame) for _, frame in numbered]

    Stream([door, yard], process, lambda frame, poses: frame.image, StageStats(), 30, told.append).run(Stop())
    frames = door.sinks[0].frames  # type: ignore[attr-defined]
    assert len(frames) == 30
    assert frames == sorted(set(frames))
    assert (door.counts.reconnects, yard.counts.reconnects, yard.counts.frames) == (1, 0, 30)
    assert told == ["door: nothing came for 5 s; connecting again in 0 s", "list: connected again after 0 s"]
    assert gone.closed


def test_a_wait_for_a_lost_camera_ends_with_the_run() -> None:
    lost = ListSource(walk(2), live=True, error=SourceError("gone"))
    stop, sink = Stop(), ListSink()
    timer = threading.Timer(0.2, stop.request)
    timer.start()

    def never() -> ListSource:
        raise AssertionError("the first wait takes a second")

    streams_of([Feed(lost, [sink], reopen=never)]).run(stop)
    timer.join()
    assert sink.frames[-1] == 1


def test_closed_lanes_free_the_giver_and_the_taker() -> None:
    lanes: Lanes[int] = Lanes(1, [False, False])
    assert lanes.put(0, 1)
    timer = threading.Timer(0.02, lanes.close_all)
    timer.start()
    assert not lanes.put(0, 2)
    assert lanes.take() == []
    assert lanes.done
    timer.join()


def test_finished_lanes_still_give_what_they_hold() -> None:
    lanes: Lanes[int] = Lanes(2, [False, False, True])
    lanes.put(0, 1)
    lanes.put(0, 2)
    lanes.put(2, 3)
    lanes.put(2, 4)
    lanes.finish_all()
    assert not lanes.put(1, 5)
    assert not lanes.done
    assert (lanes.take(), lanes.take(), lanes.take()) == ([(0, 1), (2, 4)], [(0, 2)], [])
    assert lanes.done
    assert (lanes.dropped(0), lanes.dropped(2)) == (0, 1)
