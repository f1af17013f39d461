"""The scenes of a window, by layer of time: columns, cut to what a target may need."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic.catalog.columns import Longs
from mosaic.catalog.database import shown
from mosaic.catalog.opened import NEVER, Asset, Opened
from mosaic.catalog.window import near
from mosaic.cube.groups import GroupBy, Groups, grouped
from mosaic.cube.native import on
from mosaic.engine.reading import learned
from mosaic.engine.scene import Scene
from mosaic.errors import UsageError
from mosaic.grid import LONLAT, Grids, canonical, project

Bools = npt.NDArray[np.bool_]

_FEW = 4096
"""Scenes of a target that are learned at once; of more, those of a window."""
_MOST = 200_000
"""Scenes that are remembered."""


@dataclass(slots=True, eq=False)
class Part:
    """One asset's scenes that a target may need."""

    asset: Asset
    """All of them."""
    rows: Longs
    """(k,) their rows in it."""
    grids: Grids
    """(k,) their grids."""
    group: Longs
    """(k,) their layers of time."""
    z: Longs
    """(k,) drawing order: the highest lies on top."""
    known: dict[int, Scene] = field(default_factory=dict)
    """Those that were learned, by place in ``rows``."""


@dataclass(slots=True, eq=False)
class Scenes:
    """What is read: the scenes of a source on a target, by layer of time."""

    mosaic: Opened
    """Their source."""
    groups: Groups
    """Their layers."""
    parts: dict[str, Part]
    """By asset."""
    raw: bool
    """Whether numbers stay the files' own."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while they are learned."""

    def of(self, asset: str, times: Sequence[int], box: GeoBox) -> list[tuple[Scene, ...]]:
        """Scenes that may show in a window, from the topmost down, for some layers of time."""
        part = self.parts[asset]
        rows = near(box, canonical(str(box.crs)), part.grids)
        place = np.full(len(self.groups) + 1, -1, np.int64)
        place[list(times)] = np.arange(len(times))
        at = place[part.group[rows]]
        rows, at = rows[at >= 0], at[at >= 0]
        order = np.lexsort((-part.z[rows], at))
        rows, at = rows[order], at[order]
        with self.lock:
            self._learn(part, rows)
            found = [part.known[row] for row in rows.tolist()]
        ends = np.searchsorted(at, np.arange(len(times) + 1)).tolist()
        return [tuple(found[a:b]) for a, b in pairwise(ends)]

    def there(self, assets: Sequence[str], box: GeoBox) -> Bools:
        """(T,) which layers of time have scenes that may show in a window."""
        found = np.zeros(len(self.groups) + 1, bool)
        for asset in assets:
            part = self.parts[asset]
            found[part.group[near(box, canonical(str(box.crs)), part.grids)]] = True
        return found[:-1]

    def _learn(self, part: Part, rows: Longs) -> None:
        """Ids and hrefs, which are read from the source only when they are needed."""
        missing: Iterable[int] = [row for row in rows.tolist() if row not in part.known]
        if not missing:
            return
        if len(part.known) > _MOST:
            part.known.clear()
            missing = rows.tolist()
        if len(part.rows) <= _FEW:
            missing = range(len(part.rows))
        here = np.array(missing, np.int64)
        made = learned(self.mosaic, part.asset, part.rows[here], self.raw)
        part.known.update(zip(here.tolist(), made, strict=True))


def scenes(
    mosaic: Opened,
    target: GeoBox,
    assets: Sequence[str],
    span: tuple[int, int] | None,
    groupby: GroupBy | Groups,
    last: bool,
    raw: bool,
    others: Sequence[str] = (),
    native: bool = False,
) -> Scenes:
    """The scenes that a target may need. Raises UsageError where there are none.

    ``last``: the undermost lies on top. ``others``: assets that are needed besides; what has only
    these makes no layer. ``native``: only those whose pixels are the target's own.
    """
    crs = canonical(str(target.crs))
    found: dict[str, Longs] = {}
    here = np.zeros(mosaic.count, bool)
    for name in dict.fromkeys((*assets, *others)):
        asset = mosaic.assets[name]
        # the mosaic's own grid was made to hold all of them
        own = target == mosaic.grid
        rows = np.arange(len(asset.item)) if own else near(target, crs, asset.grids)
        if native:
            rows = rows[on(target, crs, asset.grids.take(rows))]
        if span is not None:
            time = mosaic.time[asset.item[rows]]
            rows = rows[(time >= span[0]) & (time <= span[1])]
        found[name] = rows
        if name in assets:
            here[asset.item[rows]] = True
    if not here.any():
        raise UsageError(_nothing(mosaic))
    if isinstance(groupby, Groups):
        groups = groupby
    else:
        groups = grouped(mosaic, np.flatnonzero(here), groupby, longitude(target))
    parts = {}
    for name, rows in found.items():
        asset = mosaic.assets[name]
        item = asset.item[rows]
        z = -mosaic.z[item] if last else mosaic.z[item]
        every = len(rows) == len(asset.item)
        grids = asset.grids if every else asset.grids.take(rows)
        parts[name] = Part(asset, rows, grids, groups.of[item], z)
    return Scenes(mosaic, groups, parts, raw)


def longitude(target: GeoBox) -> float:
    """Of the middle of a target."""
    crs = canonical(str(target.crs))
    height, width = target.shape
    x, y = target.affine @ (width / 2, height / 2)
    longitude, _ = project(crs, LONLAT, np.array([x]), np.array([y]))
    return float(longitude[0]) if np.isfinite(longitude[0]) else 0.0


def _nothing(mosaic: Opened) -> str:
    """That no item is left, and where and when there are some."""
    known = mosaic.time[mosaic.time != NEVER]
    days = known[[known.argmin(), known.argmax()]].astype("datetime64[ms]") if len(known) else []
    when = ", " + " to ".join(str(day)[:10] for day in days) if len(known) else ""
    west, south, east, north = mosaic.grid.geographic_extent.boundingbox.bbox
    count = mosaic.total or mosaic.count
    return (
        f"no item lies in this grid and time; {shown(mosaic.base)} has {count} items in "
        f"[{west:.2f}, {south:.2f}, {east:.2f}, {north:.2f}]{when}"
    )
