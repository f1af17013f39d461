"""What a map draws over a mosaic: footprints, or counts of many; items at a place. Pure.

Footprints come from the items' grids, equal ones once: a series of a hundred dates of one tile is
one footprint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import shapely

from mosaic.catalog.columns import Longs
from mosaic.catalog.finder import Finder
from mosaic.catalog.opened import Asset, Opened
from mosaic.catalog.when import Interval
from mosaic.grid import LONLAT, Bounds, Grids, project
from mosaic.outline import outlines

Json = dict[str, Any]
COLOURS = 8
"""Colours that CRSs take in turn, so that neighbouring zones differ."""
_SCREEN = 1500
"""Parts of a view's width to which footprints are exact."""
_ALIKE = 20_000
"""Items among which equal grids are looked for; more are counted."""
_CELLS = 40
"""Cells along a side of a view in which items are counted, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """A mosaic's items as a map asks for them."""

    finder: Finder = field(repr=False)
    """Their boxes and times."""
    grids: Grids = field(repr=False)
    """Pixel grids, CRSs by name."""
    row: Longs
    """(n,) row in ``grids`` of each item's first asset; -1 without any."""
    z: Longs
    """(n,) drawing order: the highest lies on top."""
    counts: Longs
    """Items of each CRS in ``grids``."""

    @classmethod
    def of(cls, opened: Opened) -> Overlay:
        """The overlay of a mosaic."""
        row = np.full(opened.count, -1, np.int64)
        parts: list[Grids] = []
        shift = 0
        for asset in opened.assets.values():
            item, first = _new(asset, row)
            if len(item):
                row[item] = shift + np.arange(len(item))
                parts.append(asset.grids.take(first))
                shift += len(item)
        grids = _joined(parts)
        counts = np.bincount(grids.crs_index, minlength=len(grids.crs)).astype(np.int64)
        return cls(Finder.of(opened.columns), grids, row, opened.z, counts)

    def within(self, box: Bounds, span: Interval | None) -> Longs:
        """Rows of the items whose box meets another (degrees), of a time."""
        rows = self.finder.rows(box, span)
        return rows[self.row[rows] >= 0]

    def features(self, box: Bounds, span: Interval | None, most: int) -> bytes:
        """GeoJSON of a view: at most ``most`` footprints, or cells with how many items they have.

        ``items``: how many lie in the view; ``kind``: ``footprints`` or ``cells``. A footprint
        tells its ``crs`` (its place in ``grids``), ``items`` and, of a single one, ``id``; a cell
        its ``items`` and the ``colour`` of most of them.
        """
        rows = self.within(box, span)
        made = self._footprints(rows, box, most)
        kind = "footprints" if made is not None else "cells"
        found = made if made is not None else self._cells(rows, box)
        head = {"type": "FeatureCollection", "kind": kind, "items": len(rows)}
        return orjson.dumps({**head, "features": found})

    def below(self, lon: float, lat: float, span: Interval | None) -> Longs:
        """Rows of the items whose pixels lie at a place, the topmost first."""
        rows = self.within((lon, lat, lon, lat), span)
        grids = self.grids.take(self.row[rows])
        there = np.zeros(len(rows), bool)
        for index, name in enumerate(grids.crs):
            mine = np.flatnonzero(grids.crs_index == index)
            if len(mine):
                x, y = project(LONLAT, name, np.array([lon]), np.array([lat]))
                there[mine] = _holds(grids.take(mine), float(x[0]), float(y[0]))
        found = rows[there]
        return found[np.argsort(-self.z[found], kind="stable")]

    def _footprints(self, rows: Longs, box: Bounds, most: int) -> list[Json] | None:
        if len(rows) > _ALIKE:
            return None
        grids = self.grids.take(self.row[rows])
        alike = np.column_stack([grids.crs_index, grids.shape, grids.transform])
        _, first, count = np.unique(alike, axis=0, return_index=True, return_counts=True)
        if len(first) > most:
            return None
        grids = grids.take(first)
        pixel = np.array([_width(box), box[3] - box[1]]).clip(1e-4) / _SCREEN
        made = outlines(grids, LONLAT, np.tile(pixel, (len(grids), 1)))
        shapes = shapely.simplify(made.geometry, float(pixel.min()) / 2)
        shapes = shapely.transform(shapes, lambda points: np.round(points, 6))
        found: list[Json] = []
        for grid, text in zip(made.grid.tolist(), shapely.to_geojson(shapes), strict=True):
            told: Json = {"crs": int(grids.crs_index[grid]), "items": int(count[grid])}
            if count[grid] == 1:
                told["id"] = self.finder.id[int(rows[first[grid]])].as_py()
            geometry = orjson.Fragment(text)
            found.append({"type": "Feature", "geometry": geometry, "properties": told})
        return found

    def _cells(self, rows: Longs, box: Bounds) -> list[Json]:
        """Cells of a lattice that is the same for views of a size, by the items' boxes."""
        west, south, _, north = box
        width = _width(box)
        step = 2.0 ** math.ceil(math.log2(max(width, north - south, 1e-6) / _CELLS))
        left, low = math.floor(west / step), math.floor(south / step)
        across = max(1, math.ceil((west + width) / step) - left)
        up = max(1, math.ceil(north / step) - low)
        wanted = np.zeros(len(self.row), bool)
        wanted[rows] = True
        finder = self.finder
        place = np.flatnonzero(wanted[finder.row])
        # halves of a box end at 180: rounded outward, they would begin in each other's cell
        begin = finder.west[place].astype(np.float64).clip(-180.0)
        end = finder.east[place].astype(np.float64).clip(None, 180.0)
        turn = np.where(end < west, 360.0, 0.0)
        first = np.floor((begin + turn) / step) - left
        last = np.maximum(np.ceil((end + turn) / step) - 1 - left, first)
        under = np.floor(finder.south[place] / step) - low
        over = np.floor(finder.north[place] / step) - low
        there = (first < across) & (last >= 0) & (under < up) & (over >= 0)
        first, last = first[there].clip(0), last[there].clip(None, across - 1)
        under, over = under[there].clip(0), over[there].clip(None, up - 1)
        colour = self.grids.crs_index[self.row[finder.row[place[there]]]] % COLOURS
        # what begins and what ends, at the corners of each box: sums along both axes count them
        size = COLOURS, up + 1, across + 1
        change = np.zeros(size)
        for y, x, sign in (
            (under, first, 1),
            (under, last + 1, -1),
            (over + 1, first, -1),
            (over + 1, last + 1, 1),
        ):
            flat = np.ravel_multi_index((colour, y.astype(np.int64), x.astype(np.int64)), size)
            change += sign * np.bincount(flat, minlength=change.size).reshape(size)
        number = np.rint(change.cumsum(1).cumsum(2))[:, :up, :across].astype(np.int64)
        total, most = number.sum(0), number.argmax(0)
        found = []
        for y, x in np.argwhere(total > 0).tolist():
            w, s = (left + x) * step, (low + y) * step
            told = {"items": int(total[y, x]), "colour": int(most[y, x])}
            ring = [[w, s], [w + step, s], [w + step, s + step], [w, s + step], [w, s]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            found.append({"type": "Feature", "geometry": geometry, "properties": told})
        return found


def _new(asset: Asset, row: Longs) -> tuple[Longs, Any]:
    """Items of an asset that have no grid yet, and which of its rows they are."""
    if (row < 0).all() and len(asset.item) == len(row):
        return asset.item, slice(None)  # all of a million: nothing is copied
    item, first = np.unique(asset.item, return_index=True)
    new = row[item] < 0
    return item[new], first[new]


def _joined(parts: list[Grids]) -> Grids:
    """Grids one after the other, their CRSs in the order of their names."""
    names = tuple(sorted({name for part in parts for name in part.crs}))
    index = [
        np.array([names.index(name) for name in part.crs], np.int32)[part.crs_index]
        for part in parts
    ]
    return Grids(
        names,
        np.concatenate([np.zeros(0, np.int32), *index]),
        np.concatenate([np.zeros((0, 2), np.int64), *(part.shape for part in parts)]),
        np.concatenate([np.zeros((0, 6)), *(part.transform for part in parts)]),
    )


def _width(box: Bounds) -> float:
    """Degrees from the west to the east of a box, which may cross 180."""
    return 360.0 if box[0] == -180.0 and box[2] == 180.0 else (box[2] - box[0]) % 360.0


def _holds(grids: Grids, x: float, y: float) -> npt.NDArray[np.bool_]:
    """(n,) whether a place of their CRS lies on their pixels."""
    if not np.isfinite([x, y]).all():
        return np.zeros(len(grids), bool)
    a, b, c, d, e, f = grids.transform.T
    with np.errstate(divide="ignore", invalid="ignore"):
        area = a * e - b * d
        column = (e * (x - c) - b * (y - f)) / area
        line = (a * (y - f) - d * (x - c)) / area
    inside: npt.NDArray[np.bool_] = (column >= 0) & (column <= grids.shape[:, 1])
    inside &= (line >= 0) & (line <= grids.shape[:, 0])
    return inside
