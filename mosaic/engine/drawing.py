"""One scene in one wave: its blocks fetched, decoded and painted, portion by portion."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np

from mosaic.bridge import planned, pooled
from mosaic.engine.blocks import Draw, Unit, tiles_of
from mosaic.engine.foreign import Foreign
from mosaic.engine.header import Head
from mosaic.engine.known import all_of
from mosaic.engine.lattice import Lattice
from mosaic.engine.paint import Array, copied, needed, warped, window
from mosaic.engine.plan import Ready, portions, ready
from mosaic.engine.raster import plane
from mosaic.engine.resampling import within
from mosaic.engine.run import Run
from mosaic.engine.scene import Layer
from mosaic.engine.stock import Bytes
from mosaic.engine.tiff import blank, decode, room
from mosaic.engine.turns import Turns
from mosaic.errors import MosaicError, TiffError
from mosaic.storage.ranges import Span

_PART = 4
"""Blocks that are decoded in one go."""


class Drawing:
    """One scene in one wave."""

    def __init__(self, run: Run, place: int, layer: Layer, number: int, turns: Turns) -> None:
        self.run = run
        self.place = place
        self.layer = layer
        self.number = number
        self.scene = layer.scenes[number]
        self.turns = turns
        self.canvas = run.outcome.canvases[place]
        self.blocks: dict[int, Array | None] = {}
        self.rooms: dict[int, Bytes] = {}
        self.waiting: dict[int, int] = {}
        self.arrived: dict[int, asyncio.Event] = {}
        self.weight: dict[int, int] = {}

    async def draw(self, part: Lattice) -> None:
        """The scene's pieces of a lattice, at full resolution."""
        run, scene = self.run, self.scene
        try:
            found = await run.known.head(scene.href, scene.mask)
            drawn = run.known.drawn
            plan = await planned(
                lambda: ready(run.request, run.cells, self.layer, scene, part, found, drawn)
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

    async def fill(self, found: Head | Foreign, made: Ready, where: list[Span | None]) -> None:
        """Fetch, decode and draw."""
        plan = made.draw
        first: dict[int, int] = {}
        for unit in plan.units:
            for row in unit.blocks.tolist():
                self.waiting[row] = self.waiting.get(row, 0) + 1
                self.arrived.setdefault(row, asyncio.Event())
                first.setdefault(row, unit.tile)
        if isinstance(found, Foreign):
            made_of = places(plan)
        else:
            made_of = portions(found, plan, where, self.run.known.settings)
        by_tile: dict[int, list[Unit]] = {tile: [] for tile in self.turns.tiles[self.number]}
        for unit in plan.units:
            by_tile[unit.tile].append(unit)
        await all_of(
            [
                *(self.fetch(found, plan, where, rows, first) for rows in made_of),
                *(self.paint(found, made, tile, units) for tile, units in by_tile.items()),
            ]
        )

    async def fetch(
        self,
        found: Head | Foreign,
        plan: Draw,
        where: list[Span | None],
        rows: list[int],
        first: dict[int, int],
    ) -> None:
        """One request's blocks, decoded."""
        budget, tally = self.run.budget, self.run.outcome.tally
        one = found.raster.levels[plan.level]
        for row in rows:
            image = plane(one, bool(plan.table.mask[row]))
            size = image.block[0] * image.block[1] * image.depth * image.dtype.itemsize
            there = isinstance(found, Foreign) or where[row] is not None
            self.weight[row] = size if there else 0
        packed = sum(span.stop - span.start for row in rows if (span := where[row]) is not None)
        order = (min(first[row] for row in rows), self.number, self.place)
        await budget.enter(order, packed + sum(self.weight[row] for row in rows))
        try:
            if isinstance(found, Foreign):
                await self.ask(found, plan, rows)
            else:
                await self.request(found, plan, where, rows)
            tally.blocks += len(rows)
        except MosaicError as error:
            self.lost(rows, error)
        finally:
            budget.free(packed)
            budget.rest()

    async def request(
        self, found: Head, plan: Draw, where: list[Span | None], rows: list[int]
    ) -> None:
        """Blocks by the gate, and decoded by the pool."""
        if where[rows[0]] is None:
            await self.decode_all(found, plan, rows, [None] * len(rows))
            return
        # what is at hand is decoded while the rest travels
        file = found.beside if found.beside and plan.table.mask[rows[0]] else found
        asked = [span for row in rows if (span := where[row]) is not None]
        held = self.run.gate.holds(
            file.chunks.href,
            starts=[span.start for span in asked],
            ends=[span.stop for span in asked],
        )
        parts = [[at for at, here in enumerate(held) if here is which] for which in (False, True)]

        async def bring(part: list[int]) -> None:
            mine = [rows[at] for at in part]
            try:
                data = await self.run.gate.get_ranges_async(
                    file.chunks.href,
                    starts=[asked[at].start for at in part],
                    ends=[asked[at].stop for at in part],
                    expect=file.meta,
                )
            except MosaicError as error:
                self.lost(mine, error)
            else:
                await self.decode_all(found, plan, mine, data)

        await all_of([bring(part) for part in parts if part])

    async def decode_all(
        self, found: Head, plan: Draw, rows: list[int], data: Sequence[memoryview | None]
    ) -> None:
        """Blocks side by side in the pool."""
        parts = [slice(start, start + _PART) for start in range(0, len(rows), _PART)]
        await all_of([self.decode(found, plan, rows[p], data[p]) for p in parts])

    async def ask(self, found: Foreign, plan: Draw, rows: list[int]) -> None:
        """Blocks at one place, in several bands, and of their mask, by GDAL."""
        table = plan.table
        r, c, _ = table.place[rows[0]].tolist()
        images = [row for row in rows if not table.mask[row]]
        masks = [row for row in rows if table.mask[row]]
        bands = tuple(int(table.place[row, 2]) for row in images)
        made = await self.run.known.desk.read(found, plan.level, r, c, bands, bool(masks))
        for row, block in zip([*images, *masks], made, strict=True):
            self.land(row, block)

    async def decode(
        self, found: Head, plan: Draw, rows: list[int], data: Sequence[memoryview | None]
    ) -> None:
        """Some blocks' pixels, by the pool."""
        one = found.tiff.levels[plan.level]

        def work() -> list[tuple[Array | TiffError, Bytes | None]]:
            made: list[tuple[Array | TiffError, Bytes | None]] = []
            for row, raw in zip(rows, data, strict=True):
                image = one.mask if plan.table.mask[row] else one.image
                assert image is not None
                r, c, band = plan.table.place[row].tolist()
                if raw is None:
                    fill = found.tiff.fill if image is one.image else image.dtype.type(0)
                    made.append((blank(image, fill, r, c), None))
                    continue
                length = room(image)
                buffer = self.run.stock.take(length) if length else None
                try:
                    made.append((decode(image, raw, r, c, band, buffer), buffer))
                except TiffError as error:
                    made.append((error, buffer))
            return made

        for row, (block, buffer) in zip(rows, await pooled(work), strict=True):
            if isinstance(block, TiffError):
                self.lost([row], block)
            else:
                self.land(row, block, buffer)

    def lost(self, rows: Sequence[int], error: MosaicError) -> None:
        """Raise why blocks can't be had, or note it and go on without them."""
        self.run.failed(self.scene, error)
        for row in rows:
            self.land(row, None)

    def land(self, row: int, block: Array | None, buffer: Bytes | None = None) -> None:
        """``buffer``: the memory that a block lies in, to be used again when it is done with."""
        if not self.arrived[row].is_set():
            self.blocks[row] = block
            if buffer is not None:
                self.rooms[row] = buffer
            self.arrived[row].set()

    async def paint(self, found: Head | Foreign, made: Ready, tile: int, units: list[Unit]) -> None:
        """A tile's portions, when their blocks are there and the scenes above are drawn."""
        budget, plan = self.run.budget, made.draw
        for unit in units:
            for row in unit.blocks.tolist():
                await self.arrived[row].wait()
        await self.turns.mine(self.number, tile)
        for unit in units:
            if any(self.blocks[row] is None for row in unit.blocks.tolist()):
                self.uncover(plan.lattice, self.bereft(found, plan, unit))
            budget.move()
            try:
                await pooled(partial(self.put, found, made, unit))
            finally:
                budget.rest()
            for row in unit.blocks.tolist():
                self.waiting[row] -= 1
                if not self.waiting[row]:
                    del self.blocks[row]
                    if row in self.rooms:
                        self.run.stock.give(self.rooms.pop(row))
                    budget.free(self.weight[row])
        self.turns.over(self.number, tile)

    def put(self, found: Head | Foreign, made: Ready, unit: Unit) -> None:
        """One portion onto the canvas; the bands one after the other."""
        plan, stock = made.draw, self.run.stock
        room = stock.take(needed(self.layer, unit))
        for band in range(len(self.layer.bands)):
            part = window(found.raster, self.scene, self.layer, plan, unit, self.blocks, band, room)
            if made.same:
                copied(self.canvas, band, plan, unit, part)
            else:
                warped(self.canvas, band, plan, unit, part, self.layer.method, made.scale)
        stock.give(room)

    def bereft(self, found: Head | Foreign, plan: Draw, unit: Unit) -> list[int]:
        """Pieces of a portion that lost blocks have a part in."""
        lost = [row for row in unit.blocks.tolist() if self.blocks[row] is None]
        one = found.raster.levels[plan.level]
        needs = within(plan.reach[unit.pieces], one.image.shape)
        hit = np.zeros(len(needs), bool)
        for row in lost:
            block = np.array(plane(one, bool(plan.table.mask[row])).block)
            place = plan.table.place[row, :2]
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


def places(plan: Draw) -> list[list[int]]:
    """Rows of a table of blocks that lie at one place: GDAL reads them together."""
    found: dict[tuple[int, int], list[int]] = {}
    for row, (r, c, _) in enumerate(plan.table.place.tolist()):
        found.setdefault((r, c), []).append(row)
    return list(found.values())
