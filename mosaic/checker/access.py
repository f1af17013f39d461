"""Are the scenes where the items say, and are they what the items say?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from mosaic.builder.trust import disagreements
from mosaic.catalog.facts import asset_for, sources
from mosaic.catalog.headers import Header
from mosaic.catalog.href import is_remote
from mosaic.catalog.reading import read_headers
from mosaic.catalog.source import GDAL_TYPES, Source
from mosaic.checker.extent import same_crs
from mosaic.checker.findings import HEADERS, Finding, finding
from mosaic.checker.items import Items, Places, spread
from mosaic.checker.read import Declared
from mosaic.errors import (
    AccessError,
    DeadlineError,
    HeaderError,
    MissingError,
    MosaicError,
    Problem,
    StorageError,
    UnreachableError,
)
from mosaic.storage import Gate

_THREADS = 16
"""Remote files asked for at once at most; the gate allows fewer where an origin bears fewer."""
_HEAD = 16384
"""Bytes read of a remote file: its header, most often."""


@dataclass(frozen=True, slots=True)
class Picked:
    """One asset of one item that is looked at."""

    asset: str
    """The mosaic's name of the asset."""
    item: int
    """Row of the item."""
    href: str
    """Absolute and unsigned."""


def picked(places: dict[str, Places], count: int | None) -> list[Picked]:
    """Assets of items, spread evenly over assets and CRSs; ``count``: None for all."""
    groups: list[npt.NDArray[np.int64]] = []
    names: list[str] = []
    for asset, found in places.items():
        crs = np.array(found.crs, object)
        for name in dict.fromkeys(found.crs):
            groups.append(np.flatnonzero(crs == name))
            names.append(asset)
    return [
        Picked(asset, int(places[asset].item[row]), places[asset].href[row])
        for asset, rows in zip(names, spread(groups, count), strict=True)
        for row in rows.tolist()
    ]


def local_finding(items: Items, places: dict[str, Places]) -> Finding:
    """All files of this machine: are they there?"""
    there: dict[str, bool] = {}
    problems = []
    for asset, found in places.items():
        for row, href in zip(found.item.tolist(), found.href, strict=True):
            if is_remote(href) or not href.startswith("/") or href.startswith("/vsi"):
                continue
            if href not in there:
                there[href] = os.path.exists(href)  # noqa: PTH110 - a hundred thousand of them
            if not there[href]:
                advice = "put it back, or build the mosaic again"
                problems.append(
                    Problem("missing", "no such file", advice, items.id[row], asset, href)
                )
    what = f"{sum(there.values()):,} of {len(there):,} are there"
    return finding("local files", what, len(there), problems)


def remote_finding(
    items: Items, chosen: list[Picked], total: int, gate: Gate | None
) -> tuple[Finding, set[str]]:
    """One range of each remote file that was picked; and the hrefs that answered.

    ``gate``: None when nothing shall be asked for.
    """
    unique = {one.href: one for one in chosen if "://" in one.href}
    if gate is None:
        what = f"{total:,} remote files, none asked for"
        return Finding("remote files", what, 0, "unknown" if total else "ok"), set()
    dead: dict[str, str] = {}

    def ask(one: Picked) -> StorageError | None:
        host = urlsplit(one.href).netloc
        if host in dead:
            return UnreachableError(dead[host], href=one.href)
        try:
            gate.forget(one.href)  # what is there now counts
            gate.get_range(one.href, start=0, length=_HEAD)
        except UnreachableError as error:
            dead[host] = error.what
            return error
        except StorageError as error:
            return error
        return None

    with ThreadPoolExecutor(_THREADS, "mosaic-check") as pool:
        answers = list(zip(unique.values(), pool.map(ask, unique.values()), strict=True))
    problems = [
        Problem(*_unreached(error), items.id[one.item], one.asset, one.href)
        for one, error in answers
        if error is not None
    ]
    good = {one.href for one, error in answers if error is None}
    what = f"{len(good):,} of {len(unique):,} asked for answer"
    if total > len(unique):
        what += f" ({total:,} in all)"
    return finding("remote files", what, len(unique), problems), good


def _unreached(error: StorageError) -> tuple[str, str, str]:
    """Kind, what and advice of a refusal."""
    status = f" (status {error.status})" if error.status is not None else ""
    if isinstance(error, MissingError):
        return "missing", f"no such object{status}", "build the mosaic again without it"
    if isinstance(error, AccessError):
        return "access", f"{error.what}{status}", error.advice or "give credentials"
    if isinstance(error, UnreachableError | DeadlineError):
        what = f"can't be reached ({error.what})"
        return "unreachable", what, "try again with a network, or --offline leaves remote files out"
    return "unreadable", f"{error.what}{status}", error.advice


def header_finding(
    items: Items,
    chosen: list[Picked],
    total: int,
    indexes: dict[str, Declared],
    replaced: dict[str, set[int]],
    gate: Gate | None = None,
) -> Finding:
    """Headers of files beside what items and indexes say of them.

    ``indexes``: by asset. ``replaced``: by asset, rows of items that a VRT stands in for, which
    declares their nodata value. ``gate``: what remote headers are read through, as it has
    them from :func:`remote_finding`.
    """
    rows = np.unique(np.array([one.item for one in chosen], np.int64))
    documents = dict(zip(rows.tolist(), items.some(rows), strict=True))
    headers = dict(read_headers((one.href for one in chosen), gate=gate, fresh=gate is None))
    problems: list[Problem] = []
    unread = 0
    for one in chosen:
        header = headers[one.href]
        name = items.id[one.item]
        if isinstance(header, HeaderError):
            found = header.problem
            unread += found.kind == "unreadable" and is_remote(one.href)
            problems.append(
                Problem(found.kind, found.what, found.advice, name, one.asset, one.href)
            )
            continue
        source = _source(items, documents[one.item], one.asset)
        if source is not None:
            masked = one.item in replaced.get(one.asset, ())
            problems += _differences(source, header, masked)
        problems += _misdeclared(indexes.get(one.asset), header, name, one)
    opened = len(chosen) - sum(isinstance(h, HeaderError) for h in headers.values())
    what = f"{opened:,} of {len(chosen):,} opened"
    what += f" ({total:,} in all)" if total > len(chosen) else ""
    what += ", all as their items say" if not problems else ""
    if problems and unread == len(problems):
        # the gate was answered; GDAL may lack the credentials that the gate has
        return Finding(HEADERS, what, len(chosen), "unknown", tuple(problems))
    return finding(HEADERS, what, len(chosen), problems)


def _source(items: Items, item: dict[str, object], asset: str) -> Source | None:
    key = asset_for(item, asset)
    if key is None:
        return None
    try:
        return next(sources(item, {asset: key}, str(items.folder)))
    except MosaicError:
        return None


def _differences(source: Source, header: Header, masked: bool) -> list[Problem]:
    """Where an item and its file contradict each other, both named."""
    undeclared = all(band.nodata is None for band in header.bands)
    return [
        Problem(
            found.kind,
            found.what,
            "mend the item, or build with --verify, which believes the files",
            found.item,
            found.asset,
            found.href,
        )
        for found in disagreements(source, header)
        # a mask, or the VRT that stands in, tells what the nodata value of the file doesn't
        if not (found.kind == "nodata" and undeclared and (masked or header.masked))
        if not (found.kind == "crs" and _same_crs(source, header))
    ]


def _same_crs(source: Source, header: Header) -> bool:
    """Whether two CRSs differ in their texts alone."""
    a, b, c, d, e, f = header.transform
    height, width = header.shape
    x, y = (c, c + a * width + b * height), (f, f + d * width + e * height)
    return same_crs(source.crs or "", header.crs, (min(x), min(y), max(x), max(y)))


def _misdeclared(index: Declared | None, header: Header, item: str, one: Picked) -> list[Problem]:
    """Where an index and a file contradict each other in what bands there are."""
    if index is None:
        return []
    own = tuple(GDAL_TYPES[band.dtype] for band in header.bands)
    if own == index.dtypes:
        return []
    said, is_ = (", ".join(dict.fromkeys(kinds)) for kinds in (index.dtypes, own))
    what = f"the index declares {len(index.dtypes)} x {said}, the file has {len(own)} x {is_}"
    return [Problem("dtype", what, "build the mosaic again", item, one.asset, one.href)]
