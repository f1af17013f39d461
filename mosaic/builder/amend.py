"""A mosaic's collection after an update: what changed of extent, counts, summaries and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.builder.collection import description, index_assets, source_crs
from mosaic.builder.options import Options
from mosaic.catalog.gti import Index
from mosaic.catalog.layout import MARK
from mosaic.catalog.opened import NEVER, Opened
from mosaic.catalog.source import has_code
from mosaic.catalog.table import Table
from mosaic.outline import lonlat_union

Json = dict[str, Any]
Longs = npt.NDArray[np.int64]

_LISTED = ("platform", "constellation", "mission", "instruments", "gsd", "processing:level")


def amended(
    document: Json,
    options: Options,
    indexes: dict[str, Index],
    slices: Mapping[str, list[str]],
    count: int,
    interval: Sequence[str | None],
    crs: list[list[Any]],
    fresh: Table | None,
) -> Json:
    """The collection of an updated mosaic.

    ``count``, ``interval``, ``crs``: of all its items. ``fresh``: items that came. Its box, its
    summaries and its providers keep what only items said that went.
    """
    grid = next(iter(indexes.values())).grid
    place = {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine)[:6]}
    assets = {
        name: one for name, one in document["assets"].items() if "tile-index" not in one["roles"]
    }
    stacks = [
        one["href"].removeprefix("./")
        for one in document["assets"].values()
        if "stack" in one["roles"]
    ]
    first = document["assets"][next(iter(indexes))]
    where = {name: value for name, value in first.items() if name.startswith("proj:")} | place
    summaries = dict(document["summaries"])
    box = document["extent"]["spatial"]["bbox"][0]
    if fresh is not None:
        box = list(lonlat_union(np.vstack([[box], fresh.lonlat])))
        summaries |= _summaries(summaries, fresh)
    codes = sorted(name for name, _ in crs if has_code(name))
    if codes:
        summaries["proj:code"] = codes
    origins = document["description"].partition(" items of ")[2].partition(" made by ")[0]
    return {
        **document,
        "description": description(count, [origins] if origins else [], []),
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [list(interval)]}},
        "assets": {**assets, **index_assets(options, indexes, stacks, dict(slices), where)},
        "summaries": summaries,
        MARK: {"crs": document[MARK]["crs"], "shape": place["proj:shape"],
               "transform": place["proj:transform"]},
        "mosaic:items": count,
        "mosaic:source_crs": crs,
    }  # fmt: skip


def _summaries(known: Json, fresh: Table) -> Json:
    found: Json = {}
    for name in _LISTED:
        values = list(known.get(name) or ())
        for trait in fresh.shared():
            told = trait.get(name)
            for one in told if isinstance(told, list) else [told]:
                if one is not None and one not in values:
                    values.append(one)
        if values:
            found[name] = values
    clouds = fresh.cloud_cover[~np.isnan(fresh.cloud_cover)]
    if len(clouds):
        old = known.get("eo:cloud_cover") or {"minimum": np.inf, "maximum": -np.inf}
        found["eo:cloud_cover"] = {
            "minimum": min(float(clouds.min()), old["minimum"]),
            "maximum": max(float(clouds.max()), old["maximum"]),
        }
    return found


def crs_after(document: Json, opened: Opened, gone: Longs, fresh: Table | None) -> list[list[Any]]:
    """[CRS, items] of the scenes, most frequent first, without some rows and with more items."""
    counts: Counter[str] = Counter({name: int(n) for name, n in document["mosaic:source_crs"]})
    seen = np.zeros(opened.count, bool)
    for asset in opened.assets.values():
        mine = np.isin(asset.item, gone) & ~seen[asset.item]
        for place in asset.grids.crs_index[mine].tolist():
            counts[asset.grids.crs[place]] -= 1
        seen[asset.item[mine]] = True
    for name, number in source_crs(fresh) if fresh is not None else ():
        counts[name] += number
    return [[name, number] for name, number in (+counts).most_common()]


def interval_of(times: Longs) -> list[str | None]:
    """First and last of times in milliseconds, as RFC 3339 texts."""
    known = times[times != NEVER]
    if not len(known):
        return [None, None]
    ends = np.array([known.min(), known.max()], "datetime64[ms]")
    return [f"{text}Z" for text in np.datetime_as_string(ends, unit="ms").tolist()]


def labels_of(times: Longs, kind: str) -> list[str]:
    """The time slices (``day``, ``month``, ``year``) that hold items."""
    if kind == "none":
        return []
    known = np.unique(times[times != NEVER]).astype("datetime64[ms]")
    unit = {"day": "D", "month": "M", "year": "Y"}[kind]
    return [str(one) for one in np.unique(known.astype(f"datetime64[{unit}]"))]
