"""How items lie in ``items.parquet``: what is near in time and place lies in few row groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.catalog import brief
from mosaic.catalog.assets import Asset
from mosaic.catalog.columns import Columns
from mosaic.catalog.file_columns import footer_mark
from mosaic.catalog.layout import BRIEF, ITEMS
from mosaic.catalog.table import Table
from mosaic.outline import lonlat_union

Longs = npt.NDArray[np.int64]

MANY = 50_000
"""Items from which on their order is changed and row groups are larger."""
GROUP = 10_000
"""Items of a row group, about, where there are many."""
SPANS = 8
"""Spans of time, at most: each may take two requests."""


def arranged(table: Table) -> tuple[Longs, list[int] | None]:
    """Rows of a table in the order of ``items.parquet``, and the sizes of its row groups.

    Few stay as they are, in groups of whatever size (None). Many are cut into spans of time, these
    into strips of longitude, and these by latitude, up and down by turns: about as many spans as a
    span has groups, but no more than a place's whole history may take requests.
    """
    count = len(table.id)
    if count < MANY:
        return np.arange(count), None
    groups = -(-count // GROUP)
    spans = max(1, min(SPANS, round(groups**0.5)))
    strips = max(1, round((groups / spans) ** 0.5))
    box = table.lonlat[table.first_grid()]
    x = np.mod(box[:, 0] + np.mod(box[:, 2] - box[:, 0], 360.0) / 2 + 180.0, 360.0)
    y = box[:, 1] + box[:, 3]
    found: list[Longs] = []
    for span in np.array_split(np.argsort(np.array(table.datetime), kind="stable"), spans):
        for number, strip in enumerate(
            np.array_split(span[np.argsort(x[span], kind="stable")], strips)
        ):
            upward = strip[np.argsort(y[strip], kind="stable")]
            parts = -(-len(strip) // GROUP)
            found += np.array_split(upward[::-1] if number % 2 else upward, parts)
    return np.concatenate(found), [len(part) for part in found]


def bounds(table: Table, order: Longs, sizes: Sequence[int]) -> list[list[Any]]:
    """What each row group covers: west, south, east, north in degrees, first and last time.

    ``order``: rows of the table as they lie in the file. ``sizes``: rows of each group. Boxes are
    those of the rasters, with east < west across 180; times are milliseconds since 1970, or null
    where a group holds an item without a time.
    """
    group = np.empty(len(order), np.int64)
    group[order] = np.repeat(np.arange(len(sizes)), sizes)
    texts = [text.removesuffix("Z") or "NaT" for text in table.datetime]
    times = np.array(texts, "datetime64[ms]")
    found: list[list[Any]] = []
    of_asset = [(group[assets.item], assets.grid) for assets in table.assets.values()]
    for number in range(len(sizes)):
        grids = np.unique(np.concatenate([grid[of == number] for of, grid in of_asset]))
        where = table.lonlat[grids]
        unknown = np.isnan(where).any()
        box = [-180.0, -90.0, 180.0, 90.0] if unknown else list(lonlat_union(where))
        own = times[group == number]
        known = not np.isnat(own).any()
        span = [int(own.min().astype(int)), int(own.max().astype(int))] if known else [None, None]
        found.append([*box, *span])
    return found


def write_brief(
    folder: Path,
    document: dict[str, Any],
    sizes: Sequence[int],
    columns: Columns,
    z: Longs,
    assets: Mapping[str, Asset],
) -> dict[str, Any]:
    """Writes ``items.arrow`` beside ``items.parquet``; returns what the collection says of it.

    ``sizes``: rows of each row group. ``columns``, ``z``, ``assets``: of all items, as
    :func:`~mosaic.catalog.opened.open_mosaic` has them of ``items.parquet``. Raises OSError.
    """
    told = brief.write(folder / BRIEF, columns, z, assets, sizes)
    with (folder / ITEMS).open("rb") as stream:
        told["items"] = footer_mark(stream)
    asset = {
        "href": f"./{BRIEF}",
        "type": "application/vnd.apache.arrow.file",
        "title": "Times and grids of the items",
        "roles": ["metadata"],
    }
    return {"mosaic:brief": told, "assets": {**document["assets"], "brief-items": asset}}
