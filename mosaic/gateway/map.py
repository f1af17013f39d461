"""``/``, ``/map/<mosaic>`` and ``/page``: the map page, and what it asks of a mosaic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import orjson
from aiohttp import web

from mosaic.catalog.source import label
from mosaic.catalog.when import Interval, interval
from mosaic.errors import UsageError
from mosaic.gateway.catalogs import Catalogs
from mosaic.gateway.guard import told
from mosaic.gateway.legend import legend, moment
from mosaic.gateway.locations import Site
from mosaic.gateway.overlay import Overlay
from mosaic.gateway.served import Served
from mosaic.gateway.static import LEAFLET, Page
from mosaic.gateway.tiles import shown_levels
from mosaic.grid import Bounds
from mosaic.storage.answer import Meta
from mosaic.storage.conditions import known

T = TypeVar("T")
Json = dict[str, Any]
_HTML = "index.html"
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_FOOTPRINTS = 500
"""Footprints drawn at once; where more lie in a view, cells tell how many."""
_BELOW = 50
"""Items listed at a place."""


class Map:
    """The map page of the served mosaics."""

    def __init__(self, catalogs: Catalogs) -> None:
        self._catalogs = catalogs
        self._page = Page.load()
        self._overlays: dict[str, tuple[Served, Overlay]] = {}
        # one thread: a large mosaic's tree is made once, and transformers are kept
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mosaic-map")

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/", self.first),
            web.get("/map/{name}", self.html),
            web.get("/page/{file:.+}", self.file),
            web.get("/map/{name}/legend.json", self.legend),
            web.get("/map/{name}/footprints.json", self.footprints),
            web.get("/map/{name}/items.json", self.items),
        ]

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def first(self, request: web.Request) -> web.Response:
        """Leads to the first mosaic's map."""
        await self._catalogs.refresh()
        names = self._catalogs.names
        if not names:
            return told(503, "no mosaic can be read now; see the gateway's log")
        return web.Response(status=302, headers={"Location": f"map/{quote(names[0])}"})

    async def html(self, request: web.Request) -> web.Response:
        """The page; all else it asks for itself."""
        await self._catalogs.asked(request)
        if not self._page.complete:
            return told(503, f"the map needs Leaflet: pip install {LEAFLET}, and start again")
        return self._sent(request, _HTML, _POLICY)

    async def file(self, request: web.Request) -> web.Response:
        """A script, a style, or a picture of the page."""
        name = request.match_info["file"]
        if name not in self._page.files or name == _HTML:
            raise web.HTTPNotFound
        return self._sent(request, name, {})

    async def legend(self, request: web.Request) -> web.Response:
        """What the page shows before anybody chooses."""
        served = await self._catalogs.asked(request)
        found = await self._on_thread(
            lambda: legend(served, self._overlay(served), shown_levels(served))
        )
        return _json({**found, "mosaics": self._catalogs.names})

    async def footprints(self, request: web.Request) -> web.Response:
        """GeoJSON of what lies in ``bbox``, of ``datetime`` (:meth:`Overlay.features`)."""
        served = await self._catalogs.asked(request)
        box, span = _box(request), _span(request)
        body = await self._on_thread(lambda: self._overlay(served).features(box, span, _FOOTPRINTS))
        return web.Response(body=body, content_type="application/geo+json")

    async def items(self, request: web.Request) -> web.Response:
        """Items below ``at``, a longitude and latitude, of ``datetime``, the topmost first."""
        served = await self._catalogs.asked(request)
        lon, lat = _numbers(request, "at", 2)
        if not -90 <= lat <= 90:
            raise UsageError(f"at={lon},{lat}: a longitude and a latitude in degrees")
        lon, span = _turned(lon), _span(request)
        found = await self._on_thread(lambda: self._below(served, lon, lat, span))
        return _json(found)

    def _below(self, served: Served, lon: float, lat: float, span: Interval | None) -> Json:
        overlay = self._overlay(served)
        rows = overlay.below(lon, lat, span)
        opened = served.opened
        items: list[Json] = [
            {
                "id": name,
                "datetime": moment(int(opened.time[row])),
                "crs": label(overlay.grids.name(int(overlay.row[row]))),
                "crs_index": int(overlay.grids.crs_index[overlay.row[row]]),
                "assets": {},
            }
            for name, row in zip(opened.ids(rows[:_BELOW]), rows[:_BELOW].tolist(), strict=True)
        ]
        place = dict(zip(rows[:_BELOW].tolist(), items, strict=True))
        site = Site("..", served.name, str(served.folder))  # as seen from /map/<mosaic>
        for name, asset in opened.assets.items():
            mine = np.flatnonzero(np.isin(asset.item, rows[:_BELOW]))
            hrefs = opened.hrefs(asset, mine)
            for row, href in zip(asset.item[mine].tolist(), hrefs, strict=True):
                place[row]["assets"][name] = site.url(href)
        return {"count": len(rows), "items": items}

    def _overlay(self, served: Served) -> Overlay:
        """The overlay of a mosaic, made when it is first looked at; on the thread."""
        kept = self._overlays.get(served.name)
        if kept is None or kept[0] is not served:
            kept = self._overlays[served.name] = served, Overlay.of(served.opened)
        return kept[1]

    def _sent(self, request: web.Request, name: str, more: Mapping[str, str]) -> web.Response:
        body, kind, etag = self._page.files[name]
        headers = {"ETag": etag, "Content-Type": kind, "Cache-Control": "no-cache", **more}
        if known(request.headers.get("If-None-Match", ""), Meta(None, etag)):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _json(value: Json) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _span(request: web.Request) -> Interval | None:
    text = request.query.get("datetime", "")
    return interval(text) if text else None


def _numbers(request: web.Request, name: str, count: int) -> list[float]:
    text = request.query.get(name, "")
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise UsageError(f"{name}={text[:60]!r}: {count} numbers, in degrees")
    return values


def _box(request: web.Request) -> Bounds:
    """What ``bbox`` asks for, its longitudes within -180 to 180; a map may go round more."""
    west, south, east, north = _numbers(request, "bbox", 4)
    if south > north or west > east:
        raise UsageError("bbox: west, south, east, north in degrees; east is the greater one")
    south, north = max(-90.0, south), min(90.0, north)
    if south > north:
        raise UsageError("bbox: no place lies beyond a pole")
    if east - west >= 360.0:
        return -180.0, south, 180.0, north
    return _turned(west), south, _turned(east), north


def _turned(longitude: float) -> float:
    return longitude if -180.0 <= longitude <= 180.0 else (longitude + 180.0) % 360.0 - 180.0
