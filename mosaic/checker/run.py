"""Is a mosaic whole and true? Its STAC, its indexes, its scenes, one finding each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from mosaic.catalog.facts import asset_for, data_assets
from mosaic.catalog.href import is_remote
from mosaic.catalog.layout import CATALOG, COLLECTION, ITEMS, index_name
from mosaic.checker import access, bands, files, footprint
from mosaic.checker import index as index_rules
from mosaic.checker import rows as row_rules
from mosaic.checker.brief import brief_findings
from mosaic.checker.drift import drift_finding
from mosaic.checker.findings import CheckReport, Finding, finding
from mosaic.checker.index import AGAIN, Mark
from mosaic.checker.items import Items, Places, collections, read_items, spread
from mosaic.checker.opening import folder_of, read_document, read_mark
from mosaic.checker.read import Declared, Rows, read_index
from mosaic.checker.schemas import Schemas, fetcher
from mosaic.checker.stac import stac_findings
from mosaic.checker.vrt import Small, smalls
from mosaic.errors import CatalogError, Problem, UsageError
from mosaic.grid import project
from mosaic.settings import Retry, schema_cache
from mosaic.storage import Gate

Json = dict[str, Any]
Progress = Callable[[str, int], None]

SAMPLE = 50
"""Items, remote files and headers looked at unless all are."""
_AT_ONCE = 4096
"""Items that are kept whole."""


@dataclass(slots=True)
class _Mosaic:
    """What was read of a mosaic so far."""

    folder: Path
    """Where it lies."""
    document: Json
    """Its collection."""
    mark: Mark
    """Its grid."""
    items: Items | None = None
    """Its items, or None when they can't be read."""
    places: dict[str, Places] = field(default_factory=dict)
    """Where the pixels of each asset lie."""
    indexes: dict[str, Declared] = field(default_factory=dict)
    """What the sound indexes declare, by asset."""
    files: dict[str, Declared] = field(default_factory=dict)
    """The same by file name."""
    replaced: dict[str, set[int]] = field(default_factory=dict)
    """By asset, items for whose file a VRT stands in."""
    known: dict[int, Json] = field(default_factory=dict)
    """Items that were read whole, by row."""


def check(
    folder: str | os.PathLike[str],
    *,
    all: bool = False,  # noqa: A002 - the option's name
    sample: int = SAMPLE,
    schemas: str | os.PathLike[str] | None = None,
    offline: bool = False,
    gate: Gate | None = None,
    drift: str | os.PathLike[str] | None = None,
    progress: Progress = lambda step, done: None,
) -> CheckReport:
    """Checks a mosaic. See :func:`mosaic.check`."""
    started = time.monotonic()
    if sample < 1:
        raise UsageError(f"--sample {sample}: a number above 0")
    path = folder_of(folder)
    document = read_document(path)
    here = _Mosaic(path, document, read_mark(path, document))
    count = None if all else sample
    findings = [_files(here)]
    progress("items.parquet", 0)
    findings.append(_items(here))
    findings += brief_findings(path, document)
    findings += stac_findings(path, document, here.items, count, _schemas(schemas, offline))
    findings += _indexes(here, count, progress)
    findings += _slices_and_stacks(here)
    if here.items is not None:
        progress("files", 0)
        own = None if offline or gate else _gate()
        using = None if offline else gate or own
        findings += _access(here, here.items, count, using)
        if drift is not None:
            progress("drift", 0)
            chosen = access.picked(here.places, count)
            noted = Path(drift).expanduser()
            findings.append(drift_finding(here.items, chosen, noted, using))
        if own:
            own.close()
    return CheckReport(str(path), tuple(findings), time.monotonic() - started)


def _gate() -> Gate:
    """A gate with less patience than a read needs: a check tells what it can't have."""
    patience = Retry.from_env()
    return Gate(
        retry=replace(
            patience,
            attempts=min(patience.attempts, 4),
            deadline=min(patience.deadline, 60.0),
            budget=20,
        )
    )


def _schemas(folder: str | os.PathLike[str] | None, offline: bool) -> Schemas:
    if folder is None:
        kept = schema_cache()
        return Schemas(None, kept) if offline else Schemas(None, kept, fetcher())
    own = Path(folder).expanduser()
    if not own.is_dir():
        raise UsageError(f"--schemas {own}: no such folder")
    return Schemas(own, schema_cache())


def _files(here: _Mosaic) -> Finding:
    documents = {COLLECTION: here.document}
    problems: list[Problem] = []
    try:
        catalog = orjson.loads((here.folder / CATALOG).read_bytes())
        documents[CATALOG] = catalog if isinstance(catalog, dict) else {}
    except OSError as error:
        problems.append(Problem("missing", f"{CATALOG} can't be read ({error.strerror})", AGAIN))
    except orjson.JSONDecodeError as error:
        problems.append(Problem("json", f"{CATALOG} is no JSON ({error})", AGAIN))
    count, lost = files.file_problems(here.folder, documents)
    lost = [one for one in lost if not one.what.startswith(f"{CATALOG} ")] + problems
    what = f"{count - len(lost):,} of {count:,} are there"
    return finding("files", what, count, lost)


def _items(here: _Mosaic) -> Finding:
    try:
        here.items = items = read_items(here.folder)
    except CatalogError as error:
        return Finding(ITEMS, "broken", 0, "error", (Problem("items", str(error)),))
    problems = []
    stated = here.document.get("mosaic:items")
    if stated != len(items):
        what = f"{ITEMS} holds {len(items)} items, {COLLECTION} says {stated}"
        problems.append(Problem("items", what, AGAIN))
    names = collections(items)
    if names and str(here.document.get("id")) not in names:
        what = f"{ITEMS} is of the collection {', '.join(names)[:80]}"
        problems.append(Problem("items", f"{what}, not of {here.document.get('id')}", AGAIN))
    for asset in here.document["mosaic:assets"]:
        try:
            here.places[asset] = items.places(asset).without(_left_out(here, items, asset))
        except Exception as error:  # odd columns provoke whatever they like
            what = f"{ITEMS}: the asset {asset} can't be taken from it ({error})"
            problems.append(Problem("items", what[:240], AGAIN, asset=asset))
    return finding(ITEMS, f"{len(items):,} items", len(items), problems)


def _left_out(here: _Mosaic, items: Items, asset: str) -> list[int]:
    """Rows of items whose asset the build left out, as the collection says."""
    told = here.document.get("mosaic:left_out")
    ids = told.get(asset) if isinstance(told, dict) else None
    names = {one for one in ids if isinstance(one, str)} if isinstance(ids, list) else set()
    return [row for row, one in enumerate(items.id) if one in names] if names else []


def _indexes(here: _Mosaic, count: int | None, progress: Progress) -> list[Finding]:
    findings: list[Finding] = []
    order: dict[int, int] = {}
    memo: dict[tuple[Any, ...], footprint.Measured] = {}
    for asset in here.document["mosaic:assets"]:
        progress(asset, 0)
        name = index_name(asset)
        if not (here.folder / name).exists() and not _listed(here.document, asset):
            continue  # no tile of it lies inside the mosaic
        try:
            found, rows = read_index(here.folder / name)
        except CatalogError as error:
            problem = Problem("index", f"{name} {error}", asset=asset)
            findings.append(Finding(name, "broken", 0, "error", (problem,)))
            continue
        here.indexes[asset] = here.files[name] = found
        problems = index_rules.declaration_problems(name, found, rows, here.mark)
        problems += files.overview_problems(here.folder, name, found, here.mark)
        problems += bands.collection_problems(name, asset, found, here.document)
        problems += index_rules.location_problems(name, asset, rows)
        if here.items is not None and asset in here.places:
            problems += _rows(here, here.items, name, asset, rows, count, order, memo)
        findings.append(finding(name, f"{len(rows):,} tiles", len(rows), problems))
    return findings


def _listed(document: Json, asset: str) -> bool:
    assets = document.get("assets")
    return isinstance(assets, dict) and asset in assets


def _rows(
    here: _Mosaic,
    items: Items,
    name: str,
    asset: str,
    rows: Rows,
    count: int | None,
    order: dict[int, int],
    memo: dict[tuple[Any, ...], footprint.Measured],
) -> list[Problem]:
    """What is wrong with rows, seen beside the items that they show."""
    places = here.places[asset]
    good, bad = smalls(rows.location, here.folder)
    problems = [
        Problem("vrt", f"{name}: {what}", AGAIN, rows.item[row], asset) for row, what in bad.items()
    ]
    whole = row_rules.joined(name, asset, rows, items.id, places, _seen(places, here.mark))
    problems += whole.problems
    # an asset of that name needn't be an image in every collection
    lost = [
        row
        for row, item in zip(whole.lost, items.some(places.item[whole.lost]), strict=True)
        if asset_for(item, asset) in data_assets(item)
    ]
    problems += row_rules.lost_problems(name, asset, items.id, places, lost)
    place = whole.place
    here.replaced[asset] = {int(places.item[place[row]]) for row in good if place[row] >= 0}
    for row in bad:
        place[row] = -1  # said; nothing else can be told of it
    problems += _vrts(here, name, asset, rows, place, places, good)
    problems += _bands(here, items, name, asset, place, places, good, count)
    problems += row_rules.place_problems(name, asset, rows, place, places, good, here.folder)
    problems += footprint.footprint_problems(
        name, asset, rows, place, places, good, here.mark, memo
    )
    sort = str(here.document.get("mosaic:sort") or "")
    values = items.sorted_by(sort.lstrip("+-"))
    if sort.lstrip("+-") == "datetime":  # an item without has its start
        start = items.sorted_by("start_datetime") or [None] * len(items)
        values = [a or b for a, b in zip(values or [None] * len(items), start, strict=True)]
    problems += row_rules.order_problems(
        name, asset, rows, place, places, values, not sort.startswith("-"), order
    )
    return problems


def _seen(places: Places, mark: Mark) -> npt.NDArray[np.bool_]:
    """(places,) whether the middle of a scene lies inside the mosaic: then it has a row."""
    middle = places.shape[:, ::-1] / 2
    a, b, c, d, e, f = places.transform.T
    x = a * middle[:, 0] + b * middle[:, 1] + c
    y = d * middle[:, 0] + e * middle[:, 1] + f
    names = np.array(places.crs, object)
    seen = np.zeros(len(names), bool)
    west, south, east, north = mark.bounds
    for name in dict.fromkeys(places.crs):
        rows = np.flatnonzero(names == name)
        px, py = project(name, mark.crs, x[rows], y[rows])
        seen[rows] = (px > west) & (px < east) & (py > south) & (py < north)
    return seen


def _vrts(
    here: _Mosaic,
    name: str,
    asset: str,
    rows: Rows,
    place: npt.NDArray[np.int64],
    places: Places,
    good: dict[int, Small],
) -> list[Problem]:
    """VRTs that don't show what they stand for."""
    return [
        Problem("vrt", f"{name}: {what}", AGAIN, rows.item[row], asset)
        for row, one in good.items()
        if place[row] >= 0
        for what in index_rules.vrt_faults(
            one,
            here.indexes[asset],
            here.mark,
            (
                places.crs[place[row]],
                (int(places.shape[place[row], 0]), int(places.shape[place[row], 1])),
                tuple(places.transform[place[row]].tolist()),
            ),
        )
    ]


def _bands(
    here: _Mosaic,
    items: Items,
    name: str,
    asset: str,
    place: npt.NDArray[np.int64],
    places: Places,
    good: dict[int, Small],
    count: int | None,
) -> list[Problem]:
    """Items whose bands aren't what the index declares: of a sample, and of each kind of VRT."""
    known = np.flatnonzero(place >= 0)
    (chosen,) = spread([known], count)
    kinds = {one.changes: row for row, one in good.items() if place[row] >= 0}
    chosen = np.union1d(chosen, np.array(list(kinds.values()), np.int64))
    problems = []
    for start in range(0, len(chosen), _AT_ONCE):
        part = chosen[start : start + _AT_ONCE]
        wanted = np.unique(places.item[place[part]])
        new = wanted[[int(item) not in here.known for item in wanted]]
        if len(here.known) + len(new) > _AT_ONCE:  # all items don't fit in memory
            here.known.clear()
            new = wanted
        here.known |= zip(new.tolist(), items.some(new), strict=True)
        shown = [
            (here.known[int(places.item[place[row]])], places.href[place[row]], good.get(row))
            for row in part.tolist()
        ]
        folder = str(here.folder)
        problems += bands.band_problems(name, asset, here.indexes[asset], shown, folder)
    return problems


def _slices_and_stacks(here: _Mosaic) -> list[Finding]:
    by_role: dict[str, list[str]] = {"slice": [], "stack": []}
    assets = here.document.get("assets")
    for asset in (assets if isinstance(assets, dict) else {}).values():
        roles = asset.get("roles") if isinstance(asset, dict) else None
        roles = roles if isinstance(roles, list) else []
        for role, names in by_role.items():
            if role in roles and isinstance(asset.get("href"), str):
                names.append(asset["href"].removeprefix("./"))
    findings = []
    if by_role["slice"]:
        problems: list[Problem] = []
        away = 0
        for name in by_role["slice"]:
            wrong, elsewhere = files.slice_problems(here.folder, name, here.files, here.mark)
            problems += wrong
            away += elsewhere
        what = f"{len(by_role['slice'])} slices"
        what += f", {away} of them to be read from elsewhere" if away else ""
        findings.append(finding("slices", what, len(by_role["slice"]), problems))
    for name in by_role["stack"]:
        wrong = files.stack_problems(here.folder, name, here.files, here.mark)
        findings.append(finding(name, "stack", 1, wrong))
    aside = [*here.files, *by_role["slice"], *by_role["stack"]]
    side = files.side_problems(here.folder, aside)
    if side:
        findings.append(finding("side files", f"{len(side)} .aux.xml", len(side), side, "warning"))
    return findings


def _access(here: _Mosaic, items: Items, count: int | None, gate: Gate | None) -> list[Finding]:
    hrefs = {href for found in here.places.values() for href in found.href}
    remote = sum("://" in href for href in hrefs)
    chosen = access.picked(here.places, count)
    local = access.local_finding(items, here.places)
    findings = [local] if local.count else []
    answered: set[str] = set()
    if remote:
        found, answered = access.remote_finding(items, chosen, remote, gate)
        findings.append(found)
    lost = {problem.href for problem in local.problems}
    chosen = [
        one
        for one in chosen
        if one.href not in lost and (not is_remote(one.href) or one.href in answered)
    ]
    if chosen:
        total = sum(len(found.href) for found in here.places.values())
        findings.append(
            access.header_finding(items, chosen, total, here.indexes, here.replaced, gate)
        )
    return findings
