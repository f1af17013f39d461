"""What is to be said of footprints: measured in :mod:`mosaic.checker.extent`, named here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from mosaic.checker.extent import LEAST, MOST, SLACK, margins, pixel_of, uncovered
from mosaic.checker.index import AGAIN, Mark
from mosaic.checker.items import Places
from mosaic.checker.read import Rows
from mosaic.checker.vrt import Small
from mosaic.errors import Problem


def footprint_problems(
    name: str,
    asset: str,
    rows: Rows,
    place: npt.NDArray[np.int64],
    places: Places,
    small: dict[int, Small],
    mark: Mark,
    memo: dict[tuple[Any, ...], tuple[float, float, bool]],
) -> list[Problem]:
    """Footprints that don't exceed their scene by one to two pixels.

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
    found = margins(places, place[todo], rows.geometry[todo], mark.crs, mark.res)
    measured = zip(found.least.tolist(), found.most.tolist(), found.crosses.tolist(), strict=True)
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
    name: str, asset: str, item: str, least: float, most: float, crosses: bool
) -> list[Problem]:
    if crosses:
        what = f"{name}: its footprint goes across 180 degrees, or round the world"
        return [Problem("across-180", what, AGAIN, item, asset)]
    if not least >= LEAST - 1e-3:
        what = (
            f"{name}: its footprint lies elsewhere than its scene"
            if least < -50
            else f"{name}: its footprint exceeds its scene by {least:.2f} pixels, not by 1 to 2: "
            "GDAL would drop pixels"
        )
        return [Problem("footprint", what, AGAIN, item, asset)]
    if most > MOST + SLACK:
        what = (
            f"{name}: its footprint exceeds its scene by {most:.2f} pixels, not by 1 to 2: GDAL "
            "would hide others behind it"
        )
        return [Problem("footprint", what, AGAIN, item, asset)]
    return []


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
    # a whole scene is grown by its own pixels, a piece by the mosaic's
    res = np.tile(pixel_of(places, place, mark.crs, mark.res, whole=len(mine) == 1), 2)
    for row in mine.tolist():
        box, own = np.array(shapely.bounds(rows.geometry[row])), np.array(small[row].bounds)
        beyond = (np.array([1, 1, -1, -1]) * (own - box) / res).max()
        # two pixels, the sharp corner of a sliver, and the pixel by which a VRT may fall short
        if beyond > 4.5:
            problems += _judged(name, asset, item, 1.7, float(beyond), False)
    return problems
