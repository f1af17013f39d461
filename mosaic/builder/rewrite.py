"""The files of a mosaic after an update: links to what stays, and what changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
import shapely

from mosaic import plot
from mosaic.builder import amend, arrange, repack, write
from mosaic.builder.bands import Common
from mosaic.builder.fits import placed
from mosaic.builder.frame import Frame
from mosaic.builder.options import Options
from mosaic.builder.parquet import group_sizes, write_items
from mosaic.builder.spool import Spool
from mosaic.builder.stac_files import write_item_files, write_stac
from mosaic.builder.standing import Standing
from mosaic.builder.tiles import tiles
from mosaic.catalog.folder import Folder
from mosaic.catalog.gti import LAYER, Tiles
from mosaic.catalog.gti_change import change_index, drawing_orders
from mosaic.catalog.layout import ITEMS, PREVIEW, VRT, index_name
from mosaic.catalog.opened import assets_in
from mosaic.catalog.order import drawn, times
from mosaic.catalog.table import Table
from mosaic.storage import default_gate

Json = dict[str, Any]
Longs = npt.NDArray[np.int64]
Progress = Callable[[str, int], None]

_DRAWN = 4000
"""Footprints in the preview, about."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done."""

    gone: Longs
    """Ascending rows of items that go, or are replaced."""
    fresh: Table | None
    """Items that come, or None."""
    common: dict[str, Common]
    """How their bands become those of the indexes."""
    place: Frame | None
    """The mosaic's grid, and where they lie in it."""
    added: int
    """Items that the mosaic didn't have."""
    left_out: dict[str, list[str]]
    """By asset, items that come without it, though they have it."""


def rewritten(
    stand: Standing,
    options: Options,
    change: Change,
    spooled: Spool,
    into: Path,
    progress: Progress,
) -> tuple[int, list[str]]:
    """Writes the mosaic's folder anew: links to what stays, and what changes."""
    target, document, fresh = stand.folder, stand.document, change.fresh
    grid = change.place.grid if change.place else stand.opened.grid
    indexes = {name: replace(one, grid=grid) for name, one in stand.indexes.items()}
    gone = stand.opened.ids(change.gone)
    progress("items.parquet", len(stand.rows))
    lines = fresh.line if fresh is not None else np.zeros(0, np.int64)
    notes, groups = _items(stand, change, spooled, lines, into)
    columns = Folder.at(into, default_gate()).columns(ITEMS)
    ids = columns.read("id")
    when = times(columns)
    rank = drawn(columns, document, ids, when)
    known = _orders(stand, gone)
    came = pa.array(fresh.id if fresh is not None else (), ids.type)
    z, moved = placed(ids, rank, known, len(came))
    where = pc.index_in(came, ids).to_numpy()
    number = _numbered(document)
    stale: list[str] = []
    for asset, index in indexes.items():
        progress(asset, 0)
        rows: Tiles | None = None
        if fresh is not None and change.place is not None and asset in fresh.assets:
            own = z[where]
            numbered = replace(fresh, line=fresh.line + number)
            recodings = change.common[asset].recodings
            found = tiles(numbered, index, change.place, own, target, recodings)
            rows = found.tiles
            for name, text in found.files.items():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_text(text, encoding="utf-8")
        name = index_name(asset)
        if not gone and not moved and rows is None and grid == stand.opened.grid:
            os.link(target / name, into / name)
            continue
        shutil.copyfile(target / name, into / name)
        stale += change_index(into / name, index, gone, moved, rows)
    _link_vrts(document, target, into, stale)
    slices = write.slices_of(amend.labels_of(when, options.slices))
    files = {name: write.write_slices(into, target, one, slices) for name, one in indexes.items()}
    for members in options.stacks:
        write.write_stack(into, members, indexes)
    crs = amend.crs_after(document, stand.opened, change.gone, fresh)
    interval = amend.interval_of(when)
    told = amend.amended(document, options, indexes, files, len(ids), interval, crs, fresh)
    told["mosaic:groups"] = groups
    told |= _left_out(document, change)
    if document.get("mosaic:brief") or len(ids) >= arrange.MANY:
        sizes = group_sizes(into / ITEMS)
        every = assets_in(columns, told, ids)
        told |= arrange.write_brief(into, told, sizes, columns, rank, every)
    _item_files(stand, told, gone, spooled.lines(lines), into)
    _preview(into, indexes, told)
    write_stac(into, told)
    return len(ids), notes


def _left_out(document: Json, change: Change) -> Json:
    """The assets that the build, or this update, left out of items."""
    known = {asset: set(ids) for asset, ids in document.get("mosaic:left_out", {}).items()}
    back = set(change.fresh.id) if change.fresh is not None else set()
    for asset in known.keys() | change.left_out.keys():
        known[asset] = known.get(asset, set()) - back | set(change.left_out.get(asset, ()))
    found = {asset: sorted(ids) for asset, ids in known.items() if ids}
    return {"mosaic:left_out": found} if found else {}


def _items(
    stand: Standing, change: Change, spooled: Spool, lines: Any, into: Path
) -> tuple[list[str], list[Any]]:
    """``items.parquet``, and what its row groups cover."""
    source, out = stand.folder / ITEMS, into / ITEMS
    fresh = change.fresh
    try:
        order = repack.changed(source, out, change.gone, spooled.lines(lines), stand.document)
    except (repack.MisfitError, pa.ArrowException, ValueError):  # fields that no column holds
        notes = write_items(
            out,
            lambda: chain(repack.lines_without(source, change.gone), spooled.lines(lines)),
            stand.document,
        )
        whole = [-180.0, -90.0, 180.0, 90.0, None, None]
        return notes, [whole] * len(group_sizes(out))
    sizes = group_sizes(out)[len(order) :]
    more = arrange.bounds(fresh, np.arange(len(fresh.id)), sizes) if fresh is not None else []
    return [], [*(stand.document["mosaic:groups"][group] for group in order), *more]


def _orders(stand: Standing, gone: Sequence[str]) -> Any:
    """Drawing orders of the items that stay, an index at a time."""
    for asset in stand.indexes:
        table = drawing_orders(stand.folder / index_name(asset))
        if gone:
            out = pc.is_in(table["item"], pa.array(gone, pa.string()))
            table = table.filter(pc.invert(out))
        yield table


def _numbered(document: Json) -> int:
    """A number above those in the names of a mosaic's VRTs."""
    names = [name for name in document["mosaic:files"] if name.startswith(f"{VRT}/")]
    numbers = [name.removesuffix(".vrt").rsplit("_", 3) for name in names]
    return 1 + max((int(part) for one in numbers for part in one[1:] if part.isdigit()), default=-1)


def _link_vrts(document: Json, target: Path, into: Path, stale: Sequence[str]) -> None:
    """Links to the VRTs that stay: not to those of rows that went, and what these stand on."""
    gone = {one.removesuffix(".vrt") for one in stale if one.startswith(f"{VRT}/")}
    for name in document["mosaic:files"]:
        stem = name.removesuffix(".vrt").removesuffix("_stored").removesuffix("_alpha")
        if name.startswith(f"{VRT}/") and stem not in gone:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(target / name, into / name)


def _item_files(stand: Standing, told: Json, gone: Sequence[str], lines: Any, into: Path) -> None:
    """Items as JSON files, where the mosaic has such and they aren't too many."""
    links = [one for one in told["links"] if one["rel"] == "item"]
    told["links"] = [one for one in told["links"] if one["rel"] != "item"]
    if not links or told["mosaic:items"] > told["mosaic:options"]["item_files"]:
        return
    names = set(gone)
    kept = [one for one in links if one["title"] not in names]
    taken = {Path(one["href"]).stem.lower() for one in kept}
    told["links"] += kept + write_item_files(into, lines, taken)
    for one in kept:
        os.link(stand.folder / one["href"], into / one["href"])


def _preview(into: Path, indexes: Any, told: Json) -> None:
    """The footprints of the first index, coloured by CRS."""
    asset = next(iter(indexes))
    step = -(-told["mosaic:items"] // _DRAWN)
    _, table = pyogrio.read_arrow(
        into / index_name(asset), layer=LAYER, columns=["crs"], where=f"fid % {step} = 0"
    )
    plot.footprints(
        into / PREVIEW,
        shapely.from_wkb(table["geom"].to_numpy()),
        table["crs"].to_pylist(),
        dict(told["mosaic:source_crs"]),
        told["mosaic:grid"]["crs"],
        f"{told['title']}: {told['mosaic:items']} items in {told['mosaic:grid']['crs'][:40]}",
    )
