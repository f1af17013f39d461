"""Which requests fetch which ranges, and how the answers are sliced back: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mosaic.errors import UsageError


class Span(NamedTuple):
    """Bytes of an object, from ``start`` up to and without ``stop``."""

    start: int
    """Offset of the first byte."""
    stop: int
    """Offset behind the last byte."""


@dataclass(frozen=True, slots=True)
class Group:
    """One request, and the spans that are sliced from its answer."""

    span: Span
    """What is requested."""
    members: tuple[int, ...]
    """Positions of the spans it serves, in the order of the given sequence."""


def make_span(start: int, end: int | None, length: int | None) -> Span:
    """The span of one of the verbs' two spellings, ``end`` (exclusive) or ``length`` in bytes.

    Raises UsageError when both or neither are given, or nothing is asked for.
    """
    if (end is None) == (length is None):
        raise UsageError("give either end (exclusive) or length")
    stop = end if end is not None else start + (length or 0)
    if start < 0 or stop <= start:
        raise UsageError(f"a range must hold bytes: start {start}, end {stop}")
    return Span(start, stop)


def make_spans(
    starts: Sequence[int], ends: Sequence[int] | None, lengths: Sequence[int] | None
) -> list[Span]:
    """The spans of many ranges of one object; see :func:`make_span`."""
    if (ends is None) == (lengths is None):
        raise UsageError("give either ends (exclusive) or lengths")
    others: Iterable[int] = ends if ends is not None else lengths or ()
    try:
        pairs = list(zip(starts, others, strict=True))
    except ValueError:
        raise UsageError("starts and ends or lengths differ in number") from None
    if ends is not None:
        return [make_span(start, end, None) for start, end in pairs]
    return [make_span(start, None, length) for start, length in pairs]


def coalesce(spans: Sequence[Span], *, gap: int, longest: int) -> list[Group]:
    """Merge spans that lie at most ``gap`` bytes apart into requests of at most ``longest`` bytes.

    A gap is cheaper than a round trip up to latency times bandwidth (30 ms of 2 MB/s a connection
    is 64 KiB). A single span longer than ``longest`` is one request; overlapping spans share one
    even beyond it, so that no byte is asked for twice.
    """
    if len(spans) == 1:
        return [Group(spans[0], (0,))]
    groups: list[Group] = []
    members: list[int] = []
    start = stop = 0
    for index in sorted(range(len(spans)), key=spans.__getitem__):
        span = spans[index]
        merged = max(stop, span.stop)
        near = span.start - stop <= gap and merged - start <= longest
        if members and (span.start < stop or near):
            members.append(index)
            stop = merged
            continue
        if members:
            groups.append(Group(Span(start, stop), tuple(members)))
        members = [index]
        start, stop = span
    if members:
        groups.append(Group(Span(start, stop), tuple(members)))
    return groups


def cut(data: memoryview, base: int, span: Span) -> memoryview:
    """The bytes of ``span`` in ``data``, which begins at offset ``base``: a view, not a copy.

    Shorter than the span where the object ends earlier.
    """
    return data[span.start - base : span.stop - base]
