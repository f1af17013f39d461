"""Which row groups of ``items.parquet`` a window and a time may need. Pure.

The collection tells what each of them covers (``mosaic:groups``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from mosaic.catalog.when import Interval
from mosaic.grid import Bounds, Grids, canonical
from mosaic.outline import lonlat_bounds, meets

_MARGIN = 0.01
"""Degrees by which a window is taken to be larger."""


def groups_of(document: dict[str, Any], window: GeoBox, span: Interval | None) -> list[int] | None:
    """Row groups that may hold items of a window and a time; None where all may, or none does."""
    told = document.get("mosaic:groups") or []
    if len(told) < 2:
        return None
    kept = np.ones(len(told), bool)
    box = _degrees(window)
    if box is not None:
        kept &= meets(np.array([one[:4] for one in told], float), box)
    if span is not None:
        for place, (first, last) in enumerate(one[4:6] for one in told):
            kept[place] &= first is None or (first <= span[1] and last >= span[0])
    found = np.flatnonzero(kept).tolist()
    return None if len(found) in (0, len(told)) else found


def _degrees(window: GeoBox) -> Bounds | None:
    """West, south, east, north of a window, a little larger; None where that isn't known."""
    a = window.affine
    height, width = window.shape
    crs = canonical(str(window.crs))
    grid = Grids.one(crs, (height, width), (a.a, a.b, a.c, a.d, a.e, a.f))
    west, south, east, north = lonlat_bounds(grid)[0].tolist()
    if not np.isfinite([west, south, east, north]).all():
        return None
    if (east - west) % 360.0 + 2 * _MARGIN >= 360.0 or (west, east) == (-180.0, 180.0):
        west, east = -180.0, 180.0
    else:
        west, east = _turned(west - _MARGIN), _turned(east + _MARGIN)
    return west, max(-90.0, south - _MARGIN), east, min(90.0, north + _MARGIN)


def _turned(longitude: float) -> float:
    return (longitude + 180.0) % 360.0 - 180.0
