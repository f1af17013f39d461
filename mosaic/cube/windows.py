"""Windows of bands as requests. Pure, but for what the source tells of its scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.cube.keys import Run, stepped
from mosaic.cube.scenes import Scenes
from mosaic.cube.variables import Variable
from mosaic.engine.lattice import Window
from mosaic.engine.pieces import Grid
from mosaic.engine.reading import grid_of
from mosaic.engine.scene import Layer, Request

Where = dict[str, list[tuple[int, int]]]
"""By band: layer of a request, and place in it, at each time."""


@dataclass(frozen=True, slots=True)
class Place:
    """A window of a grid, or of that which steps make of it."""

    grid: Grid
    """The grid."""
    window: Window
    """First row, first column, height, width."""
    box: GeoBox
    """The same."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A block of a window, and what is drawn in it."""

    row: Run
    """Rows."""
    column: Run
    """Columns."""
    layers: tuple[int, ...]
    """Layers that may show."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.row.count, self.column.count

    def inside(self, row: Run, column: Run) -> tuple[slice, slice]:
        """Where it lies in a window of these rows and columns."""
        top = (self.row.start - row.start) // row.step
        left = (self.column.start - column.start) // column.step
        return slice(top, top + self.row.count), slice(left, left + self.column.count)


def place_of(target: GeoBox, row: Run, column: Run) -> Place:
    """Where some rows and columns of a target lie."""
    own = grid_of(target)
    grid, window = stepped(own, row, column)
    top, left, height, width = window
    box = target
    if grid is not own:
        box = GeoBox(grid.shape, Affine(*grid.transform), target.crs)
    return Place(grid, window, box[top : top + height, left : left + width])


def layered(
    place: Place, bands: Sequence[Variable], scenes: Scenes, times: Sequence[int]
) -> tuple[Request, Where]:
    """The request of a window, and layer and place of each band at each time."""
    sorts: dict[tuple[str, Any], list[Variable]] = {}
    for one in bands:
        sorts.setdefault((one.asset, one.method), []).append(one)
    layers: list[Layer] = []
    where: Where = {one.name: [] for one in bands}
    for (asset, method), members in sorts.items():
        members.sort(key=lambda one: one.place)
        there = tuple(one.place for one in members)
        declared = tuple(one.declared for one in members)
        for some in scenes.of(asset, times, place.box):
            for number, one in enumerate(members):
                where[one.name].append((len(layers), number))
            layers.append(Layer(asset, there, declared, method, some))
    return Request(place.grid, place.window, tuple(layers)), where
