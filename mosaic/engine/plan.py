"""What a read will ask of storage: pure, given headers.

The pipeline draws by :func:`ready` as the plan counts by it, so that both agree to the request.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic.engine.blocks import Draw, draw, level
from mosaic.engine.cover import Cells
from mosaic.engine.header import Head, check_kind, moved, own_grid
from mosaic.engine.lattice import Grid, Lattice, scale
from mosaic.engine.resampling import METHODS, Method
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.grid import Floats, world
from mosaic.settings import CacheSettings, Limits
from mosaic.storage.ranges import Span, coalesce


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """How one scene is drawn, now that its header is known."""

    draw: Draw
    """Its portions and blocks."""
    scale: tuple[float, float]
    """Rows and columns of the overview that is read to a target pixel."""
    same: bool
    """Whether its pixels are the target's own: they are copied."""
    method: Method
    """What decides which of its pixels are needed."""


def ready(
    request: Request, cells: Cells, layer: Layer, scene: Scene, part: Lattice, head: Head
) -> Ready:
    """How the pieces of a scene's lattice, in its full pixels, are drawn.

    Raises SourceMismatchError where the file isn't where its item says, or holds numbers of another
    type; TiffUnsupportedError where it has fewer bands.
    """
    tiff = head.tiff
    check_kind(scene, tiff, layer.dtype)
    own = own_grid(scene, tiff)
    ratio = scale(request.target, own)
    at = level([one.image.shape for one in tiff.levels], ratio)
    shape = tiff.levels[at].image.shape
    there = ratio[0] * shape[0] / tiff.shape[0], ratio[1] * shape[1] / tiff.shape[1]
    same = at == 0 and is_same(request.target, own)
    how = METHODS["nearest"] if same and not layer.method.footprint else layer.method
    found = draw(tiff, layer.bands, moved(part, scene.grid, own), cells, how, there, at)
    return Ready(found, there, same, how)


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


def groups(
    where: Sequence[Span | None], settings: CacheSettings, at_hand: int = 0
) -> list[list[int]]:
    """Blocks that are fetched by one request, as the gate will; those without bytes alone.

    ``at_hand``: bytes from the file's beginning that need no request.
    """
    rows = [row for row, span in enumerate(where) if span is not None and span.stop > at_hand]
    asked = [span for span in where if span is not None and span.stop > at_hand]
    made = coalesce(asked, gap=settings.gap, longest=settings.span)
    found = [[rows[member] for member in group.members] for group in made]
    taken = set(rows)
    return found + [[row] for row in range(len(where)) if row not in taken]


@dataclass(frozen=True, slots=True)
class Cost:
    """What is asked of storage."""

    files: int = 0
    """Files of which anything is read."""
    requests: int = 0
    """Requests, those for headers included."""
    bytes: int = 0
    """Bytes that travel."""
    used: int = 0
    """Bytes of these that the asked pixels are made of: a block's share of needed pixels."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.files + other.files,
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.used + other.used,
        )


def header_cost(head: Head) -> Cost:
    """What a header takes in a process that never saw it."""
    size = head.chunks.size
    ends = [span.stop if size is None else min(span.stop, size) for span in head.spans]
    total = sum(end - span.start for end, span in zip(ends, head.spans, strict=True))
    return Cost(1, len(head.spans), total, 0)


def blocks_cost(
    head: Head, plan: Draw, where: Sequence[Span | None], settings: CacheSettings
) -> Cost:
    """What a draw's blocks take, once its header is there."""
    made = [group for group in groups(where, settings, head.ready) if where[group[0]] is not None]
    travel = 0
    requests = 0
    for group in made:
        spans = [span for row in group if (span := where[row]) is not None]
        if spans[-1].stop <= head.ready:
            continue
        requests += 1
        travel += max(span.stop for span in spans) - min(span.start for span in spans)
    share = shares(head, plan)
    used = sum(
        int((span.stop - span.start) * part)
        for span, part in zip(where, share, strict=True)
        if span is not None
    )
    return Cost(0, requests, travel, used)


def shares(head: Head, plan: Draw) -> list[float]:
    """The part of each block's pixels that a draw needs."""
    one = head.tiff.levels[plan.level]
    needed = [0.0] * len(plan.table)
    for unit in plan.units:
        r0, c0, r1, c1 = unit.window
        for row in unit.blocks.tolist():
            image = one.mask if plan.table.mask[row] else one.image
            assert image is not None
            (rows, columns), (r, c, _) = image.block, plan.table.place[row].tolist()
            high = min(r1, (r + 1) * rows) - max(r0, r * rows)
            wide = min(c1, (c + 1) * columns) - max(c0, c * columns)
            needed[row] += max(high, 0) * max(wide, 0) / (rows * columns)
    return [min(part, 1.0) for part in needed]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a read will take in a process that has nothing at hand yet."""

    items: tuple[int, int]
    """Items that are read, at least and at most: how many depends on holes in the pixels."""
    least: Cost
    """If no hole shows in what lies on top."""
    most: Cost
    """If everything below is needed too."""
    seconds: float
    """Least time that the origins' quotas allow; 0 where none is known."""
    pixels: int
    """Pixels of the result, bands counted."""

    @property
    def exact(self) -> bool:
        """Whether nothing depends on the pixels."""
        return self.least == self.most

    @property
    def waste(self) -> float:
        """Bytes that travel for one that is used."""
        return self.least.bytes / self.least.used if self.least.used else float("nan")

    def __str__(self) -> str:
        def both(low: float, high: float, unit: str = "") -> str:
            text = f"{low:,.6g}" if low == high else f"{low:,.6g} to {high:,.6g}"
            return f"{text} {unit}".rstrip()

        rows = [
            ("items", both(*self.items)),
            ("files", both(self.least.files, self.most.files)),
            ("requests", both(self.least.requests, self.most.requests)),
            (
                "bytes",
                both(round(self.least.bytes / 1e6, 3), round(self.most.bytes / 1e6, 3), "MB"),
            ),
            ("waste", f"{self.waste:.2f} bytes for one that is used"),
            ("quota", f"at least {self.seconds:.1f} s" if self.seconds else "none known"),
        ]
        return "\n".join(f"{name:9}{value}" for name, value in rows)


def least_seconds(costs: Sequence[tuple[Limits, Cost]]) -> float:
    """Least time that quotas allow; each origin's requests and bytes run beside the others'."""
    found = [0.0]
    for limits, cost in costs:
        if limits.requests_per_minute:
            found.append(cost.requests / limits.requests_per_minute * 60)
        if limits.bytes_per_second:
            found.append(cost.bytes / limits.bytes_per_second)
    return max(found)
