"""What is to be said of footprints: measured in :mod:`mosaic.checker.extent`, named here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from mosaic.checker.extent import LEAST, MOST, SLACK, margins, uncovered
from mosaic.checker.index import AGAIN, Mark
from mosaic.checker.items import Places
from mosaic.checker.read import Rows
from mosaic.checker.vrt import Small
from mosaic.errors import Problem

NEAR = 1e-4
"""Pixels that a footprint keeps, at least, from where GDAL would read something else."""
Measured = tuple[float, float, bool, float, float]
"""A row of :class:`~mosaic.checker.extent.Margins`."""


def footprint_problems(
    name: str,
    asset: str,
    rows: Rows,
    place: npt.NDArray[np.int64],
    places: Places,
    small: dict[int, Small],
    mark: Mark,
    memo: dict[tuple[Any, ...], Measured],
) -> list[Problem]:
    """Footprints that don't hold their scene, or leave the pixels that GDAL gives it.

    ``memo``: what was measured before of equal footprints of equal grids; it grows.
    """
    broken = [row for row, shape in enumerate(rows.geometry) if shape is None or shape.is_empty]
    problems = [
        Problem("footprint", f"{name}: has no footprint", AGAIN, rows.item[row], asset)
        for row in broken
    ]
    usable = place >= 0
    usable[broken] = False
    warped = np.zeros(len(rows), bool)
    warped[list(small)] = [one.warped for one in small.values()]
    plain = np.flatnonzero(usable & ~warped)
    key = _keys(plain, rows, place, places)
    fresh = {k: row for row, k in zip(plain.tolist(), key, strict=True) if k not in memo}
    todo = np.array(list(fresh.values()), np.int64)
    found = margins(places, place[todo], rows.geometry[todo], mark.crs, Affine(*mark.transform))
    columns = (found.least, found.most, found.crosses, found.beyond, found.short)
    measured = zip(*(column.tolist() for column in columns), strict=True)
    memo.update(zip(fresh, measured, strict=True))
    for row, k in zip(plain.tolist(), key, strict=True):
        problems += _judged(name, asset, rows.item[row], *memo[k])
    cut = np.flatnonzero(usable & warped)
    for one in np.unique(place[cut]).tolist():
        mine = cut[place[cut] == one]
        problems += _pieces(name, asset, rows, mine, one, places, small, mark)
    return problems


def _keys(
    which: npt.NDArray[np.int64], rows: Rows, place: npt.NDArray[np.int64], places: Places
) -> list[tuple[Any, ...]]:
    return [
        (
            places.crs[place[row]],
            places.shape[place[row]].tobytes(),
            places.transform[place[row]].tobytes(),
            rows.wkb[row],
        )
        for row in which.tolist()
    ]


def _judged(
    name: str,
    asset: str,
    item: str,
    least: float,
    most: float,
    crosses: bool,
    beyond: float = -np.inf,
    short: float = -np.inf,
) -> list[Problem]:
    if crosses:
        what = "goes across 180 degrees, or round the world"
        kind = "across-180"
    elif least < -50:
        kind, what = "footprint", "lies elsewhere than its scene"
    elif beyond > -NEAR:
        kind = "footprint"
        what = (
            f"ends {beyond:.2f} pixels beyond those that GDAL gives its scene: a window "
            "that begins there reads zeros in GDAL 3.10"
        )
    elif short > 1.0 - NEAR:
        kind = "footprint"
        what = (
            f"ends {short:.2f} pixels before those that GDAL gives its scene, not within 1: GDAL "
            "3.13 would drop all of it"
        )
    elif not least >= LEAST - 1e-3:
        kind = "footprint"
        what = f"leaves out up to {-least:.2f} pixels of its scene: GDAL would drop them"
    elif most > MOST + SLACK:
        kind = "footprint"
        what = f"exceeds its scene by {most:.2f} pixels, not by at most 2: GDAL opens it in vain"
    else:
        return []
    return [Problem(kind, f"{name}: its footprint {what}", AGAIN, item, asset)]


def _pieces(
    name: str,
    asset: str,
    rows: Rows,
    mine: npt.NDArray[np.int64],
    place: int,
    places: Places,
    small: dict[int, Small],
    mark: Mark,
) -> list[Problem]:
    """A scene that is shown in pieces: do they hold all of it, and each no more than its VRT?"""
    item = rows.item[int(mine[0])]
    least = uncovered(places, place, rows.geometry[mine], mark.crs, mark.res, mark.bounds)
    problems = []
    if least < LEAST - 1e-3:
        problems += _judged(name, asset, item, least, 0.0, False)
    res = np.tile(mark.res, 2)
    for row in mine.tolist():
        box, own = np.array(shapely.bounds(rows.geometry[row])), np.array(small[row].bounds)
        beyond = (np.array([1, 1, -1, -1]) * (own - box) / res).max()
        problems += _judged(name, asset, item, 0.0, 0.0, False, float(beyond))
    return problems
