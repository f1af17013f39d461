"""Settings, and the only reader of ``MOSAIC_*`` variables."""

from __future__ import annotations

import functools
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mosaic.errors import UsageError


@dataclass(frozen=True, slots=True)
class HeaderSettings:
    """How headers are read when an item doesn't tell what an index needs."""

    local_threads: int = 8
    """Files of this machine read at once."""
    remote_threads: int = 32
    """Remote files opened at once; how many of them may ask their origin is the gate's to say."""

    @classmethod
    def from_env(cls) -> HeaderSettings:
        """The defaults, overridden by ``MOSAIC_HEADER_THREADS`` (remote files)."""
        threads = _number("header_threads")
        return cls() if threads is None else cls(remote_threads=max(1, int(threads)))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one origin (scheme, host, port) may be asked at most; the limiter adapts below it."""

    concurrency: int = 16
    """Requests in flight at most: a hard cap, never exceeded."""
    start: int = 6
    """Requests in flight at first, before anything is known of the origin."""
    requests_per_minute: float | None = None
    """Requests a minute at most, or None where no such limit is known."""
    bytes_per_second: float | None = None
    """Bytes a second at most, or None where no such limit is known."""

    def __post_init__(self) -> None:
        rates = [r for r in (self.requests_per_minute, self.bytes_per_second) if r is not None]
        if self.concurrency < 1 or self.start < 1 or not all(0 < r < math.inf for r in rates):
            raise UsageError(f"limits must be positive: {self}")

    @classmethod
    def from_env(cls, provider: str, base: Limits) -> Limits:
        """``base``, overridden by ``MOSAIC_CONCURRENCY``, ``MOSAIC_REQUESTS_PER_MINUTE`` and
        ``MOSAIC_BYTES_PER_SECOND``; with ``_CDSE`` and the like behind it, for one provider."""
        changed: dict[str, float] = {}
        for name in ("concurrency", "requests_per_minute", "bytes_per_second"):
            of_one = f"{name}_{provider.replace('-', '_')}"
            value = _number(of_one) if provider else None
            value = _number(name) if value is None else value
            if value is not None:
                changed[name] = int(value) if name == "concurrency" else value
        return replace(base, **changed)  # type: ignore[arg-type]  # the names are those of above


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed attempt is worth another, and how long one may take. All times in seconds."""

    attempts: int = 10
    """Attempts for one range at most."""
    base: float = 0.1
    """The first pause is drawn from 0 to this; each further one from twice as much."""
    longest: float = 20.0
    """No pause is drawn longer than this (Retry-After may ask for more)."""
    budget: int = 100
    """Retries an origin may take ahead of successes; a dead one spends them, then fails at once."""
    deadline: float = 300.0
    """Time for one range with all its attempts and pauses."""
    attempt: float = 120.0
    """Time for one attempt, from its request to its last byte."""
    connect: float = 10.0
    """Time to connect."""
    stall: float = 20.0
    """Time without a single byte until an attempt counts as failed."""
    redirects: int = 5
    """Redirects followed in one attempt."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.budget < 0 or self.redirects < 0:
            raise UsageError(f"retry counts can't be meant: {self}")
        if min(self.deadline, self.attempt, self.connect, self.stall) <= 0:
            raise UsageError(f"retry times must be positive: {self}")

    @classmethod
    def from_env(cls) -> Retry:
        """The defaults, overridden by ``MOSAIC_ATTEMPTS`` and ``MOSAIC_DEADLINE`` (seconds)."""
        attempts, deadline = _number("attempts"), _number("deadline")
        return cls(
            attempts=cls().attempts if attempts is None else int(attempts),
            deadline=cls().deadline if deadline is None else deadline,
        )


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What is kept of what was read, and how ranges are merged. All sizes in bytes."""

    memory: int = 256 << 20
    """Compressed blocks and headers kept in memory."""
    disk: Path | None = None
    """Folder of a persistent cache, which processes may share; None for none."""
    disk_size: int = 8 << 30
    """Size of the persistent cache."""
    trust: float = 86400.0
    """Seconds until an object found on disk is verified with its server before it is used."""
    gap: int = 64 << 10
    """Two ranges are fetched as one when not more than this lies between them."""
    span: int = 4 << 20
    """Ranges are not merged into one that is longer than this."""
    whole: int = 256 << 20
    """An object whose server knows no ranges is read whole up to this size."""

    def __post_init__(self) -> None:
        if min(self.memory, self.disk_size, self.trust, self.gap, self.span, self.whole) < 0:
            raise UsageError(f"cache sizes can't be negative: {self}")

    @classmethod
    def from_env(cls) -> CacheSettings:
        """The defaults, overridden by ``MOSAIC_CACHE_MEMORY`` (bytes), ``MOSAIC_CACHE_DIR`` and
        ``MOSAIC_CACHE_SIZE`` (bytes on disk)."""
        memory, size = _number("cache_memory"), _number("cache_size")
        folder = os.environ.get("MOSAIC_CACHE_DIR")
        return cls(
            memory=cls().memory if memory is None else int(memory),
            disk=Path(folder).expanduser() if folder else None,
            disk_size=cls().disk_size if size is None else int(size),
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known in advance of the origins of one provider: a row of ``providers.toml``."""

    name: str
    """Name, as in ``MOSAIC_CONCURRENCY_<NAME>`` and ``sign={...}``."""
    hosts: tuple[str, ...]
    """Patterns of host names, ``*`` matching any text."""
    limits: Limits
    """Its published limits, or cautious ones."""
    sign: str = ""
    """Name of the way its requests are signed, or empty."""
    buckets: tuple[str, ...] = ()
    """Patterns of ``s3://`` buckets that lie there."""
    endpoint: str = ""
    """Where those buckets are served, when not by AWS."""
    region: str = ""
    """Region of those buckets, or empty."""
    credentials: str = ""
    """URL that hands out temporary S3 credentials, or empty."""
    source: str = ""
    """Where its limits are published."""


@functools.cache
def providers() -> tuple[Provider, ...]:
    """The presets of ``storage/providers.toml``; the first whose pattern matches counts."""
    text = (Path(__file__).parent / "storage" / "providers.toml").read_text("utf-8")
    limit_names = {field.name for field in fields(Limits)}
    found = []
    for row in tomllib.loads(text)["provider"]:
        limits = Limits(**{k: v for k, v in row.items() if k in limit_names})
        rest: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in row.items()
            if k not in limit_names
        }
        found.append(Provider(limits=limits, **rest))
    return tuple(found)


def provider_of(host: str) -> Provider:
    """The preset of a host (without scheme; ``host:port`` matches patterns with a port)."""
    name = host.rpartition("@")[2].lower()
    bare = name.partition(":")[0]
    for provider in providers():
        if any(fnmatchcase(name, p) or fnmatchcase(bare, p) for p in provider.hosts):
            return provider
    raise UsageError("providers.toml has no pattern '*'")  # pragma: no cover - a test holds it


def bucket_provider(bucket: str) -> Provider | None:
    """The preset that serves an ``s3://`` bucket by rules of its own, if any."""
    for provider in providers():
        if any(fnmatchcase(bucket, pattern) for pattern in provider.buckets):
            return provider
    return None


def limits_of(host: str, given: Limits | Mapping[str, Limits] | None = None) -> Limits:
    """Limits of a host: the argument's (one for all, or by pattern), else preset and variables."""
    if isinstance(given, Limits):
        return given
    bare = host.partition(":")[0]
    for pattern, limits in (given or {}).items():
        if fnmatchcase(host, pattern) or fnmatchcase(bare, pattern):
            return limits
    provider = provider_of(host)
    return Limits.from_env(provider.name, provider.limits)


def shared_limits_path() -> Path | None:
    """``MOSAIC_SHARED_LIMITS``: the folder by which processes share one budget, or None."""
    path = os.environ.get("MOSAIC_SHARED_LIMITS")
    return Path(path).expanduser() if path else None


def schema_cache() -> Path:
    """The user's folder of STAC schemas: ``$XDG_CACHE_HOME/mosaic/schemas``, or in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "mosaic" / "schemas"


def _number(name: str) -> float | None:
    variable = f"MOSAIC_{name.upper()}"
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{variable} must be a number, not {text!r}") from None
