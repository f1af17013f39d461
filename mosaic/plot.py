"""Figures: the footprints of a mosaic's items, coloured by CRS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mosaic.catalog.source import label
from mosaic.outline import Geometries

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#666666")
"""Of CRSs, the most frequent first; all others take the last."""
_MOST = 4000
"""Footprints drawn; of more, an even sample (the title says so)."""


def footprints(
    path: Path,
    geometry: Geometries,
    crs_of: list[str],
    items: dict[str, int],
    mosaic_crs: str,
    title: str,
) -> None:
    """Writes :func:`drawn` as a PNG."""
    figure = drawn(geometry, crs_of, items, mosaic_crs, title)
    figure.savefig(path, metadata={"Software": "mosaic"})


def drawn(
    geometry: Geometries,
    crs_of: list[str],
    items: dict[str, int],
    mosaic_crs: str,
    title: str,
) -> Figure:
    """Footprints in the mosaic's CRS, one colour for each source CRS.

    ``items``: number of items in each CRS, most frequent first.
    """
    step = -(-len(geometry) // _MOST)
    shown = np.arange(0, len(geometry), step)
    names = [name for name in items if name in set(crs_of)]
    figure = Figure(figsize=(8, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for position, name in enumerate(names):
        mine = [geometry[row] for row in shown if crs_of[row] == name]
        rings = [
            shapely.get_coordinates(part.exterior)
            for shape in mine
            for part in shapely.get_parts(shape)
        ]
        color = COLORS[min(position, len(COLORS) - 1)]
        axes.add_collection(
            PolyCollection(rings, facecolor=color, edgecolor=color, alpha=0.35, linewidth=0.8)
        )
    axes.autoscale_view()
    axes.set_aspect("equal")
    found = pyproj.CRS.from_user_input(mosaic_crs)
    units = found.axis_info[0].unit_name if found.axis_info else ""
    axes.set_xlabel(f"x ({units})")
    axes.set_ylabel(f"y ({units})")
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.grid(alpha=0.25, linewidth=0.5)
    sample = f", every {step}th footprint" if step > 1 else ""
    axes.set_title(f"{title}{sample}", fontsize=10)
    handles = [
        Patch(
            color=COLORS[min(i, len(COLORS) - 1)],
            alpha=0.5,
            label=f"{label(name)}  ({items[name]:,})",
        )
        for i, name in enumerate(names[:12])
    ]
    axes.legend(handles=handles, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
