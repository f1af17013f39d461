"""The gateway: a server on the background loop, started and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import orjson
from aiohttp import web

from mosaic import bridge
from mosaic.errors import UsageError
from mosaic.gateway.catalogs import Catalogs, Pages
from mosaic.gateway.copies import Copies
from mosaic.gateway.door import Door
from mosaic.gateway.fence import FencedGate
from mosaic.gateway.guard import SERVER_LOG, Guard, failed
from mosaic.gateway.kept import Kept
from mosaic.gateway.map import Map
from mosaic.gateway.metrics import CONTENT_TYPE, exposition, summary
from mosaic.gateway.options import Options
from mosaic.gateway.room import Room
from mosaic.gateway.standins import StandIns
from mosaic.gateway.tiles import Tiles
from mosaic.gateway.zarr import Zarr
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate
from mosaic.storage.serving import Answers
from mosaic.storage.signers import SignChoice
from mosaic.storage.transport import HTTPTransport
from mosaic.version import __version__

_IDLE = 75.0
"""Seconds that a connection may rest between two requests."""
_DOCUMENTS = 32 << 20
"""Bytes of catalogs and indexes that are kept in memory."""
_DRAWN = 64 << 20
"""Bytes of tiles and chunks that are kept as they were drawn."""
_BACKLOG = 1024
"""Connections that wait to be let in."""
_AT_ONCE = 16
"""Connections that asyncio lets in before the door may close any: each is an open file."""
_LINE = 8190
"""Bytes of a request's first line, and of a header, at most."""


class Gateway:
    """Mosaics served over HTTP, their assets read through one gate.

    ``folders`` are mosaics by name. ``limits``, ``cache``, ``retry`` and ``sign`` are those of
    :class:`~mosaic.storage.Gate`. Raises :class:`~mosaic.errors.CatalogError` for a mosaic that
    can't be served, :class:`~mosaic.errors.UsageError` when it can't listen.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        options: Options | None = None,
        *,
        limits: Limits | Mapping[str, Limits] | None = None,
        cache: CacheSettings | None = None,
        retry: Retry | None = None,
        sign: SignChoice = None,
    ) -> None:
        self.options = options or Options()
        retry = retry or Retry.from_env()
        http = HTTPTransport(retry, f"mosaic/{__version__}", self._follow, self._inward)
        self.gate: Gate = FencedGate(
            lambda host: self._catalogs.reaches(host, self.options.redirects),
            limits=limits,
            cache=cache,
            retry=retry,
            sign=sign,
            transports={"http": http},
        )
        # an index may be large: it mustn't push scenes out of the cache
        self._own = Gate(cache=CacheSettings(memory=_DOCUMENTS))
        self._catalogs = Catalogs(folders, self.gate)
        self.folder = Path()
        """Of the copies with locations led here, while it runs."""
        self._port = 0
        self._lock = threading.Lock()
        self._stop: contextlib.AsyncExitStack | None = None
        bridge.settle(self)

    def __repr__(self) -> str:
        return f"Gateway({', '.join(self._catalogs.names)})"

    @property
    def url(self) -> str:
        """Under which clients reach it, without a slash at its end."""
        return self.options.base(self._port or self.options.port)

    def locations(self) -> list[str]:
        """What GDAL opens of the mosaics: indexes, stacks and slices."""
        told = self._catalogs.listing(self.url)["mosaics"].values()
        return [location for one in told for location in one["gdal"]]

    def start(self) -> Self:
        """Listen. Raises UsageError when the address can't be had."""
        with self._lock:
            if self._stop is None:
                self._stop = bridge.run(self._serve())
        return self

    def close(self) -> None:
        """Take no more requests, finish those under way, give up what takes too long."""
        with self._lock:
            stop, self._stop = self._stop, None
        if stop is not None:
            bridge.run(stop.aclose())
        self._own.close()
        self.gate.close()

    def after_fork(self) -> None:
        """A child serves nothing."""
        self._lock = threading.Lock()
        if self._stop is not None:
            _orphans.append(self._stop)
        self._stop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, first: str, target: str) -> bool:
        return self._catalogs.follow(first, target, self.options.redirects)

    def _inward(self, host: str) -> bool:
        told = self.options.redirects
        return host in told or host.rpartition(":")[0] in told

    async def _serve(self) -> contextlib.AsyncExitStack:
        told = self.options
        async with contextlib.AsyncExitStack() as stack:
            room = Room()
            stack.callback(room.close)
            self.folder = room.path
            door = Door(told)
            stand_ins = StandIns(lambda: self.url)
            guard = Guard(told, door.heard, self._catalogs.hidden, stand_ins)
            answers = Answers(self.gate, stall=told.stall, note=failed)
            documents = Answers(self._own, stall=told.stall)
            copies = Copies(self.folder)
            pages = Pages(self._catalogs, copies, answers, documents, lambda: self.url)
            app = web.Application(middlewares=[guard.middleware])
            app.on_response_prepare.append(guard.sign)
            app.add_routes([*pages.routes(), *stand_ins.routes()])
            kept: Kept[bytes] = Kept(_DRAWN, len)
            tiles = Tiles(self._catalogs, self.gate, kept, lambda: self.url)
            stack.callback(tiles.close)
            app.add_routes(tiles.routes())
            zarr = Zarr(self._catalogs, self.gate, kept)
            stack.callback(zarr.close)
            app.add_routes(zarr.routes())
            page = Map(self._catalogs)
            stack.callback(page.close)
            app.add_routes(page.routes())
            app.add_routes(_Own(self.gate, guard, pages, (answers, documents)).routes())
            runner = web.AppRunner(
                app,
                logger=SERVER_LOG,
                access_log=None,  # the guard keeps it: nothing of a query is told there
                handler_cancellation=True,
                shutdown_timeout=told.grace / 2,  # aiohttp waits as long twice
                keepalive_timeout=_IDLE,
                max_line_size=_LINE,
                max_field_size=_LINE,
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            assert runner.server is not None
            server = runner.server
            try:
                listener = await asyncio.get_running_loop().create_server(
                    lambda: door.enter(server), told.host, told.port, backlog=_AT_ONCE
                )
            except OSError as error:
                # asyncio's own words repeat the address; a resolver's numbers are negative
                number = error.errno or 0
                why = os.strerror(number) if number > 0 else error.strerror
                raise UsageError(f"can't listen on {told.host}:{told.port} ({why})") from error
            stack.callback(listener.close)
            for one in listener.sockets:
                with socket.socket(fileno=os.dup(one.fileno())) as same:
                    same.listen(_BACKLOG)
            self._port = listener.sockets[0].getsockname()[1]
            return stack.pop_all()
        raise AssertionError("unreachable")  # pragma: no cover


class _Own:
    """``/healthz``, ``/metrics`` and ``/metrics.json``."""

    def __init__(
        self, gate: Gate, guard: Guard, pages: Pages, answers: tuple[Answers, ...]
    ) -> None:
        self._gate, self._guard = gate, guard
        self._pages, self._answers = pages, answers

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/healthz", self.healthz),
            web.get("/metrics", self.metrics),
            web.get("/metrics.json", self.summary),
        ]

    async def healthz(self, request: web.Request) -> web.Response:
        """That the loop turns."""
        return web.Response(text="ok\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """All figures, for Prometheus."""
        text = exposition(self._gate.stats(), self._guard.answers, self._gauges())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def summary(self, request: web.Request) -> web.Response:
        """The figures that the map page shows."""
        body = orjson.dumps(summary(self._gate.stats(), self._gauges()))
        return web.Response(body=body, content_type="application/json")

    def _gauges(self) -> dict[str, tuple[str, float]]:
        guard = self._guard
        return {
            "busy": ("Requests worked on.", guard.busy),
            "waiting": ("Requests that wait.", guard.waiting),
            "refused_total": ("Requests for which the queue was too long.", guard.refused),
            "unknown_total": ("Requests for what isn't served.", self._pages.unknown),
            "bytes_total": (
                "Bytes of assets and catalogs sent.",
                sum(one.bytes for one in self._answers),
            ),
        }


_orphans: list[object] = []  # a parent's server: a child must not run its destructors
