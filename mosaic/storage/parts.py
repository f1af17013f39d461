"""What a gate is made of, in one process: caches, transports, origins; made, and given up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mosaic import bridge
from mosaic.settings import CacheSettings, Limits, Retry, limits_of
from mosaic.storage.address import Address
from mosaic.storage.cache import MemoryCache
from mosaic.storage.core import Core
from mosaic.storage.disk import DiskCache
from mosaic.storage.fetch import Fetcher
from mosaic.storage.limiter import Limiter
from mosaic.storage.local import FileTransport, MemoryTransport
from mosaic.storage.origin import Governor, Origin
from mosaic.storage.retry import Budget
from mosaic.storage.shared import SharedLimiter
from mosaic.storage.shelf import Shelf
from mosaic.storage.signers import SignChoice, Signers
from mosaic.storage.transport import HTTPTransport, Transport
from mosaic.version import __version__


@dataclass(frozen=True, slots=True)
class Settings:
    """What a gate was told: all that travels to another process."""

    limits: Limits | Mapping[str, Limits] | None
    """Of every origin, by host pattern, or the presets."""
    cache: CacheSettings
    retry: Retry
    sign: SignChoice
    """How requests are signed."""
    shared_limits: str | os.PathLike[str] | None
    """Folder of a budget that processes share, or None."""
    via: str = field(default="", repr=False)  # it may hold a token
    """URL of a gateway through which storage is read, without a slash at its end, or empty."""


@dataclass(slots=True)
class Parts:
    """What a gate is made of, in one process."""

    pid: int
    memory: MemoryCache
    disk: DiskCache | None
    transports: dict[str, Transport]
    core: Core
    fetcher: Fetcher
    shelf: Shelf | None
    origins: dict[str, Origin] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)


def parts(told: Settings, given: Mapping[str, Transport]) -> Parts:
    """The parts of a new gate; ``given`` are transports in place of the usual ones."""
    origins: dict[str, Origin] = {}
    transports: dict[str, Transport] = {
        "http": HTTPTransport(told.retry, f"mosaic/{__version__}"),
        "file": FileTransport(bridge.pool()),
        "memory": MemoryTransport(),
        **given,
    }
    memory = MemoryCache(told.cache.memory)
    folder = told.cache.disk
    disk = DiskCache(folder, told.cache.disk_size) if folder else None
    origin_of = _origins(origins, told)
    fetcher = Fetcher(
        told.retry, transports, origin_of, random.Random(), time.time, told.cache.whole
    )
    shelf = Shelf(disk, bridge.pool(), told.cache.trust, time.time) if disk else None
    core = Core(
        told.cache, fetcher, origin_of, Signers(None if told.via else told.sign).of, memory, shelf
    )
    return Parts(os.getpid(), memory, disk, transports, core, fetcher, shelf, origins)


def _origins(origins: dict[str, Origin], told: Settings) -> Callable[[Address], Origin]:
    def origin_of(place: Address) -> Origin:
        origin = origins.get(place.origin)
        if origin is None:
            own = limits_of(place.host, told.limits)
            remote = place.service not in ("file", "memory")
            governor: Governor
            if told.shared_limits is not None and remote:
                governor = SharedLimiter(own, os.fspath(told.shared_limits), place.origin)
            else:
                governor = Limiter(own)
            origin = Origin(place.origin, place.provider, governor, Budget(told.retry.budget))
            origins[place.origin] = origin
        return origin

    return origin_of


def left(inner: Parts) -> None:
    """A gate that nobody closed is gone."""
    if inner.pid == os.getpid():
        with contextlib.suppress(RuntimeError):  # the loop is gone already
            asyncio.run_coroutine_threadsafe(closed(inner), bridge.loop())


async def closed(inner: Parts) -> None:
    """Give up what is under way, and every connection."""
    await inner.core.cancel()
    for transport in inner.transports.values():
        await transport.close()
    for origin in inner.origins.values():
        if isinstance(origin.governor, SharedLimiter):
            origin.governor.abandon()
