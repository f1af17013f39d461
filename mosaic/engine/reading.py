"""What users ask of an opened mosaic, as a request: bands, grid, scenes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from mosaic import bridge
from mosaic.catalog.columns import Longs
from mosaic.catalog.opened import Asset, Opened, Variant
from mosaic.catalog.when import interval
from mosaic.catalog.window import near
from mosaic.engine.pieces import Grid
from mosaic.engine.resampling import method
from mosaic.engine.scene import Layer, Request, Scene, shown
from mosaic.errors import UsageError
from mosaic.grid import LONLAT, Bounds, affine6, canonical, covering, is_horizontal
from mosaic.outline import box_bounds


def chosen(mosaic: Opened, bands: Sequence[str] | str | None) -> list[tuple[str, str, int]]:
    """Name, asset and place in it of each band that is read.

    A band of an asset with one band is called as the asset; others as they are called in it, or
    by their place (``visual.1``), and the asset's name means all of them. Raises UsageError, which
    says which there are.
    """
    known: dict[str, list[tuple[str, str, int]]] = {}
    for name, asset in mosaic.assets.items():
        own = [
            (name if len(asset.bands) == 1 else band.name or f"{name}.{place + 1}", name, place)
            for place, band in enumerate(asset.bands)
        ]
        known[name] = own
    for own in list(known.values()):
        for one in own:
            known.setdefault(one[0], [one])
            known.setdefault(mosaic.assets[one[1]].bands[one[2]].name or one[0], [one])
    there = ", ".join(known)
    for name, asset in mosaic.assets.items():
        for place in range(len(asset.bands) if len(asset.bands) > 1 else 0):
            known.setdefault(f"{name}.{place + 1}", [(f"{name}.{place + 1}", name, place)])
    if bands is None:
        return [one for name in mosaic.assets for one in known[name]]
    asked = band_names(bands) or []
    unknown = [band for band in asked if band not in known]
    if unknown or not asked:
        what = f"no band {', '.join(map(str, unknown))}" if unknown else "no bands were asked for"
        raise UsageError(f"{what}; the mosaic has {there}")
    return [one for band in asked for one in known[band]]


def band_names(bands: Any) -> list[str] | None:
    """Bands as users write them: one, several, or None for all."""
    if bands is None:
        return None
    several = isinstance(bands, Iterable) and not isinstance(bands, str)
    return list(bands) if several else [bands]


class Gridded(Protocol):
    """What has pixels of its own: an :class:`~mosaic.catalog.opened.Opened`."""

    @property
    def crs(self) -> str:
        """Canonical name of its CRS."""

    @property
    def grid(self) -> GeoBox:
        """Its pixels."""


def target_of(
    mosaic: Gridded,
    bbox: Sequence[float] | None,
    geobox: GeoBox | None,
    crs: Any,
    resolution: float | Sequence[float] | None,
) -> GeoBox:
    """The grid to read: the mosaic's own, or that part of it that a box in degrees asks for."""
    if geobox is not None:
        if bbox is not None or crs is not None or resolution is not None:
            raise UsageError("give either geobox, or bbox, crs and resolution")
        if not isinstance(geobox, GeoBox):
            raise UsageError(f"geobox={geobox!r} is no odc.geo GeoBox")
        if geobox.crs is None or min(geobox.shape) < 1:
            raise UsageError("geobox needs a CRS and pixels")
        affine6(tuple(geobox.affine))
        _flat(canonical(str(geobox.crs)))
        return geobox
    own = canonical(str(crs)) if crs is not None else mosaic.crs
    _flat(own)
    a = mosaic.grid.affine
    if own != mosaic.crs and resolution is None:
        raise UsageError(f"give resolution= in units of {own[:40]}, too")
    size = pixel_size(resolution) if resolution is not None else (a.a, -a.e)
    same = own == mosaic.crs and np.allclose(size, (a.a, -a.e), rtol=1e-9, atol=0)
    if bbox is None and same:
        return mosaic.grid
    if bbox is not None:
        bounds = box_bounds(degrees(bbox), LONLAT, own)
    else:
        bounds = box_bounds(_four(mosaic.grid.boundingbox.bbox), mosaic.crs, own)
    if bounds is None:
        raise UsageError(f"bbox {list(bbox or ())} has no place in {own[:40]}")
    return covering(bounds, size, own, (a.c, a.f) if same else (0.0, 0.0))


def _flat(crs: str) -> None:
    if not is_horizontal(crs):
        raise UsageError(f"{crs[:40]} is no CRS of a map")


def pixel_size(resolution: float | Sequence[float]) -> tuple[float, float]:
    """Width and height of a pixel, as a user writes it. Raises UsageError."""
    both = _numbers([resolution] * 2 if np.ndim(resolution) == 0 else resolution)
    if len(both) != 2 or not np.isfinite(both).all() or 0 in both:
        raise UsageError(f"resolution={resolution!r} is no size of a pixel")
    return abs(both[0]), abs(both[1])


def degrees(bbox: Sequence[float]) -> Bounds:
    """West, south, east, north, as a user writes them. Raises UsageError."""
    four = _numbers(bbox)
    if len(four) != 4 or not np.isfinite(four).all():
        raise UsageError(f"bbox {bbox!r} isn't west, south, east, north in degrees")
    west, south, east, north = _four(four)
    if not (-90 <= south < north <= 90) or west == east or abs(west) > 360 or abs(east) > 360:
        raise UsageError(f"bbox {bbox!r} is empty, or isn't west, south, east, north in degrees")
    return west, south, east, north


def _numbers(values: Any) -> list[float]:
    """Numbers, or nothing where they can't be meant."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []


def _four(values: Sequence[float]) -> Bounds:
    west, south, east, north = values
    return west, south, east, north


def requested(
    mosaic: Opened,
    target: GeoBox,
    wanted: Sequence[tuple[str, str, int]],
    datetime: Any,
    resampling: str | None,
    raw: bool,
    mixed: bool = False,
) -> tuple[Request, tuple[str, ...], list[tuple[int, int]]]:
    """The request, the names of its bands, and the layer and place of each.

    ``mixed``: whether bands may differ in data type. Raises UsageError where they mayn't and do.
    """
    span = interval(datetime) if datetime is not None else None
    grid = grid_of(target)
    layers: list[Layer] = []
    where: dict[tuple[str, int], tuple[int, int]] = {}
    for asset in dict.fromkeys(asset for _, asset, _ in wanted):
        places = sorted({place for _, name, place in wanted if name == asset})
        one = mosaic.assets[asset]
        scenes = scenes_of(mosaic, one, target, span, raw)
        declared = tuple(one.bands[place] for place in places)
        odd = {band.dtype for band in declared if shown(band.dtype) is None}
        if odd:
            raise UsageError(
                f"{asset} is {', '.join(sorted(odd))}: complex numbers can't be read; "
                "choose others by bands=, or index their amplitude"
            )
        how = method(resampling or one.resampling)
        layers.append(Layer(asset, tuple(places), declared, how, scenes))
        where |= {(asset, place): (len(layers) - 1, at) for at, place in enumerate(places)}
    kinds = {band.dtype for layer in layers for band in layer.declared}
    if len(kinds) > 1 and not mixed:
        told = ", ".join(f"{n} is {mosaic.assets[a].bands[p].dtype}" for n, a, p in wanted)
        raise UsageError(f"bands differ in data type ({told}): read them apart, with bands=")
    request = Request(grid, (0, 0, *grid.shape), tuple(layers))
    return request, tuple(n for n, _, _ in wanted), [where[a, p] for _, a, p in wanted]


def grid_of(box: GeoBox) -> Grid:
    """A GeoBox as the engine has grids."""
    height, width = box.shape
    return Grid(canonical(str(box.crs)), (height, width), tuple(box.affine)[:6])


def scenes_of(
    mosaic: Opened, asset: Asset, target: GeoBox, span: tuple[int, int] | None, raw: bool
) -> tuple[Scene, ...]:
    """The scenes that a window may need, from the topmost down."""
    rows = bridge.on_planner(lambda: near(target, canonical(str(target.crs)), asset.grids))
    if span is not None:
        time = mosaic.time[asset.item[rows]]
        rows = rows[(time >= span[0]) & (time <= span[1])]
    rows = rows[np.argsort(-mosaic.z[asset.item[rows]], kind="stable")]
    return tuple(learned(mosaic, asset, rows, raw))


def learned(mosaic: Opened, asset: Asset, rows: Longs, raw: bool) -> Iterator[Scene]:
    """An asset's files as scenes, by their rows; ids and hrefs are read from the source."""
    shapes, transforms = asset.grids.shape[rows], asset.grids.transform[rows]
    hrefs, masks = mosaic.hrefs(asset, rows), mosaic.masks(asset, rows)
    ids = mosaic.ids(asset.item[rows])
    for place, row in enumerate(rows.tolist()):
        variant: Variant = asset.variants[asset.variant[row]]
        height, width = shapes[place].tolist()
        yield Scene(
            ids[place],
            asset.name,
            hrefs[place],
            Grid(asset.grids.name(row), (height, width), tuple(transforms[place].tolist())),
            replace(variant, recodings=None) if raw else variant,
            masks[place],
        )
