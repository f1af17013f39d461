"""What the gate did: counted per origin, and shown so that it reads well in a notebook."""

from __future__ import annotations

import html
import math
from collections import deque
from dataclasses import dataclass, field, fields

from mosaic.settings import Limits

_SAMPLES = 512  # changes of the limit that are kept


@dataclass(slots=True)
class Counts:
    """Counters of one origin, written by the background loop only."""

    requests: int = 0
    """Attempts sent."""
    bytes: int = 0
    """Bytes that came."""
    hits: int = 0
    """Ranges served from memory."""
    disk_hits: int = 0
    """Ranges served from the persistent cache."""
    joined: int = 0
    """Ranges that waited for a fetch already under way."""
    coalesced: int = 0
    """Ranges that shared their request with another."""
    throttled: int = 0
    """Attempts refused with 429 or 503."""
    retries: int = 0
    """Attempts after the first."""
    failed: int = 0
    """Fetches that ended in an error."""
    in_flight: int = 0
    """Attempts in flight now."""
    peak: int = 0
    """Attempts in flight at most."""
    limit: int = 0
    """Attempts that may be in flight now."""
    limits: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))
    """The limit over time: (seconds of the loop's clock, limit) at each change."""
    quickest: float = math.inf
    """Seconds from a request to the head of its answer, at least; infinite before the first."""

    def note_limit(self, now: float, limit: int) -> None:
        """Remember a changed limit."""
        if limit != self.limit:
            self.limit = limit
            self.limits.append((now, limit))


@dataclass(frozen=True, slots=True)
class OriginStats:
    """A copy of the counters of one origin."""

    origin: str
    """Scheme, host and port."""
    provider: str
    """Name of the preset whose limits hold."""
    requests: int
    """Attempts sent."""
    bytes: int
    """Bytes that came."""
    hits: int
    """Ranges served from memory."""
    disk_hits: int
    """Ranges served from the persistent cache."""
    joined: int
    """Ranges that waited for a fetch already under way."""
    coalesced: int
    """Ranges that shared their request with another."""
    throttled: int
    """Attempts refused with 429 or 503."""
    retries: int
    """Attempts after the first."""
    failed: int
    """Fetches that ended in an error."""
    in_flight: int
    """Attempts in flight now."""
    peak: int
    """Attempts in flight at most."""
    limit: int
    """Attempts that may be in flight now."""
    limits: tuple[tuple[float, int], ...]
    """The limit over time: (seconds, limit) at each change."""
    quickest: float
    """Seconds from a request to the head of its answer, at least; infinite before the first."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What is known of an origin before it is asked."""

    origin: str
    """Scheme, host and port."""
    limits: Limits | None
    """What it may be asked at most; None for files and memory."""
    quickest: float = 0.0
    """Seconds from a request to the head of its answer, at least; 0 where none was asked."""


_COLUMNS = (
    ("requests", "requests"),
    ("bytes", "bytes"),
    ("hits", "memory"),
    ("disk_hits", "disk"),
    ("joined", "joined"),
    ("coalesced", "coalesced"),
    ("throttled", "throttled"),
    ("retries", "retries"),
    ("failed", "failed"),
    ("in_flight", "now"),
    ("peak", "most"),
    ("limit", "limit"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Stats:
    """What was asked of every origin since the gate was made."""

    origins: tuple[OriginStats, ...] = ()
    """One row per origin, the busiest first."""
    memory_bytes: int = 0
    """Bytes held by the memory cache."""
    disk_bytes: int = 0
    """Bytes held by the persistent cache."""

    @property
    def requests(self) -> int:
        """Attempts sent to all origins."""
        return sum(row.requests for row in self.origins)

    @property
    def bytes(self) -> int:
        """Bytes that came from all origins."""
        return sum(row.bytes for row in self.origins)

    @property
    def hits(self) -> int:
        """Ranges served from memory or disk."""
        return sum(row.hits + row.disk_hits for row in self.origins)

    def _rows(self) -> list[list[str]]:
        return [
            [row.origin, *(_shown(name, getattr(row, name)) for name, _ in _COLUMNS)]
            for row in self.origins
        ]

    def __repr__(self) -> str:
        if not self.origins:
            return "mosaic: nothing was read from storage yet"
        table = [["origin", *(title for _, title in _COLUMNS)], *self._rows()]
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in table
        ]
        return "\n".join([*lines, self._caches()])

    def _repr_html_(self) -> str:
        if not self.origins:
            return f"<p>{html.escape(repr(self))}</p>"
        head = "".join(f"<th>{title}</th>" for title in ("origin", *(t for _, t in _COLUMNS)))
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._rows()
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{html.escape(self._caches())}</p>"
        )

    def _caches(self) -> str:
        disk = f", {size_text(self.disk_bytes)} on disk" if self.disk_bytes else ""
        return f"cached: {size_text(self.memory_bytes)} in memory{disk}"


def copied(origin: str, provider: str, counts: Counts) -> OriginStats:
    """The counters as they stand."""
    values = {f.name: getattr(counts, f.name) for f in fields(Counts)}
    values["limits"] = tuple(counts.limits)
    return OriginStats(origin, provider, **values)


def _shown(name: str, value: int) -> str:
    return size_text(value) if name == "bytes" else f"{value:,}"


def size_text(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
