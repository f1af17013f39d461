"""The parts of a file that are at hand, and what else is needed."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Literal

from mosaic.errors import TiffError
from mosaic.storage.ranges import Span

Buffer = bytes | bytearray | memoryview
Order = Literal["<", ">"]
"""Byte order as numpy names it: little and big endian."""

AHEAD = 16 << 10
"""Bytes that are asked for at once where a directory lies: its values mostly follow it."""
LONGEST = 64 << 20
"""Bytes that a file's directories, or the needed part of its block tables, may take."""


@dataclass(frozen=True, slots=True)
class Need:
    """What must be fetched before there is an answer."""

    spans: tuple[Span, ...]
    """Disjoint, in order; none reaches beyond the end of the file where that is known."""
    so_far: object = field(default=None, repr=False, compare=False)
    """What was understood until here, for the parser to go on from."""


class Missing(Exception):  # noqa: N818 - an answer, not an error: it never leaves the package
    """Bytes that aren't at hand."""

    def __init__(self, spans: Iterable[Span], so_far: object = None) -> None:
        self.spans = tuple(spans)
        self.so_far = so_far
        super().__init__(self.spans)


@dataclass(frozen=True, slots=True)
class Chunks:
    """Parts of one file. A value: adding makes another."""

    parts: tuple[tuple[int, memoryview], ...] = field(default=(), repr=False)
    """Offset and bytes of each part, in order of offset; none lies within another."""
    size: int | None = None
    """Length of the file in bytes, or at most so many; None while nothing is known of it."""
    href: str = ""
    """Where the file lies, for messages."""

    @classmethod
    def prefix(cls, data: Buffer, *, size: int | None = None, href: str = "") -> Chunks:
        """The first bytes of a file."""
        return cls(((0, memoryview(data)),), size, href)

    def add(self, spans: Iterable[Span], answers: Iterable[Buffer]) -> Chunks:
        """These parts and others, as they were fetched for ``spans``.

        An answer that is shorter than its span tells where the file ends.
        """
        parts, size = list(self.parts), self.size
        for span, data in zip(spans, answers, strict=True):
            stop = span.start + len(data)
            if stop < span.stop:
                size = stop if size is None else min(size, stop)
            if self._find(Span(span.start, stop)) is None:
                inside = [at >= span.start and at + len(part) <= stop for at, part in parts]
                parts = [part for part, drop in zip(parts, inside, strict=True) if not drop]
                insort(parts, (span.start, memoryview(data)), key=itemgetter(0))
        return Chunks(tuple(parts), size, self.href)

    def has(self, span: Span) -> bool:
        """Whether all bytes of a span are at hand."""
        return self._find(span) is not None

    def get(self, span: Span, what: str, ahead: int = 0) -> memoryview:
        """The bytes of a span: a view, not a copy.

        ``what`` names them, ``ahead`` is how many are worth fetching at once. Raises Missing,
        and TiffError where the span ends behind the file.
        """
        self.check(span, what)
        found = self._find(span)
        if found is None:
            stop = max(span.stop, span.start + ahead)
            raise Missing([Span(span.start, min(stop, self.size) if self.size else stop)])
        return found

    def check(self, span: Span, what: str) -> None:
        """Raise TiffError where a span can't lie in the file."""
        if self.size is not None and span.stop > self.size:
            raise self.error(f"{what} ends at byte {span.stop} of at most {self.size}")
        if span.stop - span.start > LONGEST:
            raise self.error(f"{what} takes {span.stop - span.start} bytes, more than {LONGEST}")

    def error(self, what: str) -> TiffError:
        """An error that names the file."""
        return TiffError(what, href=self.href)

    def _find(self, span: Span) -> memoryview | None:
        # no part holds another, so the nearest one before reaches farthest
        place = bisect_right(self.parts, span.start, key=itemgetter(0)) - 1
        if place < 0:
            return None
        at, data = self.parts[place]
        return data[span.start - at : span.stop - at] if span.stop <= at + len(data) else None


def merged(spans: Iterable[Span], gap: int) -> Iterator[Span]:
    """Spans that lie at most ``gap`` bytes apart as one, in order."""
    start = stop = -1
    for span in sorted(spans):
        if start >= 0 and span.start - stop <= gap:
            stop = max(stop, span.stop)
            continue
        if start >= 0:
            yield Span(start, stop)
        start, stop = span
    if start >= 0:
        yield Span(start, stop)
