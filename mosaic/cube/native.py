"""The pixels that scenes have themselves: lattices that many of them share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.grid import Bounds, Floats, Grids

Bools = npt.NDArray[np.bool_]

_ALIKE = 1e-9
"""Of a pixel's size, relative: within it two are the same."""
_PLACE = 1e-6
"""Pixels by which lattices may lie off each other."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """The pixels of one CRS, size and place that scenes of some assets share."""

    crs: str
    """Canonical name."""
    geobox: GeoBox
    """All of their extent."""
    assets: tuple[str, ...]
    """Assets that have scenes on it."""

    @property
    def size(self) -> float:
        """Of a pixel, in units of the CRS: the geometric mean of its sides."""
        a, b, _, d, e, _ = tuple(self.geobox.affine)[:6]
        return float(np.sqrt(abs(a * e - b * d)))


def on(geobox: GeoBox, crs: str, grids: Grids) -> Bools:
    """(n,) whether the pixels of grids are those of a geobox. ``crs``: its canonical name."""
    return grids.within(crs) & _alike(np.array(tuple(geobox.affine)[:6]), grids.transform)


def lattices(grids: Mapping[str, Grids]) -> list[Lattice]:
    """All lattices of some assets' scenes, each with its whole extent.

    By CRS, then from fine to coarse.
    """
    found: list[tuple[str, Floats, dict[str, Floats]]] = []
    for asset, own in grids.items():
        for crs in own.crs:
            rest = own.take(own.within(crs))
            while len(rest):
                first = rest.transform[0]
                known = [one for one in found if one[0] == crs and _alike(one[1], first[None])[0]]
                if not known:
                    known = [(crs, first, {})]
                    found += known
                _, base, extents = known[0]
                same = _alike(base, rest.transform)
                extents[asset] = _extent(base, rest.take(same))
                rest = rest.take(~same)
    made = []
    for crs, base, extents in found:
        low = np.min([extent[:2] for extent in extents.values()], axis=0)
        high = np.max([extent[2:] for extent in extents.values()], axis=0)
        affine = Affine(*base) @ Affine.translation(float(low[0]), float(low[1]))
        shape = int(high[1] - low[1]), int(high[0] - low[0])
        made.append(Lattice(crs, GeoBox(shape, affine, crs), tuple(extents)))
    order = {crs: place for place, crs in enumerate(dict.fromkeys(one.crs for one in made))}
    return sorted(made, key=lambda one: (order[one.crs], one.size))


def touching(grids: Grids, bounds: Mapping[str, Bounds | None]) -> Bools:
    """(n,) whether grids may have pixels within bounds, told by CRS; None: nowhere in it."""
    x, y = grids.xy(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    nowhere = (np.inf, np.inf, -np.inf, -np.inf)
    west, south, east, north = np.array([bounds[crs] or nowhere for crs in grids.crs])[
        grids.crs_index
    ].T
    found: Bools = (x.min(1) < east) & (x.max(1) > west) & (y.min(1) < north) & (y.max(1) > south)
    return found


def cut(one: Lattice, bounds: Bounds) -> Lattice | None:
    """The part of a lattice within bounds in its CRS; None where there is none."""
    west, south, east, north = bounds
    x, y = np.array([west, east, west, east]), np.array([south, south, north, north])
    a, b, c, d, e, f = (~one.geobox.affine)[:6]
    column, row = a * x + b * y + c, d * x + e * y + f
    height, width = one.geobox.shape
    left, right = max(int(np.floor(column.min())), 0), min(int(np.ceil(column.max())), width)
    top, bottom = max(int(np.floor(row.min())), 0), min(int(np.ceil(row.max())), height)
    if left >= right or top >= bottom:
        return None
    return Lattice(one.crs, one.geobox[top:bottom, left:right], one.assets)


def _alike(base: Floats, transforms: Floats) -> Bools:
    """(n,) whether affines have the pixels of another one."""
    sides = [0, 1, 3, 4]
    size = np.abs(base[sides]).max()
    same = (np.abs(transforms[:, sides] - base[sides]) <= _ALIKE * size).all(1)
    column, row = _pixel(base, transforms[:, 2], transforms[:, 5])
    place = np.stack([column, row])
    found: Bools = same & (np.abs(place - np.round(place)) < _PLACE).all(0)
    return found


def _extent(base: Floats, grids: Grids) -> Floats:
    """First column and row, last column and row + 1, in pixels of a lattice."""
    column, row = _pixel(base, grids.transform[:, 2], grids.transform[:, 5])
    low = np.round(np.stack([column, row], axis=1))
    high = low + grids.shape[:, ::-1]
    found: Floats = np.concatenate([low.min(0), high.max(0)])
    return found


def _pixel(base: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    a, b, c, d, e, f = (~Affine(*base))[:6]
    return a * x + b * y + c, d * x + e * y + f
