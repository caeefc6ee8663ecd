from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.live.clients import IN_FLIGHT, LONGEST_SIDE, Viewer, jpeg
from pipeline.live.view import LINES_KEPT, open_live_view
from pipeline.sink_errors import SinkError
from pipeline.stats import StageStats
from tests.live_setting import FakeRun, aiohttp, live_server

TOKEN = "a-token-of-the-tests"


async def body(session: Any, url: str, **options: Any) -> tuple[int, str]:
    async with session.get(url, **options) as answer:
        return answer.status, await answer.text()


async def refusal(session: Any, url: str, **options: Any) -> int:
    """The status with which a WebSocket is refused; 101 if it is not."""
    try:
        async with session.ws_connect(url, **options):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return int(error.status)


async def pictures(ws: Any, count: int, show: bool = True) -> list[tuple[int, Any]]:
    """The next pictures: number of the source, BGR image. show: tell the server that they were shown."""
    found: list[tuple[int, Any]] = []
    while len(found) < count:
        message = await ws.receive(timeout=20)
        if message.type is aiohttp.WSMsgType.BINARY:
            number = int.from_bytes(message.data[:2], "big")
            found.append((number, cv2.imdecode(np.frombuffer(message.data[2:], np.uint8), cv2.IMREAD_COLOR)))
            if show:
                await ws.send_json({"shown": number})
    return found


async def status(ws: Any) -> Any:
    while (message := await ws.receive(timeout=20)).type is not aiohttp.WSMsgType.TEXT:
        pass
    return json.loads(message.data)["sources"]


def test_the_page_gets_moving_pictures_and_figures_of_every_source() -> None:
    async def watch(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/live") as ws:
            await pictures(ws, 20)
            return await pictures(ws, 30), await status(ws)

    with FakeRun("door", "yard") as run:
        assert not run.view.wants_picture(None)  # type: ignore[arg-type]
        seen, sources = run.talk(watch)
    for number in (0, 1):
        shades = [int(image.mean().round()) for place, image in seen if place == number]
        assert len(shades) > 5
        assert all(100 * number - 2 <= shade <= 100 * number + 102 for shade in shades)
        assert len(set(shades)) == len(shades)  # each picture is sent once, and is a new one
    assert [source["name"] for source in sources] == ["door", "yard"]
    assert [source["people"] for source in sources] == [2, 3]
    for source in sources:
        assert source["frames"] > 0
        assert source["fps"] > 0
        assert source["latency_ms"] >= 0
        assert source["age_s"] >= 0


def test_poses_are_the_json_lines_with_their_source_and_none_is_missing() -> None:
    async def listen(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/poses") as ws:
            return [await ws.receive_json(timeout=20) for _ in range(20)]

    with FakeRun("door", "yard") as run:
        lines = run.talk(listen)
        assert run.drawn == 0
    frames = [line["frame"] for line in lines if line["source"] == "yard"]
    assert len(frames) >= 9
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert list(lines[0]) == ["source", "frame", "time_s", "people"]
    assert len(lines[0]["people"][0]["keypoints"]) == 17


def more_frames(run: FakeRun, count: int) -> None:
    """Wait for so many more."""
    until = run.counts["door"].frames + count
    while run.counts["door"].frames < until:
        time.sleep(0.01)


def draws_no_more(run: FakeRun) -> bool:
    """Whether frames come to be left undrawn, after some that may be."""
    for _ in range(20):
        before = run.drawn
        more_frames(run, 10)
        if run.drawn == before:
            return True
    return False


def test_nothing_is_drawn_for_nobody_and_for_those_who_pause() -> None:
    async def pause(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/live") as ws:
            await pictures(ws, 2)
            await ws.send_json({"paused": True})
            assert await asyncio.to_thread(draws_no_more, run)
            assert (await status(ws))[0]["people"] == 2
            await ws.send_json({"paused": False, "shown": 0})
            await ws.send_json({"shown": 0})
            assert len(await pictures(ws, 2)) == 2

    with FakeRun() as run:
        more_frames(run, 10)
        assert run.drawn == 0
        run.talk(pause)
        assert run.drawn > 0
        assert draws_no_more(run)


def test_a_page_that_shows_nothing_is_sent_no_more_and_then_the_newest() -> None:
    async def dawdle(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/live") as ws:
            early = [image.mean() for _, image in await pictures(ws, IN_FLIGHT, show=False)][-1]
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(pictures(ws, 1, show=False), 0.5)
            await asyncio.to_thread(more_frames, run, 20)
            await ws.send_json({"shown": 0})
            return early, (await pictures(ws, 1))[0][1].mean()

    with FakeRun() as run:
        early, later = run.talk(dawdle)
    assert (later - early) % 250 > 15  # the frames between were left out


def raw_websocket(base: str, path: str) -> socket.socket:
    """A client that asks for a WebSocket and then reads nothing, with little room for what is sent."""
    host, port = base.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{upgrade}\r\n{key}\r\n\r\n".encode())
    assert client.recv(12) == b"HTTP/1.1 101"
    return client


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What libraries have warned of; asyncio does of unfinished tasks when they are freed."""
    gc.collect()
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_clients_that_read_nothing_or_vanish_slow_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def watch(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/live") as ws, session.ws_connect(f"{base}/poses") as poses:
            shown = await pictures(ws, 30)
            lines = [await poses.receive_json(timeout=20) for _ in range(30)]
        return shown, lines

    with FakeRun(side=512, people=100) as run:  # 3 MB of lines a second: more than sockets keep
        stuck = [raw_websocket(run.base, path) for path in ("/live", "/poses") for _ in range(4)]
        raw_websocket(run.base, "/poses").close()
        more_frames(run, 40)
        shown, lines = run.talk(watch)
        assert len(shown) == len(lines) == 30
        assert run.slowest_s < live_server.SEND_WITHIN_S / 2
        run.end()
        run.view.close()
        for client in stuck:
            client.close()
    assert complaints(caplog) == []


def test_slow_listeners_miss_lines_and_memory_stays_bounded() -> None:
    with FakeRun() as run:
        run.end()
        board = run.view._board
        board.listeners = 1
        place, _ = board.lines_from(-1)
        for index in range(3 * LINES_KEPT):
            run._write(index, 0, "door")
        place, lines = board.lines_from(place)
        assert [json.loads(line)["frame"] for line in lines] == list(range(2 * LINES_KEPT, 3 * LINES_KEPT))
        assert board.lines_from(place) == (place, [])
        board.listeners = 0


def test_of_fifty_clients_those_too_many_are_refused_and_room_is_made_again() -> None:
    async def crowd(session: Any, base: str) -> Any:
        asked = await asyncio.gather(*(session.ws_connect(f"{base}/live") for _ in range(50)), return_exceptions=True)
        refused = [error.status for error in asked if isinstance(error, aiohttp.WSServerHandshakeError)]
        told = await body(session, f"{base}/live")
        served = [ws for ws in asked if not isinstance(ws, BaseException)]
        counts = [len(await pictures(ws, 1)) for ws in served]
        await asyncio.gather(*(ws.close() for ws in served))
        for _ in range(50):
            if (again := await refusal(session, f"{base}/live")) == 101:
                break
            await asyncio.sleep(0.05)
        return refused, counts, told, again

    with FakeRun() as run:
        refused, counts, told, again = run.talk(crowd)
    assert refused == [503] * (50 - live_server.MOST_CLIENTS)
    assert counts == [1] * live_server.MOST_CLIENTS
    assert told == (
        503,
        f"503: {live_server.MOST_CLIENTS} viewers are connected, and no more are served; try again later\n",
    )
    assert again == 101


def test_closing_tells_the_clients_and_ends_every_thread(caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())

    async def watch(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/live") as ws, session.ws_connect(f"{base}/poses") as poses:
            await pictures(ws, 1)
            await body(session, f"{base}/metrics")
            run.end()
            await asyncio.get_running_loop().run_in_executor(None, run.view.close)
            while (message := await ws.receive(timeout=20)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                pass
            while (other := await poses.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT:
                pass
            return (message.type, message.data), (other.type, other.data)

    with FakeRun() as run:
        assert run.talk(watch) == ((aiohttp.WSMsgType.CLOSE, 1001),) * 2
        run.view.close()  # again does nothing
    assert not [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]
    assert complaints(caplog) == []


def test_metrics_are_in_prometheus_form() -> None:
    parser = pytest.importorskip("prometheus_client.parser")

    async def scrape(session: Any, base: str) -> Any:
        async with session.ws_connect(f"{base}/poses") as ws:
            await ws.receive(timeout=20)
            return await body(session, f"{base}/metrics")

    with FakeRun("door", 'the "yard"\\') as run:
        run.counts["door"].dropped, run.counts["door"].reconnects = 7, 2
        run.counts["door"].undecoded = 5
        _, text = run.talk(scrape)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["darkstream_frames_total", 'the "yard"\\'] > 0
    assert found["darkstream_dropped_frames_total", "door"] == 7
    assert found["darkstream_reconnects_total", "door"] == 2
    assert found["darkstream_undecoded_packets_total", "door"] == 5
    assert found["darkstream_people", 'the "yard"\\'] == 3
    assert 0 <= found["darkstream_seconds_since_last_frame", "door"] < 10
    assert found["darkstream_viewers",] == 1
    counts = [value for (name, *_), value in found.items() if name == "darkstream_latency_seconds_bucket"]
    assert len(counts) == 20
    assert counts[:10] == sorted(counts[:10])
    assert found["darkstream_latency_seconds_bucket", "+Inf", "door"] == counts[9] > 0
    assert 0 < found["darkstream_latency_seconds_sum", "door"] < counts[9]
    assert 0.004 < found["darkstream_stage_seconds", "0.95", "capture to output"] < 0.006
    assert found["darkstream_stage_seconds_count", "capture to output"] > 0


def test_health_is_whether_frames_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(session: Any, base: str) -> Any:
        return await body(session, f"{base}/healthz")

    run = FakeRun()
    assert run.talk(ask) == (503, '{"status": "no frame yet"}')
    with run:
        more_frames(run, 1)
        assert run.talk(ask) == (200, '{"status": "ok"}')
        run.end()
        monkeypatch.setattr("pipeline.live.server.SILENT_S", 0.2)
        time.sleep(0.4)
        assert run.talk(ask)[0] == 503


def test_a_client_that_talks_nonsense_is_shown_the_door() -> None:
    async def babble(session: Any, base: str) -> Any:
        codes = []
        for words in ("hello", "[1]", "x" * 5000):
            async with session.ws_connect(f"{base}/live") as ws:
                await ws.send_str(words)
                while (await ws.receive(timeout=20)).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    pass
                codes.append(ws.close_code)
        return codes

    with FakeRun() as run:
        assert run.talk(babble) == [1003, 1003, 1009]
    viewer = Viewer()
    viewer.hear('{"shown": 5, "paused": "yes", "more": [1]}')
    assert (viewer.paused, viewer.can_take(0, 1)) == (False, True)


def test_a_large_picture_is_made_as_small_as_screens_are() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (720, LONGEST_SIDE, 3)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pipeline.live.server", None)
    with pytest.raises(SinkError, match=r"--serve needs .*: pip install -e \"\.\[serve\]\""):
        open_live_view(0, "127.0.0.1", None, StageStats())
