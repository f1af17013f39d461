"""The gate: every byte from storage passes here, for whichever reader.

metrics → block cache → single-flight → coalesce → retry → limiter of the origin → transport.
A hit takes no permit, each attempt takes its own, and a retry sleeps without one.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from mosaic import bridge
from mosaic.errors import UsageError, redact
from mosaic.settings import CacheSettings, Limits, Retry, limits_of, shared_limits_path
from mosaic.storage.address import Address, address, behind
from mosaic.storage.answer import Meta
from mosaic.storage.cache import Block
from mosaic.storage.local import version
from mosaic.storage.metrics import Quota, Stats, copied
from mosaic.storage.parts import Parts, Settings, closed, left, parts
from mosaic.storage.ranges import Span, make_span, make_spans
from mosaic.storage.recent import Recent
from mosaic.storage.shared import SharedLimiter
from mosaic.storage.signers import SignChoice, places_from_env
from mosaic.storage.transport import Transport

if TYPE_CHECKING:
    from mosaic.storage.headers import Header

_ADDRESSES = 100_000  # hrefs whose address is remembered
_CATALOGS = 4  # that stay open
_HEADS = 1024  # headers that stay parsed
_ARRIVED = 8  # gates that came from other processes stay between two tasks
_AT_GATEWAY = Limits(concurrency=64, start=32)  # what it bears itself; storage's limits it knows
# it says nothing while it waits for storage, and has repeated what fails
_THROUGH_GATEWAY = Retry(attempts=4, stall=300.0, attempt=360.0, deadline=900.0)


class Gate:
    """Governed access to storage, for all threads and loops of a process.

    ``limits`` are those of every origin, or by host pattern; by default the provider's presets.
    ``sign`` is a function, a signer or a provider's name for every object, or a mapping of host
    patterns to those; by default credentials are found where the providers' own tools look.
    ``shared_limits`` is a folder by which processes of one machine share one budget. ``via`` is
    the URL of a gateway (``mosaic serve``) through which all that isn't on this machine is read:
    it holds limits and credentials, and repeats what fails. Raises UsageError.
    """

    def __init__(
        self,
        limits: Limits | Mapping[str, Limits] | None = None,
        cache: CacheSettings | None = None,
        retry: Retry | None = None,
        *,
        sign: SignChoice = None,
        shared_limits: str | os.PathLike[str] | None = None,
        transports: Mapping[str, Transport] | None = None,
        via: str = "",
    ) -> None:
        via = _gateway(via)
        if via:
            limits, retry = limits or _AT_GATEWAY, retry or _THROUGH_GATEWAY
        self._settings = Settings(
            limits,
            cache or CacheSettings.from_env(),
            retry or Retry.from_env(),
            sign,
            shared_limits if shared_limits is not None else shared_limits_path(),
            via,
        )
        self._given = dict(transports or {})
        self._places = places_from_env()
        self._lock = threading.Lock()
        self._inner: Parts | None = None
        self._name = ""
        self._remember()
        bridge.settle(self)

    def __repr__(self) -> str:
        return f"Gate({len(self._inner.origins) if self._inner else 0} origins)"

    def __reduce__(self) -> tuple[object, ...]:
        # for workers of other processes: the settings travel, not what was read
        if self is _default:
            return default_gate, ()
        via = self._settings.via
        if via and _gates_via.get(via) is self:
            return gate_via, (via,)
        with _default_lock:
            self._name = self._name or uuid4().hex
            _travelled[self._name] = self
        return _again, (self._settings, self._name)

    def _remember(self) -> None:
        self.catalogs = Recent(_CATALOGS)
        """For those who open catalogs through it."""
        self.heads = Recent(_HEADS)
        """For those who parse headers that came through it."""

    @property
    def settings(self) -> Settings:
        """What it was told, or found in the environment."""
        return self._settings

    async def get_range_async(
        self,
        href: str,
        *,
        start: int,
        end: int | None = None,
        length: int | None = None,
        expect: Meta | None = None,
    ) -> memoryview:
        """The bytes from ``start`` to ``end`` (exclusive), or ``length`` bytes from ``start``.

        Fewer where the object ends earlier. ``expect`` is the version they must be of, as
        :meth:`meta` told. Raises UsageError, StorageError.
        """
        spans = [make_span(start, end, length)]
        return (await self._get(href, spans, expect))[0].data

    async def get_ranges_async(
        self,
        href: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        expect: Meta | None = None,
    ) -> list[memoryview]:
        """Many ranges of one object, all of one version; see :meth:`get_range_async`."""
        blocks = await self._get(href, make_spans(starts, ends, lengths), expect)
        return [block.data for block in blocks]

    def get_range(
        self,
        href: str,
        *,
        start: int,
        end: int | None = None,
        length: int | None = None,
        expect: Meta | None = None,
    ) -> memoryview:
        """:meth:`get_range_async` for threads: memory first, then a hop to the loop."""
        spans = [make_span(start, end, length)]
        return self._get_sync(href, spans, expect)[0].data

    def get_ranges(
        self,
        href: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        expect: Meta | None = None,
    ) -> list[memoryview]:
        """:meth:`get_ranges_async` for threads: memory first, then a hop to the loop."""
        blocks = self._get_sync(href, make_spans(starts, ends, lengths), expect)
        return [block.data for block in blocks]

    def meta(self, href: str) -> Meta | None:
        """The version of an object that was last read, without asking anybody."""
        inner = self._ready()
        return inner.memory.meta(self._address(inner, href).key)

    def holds(
        self,
        href: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[bool]:
        """Which ranges of an object would be served now without asking its origin.

        From memory, or from the disk cache, where only names are looked up: a version that must be
        verified first counts as not there. Nobody is asked, nothing is read. Raises UsageError,
        StorageError for an href that can't be one.
        """
        inner = self._ready()
        key = self._address(inner, href).key
        spans = make_spans(starts, ends, lengths)
        found = inner.memory.has(key, spans)
        rest = [place for place, here in enumerate(found) if not here]
        if inner.shelf and rest:
            there = inner.shelf.holds(key, inner.memory.meta(key), [spans[place] for place in rest])
            for place, here in zip(rest, there, strict=True):
                found[place] = here
        return found

    def quota(self, href: str) -> Quota:
        """What is known of the origin of an href, without asking it.

        Raises StorageError for an href that can't be one.
        """
        inner = self._ready()
        place = self._address(inner, href)
        if place.service in ("file", "memory"):
            return Quota(place.origin, None)
        origin = inner.origins.get(place.origin)
        quickest = origin.counts.quickest if origin else math.inf
        limits = limits_of(place.host, self._settings.limits)
        return Quota(place.origin, limits, quickest if quickest < math.inf else 0.0)

    def forget(self, href: str) -> None:
        """Forget what is kept of an object: the next read asks its origin which version holds.

        Raises StorageError for an href that can't be one.
        """
        inner = self._ready()
        key = self._address(inner, href).key
        inner.memory.drop(key)
        if inner.disk:
            inner.disk.forget(key)

    def forget_all(self) -> None:
        """Forget which version of any object was seen: each next read asks its origin.

        Blocks on disk serve again where their version still holds.
        """
        inner = self._ready()
        inner.memory.clear()
        if inner.shelf:
            inner.shelf.doubt()

    def preload(self, headers: Iterable[Header]) -> None:
        """Put headers that were kept into memory: reads then begin at the blocks.

        A block of another version than its header's is SourceChanged.
        """
        inner = self._ready()
        for header in headers:
            key = self._address(inner, header.href).key
            inner.memory.learn(key, header.meta)
            data = memoryview(header.data)
            inner.memory.put(key, 0, data, [Span(0, len(data))], header.meta)

    def stats(self) -> Stats:
        """What was asked of every origin so far."""
        inner = self._inner
        if inner is None:
            return Stats()
        rows = []
        for origin in list(inner.origins.values()):
            origin.counts.hits = inner.memory.hits.get(origin.name, 0)
            rows.append(copied(origin.name, origin.provider, origin.counts))
        rows.sort(key=lambda row: -row.requests - row.hits)
        disk = inner.disk.size if inner.disk else 0
        return Stats(tuple(rows), inner.memory.size, disk)

    def flush(self) -> None:
        """Wait until everything that was read is on disk."""
        inner = self._inner
        if inner is not None:
            bridge.run(inner.core.settle())

    def close(self) -> None:
        """Give up what is being fetched and drop every connection; the gate can be used again."""
        self._remember()
        inner, self._inner = self._inner, None
        if inner is not None:
            self._end.detach()
            bridge.run(closed(inner))

    def after_fork(self) -> None:
        """A child begins anew: it has neither the loop nor the connections of its parent."""
        self._lock = threading.Lock()
        self._remember()
        inner, self._inner = self._inner, None
        if inner is not None:
            for origin in inner.origins.values():
                if isinstance(origin.governor, SharedLimiter):
                    origin.governor.abandon()
            _orphans.append(inner)

    async def _get(self, href: str, spans: list[Span], expect: Meta | None) -> list[Block]:
        inner = self._ready()
        place = self._address(inner, href)
        hit = _at_hand(inner, place, spans, expect)
        if hit is not None or not spans:
            return hit or []
        return await bridge.hop(inner.core.get(place, spans, expect))

    def _get_sync(self, href: str, spans: list[Span], expect: Meta | None) -> list[Block]:
        inner = self._ready()
        place = self._address(inner, href)
        hit = _at_hand(inner, place, spans, expect)
        if hit is not None or not spans:
            return hit or []
        return bridge.run(inner.core.get(place, spans, expect))

    def _address(self, inner: Parts, href: str) -> Address:
        place = inner.addresses.get(href)
        if place is None:
            via, whole = self._settings.via, os.fspath(href)
            place = address(behind(via, whole) if via else whole, self._places)
            if len(inner.addresses) >= _ADDRESSES:
                inner.addresses.clear()
            inner.addresses[href] = place
        if place.service == "file":
            _renew(inner, place)
        return place

    def _ready(self) -> Parts:
        inner = self._inner
        if inner is None:
            with self._lock:
                inner = self._inner
                if inner is None:
                    inner = self._inner = parts(self._settings, self._given)
                    # it outlives the gate until it is closed, even in a garbage cycle with it
                    self._end = weakref.finalize(self, left, inner)
                    self._end.atexit = False
        return inner


def _renew(inner: Parts, place: Address) -> None:
    """Forget a file of this machine that has changed since it was read: to look costs nothing."""
    known = inner.memory.meta(place.key)
    if known is not None and known.etag != version(place.url):
        inner.memory.drop(place.key)


def _at_hand(
    inner: Parts, place: Address, spans: list[Span], expect: Meta | None
) -> list[Block] | None:
    blocks = []
    for span in spans:
        block = inner.memory.get(place.key, span)
        if block is None or not len(block.data) or (expect and expect.conflicts(block.meta)):
            return None
        blocks.append(block)
    if any(block.meta is not blocks[0].meta for block in blocks):
        return None
    inner.memory.count(place.origin, len(blocks))
    return blocks


_orphans: list[object] = []  # a parent's connections: a child must not run their destructors
_default: Gate | None = None
_default_lock = threading.Lock()


_travelled: weakref.WeakValueDictionary[str, Gate] = weakref.WeakValueDictionary()
_lately = Recent(_ARRIVED)


def _again(told: Settings, name: str) -> Gate:
    """One gate in this process for all that came with one of another: one budget, one cache."""
    shared = told.shared_limits
    with _default_lock:
        found = _travelled.get(name)
        if found is None:
            found = _travelled[name] = Gate(
                told.limits, told.cache, told.retry, sign=told.sign, shared_limits=shared,
                via=told.via,
            )  # fmt: skip
            found._name = name
    _lately.keep(name, found)
    return found


def _unlocked() -> None:
    global _default_lock, _lately
    _default_lock = threading.Lock()  # a thread of the parent may hold the old one
    _lately = Recent(_ARRIVED)


os.register_at_fork(after_in_child=_unlocked)


def default_gate() -> Gate:
    """The gate of this process, made with its settings when first asked for."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Gate()
        return _default


_gates_via: dict[str, Gate] = {}


def gate_via(url: str) -> Gate:
    """The gate of this process through a gateway, made when first asked for. Raises UsageError."""
    via = _gateway(url)
    with _default_lock:
        if via not in _gates_via:
            _gates_via[via] = Gate(via=via)
        return _gates_via[via]


def chosen_gate(gate: Gate | None, via: str | None) -> Gate:
    """The gate that a user gave, or that through a gateway, or this process's own.

    Raises UsageError for both, and for a gateway's URL that can't be meant.
    """
    if gate is not None and via:
        raise UsageError("give either gate= or via=; Gate(via=...) has both")
    return gate or (gate_via(via) if via else default_gate())


def _gateway(url: str) -> str:
    """A gateway's URL as hrefs are put behind it."""
    base = url.rstrip("/").removesuffix("/catalogs")
    try:
        parts = urlsplit(base)
        odd = parts.port == 0 or parts.query or parts.fragment or "@" in parts.path
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not odd
    except ValueError:
        good = False
    if url and not good and "@" in url:  # which part of it is a token can't be told
        example = "http://me:TOKEN@host:8790, a slash in TOKEN written %2F, ? %3F, # %23, @ %40"
        raise UsageError(f"via= is no URL of a gateway, such as {example}")
    if url and not good:
        raise UsageError(f"via={redact(url)!r} is no URL of a gateway, such as http://host:8790")
    return base


def stats() -> Stats:
    """What this process asked of storage so far, per origin; reads well in a notebook."""
    return default_gate().stats()
