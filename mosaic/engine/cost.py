"""What is asked of storage, counted: pure, given headers and where blocks lie."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from mosaic.engine.blocks import Draw
from mosaic.engine.foreign import Foreign
from mosaic.engine.header import Head
from mosaic.engine.raster import plane
from mosaic.grid import Floats
from mosaic.settings import CacheSettings
from mosaic.storage import Quota
from mosaic.storage.ranges import Span, coalesce


@dataclass(frozen=True, slots=True)
class Cost:
    """What is asked of storage."""

    files: int = 0
    """Files of which anything is read."""
    requests: int = 0
    """Requests where nothing is at hand, those for headers included."""
    bytes: int = 0
    """Bytes that travel then."""
    used: int = 0
    """Bytes of these that the asked pixels are made of: a block's share of needed pixels."""
    blocks: int = 0
    """Blocks that are decoded."""
    ranges: int = 0
    """Ranges that the gate is asked for: headers, and blocks that have bytes."""
    held: int = 0
    """Ranges of these that it will have at hand: the expected hits."""
    rest: int = 0
    """Requests that remain then."""
    rest_bytes: int = 0
    """Bytes that travel then."""
    foreign: int = 0
    """Files that GDAL reads: what it asks for them isn't counted."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))

    @property
    def waste(self) -> float:
        """Bytes that travel for one that is used; NaN where none is."""
        return self.bytes / self.used if self.used else math.nan


def header_cost(head: Head | Foreign) -> Cost:
    """What a header takes where nothing is at hand; once it was read it is."""
    if isinstance(head, Foreign):
        return Cost(files=1, foreign=1)
    if head.beside is not None:
        return header_cost(replace(head, beside=None)) + header_cost(head.beside)
    size = head.chunks.size
    ends = [span.stop if size is None else min(span.stop, size) for span in head.spans]
    total = sum(end - span.start for end, span in zip(ends, head.spans, strict=True))
    count = len(head.spans)
    return Cost(files=1, requests=count, bytes=total, ranges=count, held=count)


def blocks_cost(
    asked: Sequence[Sequence[int]],
    where: Sequence[Span | None],
    settings: CacheSettings,
    near: Collection[Span],
    held: Collection[Span],
) -> Cost:
    """What a draw's blocks take, once its header is there.

    ``asked``: rows that are asked for together. ``near``: spans that came with the header;
    ``held``: those that are at hand.
    """
    cold = _asked(asked, where, settings, near)
    warm = _asked(asked, where, settings, {*near, *held})
    spans = [span for span in where if span is not None]
    found = sum(span in near or span in held for span in spans)
    return Cost(0, cold[0], cold[1], 0, len(where), len(spans), found, *warm)


def apart(where: Sequence[Span | None], near: Collection[Span], held: Collection[Span]) -> Cost:
    """What a draw's blocks take at most, when each is asked for by itself, in some later wave."""
    spans = [span for span in where if span is not None]
    fresh = [span for span in spans if span not in near]
    left = [span for span in fresh if span not in held]
    return Cost(
        requests=len(fresh),
        bytes=sum(span.stop - span.start for span in fresh),
        blocks=len(where),
        ranges=len(spans),
        held=len(spans) - len(left),
        rest=len(left),
        rest_bytes=sum(span.stop - span.start for span in left),
    )


def _asked(
    asked: Sequence[Sequence[int]],
    where: Sequence[Span | None],
    settings: CacheSettings,
    near: Collection[Span],
) -> tuple[int, int]:
    """Requests and bytes, as the gate merges what it lacks of each group."""
    requests = travel = 0
    for rows in asked:
        spans = [span for row in rows if (span := where[row]) is not None and span not in near]
        made = coalesce(spans, gap=settings.gap, longest=settings.span)
        requests += len(made)
        travel += sum(group.span.stop - group.span.start for group in made)
    return requests, travel


def used_bytes(where: Sequence[Span | None], share: Floats) -> int:
    """Bytes of blocks that pixels are made of; ``share``: (b,) the needed part of each."""
    parts = zip(where, share.tolist(), strict=True)
    return sum(int((span.stop - span.start) * part) for span, part in parts if span is not None)


def shares(head: Head | Foreign, plan: Draw) -> Floats:
    """(b,) the part of each block's pixels that a draw needs."""
    one = head.raster.levels[plan.level]
    needed = np.zeros(len(plan.table))
    for unit in plan.units:
        r0, c0, r1, c1 = unit.window
        for row in unit.blocks.tolist():
            image = plane(one, bool(plan.table.mask[row]))
            (rows, columns), (r, c, _) = image.block, plan.table.place[row].tolist()
            high = min(r1, (r + 1) * rows) - max(r0, r * rows)
            wide = min(c1, (c + 1) * columns) - max(c0, c * columns)
            needed[row] += max(high, 0) * max(wide, 0) / (rows * columns)
    found: Floats = np.minimum(needed, 1.0)
    return found


def least_seconds(costs: Sequence[tuple[Quota, Cost]], *, warm: bool = False) -> float:
    """Least time that quotas and distance allow; each origin is asked beside the others.

    A file's blocks are asked for after its header, and no more at once than may be in flight.
    ``warm``: for what remains to be asked, once headers are read and what is at hand is taken off.
    """
    found = [0.0]
    for quota, cost in costs:
        limits = quota.limits
        if limits is None:
            continue
        requests, size = (cost.rest, cost.rest_bytes) if warm else (cost.requests, cost.bytes)
        if limits.requests_per_minute:
            found.append(requests / limits.requests_per_minute * 60)
        if limits.bytes_per_second:
            found.append(size / limits.bytes_per_second)
        trips = min(requests, 1) if warm else 2 if cost.blocks else 1
        rounds = max(math.ceil(requests / limits.concurrency), trips)
        found.append(rounds * quota.quickest)
    return max(found)
