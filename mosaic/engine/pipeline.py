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
from functools import partial

import numpy as np

from mosaic.bridge import pooled
from mosaic.engine.budget import Budget
from mosaic.engine.cover import Bools, Cells, Cover, wave
from mosaic.engine.drawing import Drawing
from mosaic.engine.known import all_of
from mosaic.engine.paint import Canvas
from mosaic.engine.run import Outcome, Run, Tally
from mosaic.engine.scene import Request
from mosaic.engine.turns import Turns
from mosaic.storage import Gate

__all__ = ["ROOM", "Outcome", "Tally", "draw_all"]

ROOM = 64 << 20
"""Bytes of blocks that are in memory at once, or as many as the result has if these are more.

One portion alone may need more."""


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
    run = Run(request, gate, ignore, Budget(room))
    try:
        await all_of([_layer(run, place) for place in range(len(request.layers))])
    finally:
        await run.known.close()
    run.outcome.tally.peak = run.budget.peak
    run.outcome.tally.headers = len(run.known.heads)
    return run.outcome


async def _layer(run: Run, place: int) -> None:
    """Waves, until each cell is complete or has no more scenes."""
    layer, canvas = run.request.layers[place], run.outcome.canvases[place]
    cleared = asyncio.ensure_future(pooled(partial(canvas.clear, layer)))
    covers = await all_of([run.known.cover(scene, layer) for scene in layer.scenes])
    await cleared
    count = run.cells.shape[0] * run.cells.shape[1]
    need = np.ones(count, bool)
    done = [np.zeros(count, bool) for _ in covers]
    waves = 0
    while True:
        parts = wave(covers, need, done)
        if not any(part.any() for part in parts):
            break
        waves += 1
        await _wave(run, place, covers, parts)
        for before, part in zip(done, parts, strict=True):
            before |= part
        if not any((one.touched & ~b).any() for one, b in zip(covers, done, strict=True)):
            break
        need = await pooled(partial(open_cells, run.cells, canvas))
    run.outcome.tally.waves = max(run.outcome.tally.waves, waves)


async def _wave(run: Run, place: int, covers: Sequence[Cover], parts: Sequence[Bools]) -> None:
    """Draw scenes in the cells that each was given."""
    layer = run.request.layers[place]
    drawn = [number for number, part in enumerate(parts) if part.any()]
    turns = Turns(run.cells, drawn, parts)
    await all_of(
        [
            Drawing(run, place, layer, number, turns).draw(
                covers[number].lattice.take(parts[number][covers[number].cell])
            )
            for number in drawn
        ]
    )


def open_cells(cells: Cells, canvas: Canvas) -> Bools:
    """(cells,) whether a cell has pixels that no scene has filled in some band."""
    need = np.zeros(len(cells.area), bool)
    for plane in canvas.filled:
        if not plane.all():
            need |= cells.holding(~plane)
    return need
