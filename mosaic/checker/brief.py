"""``items.arrow`` beside ``items.parquet``: does it tell the same?"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.catalog.folder import Folder
from mosaic.catalog.layout import BRIEF, ITEMS
from mosaic.catalog.opened import Opened, open_mosaic
from mosaic.checker.findings import Finding, finding
from mosaic.checker.index import AGAIN
from mosaic.errors import MosaicError, Problem
from mosaic.storage import default_gate


def brief_findings(folder: Path, document: dict[str, Any]) -> list[Finding]:
    """Whether a mosaic opens alike by either file; nothing where there is no ``items.arrow``."""
    if not document.get("mosaic:brief"):
        return []
    place = Folder.at(folder, default_gate())
    try:
        whole = open_mosaic(place, None, document, place.columns(ITEMS))
    except MosaicError:
        return []  # said of items.parquet
    problems = []
    try:
        short = open_mosaic(place, None, document)
    except MosaicError as error:
        problems.append(Problem("items", str(error), AGAIN))
    else:
        for name in _differing(whole, short):
            what = f"{BRIEF} tells other {name} than {ITEMS}"
            problems.append(Problem("items", what, AGAIN))
    return [finding(BRIEF, f"{whole.count:,} items", whole.count, problems)]


def _differing(one: Opened, other: Opened) -> list[str]:
    """What two ways to open a mosaic don't agree on."""
    found = [name for name in ("time", "z") if _differ(getattr(one, name), getattr(other, name))]
    for name, asset in one.assets.items():
        mine = [getattr(asset, field.name) for field in fields(asset)]
        own = [getattr(other.assets[name], field.name) for field in fields(asset)]
        grids = zip(_parts(asset.grids), _parts(other.assets[name].grids), strict=True)
        same = not any(_differ(a, b) for a, b in grids)
        plain = zip(fields(asset), mine, own, strict=True)
        same &= not any(_differ(a, b) for field, a, b in plain if field.name != "grids")
        found += [] if same else [f"grids or bands of {name}"]
    return found


def _parts(grids: Any) -> list[Any]:
    return [grids.crs, grids.crs_index, grids.shape, grids.transform]


def _differ(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return not np.array_equal(one, other)
    return repr(one) != repr(other)  # NaN is NaN here
