"""Figures of the scenes of a dataset: where they lie, and how many of them where."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox

from mosaic import plot
from mosaic.catalog.columns import Longs
from mosaic.cube.piles import coarse, counted, piled, shaped, times_counted
from mosaic.cube.scenes import Scenes
from mosaic.errors import UsageError
from mosaic.grid import Floats, canonical

OF = ("items", "time")


def footprints(found: Scenes, target: GeoBox) -> Figure:
    """See ``ds.mosaic.footprints``."""
    crs = canonical(str(target.crs))
    pile = piled(found)
    shapes = shaped(pile.grids, target)
    names = [pile.grids.name(grid) for grid in shapes.grid.tolist()]
    title = f"{len(pile.item):,} items near the grid"
    figure = plot.drawn(shapes.geometry, names, pile.counts(), crs, title)
    (axes,) = figure.axes
    axes.plot(*edge(target), color="black", linewidth=1.2)
    axes.autoscale_view()
    return figure


def counts(found: Scenes, target: GeoBox, of: str, size: int) -> tuple[Longs, GeoBox]:
    """See ``ds.mosaic.counts``: (H, W) numbers and their grid."""
    if of not in OF:
        raise UsageError(f"of={of!r}: one of {', '.join(OF)}")
    if size < 1:
        raise UsageError(f"size={size}: pixels of the longer side")
    grid = coarse(target, size)
    work = counted if of == "items" else times_counted
    return work(piled(found), grid), grid


def coverage(found: Scenes, target: GeoBox, of: str, size: int) -> Figure:
    """See ``ds.mosaic.coverage``."""
    numbers, grid = counts(found, target, of, size)
    what = "items" if of == "items" else "layers of time"
    return plot.counted(numbers, grid.affine, canonical(str(target.crs)), what)


def edge(target: GeoBox) -> tuple[Floats, Floats]:
    """(5,) x and y round a grid."""
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) * target.shape[::-1]
    x, y = target.affine @ (corners[:, 0].astype(float), corners[:, 1].astype(float))
    return x, y
