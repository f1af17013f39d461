"""``mosaic.open``: arguments to a lazy dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime as _datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from xarray.core import indexing

from mosaic import bridge
from mosaic.catalog.opened import Opened
from mosaic.catalog.when import interval
from mosaic.cube import accessor as _registered  # noqa: F401 - gives datasets their .mosaic
from mosaic.cube.array import BandArray
from mosaic.cube.axes import coordinates
from mosaic.cube.choice import Choice
from mosaic.cube.composed import Composed, cube_of
from mosaic.cube.composite import asked, composite
from mosaic.cube.cube import Cube
from mosaic.cube.groups import GroupBy
from mosaic.cube.meant import found_in
from mosaic.cube.reduction import attributes, returned
from mosaic.cube.sources import opened
from mosaic.cube.stack import deepest
from mosaic.cube.stamp import stamp
from mosaic.cube.variables import COVERED, Variable
from mosaic.cube.workers import check_workers
from mosaic.engine.reading import band_names, target_of
from mosaic.errors import UsageError
from mosaic.storage import Gate, chosen_gate

DIMS = ("time", "y", "x")
CHUNKS = {"time": 1, "y": 2048, "x": 2048}
"""Of a dask array, where none are told."""
_SIDE = 1 << 25
"""Pixels of a side, each of which has a coordinate, beyond which it can't be meant."""


def open_cube(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: Any = None,
    geobox: GeoBox | None = None,
    like: Any = None,
    bands: str | Sequence[str] | None = None,
    datetime: Any = None,
    groupby: GroupBy = "auto",
    resampling: str | Mapping[str, str] | None = None,
    dtype: Any = None,
    method: Any = "first",
    over: str | None = "auto",
    best: str | None = None,
    mask: Mapping[str, Any] | None = None,
    mask_dilate: int = 0,
    errors: str = "raise",
    chunks: Any = None,
    raw: bool = False,
    gate: Gate | None = None,
    where: str | None = None,
    via: str | None = None,
    cache: bool = True,
    native: bool = False,
) -> xr.Dataset:
    """See :func:`mosaic.open`; ``cache``: what was read stays with its variable.

    ``native``: only scenes are read whose pixels are the grid's own.
    """
    how = asked(method, groupby, over, best, mask, mask_dilate)
    if errors not in ("raise", "ignore"):
        raise UsageError(f"errors={errors!r}: raise or ignore")
    source = steady(source)
    gate = chosen_gate(gate, via)
    if hasattr(resolution, "xy"):  # odc.geo's
        resolution = [abs(size) for size in resolution.xy]
    if like is not None:
        geobox = _like(like, bbox, crs, resolution, geobox)
    mosaic = opened(
        source,
        gate=gate,
        bands=band_names(bands),
        also=how.names,
        bbox=bbox,
        crs=crs,
        resolution=resolution,
        geobox=geobox,
        raw=raw,
        errors=errors,
        where=where,
        span=interval(datetime) if datetime is not None else None,
    )
    source = source if mosaic.base else mosaic
    made, shown, order = composite(how, mosaic, bands, resampling, dtype)
    choice = Choice(
        source,
        stamp(source, gate),
        _target(mosaic, bbox, crs, resolution, geobox),
        shown,
        interval(datetime) if datetime is not None else None,
        how.groupby,
        order,
        how.how.name == "last",
        made,
        errors == "ignore",
        raw,
        gate,
        native,
        where,
    )
    found = bridge.on_planner(lambda: found_in(choice, mosaic))
    if callable(how.groupby):
        choice = replace(choice, groupby=found.groups)
    cube = cube_of(choice, found)
    if isinstance(cube, Composed):
        cube = cube_of(reduced(choice, cube, dtype), found)
    lazy = dataset(cube, cache and chunks is None)
    return lazy if chunks is None else chunked(lazy, chunks)


def reduced(choice: Choice, cube: Composed, dtype: Any) -> Choice:
    """A choice with its bands as a composite returns them."""
    made, layers = cube.composer().made, deepest(cube.composer().stack)
    bands = [returned(one, made.how, dtype, bool(made.rules), layers) for one in choice.variables]
    return replace(choice, variables=tuple(bands))


def steady(source: Any) -> Any:
    """A path as it means the same from every folder."""
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if isinstance(source, str) and "://" not in source:
        return str(Path(source).expanduser().absolute())
    return source


def _like(like: Any, *others: Any) -> GeoBox:
    """The grid of what is given as ``like``."""
    if any(one is not None for one in others):
        raise UsageError("give either like, or geobox, or bbox, crs and resolution")
    found = like if isinstance(like, GeoBox) else _grid_of(like)
    if not isinstance(found, GeoBox):
        raise UsageError("like= has no grid: a GeoBox, or what xarray made with a CRS")
    return found


def _target(mosaic: Opened, bbox: Any, crs: Any, resolution: Any, geobox: GeoBox | None) -> GeoBox:
    target = bridge.on_planner(lambda: target_of(mosaic, bbox, geobox, crs, resolution))
    if max(target.shape) > _SIDE:
        height, width = target.shape
        raise UsageError(
            f"{width} x {height} pixels are too many; give a smaller bbox or a coarser resolution"
        )
    return target


def _grid_of(like: Any) -> Any:
    """The grid of something of xarray's, or None."""
    known = getattr(like, "odc", None)
    return known.geobox if known is not None else None


def dataset(cube: Cube, cache: bool) -> xr.Dataset:
    """A cube's variables, nothing of which is read yet."""
    target = cube.choice.target
    coords: dict[Any, Any] = {**coordinates(target)}
    moment = xr.DataArray([_datetime(2000, 1, 1)]).dtype  # datetimes' own unit in this xarray
    times = cube.scenes().groups.time.astype(moment)
    coords["time"] = xr.DataArray(times, dims=("time",))
    shape = len(times), int(target.shape[0]), int(target.shape[1])
    found = {}
    for one in cube.choice.variables:
        found[one.name] = _variable(cube, one.name, shape, one.dtype, _attrs(cube, one), cache)
        if cube.choice.ignore:
            told = {"long_name": f"whether all that could show in {one.name} was read"}
            name = one.name + COVERED
            found[name] = _variable(cube, name, shape, np.dtype(bool), told, cache)
    made = xr.Dataset(found, coords=coords)
    made.encoding["mosaic"] = cube
    if isinstance(cube.choice.source, str):
        made.encoding["source"] = cube.choice.source
    return made


def _variable(
    cube: Cube,
    name: str,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    attrs: dict[str, Any],
    cache: bool,
) -> xr.Variable:
    lazy: Any = indexing.LazilyIndexedArray(BandArray(cube, name, shape, dtype))
    lazy = indexing.CopyOnWriteArray(lazy)
    if cache:
        lazy = indexing.MemoryCachedArray(lazy)  # type: ignore[no-untyped-call]
    sizes = dict(zip(DIMS, shape, strict=True))
    preferred = {dim: min(size, sizes[dim]) for dim, size in CHUNKS.items() if sizes[dim]}
    encoding = {"grid_mapping": "spatial_ref", "preferred_chunks": preferred}
    return xr.Variable(DIMS, lazy, attrs, encoding, fastpath=True)


def _attrs(cube: Cube, one: Variable) -> dict[str, Any]:
    """What is said of a band: nodata for odc and rioxarray, the rest as CF has it."""
    attrs: dict[str, Any] = {}
    fill = one.fill
    if fill is not None:
        attrs["nodata"] = int(fill) if one.dtype.kind in "iu" else fill
        attrs["_FillValue"] = one.dtype.type(fill)
    band = one.declared
    if not cube.choice.raw and (band.scale, band.offset) != (1.0, 0.0):
        attrs |= {"scale_factor": band.scale, "add_offset": band.offset}
    if band.unit:
        attrs["units"] = band.unit
    if cube.choice.composite is not None:
        attrs |= attributes(cube.choice.composite.how)
    if cube.choice.ignore:
        attrs["ancillary_variables"] = one.name + COVERED
    return attrs


def chunked(made: xr.Dataset, chunks: Any) -> xr.Dataset:
    """A dataset of dask arrays; dimensions that nothing is told of have :data:`CHUNKS`.

    Raises WorkerError where dask's workers can't read it.
    """
    if isinstance(chunks, Mapping):
        unknown = [str(dim) for dim in chunks if dim not in DIMS]
        if unknown:
            raise UsageError(f"chunks= names no dimension {', '.join(unknown)}: time, y, x")
        chunks = {**CHUNKS, **chunks}
    check_workers()
    token = made.encoding["mosaic"].choice.token
    try:
        return made.chunk(chunks, name_prefix="mosaic-", token=token)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UsageError(f"chunks={chunks!r:.80} can't be meant ({error})") from error
