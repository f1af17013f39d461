"""Which scenes a window may need: its bounds in every scene's own CRS. Pure.

A window is projected once for each CRS, however many scenes there are; nothing of a scene is
projected. What remains is a superset: the lattice decides.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic.grid import Floats, Grids, stepwise, turn

_SIDE = 33
"""Points along a side of a window at which it is projected."""


def near(window: GeoBox, crs: str, grids: Grids) -> npt.NDArray[np.int64]:
    """Rows of the grids that may lie below a window; none that does is left out.

    ``crs``: canonical name of the window's. The window is followed at 33 x 33 places, and taken
    to be larger by as far as neighbours of these lie apart. Where PROJ has no place for some of it,
    all grids of that CRS remain.
    """
    found = [np.zeros(0, np.int64)]
    for index, name in enumerate(grids.crs):
        rows = np.flatnonzero(grids.crs_index == index)
        if len(rows):
            found.append(rows[_meets(_bounds(window, crs, name), name, grids.take(rows))])
    return np.sort(np.concatenate(found))


@lru_cache(maxsize=512)  # all assets ask for the same windows
def _bounds(window: GeoBox, crs: str, target: str) -> Floats | None:
    """West, south, east, north of a window in another CRS; None where that isn't known."""
    height, width = window.shape
    column, row = np.meshgrid(np.linspace(0, width, _SIDE), np.linspace(0, height, _SIDE))
    a, b, c, d, e, f = tuple(window.affine)[:6]
    x, y = stepwise(crs, target, a * column + b * row + c, d * column + e * row + f)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    whole = turn(target)
    if whole is not None:
        x = _unbroken(x, whole)
    if target == crs:
        return np.array([x.min(), y.min(), x.max(), y.max()])
    more = [max(np.abs(np.diff(v, axis=k)).max() for k in (0, 1)) for v in (x, y)]
    return np.array([x.min() - more[0], y.min() - more[1], x.max() + more[0], y.max() + more[1]])


def _unbroken(x: Floats, whole: float) -> Floats:
    """(n, n) x that goes on beyond the edge of the map; as it is where it turns round a pole."""
    rows = np.unwrap(x, period=whole, axis=1)
    found: Floats = rows + (np.unwrap(rows[:, 0], period=whole) - rows[:, 0])[:, None]
    steps = [np.abs(np.diff(found, axis=k)).max() for k in (0, 1)]
    # round a pole four steps make a turn
    return found if max(steps) < whole / 8 else x


def _meets(bounds: Floats | None, name: str, grids: Grids) -> npt.NDArray[np.bool_]:
    if bounds is None:
        return np.ones(len(grids), bool)
    corner = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    x, y = grids.xy(*corner)
    west, east, south, north = x.min(1), x.max(1), y.min(1), y.max(1)
    meets: npt.NDArray[np.bool_] = (south < bounds[3]) & (north > bounds[1])
    whole = turn(name)
    if whole is None:
        meets &= (west < bounds[2]) & (east > bounds[0])
        return meets
    # x may go on beyond the edge of the map: round the world it is the same place
    hair = 1e-9 * whole
    ahead, behind = np.mod(bounds[0] - west, whole), np.mod(west - bounds[0], whole)
    meets &= (ahead <= east - west + hair) | (behind <= bounds[2] - bounds[0] + hair)
    return meets
