"""The persistent cache as the loop sees it: looked up in the pool, written behind the readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from mosaic.storage.answer import Meta
from mosaic.storage.disk import DiskCache
from mosaic.storage.ranges import Span, cut

_PENDING = 64 << 20  # bytes waiting to be written; what comes on top is not kept


class Shelf:
    """A :class:`DiskCache` that no reader waits for longer than a look-up.

    What was verified more than ``trust`` seconds ago must be verified again; ``wall`` gives seconds
    since the epoch.
    """

    def __init__(
        self, disk: DiskCache, executor: Executor, trust: float, wall: Callable[[], float]
    ) -> None:
        self._disk = disk
        self._executor = executor
        self._trust = trust
        self._wall = wall
        self._since = 0.0
        self._writes: set[asyncio.Future[None]] = set()
        self._pending = 0

    async def recall(self, key: str) -> tuple[Meta | None, Meta | None]:
        """The version of an object: one that may be trusted, or one that must be verified."""
        loop = asyncio.get_running_loop()
        known = await loop.run_in_executor(self._executor, self._disk.meta, key)
        if known is None:
            return None, None
        meta, at = known
        return (meta, None) if self._trusted(at) else (None, meta)

    def doubt(self) -> None:
        """Let all that was verified before be verified again."""
        self._since = self._wall()

    def holds(self, key: str, meta: Meta | None, spans: Sequence[Span]) -> list[bool]:
        """Whether blocks are there that may be trusted: of ``meta``, or the version last seen."""
        if meta is None:
            known = self._disk.meta(key)
            if known is None or not self._trusted(known[1]):
                return [False] * len(spans)
            meta = known[0]
        return [self._disk.has(key, meta.version, span) for span in spans]

    async def find(self, key: str, meta: Meta, spans: Sequence[Span]) -> list[memoryview | None]:
        """Blocks of one version, None for those that aren't there."""

        def look() -> list[memoryview | None]:
            return [self._disk.get(key, meta.version, span) for span in spans]

        return await asyncio.get_running_loop().run_in_executor(self._executor, look)

    def keep_meta(self, key: str, meta: Meta) -> None:
        """Note that a version holds now."""
        self._write(0, self._disk.put_meta, key, meta, self._wall())

    def keep(
        self, key: str, meta: Meta, base: int, data: memoryview, spans: Sequence[Span]
    ) -> None:
        """Keep the blocks of ``spans``, which lie in ``data``."""
        for span in spans:
            block = cut(data, base, span)
            if len(block):
                self._write(len(block), self._disk.put, key, meta.version, span, block)

    async def settle(self) -> None:
        """Wait until all is written."""
        while self._writes:
            await asyncio.wait(self._writes)

    def _trusted(self, at: float) -> bool:
        return at > self._since and self._wall() - at <= self._trust

    def _write(self, size: int, function: Callable[..., None], *given: object) -> None:
        if self._pending + size > _PENDING:
            return
        self._pending += size
        loop = asyncio.get_running_loop()
        task = loop.run_in_executor(self._executor, function, *given)
        self._writes.add(task)

        def written(done: asyncio.Future[None]) -> None:
            self._pending -= size
            self._writes.discard(done)

        task.add_done_callback(written)
