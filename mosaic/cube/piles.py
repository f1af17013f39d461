"""Scenes as they lie on each other: their outlines, how many lie where, which lie on top."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

from mosaic.catalog.columns import Longs
from mosaic.cube.scenes import Scenes
from mosaic.grid import Floats, Grids, canonical, project, world
from mosaic.outline import Geometries, outlines

Bools = npt.NDArray[np.bool_]
DEEP = 1 << 40
"""The depth of what no point was found in."""
_PAIRS = 1 << 22
"""Points in outlines that are looked for at a time."""
_TABLE = 1 << 26
"""Bytes of a table of layers of time and pixels."""
_CELLS = 64
"""Cells a side, in each of which some scenes are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Pile:
    """Items near a grid, each by its first asset that is there; equal grids are kept once."""

    item: Longs
    """(n,) rows in the mosaic."""
    grid: Longs
    """(n,) which of the distinct grids."""
    group: Longs
    """(n,) layer of time."""
    z: Longs
    """(n,) drawing order: the highest lies on top."""
    grids: Grids
    """(g,) distinct grids."""

    def take(self, rows: Longs) -> Pile:
        """Some of the items, and their grids."""
        kept, grid = np.unique(self.grid[rows], return_inverse=True)
        return Pile(
            self.item[rows], grid.reshape(-1), self.group[rows], self.z[rows], self.grids.take(kept)
        )

    def counts(self) -> dict[str, int]:
        """Items by CRS, most frequent first."""
        which = self.grids.crs_index[self.grid]
        number = np.bincount(which, minlength=len(self.grids.crs))
        order = np.argsort(-number, kind="stable").tolist()
        return {self.grids.crs[one]: int(number[one]) for one in order if number[one]}


def piled(found: Scenes) -> Pile:
    """The items of what was found."""
    columns: list[tuple[Longs, ...]] = []
    kinds: list[npt.NDArray[np.float64]] = []
    counted = np.zeros(0, np.int64)
    crs: dict[str, int] = {}
    for part in found.parts.values():
        item, first = np.unique(part.asset.item[part.rows], return_index=True)
        new = ~np.isin(item, counted) & (part.group[first] >= 0)  # others by another asset
        item, first = item[new], first[new]
        counted = np.union1d(counted, item)
        grids = part.grids.take(first)
        to = np.array([crs.setdefault(name, len(crs)) for name in grids.crs], np.int64)
        kinds.append(np.column_stack([to[grids.crs_index], grids.shape, grids.transform]))
        columns.append((item, part.group[first], part.z[first]))
    alike, grid = np.unique(np.concatenate(kinds), axis=0, return_inverse=True)
    item, group, z = (np.concatenate(one) for one in zip(*columns, strict=True))
    shape = alike[:, 1:3].astype(np.int64)
    distinct = Grids(tuple(crs), alike[:, 0].astype(np.int32), shape, alike[:, 3:])
    return Pile(item, grid.reshape(-1), group, z, distinct)


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Outlines in a target's CRS, one row a piece; most grids have one."""

    geometry: Geometries
    """(m,) polygons."""
    grid: Longs
    """(m,) the grid each belongs to."""


def shaped(grids: Grids, target: GeoBox) -> Shapes:
    """Outlines of grids, exact to half a pixel of a target; over 180 degrees if it lies there."""
    a, b, _, d, e, _ = tuple(target.affine)[:6]
    size = np.array([np.hypot(a, d), np.hypot(b, e)])
    crs = canonical(str(target.crs))
    made = outlines(grids, crs, np.tile(size, (len(grids), 1)))
    whole = world(crs)
    if whole is None:
        return Shapes(made.geometry, made.grid)
    frame = shapely.box(*target.boundingbox.bbox)
    geometry, grid = [made.geometry], [made.grid]
    for turn in (whole[0] - whole[2], whole[2] - whole[0]):
        moved = shapely.transform(made.geometry, lambda xy, by=(turn, 0.0): xy + by)
        near = shapely.intersects(moved, frame) & ~shapely.touches(moved, frame)
        geometry.append(moved[near])
        grid.append(made.grid[near])
    return Shapes(np.concatenate(geometry), np.concatenate(grid))


def coarse(target: GeoBox, side: int) -> GeoBox:
    """A target with at most so many pixels a side; as it is if it has no more."""
    height, width = target.shape
    factor = max(1.0, max(height, width) / side)
    shape = max(1, round(height / factor)), max(1, round(width / factor))
    rows, columns = height / shape[0], width / shape[1]
    return GeoBox(shape, target.affine @ type(target.affine).scale(columns, rows), target.crs)


def middles(target: GeoBox) -> tuple[Floats, Floats]:
    """(H * W,) x and y of the middles of a target's pixels."""
    height, width = target.shape
    row, column = (v.ravel() + 0.5 for v in np.mgrid[:height, :width])
    a, b, c, d, e, f = tuple(target.affine)[:6]
    return a * column + b * row + c, d * column + e * row + f


def _inside(shapes: Shapes, target: GeoBox) -> Iterator[tuple[Longs, Longs]]:
    """Grids, and pixels of a target whose middles lie in them: pairs, a portion at a time."""
    tree = shapely.STRtree(shapely.points(*middles(target)))
    bounds = shapely.bounds(shapes.geometry)
    a, b, _, d, e, _ = tuple(target.affine)[:6]
    size = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1]) / abs(a * e - b * d)
    size = np.minimum(size, target.shape[0] * target.shape[1]) + 1
    portion = (np.cumsum(size) // _PAIRS).astype(np.int64)
    for number in np.unique(portion):
        mine = np.flatnonzero(portion == number)
        shape, point = tree.query(shapes.geometry[mine], predicate="intersects")
        yield shapes.grid[mine[shape]], point


def counted(pile: Pile, target: GeoBox) -> Longs:
    """(H, W) how many items lie over the middle of each pixel, by their outlines."""
    items = np.bincount(pile.grid, minlength=len(pile.grids))
    found = np.zeros(target.shape[0] * target.shape[1], np.int64)
    for grid, point in _inside(shaped(pile.grids, target), target):
        found += np.bincount(point, items[grid], len(found)).astype(np.int64)
    return found.reshape(target.shape)


def times_counted(pile: Pile, target: GeoBox) -> Longs:
    """(H, W) in how many layers of time an item lies over the middle of each pixel."""
    points = target.shape[0] * target.shape[1]
    found = np.zeros(points, np.int64)
    group, grid = np.unique(np.stack([pile.group, pile.grid]), axis=1)
    step = max(1, _TABLE // points)
    for first in range(0, int(group.max(initial=-1)) + 1, step):
        here = (group >= first) & (group < first + step)
        kept, of = np.unique(grid[here], return_inverse=True)
        layers = [group[here][of == place] - first for place in range(len(kept))]
        there = np.zeros((step, points), bool)
        for place, point in _inside(shaped(pile.grids.take(kept), target), target):
            for one in np.unique(place):
                there[np.ix_(layers[one], point[place == one])] = True
        found += there.sum(axis=0)
    return found.reshape(target.shape)


def thinned(pile: Pile, target: GeoBox, most: int) -> Pile:
    """At most about so many items: in each cell of a target those that lie on top."""
    if len(pile.item) <= most:
        return pile
    cell = _cell(pile.grids, target)[pile.grid]
    order = np.lexsort((-pile.z, cell))
    rank = _ranks(cell[order])
    number = np.bincount(rank)
    deepest = int(np.searchsorted(np.cumsum(number), most, side="right"))
    return pile.take(np.sort(order[rank < max(deepest, 1)])[: 4 * most])


def _cell(grids: Grids, target: GeoBox) -> Longs:
    """(g,) the cell in which the middle of each grid lies; what has no place there is the last."""
    small = coarse(target, _CELLS)
    x, y = (v[:, 0].copy() for v in grids.xy(np.array([0.5]), np.array([0.5])))
    for index, name in enumerate(grids.crs):
        mine = grids.crs_index == index
        if mine.any():
            x[mine], y[mine] = project(name, canonical(str(target.crs)), x[mine], y[mine])
    there = np.isfinite(x) & np.isfinite(y)
    column, row = ~small.affine @ (np.where(there, x, 0), np.where(there, y, 0))
    height, width = small.shape
    cell = np.clip(row, 0, height - 1).astype(np.int64) * width
    cell += np.clip(column, 0, width - 1).astype(np.int64)
    return np.where(there, cell, height * width)


def depths(pile: Pile, target: GeoBox, most: int) -> Longs:
    """(n,) how many items lie on an item where fewest do: 0 shows somewhere.

    Looked at in the middles of a target's pixels, and down to ``most`` items of one grid; what
    lies below, or between the middles, is :data:`DEEP`.
    """
    order = np.lexsort((-pile.z, pile.grid))
    rank = np.empty(len(order), np.int64)
    rank[order] = _ranks(pile.grid[order])
    kept = np.flatnonzero(rank < most)
    kept = kept[np.argsort(pile.grid[kept], kind="stable")]
    ends = np.searchsorted(pile.grid[kept], np.arange(len(pile.grids) + 1))
    shapes = shaped(pile.grids, target)
    areas = shapely.area(shapes.geometry) / shapely.box(*target.boundingbox.bbox).area
    points = target.shape[0] * target.shape[1]
    pairs = points * (np.minimum(areas, 1) * np.diff(ends)[shapes.grid]).sum()
    small = coarse(target, max(16, int(max(target.shape) * min(1, _PAIRS / max(pairs, 1)) ** 0.5)))
    found = np.full(len(pile.item), DEEP, np.int64)
    inside = list(_inside(shapes, small))
    if not inside:
        return found
    grid, point = (np.concatenate(one) for one in zip(*inside, strict=True))
    count = np.diff(ends)[grid]
    item = kept[np.repeat(ends[grid] - np.cumsum(count) + count, count) + np.arange(count.sum())]
    point = np.repeat(point, count)
    order = np.lexsort((-pile.z[item], point))
    np.minimum.at(found, item[order], _ranks(point[order]))
    return found


def _ranks(key: Longs) -> Longs:
    """(n,) how many equal keys came before, of keys in order."""
    if not len(key):
        return np.zeros(0, np.int64)
    begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    lengths = np.diff(np.append(begins, len(key)))
    found: Longs = np.arange(len(key)) - np.repeat(begins, lengths)
    return found
