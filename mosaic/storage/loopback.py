"""The gate behind a private loopback URL, so that GDAL's own readers are governed too.

``http://127.0.0.1:PORT/KEY/https/host/path/file.jp2`` stands for ``https://host/path/file.jp2``:
the path is kept, so that a VRT finds its sources beside it.  The key is random and never logged;
without it nothing is told.  Sidecar files that GDAL looks for (``.aux.xml``, ``.ovr``, ...) are
answered 404 at no cost, HEAD from what the gate knows, and no request goes upstream twice.

rasterio keeps Python's lock through some of its calls, and this server needs it to answer: let
rasterio open such a URL in another process (GDAL's own programs are one).
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections.abc import Callable, Iterable

from aiohttp import web

from mosaic import bridge
from mosaic.errors import StorageError
from mosaic.storage.address import url_path
from mosaic.storage.gate import Gate
from mosaic.storage.serving import Answers

_FAILURES = 10_000  # hrefs whose failure is remembered
_SIDECARS = re.compile(  # what GDAL 3.10 looks for beside TIFF, JP2, NetCDF and VRT
    r"\.(aux|xml|ovr|msk|prj|tfw|tifw|tiffw|wld|j2w|jp2w|jgw|pgw|imd|rpb|pvl|rrd|rpc|pass|txt"
    r"|met|xmp|qpj|vat\.dbf|gmlaux|til|eph|att)$|^\.\w+$|^metadata\.dim$",
    re.IGNORECASE,
)


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
        self._answers = Answers(gate, refuse=refuse, note=self._note)
        self._sidecars = tuple(suffix.lower() for suffix in sidecars)
        self._key = secrets.token_urlsafe(24)
        self._lock = threading.Lock()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._given: set[str] = set()
        self._failures: dict[str, StorageError] = {}
        self.probes = 0
        """Sidecar probes answered at no cost."""
        bridge.settle(self)

    def __repr__(self) -> str:
        return f"Loopback(port={self._port})"

    @property
    def served(self) -> int:
        """Pieces that were served."""
        return self._answers.served

    def url(self, href: str) -> str:
        """The loopback URL of an href; starts the server when first asked. Prefix ``/vsicurl/``
        for GDAL."""
        self.start()
        scheme, mark, rest = href.partition("://")
        if not mark:
            scheme, rest = "file", href
        if _SIDECARS.search(rest.rpartition("/")[2]):
            self._given.add(f"{scheme}://{rest}")  # named by the user: no probe
        return f"http://127.0.0.1:{self._port}/{self._key}/{url_path(href)}"

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

    def start(self) -> None:
        """Start the server, unless it runs. Not on the background loop."""
        if self._runner is None:
            with self._lock:
                if self._runner is None:
                    self._runner = bridge.run(self._serve())

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{key}/{scheme}/{path:.*}", self._handle)
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
        return await self._answers.answer(request, href)

    def _note(self, href: str, error: StorageError) -> None:
        if len(self._failures) >= _FAILURES:
            self._failures.pop(next(iter(self._failures)))
        self._failures[href] = error

    def _exists(self, href: str) -> bool:
        return href in self._given or (
            bool(self._sidecars) and href.lower().endswith(self._sidecars)
        )


_orphans: list[object] = []  # a parent's server: a child must not run its destructors
