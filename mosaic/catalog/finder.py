"""Items of a box and a time among millions, in memory: columns in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from mosaic.catalog.columns import Columns
from mosaic.catalog.order import times
from mosaic.catalog.when import Interval, interval
from mosaic.errors import UsageError
from mosaic.grid import Bounds

Longs = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
_FEW = 200_000
"""Items of a time that are compared one by one; of more, a tree of boxes is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Finder:
    """The boxes and times of items, made once and asked often."""

    id: pa.Array = field(repr=False)
    """(n,) ids of the items."""
    row: Longs
    """(m,) rows of the items, by time; twice where a box crosses 180 degrees."""
    time: Longs
    """(m,) milliseconds since 1970, ascending."""
    west: Singles
    """(m,) degrees, as the following; rounded outward."""
    south: Singles
    """(m,)."""
    east: Singles
    """(m,)."""
    north: Singles
    """(m,)."""
    tree: shapely.STRtree
    """Of the boxes."""

    @classmethod
    def of(cls, columns: Columns) -> Finder:
        """A finder of a mosaic's items; an item without a bbox is found everywhere."""
        count = len(columns)
        sides = [
            columns.read(f"bbox.{side}").to_numpy(zero_copy_only=False).astype(np.float64)
            for side in ("xmin", "ymin", "xmax", "ymax")
        ]
        world = (-180.0, -90.0, 180.0, 90.0)
        west, south, east, north = (
            np.where(np.isnan(values), edge, values)
            for values, edge in zip(sides, world, strict=True)
        )
        across = np.flatnonzero(west > east)
        row = np.concatenate([np.arange(count), across])
        left = np.concatenate([west, np.full(len(across), -180.0)])
        right = np.concatenate([np.where(west > east, 180.0, east), east[across]])
        time = times(columns)[row]
        order = np.argsort(time, kind="stable")
        row = row[order]
        w, s, e, n = left[order], south[row], right[order], north[row]
        tree = shapely.STRtree(shapely.box(w, s, e, n))
        down, up = np.float32(-np.inf), np.float32(np.inf)
        return cls(
            columns.read("id"),
            row,
            time[order],
            np.nextafter(w.astype(np.float32), down),
            np.nextafter(s.astype(np.float32), down),
            np.nextafter(e.astype(np.float32), up),
            np.nextafter(n.astype(np.float32), up),
            tree,
        )

    def find(self, bbox: Sequence[float] | None = None, datetime: Any = None) -> pa.Array:
        """Ids of the items whose box meets another and whose time lies in an interval.

        ``bbox``: west, south, east, north in degrees (east < west crosses 180). ``datetime``: an
        instant, ``2025-06``, or an interval ``a/b``. Boxes are compared in single precision,
        rounded outward: none is missed. Raises :class:`~mosaic.errors.UsageError`.
        """
        box = (-180.0, -90.0, 180.0, 90.0) if bbox is None else _four(bbox)
        span = None if datetime is None else interval(datetime)
        return self.id.take(pa.array(self.rows(box, span)))

    def rows(self, box: Bounds, span: Interval | None = None) -> Longs:
        """Ascending rows of such items; ``span``: milliseconds, both ends included."""
        first, last = 0, len(self.row)
        if span is not None:
            first = int(np.searchsorted(self.time, span[0], "left"))
            last = int(np.searchsorted(self.time, span[1], "right"))
        west, south, east, north = box
        halves = [(west, south, 180.0, north), (-180.0, south, east, north)]
        parts = [box] if west <= east else halves
        found = [self._part(part, first, last) for part in parts]
        return np.unique(self.row[np.concatenate(found)])

    def _part(self, box: Bounds, first: int, last: int) -> Longs:
        if last - first > _FEW:
            hits: Longs = self.tree.query(shapely.box(*box))
            return hits[(hits >= first) & (hits < last)]
        part = slice(first, last)
        meets = self.west[part] <= np.float32(box[2])
        meets &= self.east[part] >= np.float32(box[0])
        meets &= self.south[part] <= np.float32(box[3])
        meets &= self.north[part] >= np.float32(box[1])
        return first + np.flatnonzero(meets)


def _four(bbox: Sequence[float]) -> Bounds:
    values = [float(value) for value in bbox]
    if len(values) != 4 or not np.isfinite(values).all() or values[1] > values[3]:
        raise UsageError(f"bbox {bbox!r:.80} isn't west, south, east, north in degrees")
    west, south, east, north = values
    return west, south, east, north
