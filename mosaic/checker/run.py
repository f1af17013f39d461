"""Is a mosaic whole and true? Its STAC, its indexes, its scenes, one finding each."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from mosaic.catalog.href import is_remote
from mosaic.catalog.layout import CATALOG, COLLECTION, ITEMS
from mosaic.checker import access, files
from mosaic.checker.brief import brief_findings
from mosaic.checker.drift import drift_finding
from mosaic.checker.findings import CheckReport, Finding, finding
from mosaic.checker.index import AGAIN
from mosaic.checker.indexes import Progress, index_findings
from mosaic.checker.items import Items, collections, read_items
from mosaic.checker.mosaic import Mosaic
from mosaic.checker.opening import folder_of, read_document, read_mark
from mosaic.checker.schemas import Schemas, fetcher
from mosaic.checker.stac import stac_findings
from mosaic.errors import CatalogError, Problem, UsageError
from mosaic.settings import Retry, schema_cache
from mosaic.storage import Gate

Json = dict[str, Any]

SAMPLE = 50
"""Items, remote files and headers looked at unless all are."""


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
    here = Mosaic(path, document, read_mark(path, document))
    count = None if all else sample
    findings = [_files(here)]
    progress("items.parquet", 0)
    findings.append(_items(here))
    findings += brief_findings(path, document)
    findings += stac_findings(path, document, here.items, count, _schemas(schemas, offline))
    findings += index_findings(here, count, progress)
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


def _files(here: Mosaic) -> Finding:
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


def _items(here: Mosaic) -> Finding:
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


def _left_out(here: Mosaic, items: Items, asset: str) -> list[int]:
    """Rows of items whose asset the build left out, as the collection says."""
    told = here.document.get("mosaic:left_out")
    ids = told.get(asset) if isinstance(told, dict) else None
    names = {one for one in ids if isinstance(one, str)} if isinstance(ids, list) else set()
    return [row for row, one in enumerate(items.id) if one in names] if names else []


def _slices_and_stacks(here: Mosaic) -> list[Finding]:
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


def _access(here: Mosaic, items: Items, count: int | None, gate: Gate | None) -> list[Finding]:
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
