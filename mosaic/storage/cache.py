"""Compressed blocks and headers in memory: least recently used first out, weighed in bytes.

What one request brought is kept as one chunk, and its ranges are views of it: no copies, and the
bytes between two ranges are weighed too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cachetools import Cache, LRUCache

from mosaic.storage.answer import Meta
from mosaic.storage.ranges import Span, cut

_OVERHEAD = 512  # bytes of bookkeeping weighed for each chunk
_OBJECTS = 200_000  # objects whose version is remembered, with or without blocks


@dataclass(frozen=True, slots=True)
class Block:
    """A range of one version of an object."""

    data: memoryview
    """The bytes: a view of what was fetched."""
    meta: Meta
    """The version they come from."""


@dataclass(slots=True)
class _Object:
    meta: Meta
    blocks: dict[Span, int] = field(default_factory=dict)
    """Ranges at hand, and the chunk each lies in."""
    head: int = -1
    """The longest chunk that begins at the object's first byte."""


@dataclass(slots=True)
class _Chunk:
    key: str
    base: int
    data: memoryview
    spans: tuple[Span, ...]


class _Chunks(LRUCache[int, _Chunk]):
    """Chunks by weight; what falls out takes its ranges with it."""

    def __init__(self, size: int, objects: Mapping[str, _Object]) -> None:
        super().__init__(size, getsizeof=lambda chunk: len(chunk.data) + _OVERHEAD)
        self._objects = objects

    def peek(self, number: int) -> _Chunk:
        """A chunk; looking at it is no use of it."""
        return Cache.__getitem__(self, number)

    def popitem(self) -> tuple[int, _Chunk]:
        number, chunk = super().popitem()
        entry = self._objects.get(chunk.key)
        if entry is not None:
            for span in chunk.spans:
                if entry.blocks.get(span) == number:
                    del entry.blocks[span]
            if entry.head == number:
                entry.head = -1
        return number, chunk


class MemoryCache:
    """Blocks and versions in memory, for all threads."""

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._objects: OrderedDict[str, _Object] = OrderedDict()
        self._chunks = _Chunks(size, self._objects)
        self._next = 0
        self.hits: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return int(self._chunks.currsize)

    def meta(self, key: str) -> Meta | None:
        """The version of an object that its blocks come from, if known."""
        with self._lock:
            entry = self._used(key)
            return entry.meta if entry else None

    def get(self, key: str, span: Span, origin: str = "") -> Block | None:
        """A range, if at hand: as it was fetched, or a part of the object's beginning."""
        with self._lock:
            entry = self._used(key)
            if entry is None:
                return None
            number = entry.blocks.get(span, -1)
            if number < 0:
                number = entry.head
                if number < 0 or not self._covers(entry, number, span):
                    return None
            chunk = self._chunks[number]
            if origin:
                self.hits[origin] = self.hits.get(origin, 0) + 1
            return Block(cut(chunk.data, chunk.base, span), entry.meta)

    def has(self, key: str, spans: Sequence[Span]) -> list[bool]:
        """Whether ranges are at hand; looking is no use of them."""
        with self._lock:
            entry = self._objects.get(key)
            if entry is None:
                return [False] * len(spans)
            return [
                span in entry.blocks or (entry.head >= 0 and self._covers(entry, entry.head, span))
                for span in spans
            ]

    def count(self, origin: str, hits: int) -> None:
        """Note hits for the metrics."""
        with self._lock:
            self.hits[origin] = self.hits.get(origin, 0) + hits

    def _covers(self, entry: _Object, number: int, span: Span) -> bool:
        held = len(self._chunks.peek(number).data)
        return span.stop <= held or (held == entry.meta.size and span.start < held)

    def learn(self, key: str, meta: Meta) -> tuple[Meta | None, Meta | None]:
        """Remember an object's version: what was known of it before, and what is now.

        None is known now, and everything of it dropped, if it changed.
        """
        with self._lock:
            entry = self._used(key)
            if entry is None:
                self._objects[key] = _Object(meta)
                if len(self._objects) > _OBJECTS:
                    self._drop(next(iter(self._objects)))
                return None, meta
            before = entry.meta
            if before.conflicts(meta):
                self._drop(key)
                return before, None
            if before != meta:
                entry.meta = before.filled(meta)
            return before, entry.meta

    def put(self, key: str, base: int, data: memoryview, spans: Sequence[Span], meta: Meta) -> None:
        """Keep what one request brought, unless it is of another version or larger than all."""
        with self._lock:
            entry = self._objects.get(key)
            if entry is None or entry.meta.conflicts(meta):
                return
            if len(data) + _OVERHEAD > self._chunks.maxsize:
                return
            number = self._next
            self._next += 1
            self._chunks[number] = _Chunk(key, base, data, tuple(spans))
            for span in spans:
                entry.blocks[span] = number
            head = self._chunks.get(entry.head) if entry.head >= 0 else None
            if base == 0 and (head is None or len(head.data) <= len(data)):
                entry.head = number

    def drop(self, key: str) -> None:
        """Forget an object."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget all objects."""
        with self._lock:
            self._objects.clear()
            self._chunks.clear()

    def _used(self, key: str) -> _Object | None:
        entry = self._objects.get(key)
        if entry is not None:
            self._objects.move_to_end(key)
        return entry

    def _drop(self, key: str) -> None:
        entry = self._objects.pop(key, None)
        if entry is not None:
            for number in {*entry.blocks.values(), entry.head}:
                self._chunks.pop(number, None)
