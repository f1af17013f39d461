"""The plan of a read: headers are fetched, nothing is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mosaic.bridge import planned, pooled
from mosaic.engine.cost import (
    Cost,
    apart,
    blocks_cost,
    header_cost,
    shares,
    used_bytes,
)
from mosaic.engine.cover import Bools, Cover, wave
from mosaic.engine.foreign import Foreign
from mosaic.engine.header import Head, own_grid
from mosaic.engine.known import Known, all_of
from mosaic.engine.lattice import Grid
from mosaic.engine.plan import Footprint, Plan, Ready, Row, groups, parts, ready
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.errors import MosaicError, Problem, ReadError, SourceMismatchError, redact
from mosaic.grid import Floats
from mosaic.storage import Gate, Quota
from mosaic.storage.ranges import Span


async def survey(request: Request, gate: Gate, *, ignore: bool = False) -> Plan:
    """What a request will take; its headers are read for that.

    Raises :class:`~mosaic.errors.ReadError` for the first header that can't be had, and
    SourceMismatchError; with ``ignore`` these are noted instead.
    """
    known = Known(request, gate)
    run = _Survey(known, request, ignore)
    try:
        rows, origins = await run.rows()
    finally:
        await known.close()
    times = Counter((layer.asset, layer.bands) for layer in request.layers)
    bands = sum(len(layer.bands) for layer in request.layers)
    return Plan(
        tuple(rows),
        tuple(origins.values()),
        bands * request.shape[0] * request.shape[1],
        max(times.values(), default=1),
        request.target,
        request.window,
        tuple(run.problems),
    )


@dataclass(frozen=True, slots=True)
class _Looked:
    """A layer whose headers are known."""

    layer: Layer
    """What is asked for."""
    covers: list[Cover]
    """Where each scene lies."""
    first: list[Bools]
    """(cells,) in which each is read in any case."""
    later: list[Bools]
    """(cells,) in which each is read only if holes show above."""


class _Survey:
    """One request, counted layer by layer."""

    def __init__(self, known: Known, request: Request, ignore: bool) -> None:
        self.known = known
        self.request = request
        self.ignore = ignore
        self.problems: dict[Problem, None] = {}
        self.said: set[str] = set()
        """Files whose headers are counted."""
        self.taken: dict[str, dict[Span, int]] = {}
        """Blocks that travel in any case, by file, and the first layer that asks for them."""

    async def rows(self) -> tuple[list[Row], dict[str, tuple[Quota, Cost]]]:
        """What each scene takes, in drawing order; and each origin at least."""
        found: list[Row] = []
        origins: dict[str, tuple[Quota, Cost]] = {}
        seen = await all_of([self.look(layer) for layer in self.request.layers])
        for place, looked in enumerate(seen):
            for scene, row in await self.layer(place, looked):
                quota = self.known.gate.quota(scene.href)
                before = origins.get(quota.origin, (quota, Cost()))[1]
                origins[quota.origin] = quota, before + row.cost if row.sure else before
                found.append(row)
        return found, origins

    async def look(self, layer: Layer) -> _Looked:
        """Where the scenes of a layer show, and whether they are read in any case.

        Below a scene that fills a cell and can't have holes nothing is ever read.
        """
        known = self.known
        covers = await all_of([known.cover(scene, layer) for scene in layer.scenes])
        cells = known.cells.shape[0] * known.cells.shape[1]
        nothing = [np.zeros(cells, bool) for _ in covers]
        first = wave(covers, np.ones(cells, bool), nothing)
        sound = await self.sound(layer, first)
        closed = np.zeros(cells, bool)
        later = []
        for scene, one, part, head in zip(layer.scenes, covers, first, sound, strict=True):
            later.append(one.touched & ~part & ~closed)
            if head is not None and opaque(head, scene, layer):
                closed |= part & one.full
        await self.sound(layer, later)
        return _Looked(layer, covers, first, later)

    async def sound(self, layer: Layer, shown: list[Bools]) -> list[Head | Foreign | None]:
        """Headers of scenes that have a part; without those that are none, and their parts."""

        async def one(scene: Scene, part: Bools) -> Head | Foreign | None:
            if not part.any():
                return None
            try:
                head = await self.known.head(scene.href, scene.mask)
                own_grid(scene, head.raster)
            except MosaicError as error:
                self.failed(scene, error)
                part[:] = False
                return None
            return head

        return await all_of([one(*both) for both in zip(layer.scenes, shown, strict=True)])

    def failed(self, scene: Scene, error: MosaicError) -> None:
        """Raise what is wrong with a header, or note it."""
        if isinstance(error, SourceMismatchError):
            found = error.problems[0]
            if not self.ignore:
                raise error
        else:
            kind = type(error).__name__
            found = Problem(kind, str(error), "", scene.item, scene.asset, scene.href)
            if not self.ignore:
                raise ReadError([found]) from error
        self.problems[found] = None

    async def layer(self, place: int, looked: _Looked) -> list[tuple[Scene, Row]]:
        """What the scenes of a layer take, from the topmost down.

        Waves after the first may ask for one block at a time, so at most each is a request.
        """
        layer = looked.layer
        found: list[tuple[int, Scene, Row]] = []
        for shown, sure in ((looked.first, True), (looked.later, False)):
            numbers = [number for number, part in enumerate(shown) if part.any()]
            rows = await all_of(
                [self.row(place, layer, n, looked.covers[n], shown[n], sure) for n in numbers]
            )
            pairs = zip(numbers, rows, strict=True)
            found += [(n, layer.scenes[n], row) for n, row in pairs if row is not None]
        return [(scene, row) for _, scene, row in sorted(found, key=lambda one: one[0])]

    async def row(
        self, place: int, layer: Layer, number: int, one: Cover, cells: Bools, sure: bool
    ) -> Row | None:
        """What a scene takes in some cells; None where that can't be told."""
        try:
            return await self.draw(place, layer, number, one, cells, sure)
        except MosaicError as error:
            self.failed(layer.scenes[number], error)
            return None

    async def draw(
        self, place: int, layer: Layer, number: int, one: Cover, cells: Bools, sure: bool
    ) -> Row:
        """What a scene takes in some cells."""
        known, scene = self.known, layer.scenes[number]
        head = await known.head(scene.href, scene.mask)
        lattice = one.lattice.take(cells[one.cell])
        made = await planned(
            lambda: ready(known.request, known.cells, layer, scene, lattice, head, known.drawn)
        )
        share = await pooled(lambda: shares(head, made.draw))
        held = np.zeros(len(made.draw.table), bool)
        if isinstance(head, Foreign):
            cost = Cost(blocks=len(held))
        else:
            where = await known.locate(head, made.draw)
            cost = Cost()
            for file, rows in parts(head, made.draw):
                spans = [where[row] for row in rows.tolist()]
                took, held[rows] = await self.take(place, file, spans, share[rows], sure)
                cost += took
        if scene.href not in self.said:
            self.said.add(scene.href)
            cost += header_cost(head)
        full = head.raster.levels[0].image.shape
        size = head.raster.levels[made.draw.level].image.shape
        return Row(
            scene.item,
            scene.asset,
            redact(scene.href),
            place,
            made.draw.level,
            round(full[1] / size[1], 3),
            sure,
            cost,
            _footprint(scene, head, made, share, held),
        )

    async def take(
        self, place: int, file: Head, located: list[Span | None], share: Floats, sure: bool
    ) -> tuple[Cost, Bools]:
        """What a file's blocks take, and which of them are at hand."""
        gate, settings, href = self.known.gate, self.known.settings, file.chunks.href
        taken = self.taken.setdefault(href, {})
        mine = [span if span and taken.get(span, place) == place else None for span in located]
        # what is asked for already comes once
        where = [None if span in taken else span for span in located]
        spans = [span for span in where if span is not None]
        here = await pooled(_asker(gate, href, spans))
        held = {span for span, is_here in zip(spans, here, strict=True) if is_here}
        near = {span for span in spans if span.stop <= file.ready}
        cost = blocks_cost(groups(where, settings), where, settings, near, held)
        if sure:
            taken.update((span, place) for span in spans if span not in taken)
        else:
            single = apart(where, near, held)
            cost = replace(
                single,
                bytes=max(single.bytes, cost.bytes),
                rest_bytes=max(single.rest_bytes, cost.rest_bytes),
            )
        at_hand = np.array([span in held for span in where], bool)
        return replace(cost, used=used_bytes(mine, share)), at_hand


def opaque(head: Head | Foreign, scene: Scene, layer: Layer) -> bool:
    """Whether every pixel of a file is valid: it has no mask, no alpha and no nodata value."""
    file, variant = head.raster, scene.variant
    if any(level.mask is not None for level in file.levels):
        return False
    if any(file.nodata_of(band) is not None for band in layer.bands):
        return False
    if file.alpha is not None and layer.bands != (file.alpha,):
        return False
    changed = [variant.recodings[band].nodata_in for band in layer.bands if variant.recodings]
    told = [variant.bands[band].nodata for band in layer.bands]
    return all(value is None for value in (*told, *changed))


def _asker(gate: Gate, href: str, spans: list[Span]) -> Callable[[], list[bool]]:
    """Asks the gate what it has; a disk cache is looked at, so not on the loop."""
    if not spans:
        return list
    starts, ends = [span.start for span in spans], [span.stop for span in spans]
    return lambda: gate.holds(href, starts=starts, ends=ends)


def _footprint(
    scene: Scene, head: Head | Foreign, made: Ready, share: Floats, held: Bools
) -> Footprint:
    """Where a draw's blocks lie, those of a mask and of further planes aside."""
    image = head.raster.levels[made.draw.level].image
    own = own_grid(scene, head.raster)
    rows, columns = own.shape[0] / image.shape[0], own.shape[1] / image.shape[1]
    a, b, c, d, e, f = own.transform
    grid = Grid(own.crs, image.shape, (a * columns, b * rows, c, d * columns, e * rows, f))
    table = made.draw.table
    mine = ~table.mask
    if mine.any():
        mine &= table.place[:, 2] == table.place[mine, 2].min()
    return Footprint(grid, image.block, table.place[mine, :2], share[mine], held[mine])
