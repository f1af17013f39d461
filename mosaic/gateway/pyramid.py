"""Web Mercator's pyramid of tiles, and how it is told: TileJSON and WMTS. Pure.

Sources: OGC Two Dimensional Tile Matrix Set (WebMercatorQuad), TileJSON 3.0.0, OGC WMTS 1.0.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.errors import UsageError

HALF = 20037508.342789244
"""Metres from the middle of the pyramid to its sides."""
SIDE = 256
"""Pixels of a tile's side."""
_END = 85.051129
"""Degrees of latitude at the pyramid's upper side."""
DEEPEST = 24
"""The finest level."""
_COARSER = 6
"""Levels that are shown above a mosaic's own resolution: above, a tile needs too many scenes."""
METRES = 2 * HALF / 360
"""Metres of the pyramid in a degree of longitude."""
_SCALE = 0.00028
"""Metres of a rendered pixel, by which WMTS counts its scales."""


def tile(z: int, x: int, y: int, side: int = SIDE) -> GeoBox | None:
    """The pixels of a tile in EPSG:3857; None for one that there isn't."""
    if not (0 <= z <= DEEPEST and 0 <= x < 2**z and 0 <= y < 2**z):
        return None
    size = 2 * HALF / 2**z
    pixel = size / side
    affine = Affine(pixel, 0, x * size - HALF, 0, -pixel, HALF - y * size)
    return GeoBox((side, side), affine, "EPSG:3857")


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring tiles of one level."""

    x: int
    """Column of the first."""
    y: int
    """Row of the first."""
    across: int
    """Columns."""
    down: int
    """Rows."""

    def grid(self, z: int, side: int = SIDE) -> GeoBox:
        """The pixels of all of them."""
        first = tile(z, self.x, self.y, side)
        if first is None:
            raise ValueError(f"there is no tile {z}/{self.x}/{self.y}")
        return GeoBox((self.down * side, self.across * side), first.affine, first.crs)

    def place(self, x: int, y: int, side: int = SIDE) -> tuple[slice, slice]:
        """Where one of them lies in these pixels."""
        down, right = (y - self.y) * side, (x - self.x) * side
        return slice(down, down + side), slice(right, right + side)


def blocks(tiles: Iterable[tuple[int, int]], most: int) -> dict[tuple[int, int], Block]:
    """The block in which each of some tiles (x, y) is read; ``most``: tiles of a block's side.

    Of a block more than half are among them, so that little is read that nobody asked for.
    """
    found = np.array(sorted(set(tiles)), np.int64).reshape(-1, 2)
    return dict(_blocks(found, most)) if len(found) else {}


def _blocks(tiles: npt.NDArray[np.int64], most: int) -> Iterator[tuple[tuple[int, int], Block]]:
    low, size = tiles.min(0), np.ptp(tiles, axis=0) + 1
    if size.max() <= most and size.prod() < 2 * len(tiles):
        block = Block(*low.tolist(), *size.tolist())
        yield from (((x, y), block) for x, y in tiles.tolist())
        return
    axis = int(size.argmax())
    first = tiles[:, axis] < low[axis] + (size[axis] + 1) // 2
    yield from _blocks(tiles[first], most)
    yield from _blocks(tiles[~first], most)


def levels(pixel: float, even: bool, bbox: tuple[float, ...]) -> tuple[int, int]:
    """The coarsest level that is shown, and the first as fine as the mosaic wherever it lies.

    ``pixel``: metres of the pyramid if ``even``, else of the ground, which the pyramid stretches
    the more the nearer to a pole; ``bbox`` in degrees.
    """
    _, south, _, north = bbox
    ends = sorted((abs(south), abs(north)))
    nearest = 0.0 if south <= 0 <= north else ends[0]

    def level(latitude: float) -> int:
        stretch = 1.0 if even else 1 / math.cos(math.radians(min(85.0, latitude)))
        return math.ceil(math.log2(2 * HALF / SIDE / (pixel * stretch)) - 1e-6)

    finest = min(DEEPEST, max(0, level(nearest)))
    return max(0, min(finest, level(ends[1])) - _COARSER), finest


def bounds(bbox: tuple[float, ...]) -> tuple[float, float, float, float]:
    """What tiles show of a box (degrees), which may cross 180: from its west to its east.

    Neither TileJSON nor GDAL's WMTS takes a box that crosses 180. Raises UsageError for a box
    beyond the pyramid's ends.
    """
    west, south, east, north = bbox
    south, north = max(-_END, south), min(_END, north)
    if south >= north:
        raise UsageError(f"Web Mercator ends at {_END} degrees: no tile shows this mosaic")
    return (west, south, east, north) if west <= east else (-180.0, south, 180.0, north)


def tilejson(
    name: str, template: str, bbox: tuple[float, ...], shown: tuple[int, int]
) -> dict[str, Any]:
    """TileJSON of a mosaic; ``template`` has {z}, {x} and {y}."""
    return {
        "tilejson": "3.0.0",
        "name": name,
        "scheme": "xyz",
        "tiles": [template],
        "bounds": bounds(bbox),
        "minzoom": shown[0],
        "maxzoom": shown[1],
    }


def wmts(
    name: str, template: str, kind: str, bbox: tuple[float, ...], shown: tuple[int, int]
) -> str:
    """WMTS capabilities of a mosaic, one layer in WebMercatorQuad; ``kind``: media type."""
    west, south, east, north = bounds(bbox)
    led = template.replace("{z}", "{TileMatrix}").replace("{x}", "{TileCol}")
    led = led.replace("{y}", "{TileRow}")
    matrices = "".join(
        f"<TileMatrix><ows:Identifier>{z}</ows:Identifier>"
        f"<ScaleDenominator>{2 * HALF / SIDE / 2**z / _SCALE!r}</ScaleDenominator>"
        f"<TopLeftCorner>{-HALF!r} {HALF!r}</TopLeftCorner>"
        f"<TileWidth>{SIDE}</TileWidth><TileHeight>{SIDE}</TileHeight>"
        f"<MatrixWidth>{2**z}</MatrixWidth><MatrixHeight>{2**z}</MatrixHeight></TileMatrix>"
        for z in range(shown[0], shown[1] + 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Capabilities xmlns="http://www.opengis.net/wmts/1.0" '
        'xmlns:ows="http://www.opengis.net/ows/1.1" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" version="1.0.0">'
        "<ows:ServiceIdentification><ows:Title>mosaic</ows:Title>"
        "<ows:ServiceType>OGC WMTS</ows:ServiceType>"
        "<ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>"
        f"<Contents><Layer><ows:Title>{escape(name)}</ows:Title>"
        f"<ows:WGS84BoundingBox><ows:LowerCorner>{west!r} {south!r}</ows:LowerCorner>"
        f"<ows:UpperCorner>{east!r} {north!r}</ows:UpperCorner></ows:WGS84BoundingBox>"
        f"<ows:Identifier>{escape(name)}</ows:Identifier>"
        '<Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style>'
        f"<Format>{kind}</Format><TileMatrixSetLink><TileMatrixSet>WebMercatorQuad</TileMatrixSet>"
        f'</TileMatrixSetLink><ResourceURL format="{kind}" resourceType="tile" '
        f'template="{escape(led, {chr(34): "&quot;"})}"/></Layer>'
        "<TileMatrixSet><ows:Identifier>WebMercatorQuad</ows:Identifier>"
        "<ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>"
        f"{matrices}</TileMatrixSet></Contents></Capabilities>\n"
    )
