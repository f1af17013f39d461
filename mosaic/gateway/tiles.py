"""``/tiles/<mosaic>/{z}/{x}/{y}.png``: tiles of a mosaic by the engine, and what tells of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from aiohttp import web
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.cube.looks import bands_of
from mosaic.cube.scripts import Reading
from mosaic.engine.reading import chosen
from mosaic.errors import UsageError
from mosaic.gateway.catalogs import Catalogs
from mosaic.gateway.images import KINDS, geotiff, picture
from mosaic.gateway.kept import Kept
from mosaic.gateway.pyramid import METRES, levels, tile, tilejson, wmts
from mosaic.gateway.served import Served
from mosaic.gateway.style import Style, colours, computed, figures, styled
from mosaic.gateway.together import Together
from mosaic.leash import Leash
from mosaic.storage import Gate
from mosaic.storage.answer import Meta
from mosaic.storage.conditions import known
from mosaic.version import __version__

_KINDS = {**KINDS, "json": "application/json"}
_THREADS = 4


class Tiles:
    """Tiles, TileJSON and WMTS of the served mosaics. ``kept``: files as they were drawn."""

    def __init__(
        self, catalogs: Catalogs, gate: Gate, kept: Kept[bytes], base: Callable[[], str]
    ) -> None:
        self._catalogs = catalogs
        self._gate = gate
        self._kept = kept
        self._base = base
        self._together = Together()
        # a read waits on the background loop, so neither it nor its pool can do that
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="mosaic-tiles")

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get(r"/tiles/{name}/{z:\d{1,2}}/{x:\d{1,9}}/{y:\d{1,9}}.{kind}", self.tile),
            web.get("/tiles/{name}/tilejson.json", self.tilejson),
            web.get("/tiles/{name}/WMTSCapabilities.xml", self.wmts),
        ]

    def close(self) -> None:
        """Begin nothing more. On the loop, which what is being drawn needs: it can't be awaited."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def tile(self, request: web.Request) -> web.Response:
        """One tile; empty where the mosaic has nothing, an error where something can't be read."""
        served = await self._catalogs.asked(request)
        kind = request.match_info["kind"]
        z, x, y = (int(request.match_info[name]) for name in "zxy")
        style = _style(request, served)
        grid = tile(z, x, y, style.size)
        if kind not in _KINDS or grid is None:
            raise web.HTTPNotFound
        coarsest = shown_levels(served)[0]
        if z < coarsest:
            raise UsageError(
                f"too many scenes lie in a tile of level {z}: this mosaic's begin at {coarsest}"
            )
        told = hashlib.sha1(repr((served.stamp, __version__, request.path_qs)).encode()).hexdigest()
        headers = {"ETag": f'"{told}"', "Content-Type": _KINDS[kind]}
        if known(request.headers.get("If-None-Match", ""), Meta(None, headers["ETag"])):
            return web.Response(status=304, headers=headers)
        body = await self._kept.get(told, lambda: self._drawn(served, style, (z, x, y), grid, kind))
        return web.Response(body=body, headers=headers)

    async def _drawn(
        self, served: Served, style: Style, place: tuple[int, int, int], grid: GeoBox, kind: str
    ) -> bytes:
        """A tile as a file: read with those that are asked for at the same moment.

        Where not all of it could be read so, it is read alone: then it is an error.
        """
        loop = asyncio.get_running_loop()

        async def read(pixels: GeoBox, errors: str) -> Reading:
            work, leash = (served, self._gate, style, pixels, errors), Leash()
            try:
                return await loop.run_in_executor(self._threads, leash.run, numbers, *work)
            finally:
                leash.cancel()  # where nobody waits for it any more, nobody needs the thread's read

        how = served.stamp, served.name, style.bands, style.datetime, style.resampling
        got = await self._together.numbers(how, place, grid, lambda all_: read(all_, "ignore"))
        if not got.covered.all():
            got = await read(grid, "raise")
        return await loop.run_in_executor(self._threads, drawn, served, got, style, grid, kind)

    async def tilejson(self, request: web.Request) -> web.Response:
        """TileJSON, for maps in browsers; the query goes on to the tiles."""
        served = await self._catalogs.asked(request)
        _style(request, served)
        template = self._template(request, served)
        found = tilejson(served.name, template, _bbox(served), shown_levels(served))
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    async def wmts(self, request: web.Request) -> web.Response:
        """WMTS capabilities, for QGIS and GDAL; the query goes on to the tiles."""
        served = await self._catalogs.asked(request)
        _style(request, served)
        template = self._template(request, served)
        text = wmts(served.name, template, KINDS["png"], _bbox(served), shown_levels(served))
        return web.Response(text=text, content_type="application/xml")

    def _template(self, request: web.Request, served: Served) -> str:
        pairs = [f"{quote(name)}={quote(text, safe='')}" for name, text in request.query.items()]
        query = f"?{'&'.join(pairs)}" if pairs else ""
        return f"{self._base()}/tiles/{quote(served.name)}/{{z}}/{{x}}/{{y}}.png{query}"


def numbers(served: Served, gate: Gate, style: Style, grid: GeoBox, errors: str) -> Reading:
    """What tiles show, as it is in the scenes. Raises what :func:`mosaic.read` raises."""
    return mosaic.read(
        served.opened,
        geobox=grid,
        bands=style.bands,
        datetime=style.datetime,
        resampling=style.resampling,
        errors=errors,
        gate=gate,
    )


def drawn(served: Served, got: Reading, style: Style, grid: GeoBox, kind: str) -> bytes:
    """A tile as a file, or its figures, of values with their declared scale and offset.

    Raises UsageError for numbers that can't be shown so.
    """
    assets = served.opened.assets
    declared = [assets[name].bands[at] for _, name, at in chosen(served.opened, style.bands)]
    scaled = np.stack(
        [
            one.astype(np.float64) * band.scale + band.offset
            for one, band in zip(got.values, declared, strict=True)
        ]
    )
    values, there = computed(style, scaled, got.valid)
    names = ("expression",) if style.formula is not None else got.bands
    if kind == "json":
        return orjson.dumps(figures(values, there, names))
    if kind == "tif":
        # as wide as holds the scenes' own numbers
        wide = values.astype(np.result_type(got.values.dtype, np.float32))
        return geotiff(wide, there, grid, names)
    if not style.rescale and not _bytes(got.values, style):
        raise UsageError("numbers like these need rescale=LOW,HIGH to be shown")
    return picture(kind, colours(style, values, there))


def _bytes(values: np.ndarray[Any, Any], style: Style) -> bool:
    return style.formula is None and values.dtype == np.uint8


def _style(request: web.Request, served: Served) -> Style:
    """What a query asks for. Raises UsageError."""
    repeated = [name for name in set(request.query) if name != "rescale"]
    if any(len(request.query.getall(name)) > 1 for name in repeated):
        raise UsageError("only rescale may be given more than once")
    query = {name: request.query[name] for name in request.query}
    rescale = request.query.getall("rescale", [])
    opened, document = served.opened, served.document
    return styled(
        query,
        rescale,
        lambda: bands_of(opened, document),
        lambda names: len(chosen(opened, names)),
    )


def _bbox(served: Served) -> tuple[float, ...]:
    return tuple(served.document["extent"]["spatial"]["bbox"][0])


def shown_levels(served: Served) -> tuple[int, int]:
    """The coarsest and the finest level of a mosaic's tiles."""
    grid = served.opened.grid
    pixel = min(abs(grid.affine.a), abs(grid.affine.e))
    if grid.crs is not None and grid.crs.geographic:
        return levels(pixel * METRES, True, _bbox(served))
    if grid.crs is not None:
        pixel *= grid.crs.proj.axis_info[0].unit_conversion_factor  # feet, say
    return levels(pixel, served.opened.crs == "EPSG:3857", _bbox(served))
