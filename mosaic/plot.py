"""Figures: footprints by CRS, pixels over them, how many scenes lie where."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from mosaic.catalog.source import label
from mosaic.outline import Geometries

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#666666")
"""Of CRSs, the most frequent first; all others take the last."""
_MOST = 4000
"""Footprints drawn; of more, an even sample (the title says so)."""
_LEGEND = 12
"""CRSs in a legend."""
_STEPS = 12
"""Colours of a map of counts."""
_EMPTY = "#e8e8e8"
DPI = 110


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
    figure, axes = _figure(8, 6, mosaic_crs)
    handles, sample = _outlined(axes, geometry, crs_of, items)
    axes.autoscale_view()
    axes.set_title(f"{title}{sample}", fontsize=10)
    axes.legend(handles=handles, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def overlaid(
    picture: npt.NDArray[np.uint8],
    affine: Affine,
    geometry: Geometries,
    crs_of: list[str],
    items: dict[str, int],
    mosaic_crs: str,
    title: str,
    size: int,
) -> Figure:
    """Pixels over footprints, whose edges lie on top; the rest as in :func:`drawn`.

    ``picture``: (h, w, 4) RGBA, and the place of its pixels. ``size``: pixels of the longer side
    of the whole.
    """
    left, right, bottom, top = _extent(affine, picture.shape)
    across, down = right - left, top - bottom
    wide = high = least = (size + 0.01) / DPI  # inches become whole pixels, rounded down
    room = 0.9, 1.0 + 0.16 * -(-min(len(items), _LEGEND) // 4)  # inches: labels, title, legend
    share = (wide - room[0]) / max(high - room[1], 0.1) * down / across
    if share < 1:
        high = (high - room[1]) * share + room[1]
    else:
        wide = (wide - room[0]) / share + room[0]
    figure, axes = _figure(max(wide, least / 3), max(high, least / 3), mosaic_crs)
    handles, sample = _outlined(axes, geometry, crs_of, items, edges=True)
    _placed(axes, picture, affine, zorder=1.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(f"{title}{sample}", fontsize=9, wrap=True)
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=4, frameon=False)
    return figure


def counted(numbers: npt.NDArray[np.int64], affine: Affine, crs: str, what: str) -> Figure:
    """A map of counts: a colour each, or for a span of them; grey where there is nothing.

    ``numbers``: (h, w), and the place of its pixels; ``what`` is counted.
    """
    left, right, bottom, top = _extent(affine, numbers.shape)
    figure, axes = _figure(7, min(6.0, max(3.0, 1 + 5.2 * (top - bottom) / (right - left))), crs)
    most = max(int(numbers.max(initial=0)), 1)
    step = -(-most // _STEPS)
    ends = np.arange(1, most + step + 1, step)
    colors = _viridis(len(ends) - 1)
    shown = np.ma.masked_equal(numbers, 0)
    norm = BoundaryNorm(ends, len(colors))
    image = _placed(axes, shown, affine, cmap=ListedColormap(colors), norm=norm)
    axes.set_facecolor(_EMPTY)
    bar = figure.colorbar(image, ax=axes, label=what, ticks=(ends[:-1] + ends[1:]) / 2)
    bar.ax.set_yticklabels([_span(a, b - 1) for a, b in pairwise(ends.tolist())])
    bar.ax.tick_params(length=0, labelsize=8)
    bar.minorticks_off()
    covered = float((numbers > 0).mean())
    mean = float(numbers.mean())
    axes.grid(False)
    axes.set_title(
        f"{what} over {covered:.1%} of the grid: {numbers.min()} to {numbers.max()}, "
        f"{mean:.1f} on average",
        fontsize=10,
    )
    if covered < 1:
        axes.legend(handles=[Patch(color=_EMPTY, label="none")], fontsize=8, loc="lower right")
    return figure


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _viridis(count: int) -> list[tuple[float, ...]]:
    table = mpl.colormaps["viridis"]
    return [tuple(table(share)) for share in np.linspace(0.1, 1, count)]


def _figure(wide: float, high: float, crs: str) -> tuple[Figure, Any]:
    """An empty map; its size in inches."""
    figure = Figure(figsize=(wide, high), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    found = pyproj.CRS.from_user_input(crs)
    units = found.axis_info[0].unit_name if found.axis_info else ""
    axes.set_xlabel(f"x ({units})")
    axes.set_ylabel(f"y ({units})")
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.grid(alpha=0.25, linewidth=0.5)
    return figure, axes


def _extent(affine: Affine, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a grid."""
    corners = [(0, 0), (shape[1], 0), (0, shape[0]), shape[1::-1]]
    x, y = zip(*(affine @ corner for corner in corners), strict=True)
    return min(x), max(x), min(y), max(y)


def _placed(axes: Any, picture: npt.NDArray[Any], affine: Affine, **how: Any) -> Any:
    """An image where its pixels lie, rotated ones too; and no more than that is shown."""
    height, width = picture.shape[:2]
    image = axes.imshow(picture, extent=(0, width, height, 0), interpolation="nearest", **how)
    image.set_transform(Affine2D(np.reshape(tuple(affine), (3, 3))) + axes.transData)
    left, right, bottom, top = _extent(affine, picture.shape)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    return image


def _outlined(
    axes: Any,
    geometry: Geometries,
    crs_of: list[str],
    items: dict[str, int],
    edges: bool = False,
) -> tuple[list[Patch], str]:
    """Outlines by CRS: what a legend shows of them, and whether they are but a sample.

    ``edges``: edges lie above all else.
    """
    step = max(1, -(-len(geometry) // _MOST))
    shown = np.arange(0, len(geometry), step)
    width = 1.2 if len(shown) < 100 else 0.4
    there = set(crs_of)
    names = [name for name in items if name in there]
    handles = []
    for position, name in enumerate(names):
        mine = [geometry[row] for row in shown if crs_of[row] == name]
        rings = [
            shapely.get_coordinates(part.exterior)
            for shape in mine
            for part in shapely.get_parts(shape)
        ]
        color = COLORS[min(position, len(COLORS) - 1)]
        drawn = PolyCollection(
            rings, facecolor=color, edgecolor=color, alpha=0.35, linewidth=0.8, zorder=1
        )
        axes.add_collection(drawn)
        if edges:
            above = PolyCollection(rings, facecolor="none", edgecolor=color, linewidth=width)
            above.set(zorder=2, alpha=0.8)
            axes.add_collection(above)
        if position < _LEGEND:
            told = f"{label(name)}  ({items[name]:,})"
            handles.append(Patch(color=color, alpha=0.5, label=told))
    return handles, f", every {step}th footprint" if step > 1 else ""
