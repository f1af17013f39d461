"""What a read will ask of storage: pure, given headers.

The pipeline draws by :func:`ready` as the plan counts by it, so that both agree to the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic.engine.blocks import Draw, draw, level
from mosaic.engine.cover import Cells
from mosaic.engine.foreign import Foreign
from mosaic.engine.header import Head, moved, own_grid
from mosaic.engine.lattice import Grid, Lattice, scale
from mosaic.engine.raster import plane
from mosaic.engine.resampling import METHODS
from mosaic.engine.scene import Layer, Request, Scene
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


def ready(
    request: Request, cells: Cells, layer: Layer, scene: Scene, part: Lattice, head: Head | Foreign
) -> Ready:
    """How the pieces of a scene's lattice, in its full pixels, are drawn.

    Raises SourceMismatchError where the file isn't where its item says, TiffUnsupportedError where
    it has fewer bands.
    """
    file = head.raster
    own = own_grid(scene, file)
    ratio = scale(request.target, own)
    at = level([one.image.shape for one in file.levels], ratio)
    shape = file.levels[at].image.shape
    there = ratio[0] * shape[0] / file.shape[0], ratio[1] * shape[1] / file.shape[1]
    same = at == 0 and is_same(request.target, own)
    how = METHODS["nearest"] if same and not layer.method.footprint else layer.method
    found = draw(file, layer.bands, moved(part, scene.grid, own), cells, how, there, at)
    return Ready(found, there, same)


def is_same(target: Grid, own: Grid) -> bool:
    """Whether a file's pixels are the target's: its CRS, size and place, to a millionth."""
    a, b = np.array(target.transform), np.array(own.transform)
    sides = [0, 1, 3, 4]
    if target.crs != own.crs or not np.allclose(a[sides], b[sides], rtol=1e-9, atol=0):
        return False
    corners = np.array([0.0, target.shape[1]]), np.array([0.0, target.shape[0]])
    column, row = own.pixel(*target.xy(*corners))
    shift = np.concatenate([column - corners[0], row - corners[1]])
    return bool((np.abs(shift - np.round(shift)) < 1e-6).all())


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


def portions(
    head: Head,
    plan: Draw,
    where: Sequence[Span | None],
    settings: CacheSettings,
    fresh: bool = True,
) -> list[list[int]]:
    """As :func:`groups`, of a file and of the masks beside it; not ``fresh``: with its header."""
    parts = [(head, np.arange(len(where)))]
    if head.beside is not None:
        mask = plan.table.mask
        parts = [(head, np.flatnonzero(~mask)), (head.beside, np.flatnonzero(mask))]
    found: list[list[int]] = []
    for one, rows in parts:
        at_hand = 0 if fresh else one.ready
        made = groups([where[row] for row in rows.tolist()], settings, at_hand)
        found += [rows[group].tolist() for group in made]
    return found


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
    foreign: int = 0
    """Files that GDAL reads: what it asks for their pixels isn't counted."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.files + other.files,
            self.requests + other.requests,
            self.bytes + other.bytes,
            self.used + other.used,
            self.foreign + other.foreign,
        )


def header_cost(head: Head | Foreign) -> Cost:
    """What a header takes in a process that never saw it."""
    if isinstance(head, Foreign):
        return Cost(1, foreign=1)
    size = head.chunks.size
    ends = [span.stop if size is None else min(span.stop, size) for span in head.spans]
    total = sum(end - span.start for end, span in zip(ends, head.spans, strict=True))
    return Cost(1, len(head.spans), total, 0)


def blocks_cost(
    head: Head | Foreign, plan: Draw, where: Sequence[Span | None], settings: CacheSettings
) -> Cost:
    """What a draw's blocks take, once its header is there; of GDAL's nothing is known."""
    if isinstance(head, Foreign):
        return Cost()
    every = portions(head, plan, where, settings, fresh=False)
    made = [group for group in every if where[group[0]] is not None]
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
            image = plane(one, bool(plan.table.mask[row]))
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
        """Whether nothing depends on the pixels, nor on GDAL."""
        return self.least == self.most and not self.most.foreign

    @property
    def waste(self) -> float:
        """Bytes that travel for one that is used."""
        return self.least.bytes / self.least.used if self.least.used else float("nan")

    def __str__(self) -> str:
        def both(low: float, high: float, unit: str = "") -> str:
            text = f"{low:,.6g}" if low == high else f"{low:,.6g} to {high:,.6g}"
            return f"{text} {unit}".rstrip()

        gdal = self.least.foreign, self.most.foreign
        rows = [
            ("items", both(*self.items)),
            ("files", both(self.least.files, self.most.files)),
            *([("by GDAL", f"{both(*gdal)} files, besides what follows")] if gdal[1] else []),
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
