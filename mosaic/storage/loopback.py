"""The gate behind a private loopback URL, so that GDAL's own readers are governed too.

``http://127.0.0.1:PORT/KEY/https/host/path/file.jp2`` stands for ``https://host/path/file.jp2``:
the path is kept, so that a VRT finds its sources beside it.  The key is random and never logged;
without it nothing is told.  Sidecar files that GDAL looks for (``.aux.xml``, ``.ovr``, ...) are
answered 404 at no cost, HEAD from what the gate knows, and no request goes upstream twice.

rasterio keeps Python's lock through some of its calls, and this server needs it to answer: let
rasterio open such a URL in another process (GDAL's own programs are one).
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from urllib.parse import quote

from aiohttp import web

from mosaic import bridge
from mosaic.errors import (
    AccessError,
    MissingError,
    OutOfRangeError,
    StorageError,
    ThrottledError,
)
from mosaic.storage.answer import Meta
from mosaic.storage.gate import Gate

_BLOCK = 64 << 10  # reads are widened to this: GDAL's own pieces of 16 KiB begin anywhere
_STEP = 2 << 20  # bytes fetched at a time, once a reader has shown that it reads on
_TELLING = 1024  # first bytes that tell what a file is
_FAILURES = 10_000  # hrefs whose failure is remembered
_SIDECARS = re.compile(  # what GDAL 3.10 looks for beside TIFF, JP2, NetCDF and VRT
    r"\.(aux|xml|ovr|msk|prj|tfw|tifw|tiffw|wld|j2w|jp2w|jgw|pgw|imd|rpb|pvl|rrd|rpc|pass|txt"
    r"|met|xmp|qpj|vat\.dbf|gmlaux|til|eph|att)$|^\.\w+$|^metadata\.dim$",
    re.IGNORECASE,
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Loopback:
    """A server on 127.0.0.1, on the background loop, that serves what one gate may read.

    ``sidecars`` are suffixes (such as ``.ovr``) that do exist and are asked for upstream.
    ``refuse`` tells, by its first bytes and its href, of a file that isn't served.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        sidecars: tuple[str, ...] = (),
        refuse: Callable[[bytes, str], bool] | None = None,
    ) -> None:
        self._gate = gate
        self._refuse = refuse
        self._sidecars = tuple(suffix.lower() for suffix in sidecars)
        self._key = secrets.token_urlsafe(24)
        self._lock = threading.Lock()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._given: set[str] = set()
        self._failures: dict[str, StorageError] = {}
        self.probes = 0
        """Sidecar probes answered at no cost."""
        self.served = 0
        """Pieces that were served."""
        bridge.settle(self)

    def __repr__(self) -> str:
        return f"Loopback(port={self._port})"

    def url(self, href: str) -> str:
        """The loopback URL of an href; starts the server when first asked. Prefix ``/vsicurl/``
        for GDAL."""
        self.start()
        scheme, mark, rest = href.partition("://")
        if not mark:
            scheme, rest = "file", href
        if _SIDECARS.search(rest.rpartition("/")[2]):
            self._given.add(f"{scheme}://{rest}")  # named by the user: no probe
        # a percent sign too: one decoding then gives the href back as it was
        path = quote(rest.lstrip("/") if scheme == "file" else rest, safe="/~!$&'()*+,;=:@-._")
        return f"http://127.0.0.1:{self._port}/{self._key}/{scheme}/{path}"

    def failure(self, href: str) -> StorageError | None:
        """Why an href that has a scheme could not be read: GDAL itself tells a status at most."""
        return self._failures.get(href)

    def failures(self, hrefs: Iterable[str]) -> dict[str, StorageError]:
        """What of some hrefs, and in those that are folders, could not be read, and why."""
        names = tuple(hrefs)
        folders = tuple(name.rstrip("/") + "/" for name in names)
        return {
            href: error
            for href, error in self._failures.items()
            if href in names or href.startswith(folders)
        }

    def close(self) -> None:
        """Stop the server."""
        with self._lock:
            runner, self._runner = self._runner, None
        if runner is not None:
            bridge.run(runner.cleanup())

    def after_fork(self) -> None:
        """A child serves on a port of its own."""
        self._lock = threading.Lock()
        if self._runner is not None:
            _orphans.append(self._runner)
        self._runner, self._key = None, secrets.token_urlsafe(24)

    def routes(self) -> list[web.RouteDef]:
        """The routes, for a gateway that adds them to its own."""
        return [web.route("*", "/{key}/{scheme}/{path:.*}", self._handle)]

    def start(self) -> None:
        """Start the server, unless it runs. Not on the background loop."""
        if self._runner is None:
            with self._lock:
                if self._runner is None:
                    self._runner = bridge.run(self._serve())

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.add_routes(self.routes())
        # no access log: a line of it would show the key
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._port = runner.addresses[0][1]
        return runner

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not hmac.compare_digest(request.match_info["key"].encode(), self._key.encode()):
            return web.Response(status=404)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        path = request.match_info["path"]
        name = path.rpartition("/")[2]
        slash = "/" if request.match_info["scheme"] == "file" else ""
        href = f"{request.match_info['scheme']}://{slash}{path}"
        if not name or (_SIDECARS.search(name) and not self._exists(href)):
            self.probes += 1
            return web.Response(status=404)
        try:
            return await self._answer(request, href)
        except StorageError as error:
            self._note(href, error)
            return web.Response(status=_status(error), text=str(error))
        except ConnectionResetError:  # the reader has all it wanted, and left
            raise asyncio.CancelledError from None

    def _note(self, href: str, error: StorageError) -> None:
        if len(self._failures) >= _FAILURES:
            self._failures.pop(next(iter(self._failures)))
        self._failures[href] = error

    def _exists(self, href: str) -> bool:
        return href in self._given or (
            bool(self._sidecars) and href.lower().endswith(self._sidecars)
        )

    async def _answer(self, request: web.Request, href: str) -> web.StreamResponse:
        meta = await self._meta(href)
        size = meta.size or 0
        told = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if meta.etag:
            told["ETag"] = meta.etag
        if meta.modified:
            told["Last-Modified"] = meta.modified
        if meta.etag and request.headers.get("If-None-Match") == meta.etag:
            return web.Response(status=304, headers=told)
        asked = _asked(request.headers.get("Range", ""), size)
        if asked is None:
            return web.Response(status=416, headers={**told, "Content-Range": f"bytes */{size}"})
        start, stop, status = asked
        if status == 206:
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        told["Content-Length"] = str(stop - start)
        response = web.StreamResponse(status=status, headers=told)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        # a reader without a range may leave after its first bytes: it is fed ever larger pieces
        pieces = self._pieces(href, start, stop, meta, _BLOCK if status == 200 else _STEP)
        # the first piece before the head, so that a failure can still be told by its status
        first = await anext(pieces, memoryview(b""))
        if start == 0 and self._refuse and self._refuse(bytes(first[:_TELLING]), href):
            raise AccessError("a text that may name other files isn't served to GDAL", href=href)
        self.served += 1
        await response.prepare(request)
        await response.write(first)
        try:
            async for piece in pieces:
                self.served += 1
                await response.write(piece)
        except StorageError as error:
            self._note(href, error)
            # the head is sent: only a broken connection tells that the body isn't whole
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError from None
        await response.write_eof()
        return response

    async def _meta(self, href: str) -> Meta:
        meta = self._gate.meta(href)
        if meta is None or meta.size is None:
            data = await self._gate.get_range_async(href, start=0, length=_BLOCK)
            meta = self._gate.meta(href) or Meta()
            if meta.size is None and len(data) < _BLOCK:
                meta = Meta(len(data), meta.etag, meta.modified)
            if meta.size is None:
                raise StorageError("the server doesn't tell the object's size", href=href)
        return meta

    async def _pieces(
        self, href: str, start: int, stop: int, meta: Meta, step: int
    ) -> AsyncIterator[memoryview]:
        at = start
        while at < stop:
            until = min(stop, (at // _BLOCK) * _BLOCK + step)
            step = min(_STEP, 2 * step)
            starts = list(range(at // _BLOCK * _BLOCK, until, _BLOCK))
            ends = [min(s + _BLOCK, meta.size or s + _BLOCK) for s in starts]
            blocks = await self._gate.get_ranges_async(href, starts=starts, ends=ends, expect=meta)
            for begin, block in zip(starts, blocks, strict=True):
                piece = block[max(0, at - begin) : stop - begin]
                if len(piece):
                    yield piece
            at = until


_orphans: list[object] = []  # a parent's server: a child must not run its destructors


def _asked(text: str, size: int) -> tuple[int, int, int] | None:
    """(start, stop, status) of a Range header, or None for 416. Source: RFC 9110, 14.2."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if not match or match[1] == match[2] == "":
        return 0, size, 200  # none, or one that may be ignored
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    return (start, stop, 206) if start < stop else None


def _status(error: StorageError) -> int:
    kinds = {MissingError: 404, AccessError: 403, OutOfRangeError: 416, ThrottledError: 503}
    for kind, status in kinds.items():
        if isinstance(error, kind):
            return status
    return 502
