from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from apps import webcam
from pipeline.live.access import LOCAL_NAMES, is_loopback, listen, live_access
from pipeline.live.pages import load_page
from pipeline.sink_errors import SinkError
from tests.fakes import BlobNetworks, walk, write_video
from tests.live_setting import FakeRun, aiohttp

TOKEN = "a-token-of-the-tests"


async def status(session: Any, url: str, **options: Any) -> int:
    async with session.get(url, allow_redirects=False, **options) as answer:
        return int(answer.status)


async def handshake(session: Any, url: str, **options: Any) -> int:
    """The status that a WebSocket is answered with; 101 if it is opened."""
    try:
        async with session.ws_connect(url, **options):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return int(error.status)


def test_a_token_is_demanded_everywhere_by_query_header_or_cookie() -> None:
    async def ask(session: Any, base: str) -> Any:
        paths = ("/", "/live", "/poses", "/metrics", "/nothing")
        without = [await status(session, base + path) for path in paths]
        wrong = [await status(session, f"{base}{path}?token={TOKEN}x") for path in paths]
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        right = [
            await status(session, f"{base}/metrics?token={TOKEN}"),
            await status(session, f"{base}/metrics", headers=bearer),
            await handshake(session, f"{base}/poses?token={TOKEN}"),
            await handshake(session, f"{base}/poses", headers=bearer),
            await handshake(session, f"{base}/poses", headers={"Authorization": "Bearer é"}),
        ]
        return without, wrong, right, await status(session, f"{base}/healthz")

    with FakeRun(address="0.0.0.0", token=TOKEN) as run:
        without, wrong, right, health = run.talk(ask)
        assert TOKEN not in run.view.url
    assert without == wrong == [401] * 5
    assert right == [200, 200, 101, 101, 401]
    assert health in (200, 503)  # whether frames come is no secret


def test_the_address_line_with_the_token_gives_a_cookie_that_the_page_goes_on_with() -> None:
    async def enter(session: Any, base: str) -> Any:
        async with session.get(
            run.view.url.replace(run.view.url.split("/?")[0], base), allow_redirects=False
        ) as answer:
            entered = answer.status, answer.headers["Location"], answer.headers["Set-Cookie"]
        async with session.get(f"{base}/") as answer:
            page = await answer.text()
            return entered, answer.status, page, await handshake(session, f"{base}/live")

    with FakeRun(address="0.0.0.0") as run:

        async def with_cookies(_: Any, base: str) -> Any:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                return await enter(session, base)

        (code, location, cookie), page_status, page, live = run.talk(with_cookies)
    assert re.fullmatch(r"http://[^/]+:\d+/\?token=[\w-]{22}", run.view.url)
    assert (code, location, page_status, live) == (303, "./", 200, 101)
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert run.view.url.split("=")[1] not in page


def test_without_the_token_a_page_says_where_to_find_it() -> None:
    async def ask(session: Any, base: str) -> Any:
        async with session.get(base) as answer:
            return await answer.text(), answer.headers["Content-Security-Policy"]

    with FakeRun(token=TOKEN) as run:
        page, policy = run.talk(ask)
    assert "This page needs a token" in page
    assert "script-src 'none'" in policy


def test_nothing_of_the_token_is_logged_or_printed(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(session: Any, base: str) -> None:
        for path in ("/", "/poses", "/nothing", "/metrics"):
            await status(session, f"{base}{path}?token={TOKEN}")
        host, port = base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(f"GET /?token={TOKEN} HTTP/9.9\r\nbad\r\n\r\n".encode())
            raw.recv(1000)

    with caplog.at_level(0), FakeRun(token=TOKEN) as run:
        run.view._board.status = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        run.talk(ask)
        del run.view._board.status
    output = capfd.readouterr()
    said = [record.getMessage() for record in caplog.records if record.name != "asyncio" or record.levelno >= 20]
    assert not [text for text in (output.out, output.err, *said) if TOKEN in text]


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost:1", 200), ("[::1]", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403)]
)
def test_a_loopback_server_answers_to_its_own_names_only(host: str, expected: int) -> None:
    async def ask(session: Any, base: str) -> Any:
        paths = ("/", "/metrics")
        return [await status(session, base + path, headers={"Host": host}) for path in paths]

    with FakeRun() as run:
        assert run.talk(ask) == [expected] * 2


def test_pages_of_other_sites_cannot_connect() -> None:
    async def ask(session: Any, base: str) -> Any:
        origins = (base, "http://evil.example", "null", "http://localhost:1")
        return [await handshake(session, f"{base}/live", headers={"Origin": origin}) for origin in origins]

    with FakeRun() as run:
        assert run.talk(ask) == [101, 403, 403, 403]


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.0.2.7", False), ("localhost.example", False)],
)  # fmt: skip
def test_only_loopback_goes_without_a_token(address: str, local: bool) -> None:
    assert is_loopback(address) == local
    access = live_access(address, None)
    assert (access.token is None, access.names is not None) == (local, local)
    assert access.admits(None, None) == local
    if not local:
        assert live_access(address, None).token != access.token
        assert access.admits(None, access.token)
    assert {"localhost"} <= LOCAL_NAMES


def test_mistakes_are_told_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SinkError, match=rf"^--serve {port} on 127\.0\.0\.1: .*in use; choose another port$"):
            listen("127.0.0.1", port)
    for address, port, hint in (
        ("127.0.0.1", 70000, "expected a port of 1 to 65535"),
        ("no.host.invalid", 0, "not an address; expected one of this machine"),
        ("192.0.2.7", 0, "expected an address of this machine, or 0.0.0.0"),
    ):
        with pytest.raises(SinkError, match=hint) as mistake:
            listen(address, port)
        assert "\n" not in str(mistake.value)
    for token in ("short", "with spaces in it", "é" * 10):
        with pytest.raises(SinkError, match="8 to 128 letters, digits, - or _"):
            live_access("0.0.0.0", token)


@pytest.mark.parametrize("name", ["page.html", "token.html"])
def test_pages_load_nothing_and_run_only_what_they_bring(name: str) -> None:
    page = load_page(name)
    assert "unsafe" not in page.policy
    assert "default-src 'none'" in page.policy
    assert not re.search(r"""(src|href)=["'](?!data:,)|url\(|@import|https?://|\son\w+=|\sstyle=""", page.html)
    assert page.html.count("<style>") == page.html.count("</style>") == 1


def test_the_camera_program_serves_sends_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webcam, "Networks", BlobNetworks)
    clip = write_video(tmp_path / "walk.mp4", walk(12))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        options = ["--headless", "--serve", "0", "--serve-address", "0.0.0.0", "--csv", str(tmp_path / "out.csv")]
        options += ["--udp", f"127.0.0.1:{listener.getsockname()[1]}", "--draw", "boxes=on"]
        assert webcam.main(["--source", str(clip), *options]) == 0
        sent = json.loads(listener.recv(70_000))
    assert (sent["source"], sent["frame"], len(sent["people"])) == (str(clip), 0, 1)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 13
    assert len(re.findall(r"live view: http://\S+:\d+/\?token=\S+", capsys.readouterr().err)) == 1


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--serve", "99999"], "expected a port"),
        (["--serve-token", TOKEN], "for --serve PORT"),
        (["--udp", "9000"], "expected HOST:PORT"),
        (["--draw", "colour=red"], "unknown setting 'colour=red'"),
    ],
)
def test_a_mistaken_option_is_one_line(
    options: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webcam, "Networks", BlobNetworks)
    clip = write_video(tmp_path / "walk.mp4", walk(3))
    assert webcam.main(["--source", str(clip), "--headless", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert hint in line
