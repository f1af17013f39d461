"""How bytes travel: HTTP(S) by aiohttp, files, memory. One exchange, one attempt, no policy.

Every transport speaks HTTP's language (a status, headers, a body), so that one reading of answers
serves all of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

import aiohttp
from yarl import URL

from mosaic.errors import BodyError, RedirectError, UnreachableError
from mosaic.settings import Retry
from mosaic.storage.retry import Failure, Kind

_BAD_HOST = "check the host's name, and that this machine may reach it"


class Exchange(Protocol):
    """An answer whose body has not been read yet."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Header fields, names in lower case."""

    async def read(self, length: int | None, most: int) -> memoryview:
        """The body: exactly ``length`` bytes if known, in any case at most ``most``.

        Raises Failure (TRUNCATED, or FINAL with BodyError when more comes).
        """

    def close(self) -> None:
        """Give the connection back, or drop it if anything is unread."""


class Transport(Protocol):
    """Sends one request."""

    async def send(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Exchange:
        """Send a request and await the answer's head. Raises Failure."""

    async def close(self) -> None:
        """Drop every connection."""


class HTTPTransport:
    """HTTP and HTTPS by aiohttp.

    aiohttp's own limits are off, because the gate's limiter governs; so are its redirects, cookies,
    decompression and hidden second attempts.
    """

    def __init__(self, retry: Retry, user_agent: str) -> None:
        self._retry = retry
        self._agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._retry.connect, sock_read=self._retry.stall
                ),
                auto_decompress=False,
                trust_env=False,  # it would send ~/.netrc to hosts that we did not choose
                read_bufsize=1 << 20,
                headers={"User-Agent": self._agent, "Accept-Encoding": "identity"},
            )
            # a resent request would be an attempt without a permit of its own
            self._session._retry_connection = False
        return self._session

    async def send(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Exchange:
        """Send a request, following redirects; credentials go to the first host only."""
        session = self._open()
        origin, seen = _origin(url), {url}
        sent = dict(headers)
        while True:
            answer = await _ask(session, method, url, sent)
            if answer.status not in (301, 302, 303, 307, 308) or "Location" not in answer.headers:
                return _HTTPExchange(answer)
            status, location = answer.status, answer.headers["Location"]
            answer.release()
            url = _target(url, location, status)
            if url in seen or len(seen) > self._retry.redirects:
                what = "a redirect loop" if url in seen else f"{len(seen)} redirects"
                raise Failure(Kind.FINAL, what, status=status, error=RedirectError)
            seen.add(url)
            if _origin(url) != origin:
                sent = {k: v for k, v in headers.items() if k.lower() in _HARMLESS}

    async def close(self) -> None:
        """Drop every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


_HARMLESS = frozenset({"range", "if-none-match", "if-modified-since", "accept"})


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _target(url: str, location: str, status: int) -> str:
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise Failure(
            Kind.FINAL, "a redirect to no web address", status=status, error=RedirectError
        )
    return target


async def _ask(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str]
) -> aiohttp.ClientResponse:
    try:
        # encoded: a signature covers the very bytes of the path and the query
        target = URL(url, encoded=True)
        return await session.request(method, target, headers=headers, allow_redirects=False)
    except (aiohttp.InvalidURL, ValueError) as error:
        raise Failure(
            Kind.FINAL, "not a usable URL", error=UnreachableError, advice="check the href"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> Failure:
    cause = _safe(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return Failure(Kind.FINAL, cause, error=UnreachableError, advice="check the certificate")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        # a name server that is busy may answer later; one that says no has answered
        busy = error.os_error.errno == socket.EAI_AGAIN
        kind = Kind.RESET if busy else Kind.FINAL
        return Failure(kind, cause, error=UnreachableError, advice=_BAD_HOST)
    if isinstance(error, TimeoutError):
        return Failure(Kind.TIMEOUT, f"no byte in time ({cause})")
    return Failure(Kind.RESET, cause)


def _safe(error: Exception) -> str:
    # some of aiohttp's messages quote the URL with its query, so only class and errno are kept
    number = getattr(error, "errno", None)
    text = os.strerror(number) if isinstance(number, int) and number > 0 else ""
    return f"{type(error).__name__}{f' ({text})' if text else ''}"


class _HTTPExchange:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        # a multidict without case: names are found however the server spelled them
        self.headers: Mapping[str, str] = answer.headers

    async def read(self, length: int | None, most: int) -> memoryview:
        pieces: list[bytes] = []
        got, allowed = 0, most if length is None else min(length, most)
        content = self._answer.content
        try:
            while piece := await content.readany():
                got += len(piece)
                if got > allowed:
                    raise Failure(
                        Kind.FINAL,
                        f"a body longer than {allowed} bytes",
                        status=self.status,
                        error=BodyError,
                    )
                pieces.append(piece)
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
            raise Failure(Kind.TRUNCATED, f"the body ended after {got} bytes") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from error
        if length is not None and got < length:
            raise Failure(Kind.TRUNCATED, f"{got} of {length} bytes came")
        return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def close(self) -> None:
        self._answer.close()  # a fully read answer has already given its connection back


class _Body:
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


def _read_file(path: Path, headers: Mapping[str, str]) -> _Body:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return _Body(404, {}, b"")
    except PermissionError:
        return _Body(403, {}, b"")
    except OSError as error:
        raise Failure(Kind.FINAL, _safe(error), error=UnreachableError) from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise Failure(
                Kind.FINAL, "not a regular file", error=UnreachableError, advice="name a file"
            )
        etag = f'"{info.st_mtime_ns:x}-{info.st_size:x}-{info.st_ino:x}"'
        start, stop = _asked(headers, info.st_size)
        if start >= info.st_size and info.st_size + start > 0:
            return _Body(416, {}, b"")
        body = _pread(descriptor, start, stop)
    except OSError as error:
        raise Failure(Kind.RESET, _safe(error)) from error
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
) -> _Body:
    if headers.get("If-None-Match") == etag:
        return _Body(304, {"etag": etag}, b"")
    if "Range" not in headers:
        return _Body(200, {"etag": etag, "content-length": str(size)}, body)
    told = {"etag": etag, "content-range": f"bytes {start}-{stop - 1}/{size}"}
    return _Body(206, told, body)


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
            return _Body(404, {}, b"")
        start, stop = _asked(headers, len(data))
        if start >= len(data) and len(data) + start > 0:
            return _Body(416, {}, b"")
        etag = f'"{id(data):x}-{len(data):x}"'
        return _answer(headers, memoryview(data)[start:stop], start, stop, len(data), etag)

    async def close(self) -> None:
        """The objects stay."""
