"""What GDAL is given of a scene that can't be read: a file that opens, and fails when it is read.

For a tile that won't open GDAL 3.10.3 shows zeros all over the image and exits 0, whatever the
status; for one that can't be read it exits 1. A tile's own location tells its grid, so that a
refusal can be answered by a VRT on that grid. Nothing else changes: what can be read is the file.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote

from aiohttp import web
from cachetools import TTLCache

from mosaic.catalog.href import location
from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import GDAL_TYPES, Band
from mosaic.catalog.vrt import Tile, number, recoded
from mosaic.storage.conditions import asked

_GRID = "grid"
"""Name of the query's field that tells a tile's grid."""
_FAILED = "failed"
"""First part of the paths that nobody can read."""
_BANDS = 16
"""Bands of a stand-in at most: GDAL must have it in one piece of 16 KiB, and fails for others."""
_AGAIN = 5.0
"""Seconds for which a file stays one that can't be read: GDAL opens it by two requests."""
_MANY = 4096
_LONG = 4000
"""Characters of a URL at most: longer ones are refused."""


def marked(tile: Tile) -> str:
    """A tile's location that tells its grid, unless a WKT makes it too long.

    ``tile.location``: a tuned one of a gateway.
    """
    numbers = [*tile.shape, *tile.transform[:6]]
    dtypes = ",".join(band.dtype for band in tile.bands[:_BANDS])
    text = "~".join([tile.crs, *map(number, numbers), dtypes])
    told = tile.location + quote(f"?{_GRID}={quote(text, safe='')}", safe="/")
    return told if len(unquote(told)) < _LONG else tile.location


class StandIns:
    """Stand-ins for what failed a moment ago. ``base``: the gateway's URL."""

    def __init__(self, base: Callable[[], str]) -> None:
        self._base = base
        self._failed: TTLCache[str, int] = TTLCache(_MANY, _AGAIN)

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [web.get(f"/{_FAILED}/{{status:[45][0-9][0-9]}}/{{path:.*}}", self.refuse)]

    async def refuse(self, request: web.Request) -> web.Response:
        """What a stand-in leads to: a status for which GDAL doesn't ask again."""
        status = int(request.match_info["status"])
        text = f"the scene couldn't be read ({status})\n"
        return web.Response(status=status if status < 500 else 424, text=text)

    def kept(self, request: web.Request) -> web.Response | None:
        """The stand-in of a file that just failed: GDAL mustn't have the rest of another.

        And 404 for what GDAL would find beside a stand-in: ``….tif?grid=….ovr``.
        """
        text = request.query.get(_GRID)
        if text is not None and _told(text, "") is None:
            return web.Response(status=404, text="no tile's grid\n")
        status = self._failed.get(request.raw_path)
        return None if status is None else self._stand_in(request, status)

    def answer(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """An answer as it is sent: a refusal of a tile as its stand-in."""
        if response.status not in (403, 404) and response.status < 500:
            return response
        found = self._stand_in(request, response.status)
        if found is None:
            return response
        self._failed[request.raw_path] = response.status
        return found

    def _stand_in(self, request: web.Request, status: int) -> web.Response | None:
        """A VRT whose file is none, or None where no tile is asked for from its beginning."""
        path = request.raw_path.partition("?")[0]
        url = f"{self._base()}/{_FAILED}/{status}{path}"
        tile = _told(request.query.get(_GRID, ""), url)
        if tile is None or request.method != "GET":
            return None
        body = recoded(tile, (Recoding(),) * len(tile.bands)).encode()
        part = asked(request.headers.get("Range", ""), len(body))
        if part is None or part[:2] != (0, len(body)):
            return None
        told = {"Cache-Control": "no-store", "Content-Type": "application/xml"}
        if part[2] == 206:
            told["Content-Range"] = f"bytes 0-{len(body) - 1}/{len(body)}"
        return web.Response(status=part[2], body=body, headers=told)


def _told(text: str, url: str) -> Tile | None:
    """The tile that a query tells of, led to a URL."""
    try:
        crs, height, width, *transform, dtypes = text.rsplit("~", 9)
        shape, affine = (int(height), int(width)), tuple(map(float, transform))
    except ValueError:
        return None
    kinds = dtypes.split(",")
    if len(affine) != 6 or min(shape) < 1 or any(dtype not in GDAL_TYPES for dtype in kinds):
        return None
    bands = tuple(Band(dtype) for dtype in kinds[:_BANDS])
    return Tile(location(url), False, crs, shape, affine, bands)
