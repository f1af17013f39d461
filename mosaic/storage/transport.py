"""How bytes travel: HTTP(S) by aiohttp. One exchange, one attempt, no policy.

Every transport speaks HTTP's language (a status, headers, a body), so that one reading of answers
serves all of them.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import numpy as np
from yarl import URL

from mosaic.errors import BodyError, RedirectError, UnreachableError
from mosaic.settings import Retry
from mosaic.storage.address import host_of
from mosaic.storage.inward import InwardError, is_inward, lies_inside
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
    decompression and hidden second attempts. ``follow`` tells, by the hosts (with their ports) of
    the first URL and of a redirect's target, whether to go there; by default everywhere. ``inward``
    tells of a target whether a host outside may lead to it though its address is of the inside
    (:mod:`mosaic.storage.inward`).
    """

    def __init__(
        self,
        retry: Retry,
        user_agent: str,
        follow: Callable[[str, str], bool] = lambda first, target: True,
        inward: Callable[[str], bool] = lambda target: True,
    ) -> None:
        self._retry = retry
        self._follow = follow
        self._inward = inward
        self._agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._outer: aiohttp.ClientSession | None = None
        self._inside: dict[str, bool] = {}
        self._proxies: dict[str, str] = {}
        self._proxy_of: dict[tuple[str, str], str | None] = {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._made(None)
            self._proxies, self._proxy_of = getproxies(), {}
        return self._session

    def _made(self, resolver: aiohttp.abc.AbstractResolver | None) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=0, ttl_dns_cache=60, resolver=resolver
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self._retry.connect, sock_read=self._retry.stall
            ),
            auto_decompress=False,
            trust_env=False,  # of ~/.netrc and proxies we make more of our own
            read_bufsize=1 << 20,
            headers={"User-Agent": self._agent, "Accept-Encoding": "identity"},
        )
        # a resent request would be an attempt without a permit of its own
        session._retry_connection = False
        return session

    async def send(self, url: str, headers: Mapping[str, str], method: str = "GET") -> Exchange:
        """Send a request, following redirects; credentials go to the first host only."""
        session = self._open()
        origin, seen = _origin(url), {url}
        sent = dict(headers)
        while True:
            proxy = self._proxy(url) if self._proxies else None
            answer = await _ask(session, method, url, sent, proxy)
            if answer.status not in (301, 302, 303, 307, 308) or "Location" not in answer.headers:
                return _HTTPExchange(answer)
            status, location = answer.status, answer.headers["Location"]
            answer.release()
            source, url = host_of(url), _target(url, location, status)
            if url in seen or len(seen) > self._retry.redirects:
                what = "a redirect loop" if url in seen else f"{len(seen)} redirects"
                raise Failure(Kind.FINAL, what, status=status, error=RedirectError)
            if not self._follow(origin[1], host_of(url)):
                raise Failure(
                    Kind.FINAL,
                    "a redirect to a host that isn't allowed",
                    status=status,
                    error=RedirectError,
                    advice=f"allow {host_of(url)} if it is to be trusted",
                )
            seen.add(url)
            session = await self._next(source, url)
            if _origin(url) != origin:
                sent = {k: v for k, v in headers.items() if k.lower() in _HARMLESS}

    async def _next(self, source: str, url: str) -> aiohttp.ClientSession:
        """The session for where a host redirects to. Raises Failure."""
        # what a proxy reaches is the proxy's to know
        if self._inward(host_of(url)) or (self._proxies and self._proxy(url)):
            return self._open()
        if source not in self._inside:  # once, so that it can't change its mind
            self._inside[source] = await lies_inside(urlsplit(f"//{source}").hostname or "")
        if self._inside[source]:
            return self._open()
        if is_inward(urlsplit(url).hostname or ""):  # of an address nobody asks the resolver
            raise _inward_failure()
        if self._outer is None:
            self._outer = self._made(_OutwardResolver())
        return self._outer

    def _proxy(self, url: str) -> str | None:
        """The proxy for a host, as ``https_proxy`` and ``no_proxy`` have it."""
        scheme, host = _origin(url)
        if (scheme, host) not in self._proxy_of:
            proxy = None if proxy_bypass(host) else self._proxies.get(scheme)
            self._proxy_of[scheme, host] = proxy
        return self._proxy_of[scheme, host]

    async def close(self) -> None:
        """Drop every connection."""
        sessions = self._session, self._outer
        self._session = self._outer = None
        for session in sessions:
            if session is not None:
                await session.close()


class _OutwardResolver(aiohttp.ThreadedResolver):
    """Finds addresses outside alone."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        outside = [one for one in found if not is_inward(one["host"])]
        if found and not outside:
            raise InwardError
        return outside


def _inward_failure() -> Failure:
    what = "a redirect from outside to an address of the inside"
    advice = "allow its host, by its full name, if it is to be trusted"
    return Failure(Kind.FINAL, what, error=RedirectError, advice=advice)


_HARMLESS = frozenset({"range", "if-none-match", "if-modified-since", "accept"})


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, host_of(url)


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
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    proxy: str | None,
) -> aiohttp.ClientResponse:
    try:
        # encoded: a signature covers the very bytes of the path and the query
        target = URL(url, encoded=True)
        return await session.request(
            method, target, headers=headers, allow_redirects=False, proxy=proxy
        )
    except (aiohttp.InvalidURL, ValueError) as error:
        raise Failure(
            Kind.FINAL, "not a usable URL", error=UnreachableError, advice="check the href"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _broken(error) from error


def _broken(error: Exception) -> Failure:
    cause = cause_of(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return Failure(Kind.FINAL, cause, error=UnreachableError, advice="check the certificate")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if isinstance(error.os_error, InwardError):
            return _inward_failure()
        # a name server that is busy may answer later; one that says no has answered
        busy = error.os_error.errno == socket.EAI_AGAIN
        kind = Kind.RESET if busy else Kind.FINAL
        return Failure(kind, cause, error=UnreachableError, advice=_BAD_HOST)
    if isinstance(error, TimeoutError):
        return Failure(Kind.TIMEOUT, f"no byte in time ({cause})")
    return Failure(Kind.RESET, cause)


def cause_of(error: Exception) -> str:
    """What may be told of an error: its class, and the system's word for its number."""
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
        allowed = most if length is None else min(length, most)
        # into its place piece by piece: the next piece then finds the memory of the last one
        room = None if length is None else np.empty(allowed, np.uint8).data
        pieces: list[bytes] = []
        got, more = 0, True
        content = self._answer.content
        try:
            while more:
                piece, ended = await content.readchunk()
                got += len(piece)
                if got > allowed:
                    raise Failure(
                        Kind.FINAL,
                        f"a body longer than {allowed} bytes",
                        status=self.status,
                        error=BodyError,
                    )
                if room is None:
                    pieces.append(piece)
                else:
                    room[got - len(piece) : got] = piece
                more = bool(piece) or ended  # of a chunk of HTTP's, not of the body
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
            raise Failure(Kind.TRUNCATED, f"the body ended after {got} bytes") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from error
        if length is not None and got < length:
            raise Failure(Kind.TRUNCATED, f"{got} of {length} bytes came")
        return memoryview(b"".join(pieces)) if room is None else room.toreadonly()

    def close(self) -> None:
        self._answer.close()  # a fully read answer has already given its connection back
