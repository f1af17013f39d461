"""Objects behind a gate as answers to HTTP requests: what the loopback and the gateway share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from mosaic.errors import (
    AccessError,
    DeadlineError,
    MissingError,
    OutOfRangeError,
    StorageError,
    ThrottledError,
)
from mosaic.storage.answer import Meta
from mosaic.storage.conditions import asked, same_version, unwanted
from mosaic.storage.gate import Gate

_BLOCK = 64 << 10  # reads are widened to this: GDAL's own pieces of 16 KiB begin anywhere
_STEP = 2 << 20  # bytes fetched at a time, once a reader has shown that it reads on
_TELLING = 1024  # first bytes that tell what a file is
_STATUS = {
    MissingError: 404,
    AccessError: 403,
    OutOfRangeError: 416,
    ThrottledError: 503,
    DeadlineError: 504,
}


class Answers:
    """Answers GET and HEAD of what one gate may read, on the background loop.

    ``refuse`` tells, by its first bytes and its href, of a file that isn't served; ``note`` is
    told what failed; ``stall`` is how many seconds a reader may take for a piece.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        refuse: Callable[[bytes, str], bool] | None = None,
        note: Callable[[str, StorageError], None] = lambda href, error: None,
        stall: float | None = None,
    ) -> None:
        self._gate = gate
        self._refuse = refuse
        self._note = note
        self._stall = stall
        self.served = 0
        """Pieces that were served."""
        self.bytes = 0
        """Bytes that were served."""

    async def answer(
        self, request: web.Request, href: str, kind: str = "application/octet-stream"
    ) -> web.StreamResponse:
        """The object, or what the request asks of it, as media type ``kind``.

        What can't be read is told by a status of 400 or more, or by a broken connection.
        """
        try:
            return await self._answer(request, href, kind)
        except StorageError as error:
            self._note(href, error)
            status = status_of(error)
            headers = {"Retry-After": "1"} if status == 503 else {}
            return web.Response(status=status, text=str(error), headers=headers)
        except ConnectionResetError:  # the reader has all it wanted, and left
            raise asyncio.CancelledError from None

    async def _answer(self, request: web.Request, href: str, kind: str) -> web.StreamResponse:
        meta = await self._meta(href)
        size = meta.size or 0
        told = {"Accept-Ranges": "bytes", "Content-Type": kind}
        if meta.etag:
            told["ETag"] = meta.etag
        if meta.modified:
            told["Last-Modified"] = meta.modified
        status = unwanted(request.headers, meta)
        if status:
            return web.Response(status=status, headers=told)
        text = request.headers.get("Range", "")
        if not same_version(request.headers.get("If-Range", ""), meta):
            text = ""
        wanted = asked(text, size)
        if wanted is None:
            return web.Response(status=416, headers={**told, "Content-Range": f"bytes */{size}"})
        start, stop, status = wanted
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
        await response.prepare(request)
        try:
            await self._write(request, response, first)
            async for piece in pieces:
                await self._write(request, response, piece)
        except (StorageError, TimeoutError) as error:
            if isinstance(error, StorageError):
                self._note(href, error)
            # the head is sent: only a broken connection tells that the body isn't whole
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError from None
        await response.write_eof()
        return response

    async def _write(
        self, request: web.Request, response: web.StreamResponse, piece: memoryview
    ) -> None:
        self.served += 1
        wire = request.transport
        # a reader that took all that was sent before is not waited for
        ready = wire is not None and wire.get_write_buffer_size() == 0 and len(piece) <= _BLOCK
        async with contextlib.nullcontext() if ready else asyncio.timeout(self._stall):
            await response.write(piece)
        self.bytes += len(piece)

    async def _meta(self, href: str) -> Meta:
        meta = self._gate.meta(href)
        if meta is None or meta.size is None:
            try:
                data = await self._gate.get_range_async(href, start=0, length=_BLOCK)
            except OutOfRangeError:  # of a range from its beginning: it is empty
                return self._gate.meta(href) or Meta(0)
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


def status_of(error: StorageError) -> int:
    """The HTTP status that tells a reader of a failure."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 502)
