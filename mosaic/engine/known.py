"""What is learned for a read: lattices by PROJ, headers through the gate, places of blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mosaic.bridge import planned, pooled
from mosaic.engine.blocks import Draw, spans
from mosaic.engine.cover import Cells, Cover, cover
from mosaic.engine.foreign import Desk, Foreign
from mosaic.engine.formats import FIRST as LOOPED
from mosaic.engine.formats import governed, is_archive, is_called_tiff, is_named, is_tiff, is_zarr
from mosaic.engine.header import FIRST, Head, head, masked, more
from mosaic.engine.lattice import Grid, lattice
from mosaic.engine.scene import Layer, Request, Scene
from mosaic.engine.tiff import Need, Tiff
from mosaic.errors import ForeignError, TiffUnsupportedError
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
        self.desk = Desk(gate)
        self.heads: dict[str, asyncio.Future[Head | Foreign]] = {}
        self.drawn: dict[Hashable, Draw] = {}
        self._covers: dict[tuple[Grid, bool], asyncio.Future[Cover]] = {}

    @property
    def settings(self) -> CacheSettings:
        """How the gate merges ranges."""
        return self.gate.settings.cache

    async def close(self) -> None:
        """Give up what is still being learned: nobody waits for it. Close what GDAL has open."""
        futures: list[asyncio.Future[Any]] = [*self.heads.values(), *self._covers.values()]
        for future in futures:
            if not future.done():
                future.cancel()
            elif not future.cancelled():
                future.exception()  # seen, so that asyncio doesn't tell of it
        await self.desk.close()

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

    async def head(self, href: str, mask: bool = False) -> Head | Foreign:
        """The header of a file, read once. ``mask``: its masks lie beside it, as its item says."""
        if href not in self.heads:
            self.heads[href] = asyncio.ensure_future(self._head(href, mask))
        return await asyncio.shield(self.heads[href])

    async def _head(self, href: str, mask: bool) -> Head | Foreign:
        """By our own parser if it begins as a TIFF that we know, else by GDAL."""
        own = governed(href)
        if own is None and is_archive(href):
            return await self.desk.open(href, b"")
        if own is None:
            what = "only GDAL's own readers reach it, past mosaic's limits"
            raise ForeignError(what, href=href, advice="give it as https://, s3://, gs:// or az://")
        if is_zarr(own):
            return await self.desk.open(own, b"")
        key = own, mask, self.gate.meta(own)
        parsed: Head | None = self.gate.heads.get(key)
        if parsed is not None and self.gate.holds(own, starts=[0], lengths=[FIRST])[0]:
            return parsed
        length = LOOPED if is_named(own) else FIRST
        data = await self.gate.get_range_async(own, start=0, length=length)
        first = bytes(data)
        if not is_tiff(first) and not is_called_tiff(own):
            return await self.desk.open(own, first)
        try:
            found = await head(self.gate, own, data[:FIRST])
            beside = None if found.tiff.levels[0].mask else await self._mask_of(own, mask)
            found = masked(found, beside) if beside else found
        except TiffUnsupportedError:
            return await self.desk.open(own, first, "GTiff")
        if found.meta is not None:
            self.gate.heads.keep((own, mask, found.meta), found)
        return found

    async def _mask_of(self, href: str, told: bool) -> Head | None:
        """The header of a file's masks beside it: where none is told of, only on this machine."""
        path, mark, query = href.partition("?") if "://" in href else (href, "", "")
        name = f"{path}.msk{mark}{query}"
        if not told and ("://" in href or not await pooled(Path(name).is_file)):
            return None
        return await head(self.gate, name)

    async def locate(self, found: Head | Foreign, plan: Draw) -> list[Span | None]:
        """Where a draw's blocks lie; parts of long tables are read first. GDAL tells of none."""
        if isinstance(found, Foreign):
            return [None] * len(plan.table)
        if found.beside is None:
            return await self._located(found.tiff, plan, found, None)
        images = await self._located(found.tiff, plan, found, False)
        masks = await self._located(found.tiff, plan, found.beside, True)
        return [a if a is not None else b for a, b in zip(images, masks, strict=True)]

    async def _located(
        self, tiff: Tiff, plan: Draw, file: Head, masks: bool | None
    ) -> list[Span | None]:
        """Where blocks lie in a file: the raster's, or that of its masks."""
        chunks = file.chunks
        while True:
            where = spans(tiff, plan.level, plan.table, chunks, masks)
            if not isinstance(where, Need):
                return where
            chunks = await more(self.gate, chunks, where.spans, file.meta)


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
