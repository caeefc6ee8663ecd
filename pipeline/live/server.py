"""The live view's web server, by aiohttp, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from pipeline.live.access import LiveAccess
from pipeline.live.clients import Encoder, Viewer
from pipeline.live.metrics import CONTENT_TYPE, LiveMetrics
from pipeline.live.pages import Page, load_page
from pipeline.live.view import LiveBoard

MOST_CLIENTS = 32  # WebSockets at a time
STATUS_EVERY_S, PING_EVERY_S, SEND_WITHIN_S, GOODBYE_S = 0.25, 10.0, 10.0, 1.0
LONGEST_MESSAGE = 1024  # bytes that a client may say at once
SILENT_S = 10.0  # without a frame of any source for so long, the run does not count as healthy
COOKIE_AGE_S = 30 * 24 * 3600
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Speak = Callable[[web.WebSocketResponse], Awaitable[None]]


class LiveServer:
    """Serves a board on a listening socket until it is closed: the page, /poses, /metrics, /healthz."""

    def __init__(self, board: LiveBoard, access: LiveAccess, listening: socket.socket) -> None:
        self._board, self._access, self._socket = board, access, listening
        self._metrics = LiveMetrics(board)
        self._page, self._token_page = load_page("page.html"), load_page("token.html")
        self._cookie = f"darkstream_{listening.getsockname()[1]}"
        self._clients: set[web.WebSocketResponse] = set()
        self._viewers: set[Viewer] = set()
        self._news: set[asyncio.Event] = set()
        self._told, self._ready = threading.Event(), threading.Event()
        self._stopping, self._failure = asyncio.Event(), list[BaseException]()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure[0]

    def close(self) -> None:
        """Say goodbye to the clients and end the threads. Raises what has ended the server before, if anything."""
        self._board.on_news = lambda: None
        with suppress(RuntimeError):  # closed before
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        if self._failure:
            raise self._failure.pop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure.append(error)
        finally:
            self._socket.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._encoder = Encoder(self._board)
        application = web.Application(middlewares=[self._guard])
        routes = {
            "/": self._show_page, "/live": self._live, "/poses": self._poses,
            "/metrics": self._show_metrics, "/healthz": self._show_health,
        }  # fmt: skip
        application.add_routes([web.get(path, handler) for path, handler in routes.items()])
        # Neither log: both would hold the token of an address line.
        silent = logging.Logger("darkstream.live", logging.CRITICAL + 1)
        runner = web.AppRunner(application, access_log=None, logger=silent, shutdown_timeout=GOODBYE_S)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._board.on_news = self._on_news
        self._ready.set()
        await self._stopping.wait()
        goodbyes = [asyncio.ensure_future(ws.close(code=WSCloseCode.GOING_AWAY)) for ws in self._clients]
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=GOODBYE_S)
        await runner.cleanup()
        self._encoder.close()

    def _on_news(self) -> None:
        """Called from the run's thread: one call at most waits in the loop, however late that is."""
        if not self._told.is_set():
            self._told.set()
            with suppress(RuntimeError):  # closed just now
                self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        self._told.clear()
        for news in self._news:
            news.set()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse whom the rules refuse, and give every answer the headers that all have."""
        try:
            response = self._refusal(request) or await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.reason}\n")
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        host, given = request.headers.get("Host", ""), request.headers.get("Authorization", "")
        if not self._access.host_allowed(host):
            return web.Response(status=403, text="403: open this page by the name localhost or 127.0.0.1\n")
        if request.path == "/healthz":
            return None
        if not self._access.origin_allowed(request.headers.get("Origin"), host):
            return web.Response(status=403, text="403: pages of other sites may not connect here\n")
        bearer = given.removeprefix("Bearer ") if given.startswith("Bearer ") else None
        if self._access.admits(request.query.get("token"), bearer, request.cookies.get(self._cookie)):
            return None
        if request.path == "/":
            return _html(self._token_page, 401)
        return web.Response(
            status=401, text="401: expected ?token=... or the header Authorization: Bearer ...\n",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    async def _show_page(self, request: web.Request) -> web.Response:
        """The page. A token leaves the address line for a cookie, so that it is not seen or passed on with it."""
        if "token" not in request.query or self._access.token is None:
            return _html(self._page, 200)
        response = web.Response(status=303, headers={"Location": "./"})
        response.set_cookie(
            self._cookie, self._access.token, max_age=COOKIE_AGE_S, httponly=True, samesite="Lax", path="/"
        )
        return response

    async def _show_metrics(self, request: web.Request) -> web.Response:
        # In another thread: percentiles of many frames take a while.
        text = await asyncio.to_thread(self._metrics.text)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _show_health(self, request: web.Request) -> web.Response:
        ages = [feed["age_s"] for feed in self._board.status() if feed["started"]]
        if ages and min(ages) < SILENT_S:
            return web.json_response({"status": "ok"})
        reason = f"no frame for {min(ages):.0f} s" if ages else "no frame yet"
        return web.json_response({"status": reason}, status=503)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket of pictures (a source's number in two bytes, then a JPEG) and status (JSON), for the page."""
        viewer = Viewer()

        def hear(text: str) -> None:
            viewer.hear(text)
            self._count_watchers()

        self._viewers.add(viewer)
        try:
            return await self._converse(request, viewer.news, lambda ws: self._send_pictures(ws, viewer), hear)
        finally:
            self._viewers.discard(viewer)
            self._count_watchers()

    async def _poses(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket of JSON lines, for programs. One that is too slow misses some."""
        news = asyncio.Event()
        return await self._converse(request, news, lambda ws: self._send_lines(ws, news), lambda text: None)

    def _count_watchers(self) -> None:
        self._board.watchers = sum(not viewer.paused for viewer in self._viewers)

    async def _converse(
        self, request: web.Request, news: asyncio.Event, speak: Speak, hear: Callable[[str], None]
    ) -> web.StreamResponse:
        """Speak to a client and hear it until either ends."""
        if len(self._clients) >= MOST_CLIENTS:
            text = f"503: {MOST_CLIENTS} viewers are connected, and no more are served; try again later\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "10"})
        ws = web.WebSocketResponse(
            heartbeat=PING_EVERY_S, timeout=GOODBYE_S, max_msg_size=LONGEST_MESSAGE, compress=False
        )
        if not ws.can_prepare(request):
            return web.Response(status=426, text="426: expected a WebSocket\n", headers={"Upgrade": "websocket"})
        self._clients.add(ws)
        self._news.add(news)
        speaking: asyncio.Future[None] | None = None
        try:
            await ws.prepare(request)
            speaking = asyncio.ensure_future(_until_it_fails(speak(ws), request))
            self._count_watchers()
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    hear(message.data)
        except ValueError:
            await ws.close(code=WSCloseCode.UNSUPPORTED_DATA)
        finally:
            self._clients.discard(ws)
            self._news.discard(news)
            if speaking is not None:
                speaking.cancel()
        return ws

    async def _send_pictures(self, ws: web.WebSocketResponse, viewer: Viewer) -> None:
        status_due = time.monotonic()
        while True:
            if time.monotonic() >= status_due:
                status_due = time.monotonic() + STATUS_EVERY_S
                await _within(ws.send_str(json.dumps({"sources": self._board.status()})))
            for number in range(len(self._board.feeds)):
                if viewer.can_take(number, self._board.newest(number)[0]):
                    version, data = await self._encoder.newest(number)
                    viewer.take(number, version)
                    await _within(ws.send_bytes(number.to_bytes(2, "big") + data))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(viewer.news.wait(), max(0.0, status_due - time.monotonic()))
            viewer.news.clear()

    async def _send_lines(self, ws: web.WebSocketResponse, news: asyncio.Event) -> None:
        self._board.listeners += 1
        try:
            place, lines = self._board.lines_from(-1)
            while True:
                for line in lines:
                    await _within(ws.send_str(line))
                await news.wait()
                news.clear()
                place, lines = self._board.lines_from(place)
        finally:
            self._board.listeners -= 1


async def _within(sending: Awaitable[None]) -> None:
    await asyncio.wait_for(sending, SEND_WITHIN_S)


async def _until_it_fails(speaking: Awaitable[None], request: web.Request) -> None:
    """A client that has gone, or takes nothing for too long, is cut off, which ends the hearing as well."""
    try:
        with suppress(ConnectionError, asyncio.TimeoutError):
            await speaking
    except Exception:
        _cut_off(request)
        raise
    _cut_off(request)


def _cut_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _html(page: Page, status: int) -> web.Response:
    headers = {"Content-Security-Policy": page.policy}
    return web.Response(status=status, text=page.html, content_type="text/html", headers=headers)
