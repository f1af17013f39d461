"""A figure of the scenes of a dataset, over its grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox

from mosaic import plot
from mosaic.cube.scenes import Scenes
from mosaic.grid import canonical
from mosaic.outline import outlines


def footprints(found: Scenes, target: GeoBox) -> Figure:
    """See ``ds.mosaic.footprints``."""
    crs = canonical(str(target.crs))
    a, b, _, d, e, _ = tuple(target.affine)[:6]
    size = np.array([np.hypot(a, d), np.hypot(b, e)])
    counted = np.zeros(0, np.int64)
    geometry: list[Any] = []
    names: list[str] = []
    items: dict[str, int] = {}
    for part in found.parts.values():
        item, first = np.unique(part.asset.item[part.rows], return_index=True)
        grids = part.grids.take(first[~np.isin(item, counted)])  # others by another asset
        counted = np.union1d(counted, item)
        alike = np.column_stack([grids.crs_index, grids.shape, grids.transform])
        _, rows, count = np.unique(alike, axis=0, return_index=True, return_counts=True)
        grids = grids.take(rows)
        for place, number in enumerate(count.tolist()):
            items[grids.name(place)] = items.get(grids.name(place), 0) + number
        made = outlines(grids, crs, np.tile(size, (len(grids), 1)))
        geometry += list(made.geometry)
        names += [grids.name(int(row)) for row in made.grid]
    items = dict(sorted(items.items(), key=lambda pair: -pair[1]))
    shapes = np.array([None, *geometry], object)[1:]
    figure = plot.drawn(shapes, names, items, crs, f"{len(counted)} items near the grid")
    (axes,) = figure.axes
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * target.shape[::-1]
    x, y = zip(*(target.affine @ (u, v) for u, v in corners.tolist()), strict=True)
    axes.plot(x, y, color="black", linewidth=1.2)
    axes.autoscale_view()
    return figure
