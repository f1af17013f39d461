"""An object behind the gate by ranges: near ones as one request, as a file for pyarrow."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from mosaic.catalog.database import shown
from mosaic.catalog.stored import Stored
from mosaic.errors import CatalogError
from mosaic.storage import Gate

_HEAD = 64 << 10
_NEAR = 64 << 10
"""Bytes between two ranges that are fetched as one; twice that where there are many."""
_MANY = 8
_MOST = 16
"""Ranges of :func:`fetched` that are asked for, at most."""


class Ranges(io.RawIOBase):
    """An object behind the gate as a file, as pyarrow wants one."""

    def __init__(self, gate: Gate | Stored, href: str) -> None:
        super().__init__()
        self._gate, self._href, self._at = gate, href, 0
        self._held: list[tuple[int, memoryview]] = []
        gate.get_range(href, start=0, length=_HEAD)
        meta = gate.meta(href)
        if meta is None or meta.size is None:
            raise CatalogError(f"{shown(href)}: its server doesn't tell how long it is")
        self._size = meta.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Length in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def hold(self, starts: Sequence[int], ends: Sequence[int]) -> None:
        """Fetches ranges at once, near ones as one, and keeps them."""
        ranges = list(zip(starts, ends, strict=True))
        spans = _joined(ranges, _NEAR)
        if len(spans) > _MANY:
            spans = _joined(ranges, 2 * _NEAR)
        if spans:
            first, last = [one[0] for one in spans], [one[1] for one in spans]
            found = self._gate.get_ranges(self._href, starts=first, ends=last)
            self._held += zip(first, found, strict=True)

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        if stop <= self._at:
            return b""
        for start, held in self._held:
            if start <= self._at and stop <= start + len(held):
                data = held[self._at - start : stop - start]
                self._at = stop
                return bytes(data)
        data = self._gate.get_range(self._href, start=self._at, end=stop)
        self._at += len(data)
        return bytes(data)

    def readall(self) -> bytes:
        return self.read()


def fetched(
    gate: Gate | Stored, href: str, spans: Sequence[tuple[int, int]]
) -> list[bytes | memoryview]:
    """Parts of an object, by :data:`_MOST` requests or fewer."""
    wide = _few(spans, _MOST)
    first, last = [one[0] for one in wide], [one[1] for one in wide]
    held = gate.get_ranges(href, starts=first, ends=last)
    at = [bisect_right(first, start) - 1 for start, _ in spans]
    return [
        held[place][start - first[place] : end - first[place]]
        for place, (start, end) in zip(at, spans, strict=True)
    ]


def _few(ranges: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Ranges in order, near ones as one; where they are still many, the nearest ones first."""
    found = _joined(ranges, _NEAR)
    if len(found) <= most:
        return found
    gaps = sorted(after[0] - one[1] for one, after in pairwise(found))
    return _joined(ranges, gaps[len(found) - most - 1])


def _joined(ranges: Sequence[tuple[int, int]], near: int) -> list[list[int]]:
    """Ranges in order, those as one that lie so near to each other."""
    found: list[list[int]] = []
    for start, end in sorted(ranges):
        if found and start - found[-1][1] <= near:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return found
