"""How a scene is drawn and fetched, and the plan of a read: pure, given headers.

The pipeline draws by :func:`ready` and fetches by :func:`groups` as the plan counts by them, so
that both agree to the request.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mosaic.engine.blocks import Draw, draw, level
from mosaic.engine.cost import Cost, least_seconds
from mosaic.engine.cover import Bools, Cells
from mosaic.engine.foreign import Foreign
from mosaic.engine.header import Head, check_kind, moved, own_grid
from mosaic.engine.lattice import Grid, Lattice, Window, scale
from mosaic.engine.pieces import Ints
from mosaic.engine.raster import Raster
from mosaic.engine.resampling import METHODS
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.engine.telling import dataframe, html, text
from mosaic.errors import Problem
from mosaic.grid import Floats, world
from mosaic.settings import CacheSettings
from mosaic.storage import Quota
from mosaic.storage.ranges import Span, coalesce

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """How one scene is drawn, now that its header is known."""

    draw: Draw
    """Its portions and blocks."""
    scale: tuple[float, float]
    """Rows and columns of the overview that is read to a target pixel."""
    same: bool
    """Whether its pixels are the target's own: they are copied."""


def ready(
    request: Request,
    cells: Cells,
    layer: Layer,
    scene: Scene,
    part: Lattice,
    head: Head | Foreign,
    drawn: dict[Hashable, Draw],
) -> Ready:
    """How the pieces of a scene's lattice, in its full pixels, are drawn.

    ``drawn``: what the request has found so far: bands in files of one kind share it. Raises
    SourceMismatchError where the file isn't where its item says, or holds numbers of another type;
    TiffUnsupportedError where it has fewer bands.
    """
    file = head.raster
    check_kind(scene, file, layer.dtype)
    own = own_grid(scene, file)
    ratio = scale(request.target, own)
    at = level([one.image.shape for one in file.levels], ratio) if layer.overviews else 0
    shape = file.levels[at].image.shape
    there = ratio[0] * shape[0] / file.shape[0], ratio[1] * shape[1] / file.shape[1]
    same = at == 0 and is_same(request.target, own)
    how = METHODS["nearest"] if same and not layer.method.footprint else layer.method
    key = own, layer.bands, how, _kind(file, at), scene.grid, *_pieces(part)
    if key not in drawn:
        drawn[key] = draw(file, layer.bands, moved(part, scene.grid, own), cells, how, there, at)
    return Ready(drawn[key], there, same)


def _kind(file: Raster, at: int) -> Hashable:
    """What decides, with its grid, which blocks of a file a window takes."""
    one = file.levels[at]
    planes = [one.image] if one.mask is None else [one.image, one.mask]
    sorts = tuple((plane.shape, plane.block, plane.samples, plane.separate) for plane in planes)
    return at, file.alpha, sorts


def _pieces(part: Lattice) -> tuple[Hashable, ...]:
    """Which pieces of the lattice between two grids these are."""
    return part.shape, part.corners, part.origin.tobytes(), part.size.tobytes()


def is_same(target: Grid, own: Grid) -> bool:
    """Whether a file's pixels are the target's: its CRS, size and place, to a millionth.

    So too, where the target goes on beyond the edge of a world map, a turn further.
    """
    a, b = np.array(target.transform), np.array(own.transform)
    sides = [0, 1, 3, 4]
    if target.crs != own.crs or not np.allclose(a[sides], b[sides], rtol=1e-9, atol=0):
        return False
    corners = np.array([0.0, target.shape[1]]), np.array([0.0, target.shape[0]])
    column, row = own.pixel(*target.xy(*corners))
    shift = np.concatenate([column - corners[0], row - corners[1], *_turns(target, own)])
    return bool((np.abs(shift - np.round(shift)) < 1e-6).all())


def _turns(target: Grid, own: Grid) -> list[Floats]:
    """Columns and rows from a file to each further copy of it that a target may show."""
    whole = world(own.crs)
    if whole is None:
        return []
    length = whole[2] - whole[0]
    (west, east), (left, right) = _sides(target), _sides(own)
    first, last = math.ceil((west - right) / length), math.floor((east - left) / length)
    turns = np.array([k for k in range(first, last + 1) if k != 0], np.float64)
    (column, row), (c0, r0) = (own.pixel(x, 0 * x) for x in (turns * length, np.zeros(1)))
    return [column - c0, row - r0]


def _sides(grid: Grid) -> tuple[float, float]:
    """Least and greatest x."""
    height, width = grid.shape
    x, _ = grid.xy(np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height]))
    return float(x.min()), float(x.max())


def groups(where: Sequence[Span | None], settings: CacheSettings) -> list[list[int]]:
    """Blocks that are asked for together; those without bytes alone."""
    rows = [row for row, span in enumerate(where) if span is not None]
    asked = [span for span in where if span is not None]
    made = coalesce(asked, gap=settings.gap, longest=settings.span)
    found = [[rows[member] for member in group.members] for group in made]
    taken = set(rows)
    return found + [[row] for row in range(len(where)) if row not in taken]


def parts(head: Head, plan: Draw) -> list[tuple[Head, Ints]]:
    """The files that a draw's blocks lie in, and its blocks in each: masks may lie beside."""
    if head.beside is None:
        return [(head, np.arange(len(plan.table)))]
    mask = plan.table.mask
    return [(head, np.flatnonzero(~mask)), (head.beside, np.flatnonzero(mask))]


def portions(
    head: Head, plan: Draw, where: Sequence[Span | None], settings: CacheSettings
) -> list[list[int]]:
    """As :func:`groups`, of each file apart."""
    found: list[list[int]] = []
    for _, rows in parts(head, plan):
        found += [
            rows[group].tolist() for group in groups([where[r] for r in rows.tolist()], settings)
        ]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """Where the blocks lie that a scene is read from."""

    grid: Grid
    """The pixels of the overview that is read."""
    block: tuple[int, int]
    """Rows and columns of a block."""
    place: Ints
    """(b, 2) row and column of each block."""
    share: Floats
    """(b,) the part of each block's pixels that is needed."""
    held: Bools
    """(b,) whether it is at hand."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one scene takes."""

    item: str
    """Id of the item."""
    asset: str
    """Name of the asset."""
    href: str
    """Where the file lies, without what may be secret."""
    layer: int
    """Number of the layer of the request: of an asset, or of a time."""
    level: int
    """Overview that is read; 0 is the raster itself."""
    factor: float
    """How many times coarser that is."""
    sure: bool
    """Whether it is read in any case; else only if holes show in what lies on top."""
    cost: Cost
    """What it takes."""
    footprint: Footprint
    """Where its blocks lie."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan:
    """What a read will take. Plans of several reads can be added."""

    rows: tuple[Row, ...]
    """Scene by scene; those that are sure make up ``least``, all of them ``most``."""
    origins: tuple[tuple[Quota, Cost], ...]
    """What each origin is asked at least, and what is known of it."""
    pixels: int
    """Pixels of the result, bands counted."""
    depth: int
    """Layers of time of a band."""
    target: Grid
    """The grid that is read."""
    window: Window
    """Which part of it: first row, first column, height, width."""
    problems: tuple[Problem, ...] = ()
    """What couldn't be read, with ``errors="ignore"``: it isn't counted."""

    def __add__(self, other: Plan) -> Plan:
        """Both, as if nothing of the one were at hand for the other.

        Plans of one window at several times make up a time series.
        """
        if not isinstance(other, Plan):
            return NotImplemented
        shift = 1 + max((row.layer for row in self.rows), default=-1)
        costs = {quota.origin: (quota, cost) for quota, cost in self.origins}
        for quota, cost in other.origins:
            before = costs.get(quota.origin, (quota, Cost()))[1]
            costs[quota.origin] = quota, before + cost
        here = (self.target, self.window) == (other.target, other.window)
        return replace(
            self,
            rows=(*self.rows, *(replace(row, layer=row.layer + shift) for row in other.rows)),
            origins=tuple(costs.values()),
            pixels=self.pixels + other.pixels,
            depth=self.depth + other.depth if here else max(self.depth, other.depth),
            problems=tuple(dict.fromkeys((*self.problems, *other.problems))),
        )

    def __radd__(self, other: object) -> Plan:
        return self if other == 0 else NotImplemented  # where `sum` begins

    @property
    def items(self) -> tuple[int, int]:
        """Items that are read, at least and at most: how many depends on holes in the pixels."""
        return len({row.item for row in self.rows if row.sure}), len({r.item for r in self.rows})

    @property
    def least(self) -> Cost:
        """If no hole shows in what lies on top."""
        return sum((row.cost for row in self.rows if row.sure), Cost())

    @property
    def most(self) -> Cost:
        """If everything below is needed too."""
        return sum((row.cost for row in self.rows), Cost())

    @property
    def seconds(self) -> float:
        """Least time that the origins' quotas and distance allow where nothing is at hand.

        0 where nothing is known of them.
        """
        return least_seconds(self.origins)

    @property
    def rest_seconds(self) -> float:
        """The same for what remains to be asked now: what was at hand, and headers, taken off."""
        return least_seconds(self.origins, warm=True)

    @property
    def exact(self) -> bool:
        """Whether nothing depends on the pixels, nor on GDAL."""
        return self.least == self.most and not self.most.foreign

    @property
    def waste(self) -> float:
        """Bytes that travel for one that is used."""
        return self.least.waste

    @property
    def shape(self) -> str:
        """``map`` (a pancake: many blocks of few times) or ``time series`` (a churro)."""
        return "time series" if self.depth > self.blocks else "map"

    @property
    def blocks(self) -> float:
        """Blocks in a layer of time, of one band."""
        layers = {row.layer for row in self.rows}
        return sum(row.cost.blocks for row in self.rows if row.sure) / max(len(layers), 1)

    def __str__(self) -> str:
        return text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html(self)

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each scene: item, asset, layer, level, blocks, requests, bytes, and so on."""
        return dataframe(self)

    def plot(self, color: str = "waste") -> Figure:
        """The blocks over the window, coloured by ``waste``, ``level`` or ``held``.

        Raises UsageError for another colour.
        """
        from mosaic.engine.figure import figure  # matplotlib takes a second

        return figure(self, color)
