"""The served mosaics: kept as they lie on disk now, and told of over HTTP."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web

from mosaic import bridge
from mosaic.catalog.database import refuse
from mosaic.catalog.layout import safe
from mosaic.errors import CatalogError, UsageError
from mosaic.gateway.copies import Copies
from mosaic.gateway.locations import Site
from mosaic.gateway.served import Served, load, stamp_of
from mosaic.storage import Gate
from mosaic.storage.serving import Answers

_LOOK = 1.0
"""Seconds between two looks at whether a mosaic was built anew."""
_TYPES = {
    ".json": "application/json",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".vrt": "application/xml",
    ".gti": "application/xml",
    ".tif": "image/tiff; application=geotiff",
    ".png": "image/png",
}


def named(sources: tuple[str, ...]) -> dict[str, Path]:
    """Folders by the names under which they are served: their own, or ``NAME=FOLDER``.

    Raises :class:`~mosaic.errors.UsageError` for two of one name.
    """
    found: dict[str, Path] = {}
    for text in sources:
        refuse(text, "serve")
        name, mark, rest = text.partition("=")
        refuse(rest, "serve")
        given = bool(mark) and safe(name) == name
        folder = _absolute(Path(rest if given else text).expanduser())
        name = name if given else safe(folder.name)
        if name in found:
            raise UsageError(f"two folders are named {name}: give one as NAME={folder}")
        found[name] = folder
    return found


def _absolute(folder: Path) -> Path:
    """Without "..", for hrefs that are resolved have none."""
    return Path(os.path.normpath(folder.absolute()))


class Catalogs:
    """The mosaics that a gateway serves."""

    def __init__(self, folders: Mapping[str, Path], gate: Gate) -> None:
        self._gate = gate
        whole = {name: _absolute(folder) for name, folder in folders.items()}
        self._served = {name: load(name, folder, gate) for name, folder in whole.items()}
        self._hosts = {host for one in self._served.values() for host in one.hosts}
        """All that were ever named: what is read there may outlast a build."""
        self._lost: dict[str, CatalogError] = {}
        self._looked = time.monotonic()
        self._loading: asyncio.Task[None] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the mosaics."""
        return [name for name in self._served if name not in self._lost]

    def follow(self, first: str, target: str, more: tuple[str, ...] = ()) -> bool:
        """Whether storage may redirect from one host to another.

        Where bytes are read may lead to where they may be read (:meth:`reaches`); where a signing
        service leads is for whoever runs the gateway to trust.
        """
        reads = self.reaches(first, more) or first in self._hosts
        return self.reaches(target, more) or not reads

    def reaches(self, host: str, more: tuple[str, ...] = ()) -> bool:
        """Whether bytes may be read at a host: the catalogs name it, or it is like ``more``."""
        bare = host.rpartition(":")[0] or host
        named = any(host in one.hosts for one in self._served.values())
        return named or any(fnmatchcase(host, p) or fnmatchcase(bare, p) for p in more)

    def serves(self, href: str) -> bool:
        """Whether an href is an asset of a served mosaic."""
        return any(href in self._served[name].members for name in self.names)

    def hidden(self, text: str) -> str:
        """A text without where the mosaics lie on this machine."""
        for name, one in self._served.items():
            for folder in (f"file://{quote(str(one.folder))}", str(one.folder)):
                text = text.replace(f"{folder}/", f"{name}/")
        return text

    def get(self, name: str) -> Served | None:
        """A mosaic as it lay when it was last loaded. Raises CatalogError where it was lost."""
        if name in self._lost:
            raise self._lost[name]
        return self._served.get(name)

    async def asked(self, request: web.Request) -> Served:
        """The mosaic that a path names. Raises HTTPNotFound, CatalogError."""
        await self.refresh()
        served = self.get(request.match_info["name"])
        if served is None:
            raise web.HTTPNotFound
        return served

    def site(self, served: Served, base: str) -> Site:
        """Where a mosaic's files are found behind a gateway."""
        return Site(base, served.name, str(served.folder), served.azure)

    def listing(self, base: str) -> dict[str, Any]:
        """The STAC catalog of all that is served."""
        served = [self._served[name] for name in self.names]
        return listing(base, [(self.site(one, base), one) for one in served])

    async def refresh(self) -> None:
        """Load anew what was built anew; what can't be loaded any more is lost until it can."""
        if time.monotonic() - self._looked < _LOOK:
            return
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(bridge.pooled(self._refresh))
        await asyncio.shield(self._loading)

    def _refresh(self) -> None:
        for name, one in self._served.items():
            try:
                if stamp_of(one.folder) != one.stamp:
                    found = load(name, one.folder, self._gate)
                    self._gate.forget_all()  # its scenes may have been written anew, too
                    self._hosts |= found.hosts
                    self._served[name] = found
                self._lost.pop(name, None)
            except CatalogError as error:
                self._lost[name] = error
        self._looked = time.monotonic()


class Pages:
    """``/catalogs``, ``/catalogs/<name>/...`` and ``/raw/...``."""

    def __init__(
        self,
        catalogs: Catalogs,
        copies: Copies,
        answers: Answers,
        documents: Answers,
        base: Callable[[], str],
    ) -> None:
        self._catalogs = catalogs
        self._copies = copies
        self._answers = answers
        self._documents = documents
        self._base = base
        self.unknown = 0
        """Requests for what isn't there (sidecars that GDAL looks for), answered at no cost."""

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/catalogs", self.list),
            web.get("/catalogs/{name}/{path:.*}", self.file),
            web.get("/raw/{scheme}/{path:.*}", self.raw),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """The served mosaics as a STAC catalog; what GDAL opens stands beside each."""
        await self._catalogs.refresh()
        body = orjson.dumps(self._catalogs.listing(self._base()))
        return web.Response(body=body, content_type="application/json")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file of a mosaic, or an asset that lies in its folder."""
        await self._catalogs.refresh()
        served = self._catalogs.get(request.match_info["name"])
        path = request.match_info["path"]
        if served is None or not _plain(path):
            return self._missing()
        if path in served.files:
            site = self._catalogs.site(served, self._base())
            copy = await self._copies.get(served, site, path)
            kind = _TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
            return await self._documents.answer(request, str(copy), kind)
        href = f"{served.folder}/{path}"
        if href not in served.members:
            return self._missing()
        return await self._answers.answer(request, href)

    async def raw(self, request: web.Request) -> web.StreamResponse:
        """An asset of any served mosaic; nothing else, wherever it may lie."""
        await self._catalogs.refresh()
        scheme, path = request.match_info["scheme"], request.match_info["path"]
        href = f"/{path}" if scheme == "file" else f"{scheme}://{path}"
        if not self._catalogs.serves(href):
            return self._missing()
        return await self._answers.answer(request, href)

    def _missing(self) -> web.Response:
        self.unknown += 1
        return web.Response(status=404, text="no asset of a served catalog\n")


def _plain(path: str) -> bool:
    """Whether a path names one file of a folder, in one way."""
    parts = PurePosixPath(path)
    return not ("\0" in path or parts.is_absolute() or ".." in parts.parts) and str(parts) == path


def listing(base: str, served: list[tuple[Site, Served]]) -> dict[str, Any]:
    """The STAC catalog of some mosaics; what GDAL opens of them is listed beside."""
    mosaics = {}
    for site, one in served:
        files = sorted(f for f in one.files if f.endswith((".gti.gpkg", ".vrt", ".gti")))
        shown = [f"/vsicurl/{site.root}/{file}" for file in files if "/" not in file]
        mosaics[one.name] = {"items": one.document["mosaic:items"], "gdal": shown}
    children = [
        {
            "rel": "child",
            "href": f"{site.root}/collection.json",
            "type": "application/json",
            "title": one.document.get("title") or one.name,
        }
        for site, one in served
    ]
    own = {"href": f"{base}/catalogs", "type": "application/json"}
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "mosaic",
        "description": "Mosaics behind this gateway; GDAL opens what `mosaics` lists.",
        "links": [{"rel": "self", **own}, {"rel": "root", **own}, *children],
        "mosaics": mosaics,
    }
