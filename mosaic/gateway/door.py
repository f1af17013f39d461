"""Lets connections in: not too many, and none that says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource

from aiohttp import web

from mosaic.gateway.options import Options

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
_FEW = 64
_OTHERS = 512
"""Files that a gateway opens besides its connections, at most: scenes, copies, storage."""


def widen(connections: int) -> None:
    """Let this process open as many files as so many connections need, so far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # then fewer connections are let in
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _most(connections: int) -> int:
    """How many connections leave files for the rest: without any, accepting fails, and floods."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, soft - min(_OTHERS, soft // 2)))


class Door:
    """The connections of a gateway."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._most = _most(options.connections)
        self._open: dict[asyncio.BaseProtocol, bool] = {}
        self._sweep = _FEW

    def enter(self, server: web.Server) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        if len(self._open) >= min(self._sweep, self._most):
            self._open = {one: told for one, told in self._open.items() if _is_open(one)}
            self._sweep = max(_FEW, 2 * len(self._open))
        if len(self._open) >= self._most:
            return _Full()
        protocol: asyncio.BaseProtocol = server()
        self._open[protocol] = False
        asyncio.get_running_loop().call_later(self._options.head, self._check, protocol)
        return protocol

    def heard(self, protocol: asyncio.BaseProtocol) -> None:
        """A connection has sent a whole request."""
        if protocol in self._open:
            self._open[protocol] = True

    def _check(self, protocol: asyncio.BaseProtocol) -> None:
        if not _is_open(protocol):
            self._open.pop(protocol, None)
        elif not self._open.get(protocol, True):
            protocol.transport.abort()  # type: ignore[attr-defined]  # an HTTP handler has one


def _is_open(protocol: asyncio.BaseProtocol) -> bool:
    return getattr(protocol, "transport", None) is not None


class _Full(asyncio.Protocol):
    """A connection too many: told so, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_FULL)
        transport.close()
