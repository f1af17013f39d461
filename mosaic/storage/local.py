"""Files of this machine and objects in memory, as answers to range requests."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mosaic.errors import UnreachableError
from mosaic.storage.retry import Failure, Kind
from mosaic.storage.transport import Exchange, cause_of


class Body:
    """An answer that is at hand already."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes | memoryview) -> None:
        self.status = status
        self.headers = headers
        self._body = memoryview(body)

    async def read(self, length: int | None, most: int) -> memoryview:
        if length is not None and len(self._body) < length:
            raise Failure(Kind.TRUNCATED, f"{len(self._body)} of {length} bytes came")
        return self._body[:most]

    def close(self) -> None:
        pass


class FileTransport:
    """Files of this machine, read in the pool by ``pread``: no position is shared."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def send(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Exchange:
        """Read one range of a file; a missing one is 404, one without permission 403."""
        path = Path(unquote(urlsplit(url).path))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _read_file, path, headers)

    async def close(self) -> None:
        """Nothing is kept open."""


def version(url: str) -> str:
    """ETag of a file as it is now; empty for one that can't be looked at."""
    try:
        return _etag(Path(unquote(urlsplit(url).path)).stat())
    except OSError:
        return ""


def _etag(info: os.stat_result) -> str:
    return f'"{info.st_mtime_ns:x}-{info.st_size:x}-{info.st_ino:x}"'


def _read_file(path: Path, headers: Mapping[str, str]) -> Body:
    try:
        # a named pipe would wait for somebody to write
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return Body(404, {}, b"")
    except PermissionError:
        return Body(403, {}, b"")
    except OSError as error:
        raise Failure(Kind.FINAL, cause_of(error), error=UnreachableError) from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise Failure(
                Kind.FINAL, "not a regular file", error=UnreachableError, advice="name a file"
            )
        etag = _etag(info)
        start, stop = _asked(headers, info.st_size)
        if start >= info.st_size and "Range" in headers:
            return Body(416, {}, b"")
        body = _pread(descriptor, start, stop)
    except OSError as error:
        raise Failure(Kind.RESET, cause_of(error)) from error
    finally:
        with suppress(OSError):
            os.close(descriptor)
    return _answer(headers, body, start, stop, info.st_size, etag)


def _pread(descriptor: int, start: int, stop: int) -> bytes:
    body = os.pread(descriptor, stop - start, start)
    if len(body) == stop - start:
        return body
    pieces = [body]
    while pieces[-1] and sum(map(len, pieces)) < stop - start:
        pieces.append(os.pread(descriptor, stop - start, start + sum(map(len, pieces))))
    return b"".join(pieces)[: stop - start]


def _answer(
    headers: Mapping[str, str],
    body: bytes | memoryview,
    start: int,
    stop: int,
    size: int,
    etag: str,
) -> Body:
    if headers.get("If-None-Match") == etag:
        return Body(304, {"etag": etag}, b"")
    if "Range" not in headers:
        return Body(200, {"etag": etag, "content-length": str(size)}, body)
    told = {"etag": etag, "content-range": f"bytes {start}-{stop - 1}/{size}"}
    return Body(206, told, body)


def _asked(headers: Mapping[str, str], size: int) -> tuple[int, int]:
    text = headers.get("Range", "")
    if not text:
        return 0, size
    first, _, last = text.removeprefix("bytes=").partition("-")
    return int(first), min(size, int(last) + 1)


class MemoryTransport:
    """Objects held in memory, for tests and for what a program makes itself: ``memory://name``."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def send(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Exchange:
        """One range of ``objects[url]``."""
        data = self.objects.get(url)
        if data is None:
            return Body(404, {}, b"")
        start, stop = _asked(headers, len(data))
        if start >= len(data) and "Range" in headers:
            return Body(416, {}, b"")
        etag = f'"{id(data):x}-{len(data):x}"'
        return _answer(headers, memoryview(data)[start:stop], start, stop, len(data), etag)

    async def close(self) -> None:
        """The objects stay."""
