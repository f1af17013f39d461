"""What is learned for a read: lattices by PROJ, headers through the gate, places of blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from mosaic import bridge
from mosaic.engine.blocks import Draw, spans
from mosaic.engine.cover import Cells, Cover, cover
from mosaic.engine.header import Head, head, more
from mosaic.engine.lattice import Grid, lattice
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.engine.tiff import Need
from mosaic.settings import CacheSettings
from mosaic.storage import Gate
from mosaic.storage.ranges import Span

T = TypeVar("T")


class Known:
    """What one request has learned so far; nothing is learned twice. Lives on the loop."""

    def __init__(self, request: Request, gate: Gate) -> None:
        self.request = request
        self.gate = gate
        self.cells = Cells(request.window)
        self.heads: dict[str, asyncio.Future[Head]] = {}
        self._covers: dict[tuple[Grid, bool], asyncio.Future[Cover]] = {}

    @property
    def settings(self) -> CacheSettings:
        """How the gate merges ranges."""
        return self.gate.settings.cache

    def close(self) -> None:
        """Give up what is still being learned: nobody waits for it."""
        futures: list[asyncio.Future[Any]] = [*self.heads.values(), *self._covers.values()]
        for future in futures:
            if not future.done():
                future.cancel()
            elif not future.cancelled():
                future.exception()  # seen, so that asyncio doesn't tell of it

    async def cover(self, scene: Scene, layer: Layer) -> Cover:
        """Where a scene lies; worked out once for all that share its grid."""
        corners = layer.method.footprint
        key = scene.grid, corners

        def work() -> Cover:
            found = lattice(self.request.target, scene.grid, self.request.window, corners=corners)
            return cover(self.cells, found, scene.grid.shape)

        if key not in self._covers:
            self._covers[key] = asyncio.ensure_future(planned(work))
        return await asyncio.shield(self._covers[key])

    async def head(self, href: str) -> Head:
        """The header of a file, read once."""
        if href not in self.heads:
            self.heads[href] = asyncio.ensure_future(head(self.gate, href))
        return await asyncio.shield(self.heads[href])

    async def locate(self, found: Head, plan: Draw) -> list[Span | None]:
        """Where a draw's blocks lie; parts of long tables are read first."""
        chunks = found.chunks
        while True:
            where = spans(found.tiff, plan.level, plan.table, chunks)
            if not isinstance(where, Need):
                return where
            chunks = await more(self.gate, chunks, where.spans, found.meta)


async def planned(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(bridge.planner(), work)


async def pooled(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(bridge.pool(), work)


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order; the first error ends the others before it is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
