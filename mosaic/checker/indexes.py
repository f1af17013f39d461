"""The indexes of a mosaic: what each declares, and its rows beside the items that they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.catalog.facts import asset_for, data_assets
from mosaic.catalog.layout import index_name
from mosaic.checker import bands, files, footprint
from mosaic.checker import index as index_rules
from mosaic.checker import rows as row_rules
from mosaic.checker.findings import Finding, finding
from mosaic.checker.index import AGAIN, Mark
from mosaic.checker.items import Items, Places, spread
from mosaic.checker.mosaic import Mosaic
from mosaic.checker.read import Rows, read_index
from mosaic.checker.vrt import Small, smalls
from mosaic.errors import CatalogError, Problem
from mosaic.grid import project

Json = dict[str, Any]
Progress = Callable[[str, int], None]

_AT_ONCE = 4096
"""Items that are kept whole."""


def index_findings(here: Mosaic, count: int | None, progress: Progress) -> list[Finding]:
    """A finding for each index; what the sound ones declare is noted.

    ``count``: items of each index whose bands are looked at; None for all.
    """
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
    here: Mosaic,
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
    here: Mosaic,
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
    here: Mosaic,
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
