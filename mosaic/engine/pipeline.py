"""Scenes onto a canvas: fetch beside decode beside warp, in drawing order, until nothing is open.

Lives on the background loop; what takes the processor goes to the pool. Each layer goes in waves:
a wave draws what may show and isn't known to be hidden; the holes it leaves bring the next one.
Blocks are let in by a budget, decoded once a wave, and dropped with the last portion that needs
them. The result doesn't depend on the order in which data arrive: a tile's portions are drawn one
after the other, from the topmost scene down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from mosaic.engine.blocks import Draw, Unit, tiles_of
from mosaic.engine.budget import Budget
from mosaic.engine.cover import Bools, Cells, Cover, wave
from mosaic.engine.header import Head
from mosaic.engine.known import Known, all_of, pooled
from mosaic.engine.lattice import Lattice
from mosaic.engine.paint import Array, Canvas, copied, warped, window
from mosaic.engine.plan import Ready, groups, ready
from mosaic.engine.resampling import needed
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.engine.tiff import blank, decode
from mosaic.errors import MosaicError, Problem, ReadError, SourceMismatchError, TiffError
from mosaic.storage import Gate
from mosaic.storage.ranges import Span

T = TypeVar("T")

ROOM = 64 << 20
"""Bytes of blocks that are in memory at once, or as many as the result has if these are more.

One portion alone may need more."""
_PART = 4
"""Blocks that are decoded in one go."""


@dataclass(slots=True)
class Tally:
    """What a read did."""

    headers: int = 0
    """Headers that were looked at."""
    blocks: int = 0
    """Blocks that were decoded."""
    waves: int = 0
    """Waves of the layer with most of them."""
    peak: int = 0
    """Bytes of blocks in memory at once, at most."""


@dataclass(slots=True, eq=False)
class Outcome:
    """What was drawn."""

    canvases: list[Canvas]
    """One a layer."""
    covered: list[Bools | None]
    """(H, W) a layer: whether all that could show in a pixel was read; None: everywhere."""
    problems: list[Problem] = field(default_factory=list)
    """What couldn't be read."""
    tally: Tally = field(default_factory=Tally)
    """What it took."""


async def draw_all(
    request: Request, gate: Gate, *, ignore: bool = False, room: int | None = None
) -> Outcome:
    """Everything that a request asks for.

    Raises :class:`~mosaic.errors.ReadError` for the first block or header that can't be had, and
    SourceMismatchError; with ``ignore`` these are noted instead.
    """
    if room is None:
        pixels = request.shape[0] * request.shape[1]
        sizes = [len(layer.bands) * layer.dtype.itemsize for layer in request.layers]
        room = max(ROOM, pixels * sum(sizes))
    run = _Run(request, gate, ignore, Budget(room))
    try:
        await all_of([run.layer(place) for place in range(len(request.layers))])
    finally:
        run.known.close()
    run.outcome.tally.peak = run.budget.peak
    run.outcome.tally.headers = len(run.known.heads)
    return run.outcome


class _Run:
    """One request while it is served."""

    def __init__(self, request: Request, gate: Gate, ignore: bool, budget: Budget) -> None:
        self.request = request
        self.gate = gate
        self.ignore = ignore
        self.budget = budget
        self.known = Known(request, gate)
        self.cells = self.known.cells
        self.outcome = Outcome(
            Canvas.blanks(request.layers, request.shape),
            # without errors="ignore" a read is whole, or it raises
            [np.ones(request.shape, bool) if ignore else None for _ in request.layers],
        )

    async def layer(self, place: int) -> None:
        """Waves, until each cell is complete or has no more scenes."""
        layer = self.request.layers[place]
        covers = await all_of([self.known.cover(scene, layer) for scene in layer.scenes])
        count = self.cells.shape[0] * self.cells.shape[1]
        need = np.ones(count, bool)
        done = [np.zeros(count, bool) for _ in covers]
        canvas = self.outcome.canvases[place]
        waves = 0
        while True:
            parts = wave(covers, need, done)
            if not any(part.any() for part in parts):
                break
            waves += 1
            await self.wave(place, covers, parts)
            for before, part in zip(done, parts, strict=True):
                before |= part
            if not any((one.touched & ~b).any() for one, b in zip(covers, done, strict=True)):
                break
            need = await pooled(partial(open_cells, self.cells, canvas))
        self.outcome.tally.waves = max(self.outcome.tally.waves, waves)

    async def wave(self, place: int, covers: Sequence[Cover], parts: Sequence[Bools]) -> None:
        """Draw scenes in the cells that each was given."""
        layer = self.request.layers[place]
        drawn = [number for number, part in enumerate(parts) if part.any()]
        turns = _Turns(self.cells, drawn, parts)
        await all_of(
            [
                _Scene(self, place, layer, number, turns).draw(
                    covers[number].lattice.take(parts[number][covers[number].cell])
                )
                for number in drawn
            ]
        )

    def failed(self, scene: Scene, error: MosaicError) -> None:
        """Raise what went wrong with a file, or note it."""
        if isinstance(error, ReadError):  # said already
            raise error
        if isinstance(error, SourceMismatchError):
            found = error.problems[0]
            if not self.ignore:
                raise error
        else:
            found = _problem(scene, error)
            if not self.ignore:
                raise ReadError([found]) from error
        if found not in self.outcome.problems:
            self.outcome.problems.append(found)


def open_cells(cells: Cells, canvas: Canvas) -> Bools:
    """(cells,) whether a cell has pixels that no scene has filled in some band."""
    need = np.zeros(len(cells.area), bool)
    for plane in canvas.filled:
        if not plane.all():
            need |= cells.holding(~plane)
    return need


class _Turns:
    """Whose turn it is in a tile: scenes are drawn from the topmost down."""

    def __init__(self, cells: Cells, scenes: Sequence[int], parts: Sequence[Bools]) -> None:
        self._after: dict[tuple[int, int], asyncio.Event | None] = {}
        self._mine: dict[tuple[int, int], asyncio.Event] = {}
        self.tiles: dict[int, list[int]] = {}
        last: dict[int, asyncio.Event] = {}
        for scene in scenes:
            tiles = np.unique(tiles_of(cells, np.flatnonzero(parts[scene]))).tolist()
            self.tiles[scene] = tiles
            for tile in tiles:
                self._after[scene, tile] = last.get(tile)
                self._mine[scene, tile] = last[tile] = asyncio.Event()

    async def mine(self, scene: int, tile: int) -> None:
        """Wait until all scenes above are drawn in a tile."""
        before = self._after[scene, tile]
        if before is not None:
            await before.wait()

    def over(self, scene: int, tile: int) -> None:
        """A scene has drawn all it has in a tile."""
        self._mine[scene, tile].set()


class _Scene:
    """One scene in one wave."""

    def __init__(self, run: _Run, place: int, layer: Layer, number: int, turns: _Turns) -> None:
        self.run = run
        self.place = place
        self.layer = layer
        self.number = number
        self.scene = layer.scenes[number]
        self.turns = turns
        self.canvas = run.outcome.canvases[place]
        self.blocks: dict[int, Array | None] = {}
        self.waiting: dict[int, int] = {}
        self.arrived: dict[int, asyncio.Event] = {}
        self.weight: dict[int, int] = {}

    async def draw(self, part: Lattice) -> None:
        """The scene's pieces of a lattice, at full resolution."""
        run, scene = self.run, self.scene
        try:
            found = await run.known.head(scene.href)
            plan = await pooled(
                lambda: ready(run.request, run.cells, self.layer, scene, part, found)
            )
            where = await run.known.locate(found, plan.draw)
        except MosaicError as error:
            run.failed(scene, error)
            await self.give_up(part)
            return
        await self.fill(found, plan, where)

    async def give_up(self, part: Lattice) -> None:
        """Nothing of the scene can be had: what may show of it isn't covered."""
        tiles = tiles_of(self.run.cells, self.run.cells.of(part))
        for tile in self.turns.tiles[self.number]:
            await self.turns.mine(self.number, tile)
            self.uncover(part, np.flatnonzero(tiles == tile).tolist())
            self.turns.over(self.number, tile)

    async def fill(self, found: Head, made: Ready, where: list[Span | None]) -> None:
        """Fetch, decode and draw."""
        plan = made.draw
        first: dict[int, int] = {}
        for unit in plan.units:
            for row in unit.blocks.tolist():
                self.waiting[row] = self.waiting.get(row, 0) + 1
                self.arrived.setdefault(row, asyncio.Event())
                first.setdefault(row, unit.tile)
        portions = groups(where, self.run.known.settings)
        by_tile: dict[int, list[Unit]] = {tile: [] for tile in self.turns.tiles[self.number]}
        for unit in plan.units:
            by_tile[unit.tile].append(unit)
        await all_of(
            [
                *(self.fetch(found, plan, where, rows, first) for rows in portions),
                *(self.paint(found, made, tile, units) for tile, units in by_tile.items()),
            ]
        )

    async def fetch(
        self,
        found: Head,
        plan: Draw,
        where: list[Span | None],
        rows: list[int],
        first: dict[int, int],
    ) -> None:
        """One request's blocks, decoded."""
        budget, tally = self.run.budget, self.run.outcome.tally
        one = found.tiff.levels[plan.level]
        for row in rows:
            image = one.mask if plan.table.mask[row] else one.image
            assert image is not None
            size = image.block[0] * image.block[1] * image.depth * image.dtype.itemsize
            self.weight[row] = size if where[row] is not None else 0
        packed = sum(span.stop - span.start for row in rows if (span := where[row]) is not None)
        order = (min(first[row] for row in rows), self.number, self.place)
        await budget.enter(order, packed + sum(self.weight[row] for row in rows))
        try:
            data: list[memoryview | None] = [None] * len(rows)
            if where[rows[0]] is not None:
                asked = [span for row in rows if (span := where[row]) is not None]
                data = list(
                    await self.run.gate.get_ranges_async(
                        self.scene.href,
                        starts=[span.start for span in asked],
                        ends=[span.stop for span in asked],
                        expect=found.meta,
                    )
                )
            parts = [slice(start, start + _PART) for start in range(0, len(rows), _PART)]
            await all_of([self.decode(found, plan, rows[p], data[p]) for p in parts])
            tally.blocks += len(rows)
        except MosaicError as error:
            self.run.failed(self.scene, error)
            for row in rows:
                self.land(row, None)
        finally:
            budget.free(packed)
            budget.rest()

    async def decode(
        self, found: Head, plan: Draw, rows: list[int], data: Sequence[memoryview | None]
    ) -> None:
        """Some blocks' pixels, by the pool."""
        one = found.tiff.levels[plan.level]

        def work() -> list[Array | TiffError]:
            made: list[Array | TiffError] = []
            for row, raw in zip(rows, data, strict=True):
                image = one.mask if plan.table.mask[row] else one.image
                assert image is not None
                r, c, plane = plan.table.place[row].tolist()
                try:
                    if raw is None:
                        fill = found.tiff.fill if image is one.image else image.dtype.type(0)
                        made.append(blank(image, fill, r, c))
                    else:
                        made.append(decode(image, raw, r, c, plane))
                except TiffError as error:
                    made.append(error)
            return made

        for row, block in zip(rows, await pooled(work), strict=True):
            if isinstance(block, TiffError):
                self.run.failed(self.scene, block)
                self.land(row, None)
            else:
                self.land(row, block)

    def land(self, row: int, block: Array | None) -> None:
        if not self.arrived[row].is_set():
            self.blocks[row] = block
            self.arrived[row].set()

    async def paint(self, found: Head, made: Ready, tile: int, units: list[Unit]) -> None:
        """A tile's portions, when their blocks are there and the scenes above are drawn."""
        budget, plan = self.run.budget, made.draw
        for unit in units:
            for row in unit.blocks.tolist():
                await self.arrived[row].wait()
        await self.turns.mine(self.number, tile)
        for unit in units:
            if any(self.blocks[row] is None for row in unit.blocks.tolist()):
                self.uncover(plan.lattice, self.bereft(found, made, unit))
            budget.move()
            try:
                await pooled(partial(self.put, found, made, unit))
            finally:
                budget.rest()
            for row in unit.blocks.tolist():
                self.waiting[row] -= 1
                if not self.waiting[row]:
                    del self.blocks[row]
                    budget.free(self.weight[row])
        self.turns.over(self.number, tile)

    def put(self, found: Head, made: Ready, unit: Unit) -> None:
        """One portion onto the canvas; the bands one after the other."""
        plan = made.draw
        for band in range(len(self.layer.bands)):
            part = window(found.tiff, self.scene, self.layer, plan, unit, self.blocks, band)
            if made.same:
                copied(self.canvas, band, plan, unit, part)
            else:
                warped(self.canvas, band, plan, unit, part, self.layer.method, made.scale)

    def bereft(self, found: Head, made: Ready, unit: Unit) -> list[int]:
        """Pieces of a portion that lost blocks have a part in."""
        plan = made.draw
        one = found.tiff.levels[plan.level]
        there = plan.lattice.take(unit.pieces)
        needs = needed(there, made.method, made.scale, one.image.shape)
        hit = np.zeros(len(needs), bool)
        for row in unit.blocks.tolist():
            if self.blocks[row] is not None:
                continue
            image = one.mask if plan.table.mask[row] else one.image
            assert image is not None
            block, place = np.array(image.block), plan.table.place[row, :2]
            hit |= ((needs[:, :2] < (place + 1) * block) & (needs[:, 2:] > place * block)).all(1)
        found_: list[int] = unit.pieces[hit].tolist()
        return found_

    def uncover(self, part: Lattice, pieces: list[int]) -> None:
        """Pixels of some pieces that no scene above has filled aren't covered."""
        filled = np.logical_and.reduce(self.canvas.filled, axis=0)
        covered = self.run.outcome.covered[self.place]
        assert covered is not None  # without errors="ignore" the failure was raised
        for r0, c0, r1, c1 in part.target[pieces].tolist():
            covered[r0:r1, c0:c1] &= filled[r0:r1, c0:c1]


def _problem(scene: Scene, error: MosaicError) -> Problem:
    what, advice = str(error), ""
    if isinstance(error, TiffError):
        what, advice = error.what, error.advice
    return Problem(type(error).__name__, what, advice, scene.item, scene.asset, scene.href)
