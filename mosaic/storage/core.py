"""The waist below the gate's face: block cache, single-flight, coalescing. Lives on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from mosaic.errors import OutOfRangeError, SourceChanged, StorageError
from mosaic.settings import CacheSettings
from mosaic.storage.address import Address
from mosaic.storage.answer import Meta
from mosaic.storage.cache import Block, MemoryCache
from mosaic.storage.fetch import Fetched, Fetcher, WholeTaken
from mosaic.storage.origin import Origin
from mosaic.storage.ranges import Span, coalesce, cut
from mosaic.storage.shelf import Shelf
from mosaic.storage.sign import Signer


@dataclass(eq=False, slots=True)
class _Flight:
    """One range on its way, and how many wait for it."""

    span: Span
    waiters: list[asyncio.Future[Block | StorageError]] = field(default_factory=list)
    """One future each: a waiter that is cancelled must not take the fetch from the others."""
    landed: bool = False
    task: asyncio.Task[None] | None = None
    """The request that brings it."""
    crew: list[_Flight] = field(default_factory=list)
    """All ranges which that request brings."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """An object without ranges that is being read whole."""

    owner: asyncio.Task[None] | None
    """The task that reads it."""
    future: asyncio.Future[Block | StorageError | None]
    """What came of it; None when its reader was cancelled, so that another must."""


class Core:
    """Serves ranges from memory, disk, a fetch under way, or its origin, in this order."""

    def __init__(
        self,
        settings: CacheSettings,
        fetcher: Fetcher,
        origin_of: Callable[[Address], Origin],
        signer_of: Callable[[Address], Signer | None],
        memory: MemoryCache,
        shelf: Shelf | None,
    ) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._origin_of = origin_of
        self._signer_of = signer_of
        self._memory = memory
        self._shelf = shelf
        self._flights: dict[tuple[str, Span], _Flight] = {}
        self._wholes: dict[str, _Whole] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Ranges on their way."""
        return len(self._flights)

    async def get(
        self, place: Address, spans: Sequence[Span], expect: Meta | None = None
    ) -> list[Block]:
        """The blocks of one object, all of one version.

        Raises StorageError; SourceChanged when the version isn't ``expect``.
        """
        blocks: dict[int, Block] = {}
        mine: list[tuple[int, _Flight, asyncio.Future[Block | StorageError]]] = []
        fresh: list[_Flight] = []
        origin = self._origin_of(place)
        loop = asyncio.get_running_loop()
        for index, span in enumerate(spans):
            hit = self._memory.get(place.key, span, origin.name)
            if hit is not None:
                blocks[index] = hit
                continue
            flight = self._flights.get((place.key, span))
            if flight is None:
                flight = _Flight(span)
                self._flights[place.key, span] = flight
                fresh.append(flight)
            else:
                origin.counts.joined += 1
            waiter: asyncio.Future[Block | StorageError] = loop.create_future()
            flight.waiters.append(waiter)
            mine.append((index, flight, waiter))
        if fresh:
            self._launch(place, fresh)
        try:
            for index, _, waiter in mine:
                got = await waiter
                if isinstance(got, StorageError):
                    raise got.again()
                blocks[index] = got
        finally:
            for _, flight, waiter in mine:
                self._leave(place, flight, waiter)
        return _same_version(place, [blocks[i] for i in range(len(spans))], spans, expect)

    def _launch(self, place: Address, fresh: list[_Flight]) -> None:
        if self._shelf is None:
            self._depart(place, fresh)
        else:
            self._start(self._board(place, fresh, self._shelf), fresh)

    def _start(self, work: Coroutine[Any, Any, None], crew: list[_Flight]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for flight in crew:
            flight.task, flight.crew = task, crew

    def _depart(self, place: Address, flights: list[_Flight]) -> None:
        """One request for each group of ranges."""
        groups = coalesce(
            [flight.span for flight in flights],
            gap=self._settings.gap,
            longest=self._settings.span,
        )
        origin = self._origin_of(place)
        for group in groups:
            crew = [flights[i] for i in group.members]
            origin.counts.coalesced += len(crew) - 1
            self._start(self._fly(place, group.span, crew), crew)

    def _leave(
        self, place: Address, flight: _Flight, waiter: asyncio.Future[Block | StorageError]
    ) -> None:
        if flight.landed:
            return
        flight.waiters.remove(waiter)
        if flight.task and not any(one.waiters for one in flight.crew):
            for one in flight.crew:
                self._flights.pop((place.key, one.span), None)
            flight.task.cancel()

    async def _board(self, place: Address, flights: list[_Flight], shelf: Shelf) -> None:
        """Look on disk before asking the origin."""
        try:
            verify = None
            if self._memory.meta(place.key) is None:
                known, verify = await shelf.recall(place.key)
                if known is not None:
                    self._memory.learn(place.key, known)
            if verify is not None:
                # one small conditional request decides over all that is on disk
                first = flights[0]
                self._start(self._fly(place, first.span, [first], verify), [first])
                assert first.task is not None
                await asyncio.wait([first.task])
                flights = flights[1:]
            meta = self._memory.meta(place.key)
            rest = flights
            if meta is not None and flights:
                rest = []
                found = await shelf.find(place.key, meta, [flight.span for flight in flights])
                for flight, data in zip(flights, found, strict=True):
                    if data is None:
                        rest.append(flight)
                        continue
                    self._origin_of(place).counts.disk_hits += 1
                    self._memory.put(place.key, flight.span.start, data, [flight.span], meta)
                    self._land(place.key, flight, Block(data, meta))
            rest = [flight for flight in rest if flight.waiters]
            if rest:
                self._depart(place, rest)
        except BaseException as error:
            self._crash(place, flights, error)
            raise

    async def _fly(
        self, place: Address, span: Span, crew: list[_Flight], verify: Meta | None = None
    ) -> None:
        """One request, delivered to all ranges it serves."""
        try:
            got = await self._fetch(place, span, verify)
            if got.unchanged and verify is not None:
                got = await self._still(place, span, verify)
            self._deliver(place, crew, got)
        except BaseException as error:
            self._crash(place, crew, error)
            if not isinstance(error, StorageError):
                raise

    async def _fetch(self, place: Address, span: Span, verify: Meta | None = None) -> Fetched:
        signer = self._signer_of(place)
        while True:
            try:
                return await self._fetcher.fetch(
                    place, span, signer, lambda: self._take_whole(place), verify
                )
            except WholeTaken:
                taken = self._wholes.get(place.key)
                whole = await asyncio.shield(taken.future) if taken else None
            except OutOfRangeError as error:
                known = self._memory.meta(place.key)
                if known is None or known.size is None or known.size <= span.start:
                    raise
                # it was longer: what is known of it is of another version
                self._memory.drop(place.key)
                raise _changed(place, known, f"one of {span.start} bytes at most") from error
            if isinstance(whole, StorageError):
                raise whole.again()
            if whole is not None:
                return Fetched(whole.data, 0, whole.meta, whole=True)

    async def _still(self, place: Address, span: Span, meta: Meta) -> Fetched:
        """A version found on disk still holds: use its block, or fetch it after all."""
        assert self._shelf is not None
        self._memory.learn(place.key, meta)
        self._shelf.keep_meta(place.key, meta)
        (found,) = await self._shelf.find(place.key, meta, [span])
        if found is not None:
            self._origin_of(place).counts.disk_hits += 1
            return Fetched(found, span.start, meta)
        return await self._fetch(place, span)

    def _take_whole(self, place: Address) -> bool:
        whole = self._wholes.get(place.key)
        if whole is not None:
            return whole.owner is asyncio.current_task()  # its own further attempt
        future = asyncio.get_running_loop().create_future()
        self._wholes[place.key] = _Whole(asyncio.current_task(), future)
        return True

    def _whole_read(self, place: Address, result: Block | StorageError | None) -> None:
        whole = self._wholes.get(place.key)
        if whole is not None and whole.owner is asyncio.current_task():
            del self._wholes[place.key]
            if not whole.future.done():
                whole.future.set_result(result)

    def _deliver(self, place: Address, crew: list[_Flight], got: Fetched) -> None:
        before, meta = self._memory.learn(place.key, got.meta)
        if meta is None:
            raise _changed(place, before, got.meta.version)
        spans = [flight.span for flight in crew]
        if got.whole:
            meta = Meta(len(got.data), meta.etag, meta.modified)
            self._memory.learn(place.key, meta)
        self._memory.put(place.key, got.base, got.data, spans, meta)
        if got.whole:
            self._whole_read(place, Block(got.data, meta))
        if self._shelf is not None:
            if before != meta:
                self._shelf.keep_meta(place.key, meta)
            self._shelf.keep(place.key, meta, got.base, got.data, spans)
        for flight in crew:
            self._land(place.key, flight, Block(cut(got.data, got.base, flight.span), meta))

    def _land(self, key: str, flight: _Flight, result: Block | StorageError) -> None:
        if self._flights.get((key, flight.span)) is flight:
            del self._flights[key, flight.span]
        flight.landed = True
        for waiter in flight.waiters:
            if not waiter.done():
                waiter.set_result(result)

    def _crash(self, place: Address, crew: list[_Flight], error: BaseException) -> None:
        """No waiter is forgotten, whatever went wrong; and no failure is kept."""
        if isinstance(error, StorageError):
            told = error
        else:
            cause = type(error).__name__
            told = StorageError("the read was abandoned", href=place.key, cause=cause)
        for flight in crew:
            self._land(place.key, flight, told)
        self._whole_read(place, None if isinstance(error, asyncio.CancelledError) else told)

    async def settle(self) -> None:
        """Wait for what is being fetched or written."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._shelf is not None:
            await self._shelf.settle()

    async def cancel(self) -> None:
        """Give up what is being fetched; those who wait get an error."""
        for task in list(self._tasks):
            task.cancel()
        await self.settle()
        # a task that is cancelled before its first step tells nobody
        for (key, _), flight in list(self._flights.items()):
            self._land(key, flight, StorageError("the gate was closed", href=key))


def _same_version(
    place: Address, blocks: list[Block], spans: Sequence[Span], expect: Meta | None
) -> list[Block]:
    if expect is None and len(blocks) == 1 and len(blocks[0].data):
        return blocks
    first = expect or blocks[0].meta
    for block, span in zip(blocks, spans, strict=True):
        if first.conflicts(block.meta):
            raise _changed(place, first, block.meta.version)
        if not len(block.data):
            raise OutOfRangeError(
                f"the object ends before byte {span.start}",
                href=place.key,
                advice="check the offsets; the file may be truncated",
            )
    return blocks


def _changed(place: Address, old: Meta | None, new: str) -> SourceChanged:
    return SourceChanged(
        "the object changed while it was read",
        href=place.key,
        cause=f"version {old.version if old else '?'} became {new}",
        advice="read again from its header; update the catalog if its header is kept there",
    )
