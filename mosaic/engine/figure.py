"""The figure of a plan: which blocks are fetched for a window, and how much of each is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator

from mosaic.errors import UsageError
from mosaic.grid import Floats, project

if TYPE_CHECKING:
    from mosaic.engine.lattice import Grid
    from mosaic.engine.plan import Footprint, Plan

COLORS = ("waste", "level", "held")
_SIDE = np.linspace(0, 1, 5)
"""Along the edge of a block: a straight edge may be bent in another CRS."""
_MOST = 20_000
"""Blocks drawn; of more, an even sample (the title says so)."""
_LEVELS = ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9", "#666666")
_HELD = ("#d55e00", "#0072b2")


def figure(plan: Plan, color: str) -> Figure:
    """See :meth:`mosaic.engine.plan.Plan.plot`."""
    if color not in COLORS:
        raise UsageError(f"color={color!r}: one of {', '.join(COLORS)}")
    made = Figure(figsize=(7, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(made)
    axes = made.add_subplot()
    rings: list[Floats] = []
    values: list[Floats] = []
    sure: list[npt.NDArray[np.bool_]] = []
    for row in reversed(plan.rows):  # the topmost last, as it lies
        count = len(row.footprint.place)
        if count:
            rings += list(_rings(row.footprint, plan.target.crs))
            values.append(_values(row.footprint, row.level, color))
            sure.append(np.full(count, row.sure))
    title = f"{plan.shape}: {plan.least.blocks:,} blocks, {plan.waste:.2f} bytes for one used"
    if rings:
        step = -(-len(rings) // _MOST)
        every = slice(None, None, step)
        _draw(axes, rings[every], np.concatenate(values)[every], np.concatenate(sure)[every], color)
        title += f", every {step}th drawn" if step > 1 else ""
    outline = _window(plan.target, plan.window)
    halo = withStroke(linewidth=3.5, foreground="white")
    axes.add_patch(Polygon(outline, fill=False, linewidth=1.6, path_effects=[halo]))
    axes.update_datalim(outline)
    axes.set_xlabel(f"x ({plan.target.crs[:40]})")
    axes.set_ylabel("y")
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(title, fontsize=10)
    return made


def _rings(footprint: Footprint, crs: str) -> Floats:
    """(b, 16, 2) outlines of blocks in a CRS."""
    rows, columns = footprint.block
    height, width = footprint.grid.shape
    one = np.ones_like(_SIDE)
    across = np.concatenate([_SIDE, one[1:], _SIDE[::-1][1:], 0 * one[1:-1]])
    down = np.concatenate([0 * _SIDE, _SIDE[1:], one[1:], _SIDE[::-1][1:-1]])
    place = footprint.place[:, :, None]
    row = np.minimum((place[:, 0] + down) * rows, height)
    column = np.minimum((place[:, 1] + across) * columns, width)
    x, y = footprint.grid.xy(column.ravel(), row.ravel())
    x, y = project(footprint.grid.crs, crs, x, y)
    found: Floats = np.stack([x, y], axis=-1).reshape(*column.shape, 2)
    return found


def _window(target: Grid, window: tuple[int, int, int, int]) -> Floats:
    row, column, height, width = window
    corners = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
    x, y = target.xy(column + width * corners[0], row + height * corners[1])
    return np.column_stack([x, y])


def _values(footprint: Footprint, level: int, color: str) -> Floats:
    if color == "level":
        return np.full(len(footprint.place), float(level))
    if color == "held":
        return footprint.held.astype(float)
    found: Floats = 1 / np.maximum(footprint.share, 1e-3)
    return found


def _draw(
    axes: Any,
    rings: list[Floats],
    values: Floats,
    sure: npt.NDArray[np.bool_],
    color: str,
) -> None:
    """Blocks; those that are read only if holes show above are dotted outlines."""
    drawn = PolyCollection([ring for ring, is_sure in zip(rings, sure, strict=True) if is_sure])
    drawn.set(alpha=0.8, edgecolor="black", linewidth=0.5)
    mine = values[sure]
    if color == "waste":
        drawn.set(array=mine, cmap="viridis_r", norm=LogNorm(1, max(float(mine.max()), 1.01)))
        axes.figure.colorbar(
            drawn,
            ax=axes,
            label="pixels fetched for one that is needed",
            ticks=LogLocator(10, (1, 2, 5)),
            format="{x:g}",
        ).minorticks_off()
    else:
        table = _LEVELS if color == "level" else _HELD
        drawn.set_facecolor([table[min(int(value), len(table) - 1)] for value in mine])
        names = {n: f"overview {n}" if n else "full resolution" for n in range(len(table))}
        if color == "held":
            names = {0: "to be fetched", 1: "at hand"}
        handles = [
            Patch(color=table[min(n, len(table) - 1)], alpha=0.7, label=names.get(n, str(n)))
            for n in sorted({int(value) for value in mine})
        ]
        axes.legend(handles=handles, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes.add_collection(drawn)
    if not sure.all():
        rest = [ring for ring, is_sure in zip(rings, sure, strict=True) if not is_sure]
        maybe = PolyCollection(rest, facecolor="none", edgecolor="#888888", linewidth=0.6)
        maybe.set(linestyle=":")
        axes.add_collection(maybe)
