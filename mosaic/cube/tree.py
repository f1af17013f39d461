"""``mosaic.open_tree``: the native pixels of each CRS beside the lazy mosaic."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from mosaic import bridge
from mosaic.catalog.opened import Opened
from mosaic.catalog.when import interval
from mosaic.cube.groups import GroupBy
from mosaic.cube.native import Lattice, cut, lattices, touching
from mosaic.cube.opening import open_cube, steady
from mosaic.cube.sources import opened
from mosaic.engine.reading import band_names, chosen, degrees
from mosaic.grid import LONLAT, Grids, is_geographic
from mosaic.grid import crs as crs_of
from mosaic.outline import box_bounds
from mosaic.storage import Gate, chosen_gate

MOSAIC = "mosaic"
"""Node of the lazy mosaic."""
_LONGEST = 24
"""Letters of a CRS's name, beyond which it isn't a code."""


def open_tree(
    source: Any,
    *,
    bbox: Sequence[float] | None,
    bands: Sequence[str] | str | None,
    datetime: Any,
    groupby: GroupBy,
    errors: str,
    chunks: Any,
    raw: bool,
    gate: Gate | None,
    via: str | None,
) -> xr.DataTree:
    """See :func:`mosaic.open_tree`."""
    gate = chosen_gate(gate, via)
    source = steady(source)
    wanted = band_names(bands)
    mosaic = opened(source, gate=gate, bands=wanted, bbox=bbox, raw=raw, errors=errors)
    source = source if mosaic.base else mosaic
    told: dict[str, Any] = {"datetime": datetime, "errors": errors, "chunks": chunks, "gate": gate}
    nodes = {MOSAIC: open_cube(source, bands=wanted, bbox=bbox, **told)}
    names = chosen(mosaic, wanted)
    grids = {
        asset: _grids(mosaic, asset, datetime) for asset in dict.fromkeys(a for _, a, _ in names)
    }
    for path, one in bridge.on_planner(lambda: _placed(grids, bbox)).items():
        own = [name for name, asset, _ in names if asset in one.assets]
        nodes[path] = open_cube(
            source, bands=own, geobox=one.geobox, groupby=groupby, resampling="nearest",
            raw=raw, native=True, **told,
        )  # fmt: skip
    return xr.DataTree.from_dict(nodes)


def _grids(mosaic: Opened, asset: str, datetime: Any) -> Grids:
    """Grids of an asset's scenes in a time."""
    one = mosaic.assets[asset]
    if datetime is None:
        return one.grids
    first, last = interval(datetime)
    time = mosaic.time[one.item]
    return one.grids.take((time >= first) & (time <= last))


def _placed(grids: Mapping[str, Grids], bbox: Sequence[float] | None) -> dict[str, Lattice]:
    """Lattices by the paths of their nodes: ``EPSG_32632/10m``."""
    if bbox is not None:
        names = {crs for own in grids.values() for crs in own.crs}
        bounds = {crs: box_bounds(degrees(bbox), LONLAT, crs) for crs in names}
        grids = {asset: own.take(touching(own, bounds)) for asset, own in grids.items()}
    found: dict[str, Lattice] = {}
    for one in lattices(grids):
        part: Lattice | None = one
        if bbox is not None:
            box = bounds[one.crs]
            part = None if box is None else cut(one, box)
        if part is not None:
            found[_path(one, found)] = part
    return found


def _path(one: Lattice, taken: Mapping[str, Any]) -> str:
    """A path that no other lattice has."""
    code = one.crs.replace(":", "_") if len(one.crs) < _LONGEST else crs_of(one.crs).name
    folder = re.sub(r"\W+", "_", code).strip("_") or "CRS"
    path = f"{folder}/{one.size:.10g}{'deg' if is_geographic(one.crs) else 'm'}"
    names = [path, *(f"{path}_{number}" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)
