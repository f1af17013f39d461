"""Which version of a source is there: another one isn't mixed with it."""

from __future__ import annotations

from pathlib import Path

from mosaic.catalog.database import is_database
from mosaic.catalog.layout import COLLECTION, ITEMS
from mosaic.catalog.opened import Opened
from mosaic.catalog.stored import Stored
from mosaic.cube.items import is_parquet
from mosaic.errors import StorageError
from mosaic.storage import Gate


def stamp(source: str | Opened, gate: Gate) -> str:
    """The version of a source: of a mosaic's files, or of items in memory."""
    if not isinstance(source, str):
        return source.digest
    if is_database(source):
        return Stored.at(source).build
    names = _files_of(source)
    if "://" in source:
        return repr([gate.meta(name) for name in names])
    states = [path.stat() for path in map(Path, names) if path.exists()]
    return repr([(one.st_mtime_ns, one.st_size) for one in states])


def is_stamped(version: str) -> bool:
    """Whether a version that :func:`stamp` told is one."""
    return version not in ("[]", "[None]", "[None, None]")


def renew(source: str, gate: Gate) -> None:
    """Ask which version of a mosaic lies at a URL now: one request, where it was read before."""
    first, *others = _files_of(source)
    before = gate.meta(first)
    if before is None:
        return
    gate.forget(first)
    try:
        gate.get_range(first, start=0, length=1 << 16)
    except StorageError:
        return  # who opens it says so
    if gate.meta(first) != before:
        for name in others:
            gate.forget(name)


def _files_of(source: str) -> tuple[str, ...]:
    """The files whose versions are a mosaic's, first that which is read first."""
    if is_parquet(source):
        return (source,)
    base = source.rstrip("/").removesuffix(f"/{COLLECTION}")
    return f"{base}/{COLLECTION}", f"{base}/{ITEMS}"
