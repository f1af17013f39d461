"""Who may ask, for what, and how much at once: what stands before every handler."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from mosaic.errors import CatalogError, MosaicError, UsageError
from mosaic.gateway.loud import is_chunk, loud
from mosaic.gateway.options import Options
from mosaic.gateway.origins import preflight, shared
from mosaic.gateway.standins import StandIns

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LOG = logging.getLogger("mosaic.gateway")
SERVER_LOG = logging.getLogger("mosaic.gateway.server")
"""What aiohttp's server tells: nothing of what was sent."""
_OPEN = ("/healthz",)
"""What is answered without a token."""
_AT_ONCE = (*_OPEN, "/metrics", "/metrics.json")
"""What is answered however long the queue: how long it is, say."""
_ROUTES = (
    "raw",
    "catalogs",
    "tiles",
    "zarr",
    "map",
    "page",
    "metrics",
    "metrics.json",
    "healthz",
    "failed",
)
_PATH = 4096
"""Characters of a path at most."""


class Guard:
    """Checks of each request, the queue, and the access log.

    ``heard`` is told of a connection's requests; ``hidden`` makes an error's text fit for others.
    """

    def __init__(
        self,
        options: Options,
        heard: Callable[[asyncio.BaseProtocol], None],
        hidden: Callable[[str], str],
        stand_ins: StandIns,
    ) -> None:
        self._options = options
        self._stand_ins = stand_ins
        self._heard = heard
        self._hidden = hidden
        self._slots = asyncio.Semaphore(options.busy)
        # chunks wait for each other, some for minutes: all else mustn't wait for them
        self._chunks = asyncio.Semaphore(max(1, options.busy // 2))
        self._host = (urlsplit(options.url).hostname or options.host).lower()
        self.waiting = 0
        """Requests that wait."""
        self.busy = 0
        """Requests worked on."""
        self.refused = 0
        """Requests for which the queue was too long."""
        self.answers: Counter[tuple[str, int]] = Counter()
        """Answers by the first part of their path and their status."""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What aiohttp calls for each request."""
        began = time.monotonic()
        self._heard(request.protocol)
        response: web.StreamResponse | None = None
        try:
            response = await self._checked(request, handler)
            if response.status >= 400 and isinstance(response, web.Response) and response.text:
                response.text = self._hidden(response.text)
            return self._stand_ins.answer(request, loud(request, response))
        finally:  # a client that left is told of, too
            status = response.status if response is not None else 499
            self._note(request, status, time.monotonic() - began)

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """What every answer says besides."""
        response.headers["Server"] = "mosaic"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.update(shared(request.headers, self._options.origins))

    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        instead = self._instead(request)
        if instead is not None:
            return instead
        if request.path in _AT_ONCE:
            return await handler(request)
        kept = self._stand_ins.kept(request)
        if kept is not None:
            return kept
        turns = (self._chunks, self._slots) if is_chunk(request.path) else (self._slots,)
        if any(one.locked() for one in turns) and self.waiting >= self._options.queue:
            self.refused += 1
            return told(503, "too many requests wait; try again", **{"Retry-After": "1"})
        async with contextlib.AsyncExitStack() as held:
            self.waiting += 1
            try:
                for one in turns:
                    await held.enter_async_context(one)
            finally:
                self.waiting -= 1
            self.busy += 1
            try:
                return await _answered(request, handler)
            finally:
                self.busy -= 1

    def _instead(self, request: web.Request) -> web.Response | None:
        """A refusal, or the answer to a browser that asks whether a page may ask."""
        known = self._knows(request.headers.get("Host", ""))
        if request.method not in ("GET", "HEAD"):
            allowed = preflight(request.method, request.headers, self._options.origins)
            if known and allowed:  # it never shows the token
                return web.Response(status=204, headers=allowed)
            return told(405, "only GET and HEAD", Allow="GET, HEAD")
        if not request.raw_path.startswith("/"):
            return told(400, "only paths: this is no proxy")
        if not known:
            return told(421, "this gateway isn't known by such a name; see its --url")
        if len(request.raw_path) > _PATH:
            return told(414, "such a long path can't be meant")
        if request.can_read_body:
            return told(400, "a request with a body can't be meant")
        if self._options.token and request.path not in _OPEN and not self._shown(request):
            return told(401, "a token is needed", **{"WWW-Authenticate": 'Basic realm="mosaic"'})
        return None

    def _knows(self, host: str) -> bool:
        """Whether a Host header names this gateway.

        A page of somebody else, whose name was made to lead here, sends that name; an address
        can't be made to lead anywhere.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in ("localhost", self._host):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _shown(self, request: web.Request) -> bool:
        """Whether the request shows the token: as a bearer's, or as the password of anybody."""
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        shown = text.strip().encode("utf-8", "replace")
        if kind.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(shown, self._options.token.encode())

    def _note(self, request: web.Request, status: int, seconds: float) -> None:
        route = request.raw_path.split("?", 1)[0].removeprefix("/").split("/")[0]
        kind = route if route in _ROUTES else "other"
        self.answers[kind, status] += 1
        if _LOG.isEnabledFor(logging.INFO):
            # the path as it was sent, so percent-encoded; of a query nothing is told
            path = request.raw_path.split("?", 1)[0].encode("ascii", "replace").decode()[:_PATH]
            _LOG.info(
                "%s %s %s %d %.1f ms", request.remote, request.method, path, status, seconds * 1e3
            )


def _hushed(record: logging.LogRecord) -> bool:
    """Makes one line of a request that isn't HTTP: aiohttp quotes it, a token with it."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info, record.msg = None, "%s sent what is no HTTP"
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


SERVER_LOG.addFilter(_hushed)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as answer:
        return told(answer.status, answer.reason)
    except UsageError as error:
        return told(400, str(error))
    except CatalogError as error:
        _LOG.error("%s", error)
        why = "the catalog can't be read now; see the gateway's log"
        return told(503, why, **{"Retry-After": "5"})
    except MosaicError as error:
        failed(request.path, error)
        return told(502, str(error))


def failed(href: str, error: MosaicError) -> None:
    """Log why something couldn't be read: few clients show it; once a body began none hears it."""
    _LOG.warning("failed: %s", " | ".join(str(error).splitlines()))


def told(status: int, text: str, **headers: str) -> web.Response:
    """A short answer for people."""
    return web.Response(status=status, text=f"{text}\n", headers=headers)
