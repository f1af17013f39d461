"""Have files changed? Size, validators and header, beside what was noted of them before."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.catalog.facts import asset_for
from mosaic.catalog.href import is_remote
from mosaic.checker.access import Picked
from mosaic.checker.findings import Finding, finding
from mosaic.checker.items import Items
from mosaic.errors import CatalogError, Problem, StorageError
from mosaic.storage import Gate
from mosaic.storage.answer import Meta
from mosaic.storage.headers import Header, load, store

_THREADS = 16
_HEAD = 16384
"""Bytes of a file that are noted: its header, most often."""
_AGAIN = "update the mosaic with its new item, or build it anew"


def drift_finding(
    items: Items, chosen: Sequence[Picked], noted: Path, gate: Gate | None
) -> Finding:
    """Files beside their item's ``file:size`` and what was noted when they were first looked at.

    ``noted``: a file of headers, made or added to where files weren't looked at before. ``gate``:
    None when only files of this machine are looked at. Raises
    :class:`~mosaic.errors.CatalogError` for a file of something else, or one that can't be written.
    """
    known = {one.href: one for one in load(noted)} if noted.exists() else {}
    unique = {one.href: one for one in chosen if gate is not None or not is_remote(one.href)}
    own = Gate() if gate is None else None
    using = gate or own

    def look(one: Picked) -> Header | StorageError:
        assert using is not None
        href = one.href if is_remote(one.href) else Path(one.href).as_uri()
        try:
            data = bytes(using.get_range(href, start=0, length=_HEAD))
        except StorageError as error:
            return error
        return Header(one.href, using.meta(href) or Meta(), data)

    with ThreadPoolExecutor(_THREADS, "mosaic-drift") as pool:
        found = dict(zip(unique, pool.map(look, unique.values()), strict=True))
    if own is not None:
        own.close()
    sizes = _sizes(items, list(unique.values()))
    problems: list[Problem] = []
    doubts: list[Problem] = []
    fresh = 0
    for href, one in unique.items():
        header = found[href]
        if isinstance(header, StorageError):
            continue  # said where files are looked for, but not counted
        old = known.get(href)
        fresh += old is None
        hard, soft = _differences(header, old, sizes.get(href))
        name = items.id[one.item]
        problems += [Problem("drift", what, _AGAIN, name, one.asset, href) for what in hard]
        doubts += [Problem("drift", what, _AGAIN, name, one.asset, href) for what in soft]
        known.setdefault(href, header)
    if fresh:
        try:
            store(noted, known.values())
        except OSError as error:
            what = f"{noted} can't be written ({error.strerror or error})"
            raise CatalogError(what) from error
    lost = sum(isinstance(header, StorageError) for header in found.values())
    what = f"{len(unique) - lost:,} files looked at"
    what += f", {fresh:,} of them noted for the first time" if fresh else ""
    if problems:
        return finding("drift", what, len(unique), problems + doubts)
    return finding("drift", what, len(unique), doubts, "warning")


def _sizes(items: Items, chosen: Sequence[Picked]) -> dict[str, int]:
    """What items say of the size of files, by href."""
    rows = np.unique(np.array([one.item for one in chosen], np.int64))
    documents: dict[int, Any] = dict(zip(rows.tolist(), items.some(rows), strict=True))
    found = {}
    for one in chosen:
        item = documents[one.item]
        told = item["assets"].get(asset_for(item, one.asset) or one.asset, {}).get("file:size")
        if isinstance(told, int):
            found[one.href] = told
    return found


def _differences(
    header: Header, old: Header | None, size: int | None
) -> tuple[list[str], list[str]]:
    """What is another file for certain, and what may be."""
    hard: list[str] = []
    soft: list[str] = []
    now = header.meta
    if size is not None and now.size is not None and size != now.size:
        hard.append(f"has {now.size:,} bytes, its item says {size:,}")
    if old is None:
        return hard, soft
    if None not in (now.size, old.meta.size) and now.size != old.meta.size:
        hard.append(f"has {now.size:,} bytes, had {old.meta.size:,}")
    elif header.data != old.data:
        hard.append("has another header than it had")
    elif now.conflicts(old.meta):
        soft.append(
            f"was written anew ({now.version}, was {old.meta.version}), its header is the same"
        )
    return hard, soft
