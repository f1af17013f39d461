"""Items to a whole mosaic, which appears at once."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from mosaic import plot
from mosaic.builder import arrange, write
from mosaic.builder.bands import Common
from mosaic.builder.collection import Json, collection
from mosaic.builder.frame import Frame
from mosaic.builder.gather import gather
from mosaic.builder.inputs import Source, items
from mosaic.builder.options import Options
from mosaic.builder.overview import overview_factor, write_overview
from mosaic.builder.parquet import group_sizes, write_items
from mosaic.builder.publish import building
from mosaic.builder.report import Encoded, Report
from mosaic.builder.search import Search, known, requests, searching
from mosaic.builder.settle import settled
from mosaic.builder.spool import spool
from mosaic.builder.stac_files import write_item_files, write_stac
from mosaic.builder.tiles import tiles
from mosaic.catalog.folder import Folder
from mosaic.catalog.gti import Index, write_index
from mosaic.catalog.layout import ITEMS, PREVIEW, index_name
from mosaic.catalog.opened import open_mosaic
from mosaic.catalog.table import Table
from mosaic.errors import Problem
from mosaic.storage import default_gate

GAP = 1 << 10
"""Between the drawing orders of two items: room for those that an update brings."""

Progress = Callable[[str, int], None]
"""Called with the step that is under way and how many items it has done."""


def make(
    sources: Sequence[Source | Search],
    out: str | os.PathLike[str],
    options: Options,
    progress: Progress = lambda step, done: None,
) -> Report:
    """Builds a mosaic from sources into a folder. See :func:`mosaic.build`."""
    started = time.monotonic()
    target = Path(out).expanduser().absolute()
    wanted, read = requests(sources, options)
    with (
        searching(wanted, target, progress) as searched,
        building(target, options.overwrite) as folder,
        spool(folder, target) as spooled,
    ):
        gathered = gather(
            chain(searched, items(read)),
            options,
            spooled.keep,
            lambda count: progress("items", count),
        )
        found = settled(gathered, options)
        table, chosen, place, z = found.table, found.common, found.frame, found.z * GAP
        notes = list(found.notes)
        factor = overview_factor(place.grid, options.overview) if options.overview else 0
        if options.overview and not factor:
            notes.append("no overview: the mosaic is hardly larger than one")
        unsorted = sum(value is None for value in table.sort)
        if unsorted:
            counted = f"{unsorted} of {len(table.id)} items"
            notes.append(f"{counted} have no {options.sort}: they lie below")
        timeless = sum(not when for when in table.datetime)
        if timeless and options.slices != "none":
            notes.append(f"{timeless} of {len(table.id)} items have no time: they are in no slice")
        indexes: dict[str, Index] = {}
        counts: list[tuple[str, int]] = []
        encodings: list[Encoded] = []
        slices = write.time_slices(table, options.slices)
        slice_files: dict[str, list[str]] = {}
        for asset in table.assets:
            progress(asset, 0)
            common = chosen[asset]
            index = Index(asset, place.grid, place.crs, common.bands, options.method(asset))
            written = tiles(table, index, place, z, target, common.recodings)
            if not written.tiles.location:
                notes.append(f"{asset}: no tile lies inside the mosaic")
                continue
            for name, text in written.files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if factor:
                # what is relative to the mosaic's final place can't be read from here
                absolute = tiles(table, index, place, z, folder, common.recodings).tiles
                coarse = write_overview(folder, index, absolute, factor, progress)
                index = replace(index, overview=coarse)
                if not index.linked:
                    notes.append(f"{coarse.file} isn't linked: {asset} has no nodata value")
            write_index(folder / index_name(asset), index, written.tiles)
            indexes[asset] = index
            counts.append((index_name(asset), len(written.tiles.location)))
            encodings += _encoded(table, asset, common)
            slice_files[asset] = write.write_slices(folder, target, index, slices)
        stacks = [write.write_stack(folder, members, indexes) for members in options.stacks]
        document = collection(
            target.name,
            table,
            gathered.parents,
            place,
            options,
            indexes,
            stacks,
            slice_files,
        )
        document |= known(options.recipe, wanted, indexes)
        lacking = left_out(gathered.bad, table, indexes)
        if lacking:
            document["mosaic:left_out"] = lacking
        origins: Counter[str | None] = Counter()
        for trait, count in zip(table.traits, np.bincount(table.trait).tolist(), strict=False):
            origins[trait["collection"]] += count
        origins = +origins  # without those of which no item is left
        if len(origins) > 1:
            counted = ", ".join(f"{name or 'none'} ({n})" for name, n in origins.most_common())
            notes.append(f"items of {len(origins)} collections: {counted}")
        progress("items.parquet", len(table.id))
        rows, sizes = arrange.arranged(table)
        lines = table.line[rows]
        notes += write_items(folder / ITEMS, lambda: spooled.placed(lines), document, sizes)
        grouped = group_sizes(folder / ITEMS)
        document["mosaic:groups"] = arrange.bounds(table, rows, grouped)
        if len(table.id) >= arrange.MANY:
            home = Folder.at(folder, default_gate())
            every = open_mosaic(home, None, document, home.columns(ITEMS))
            document |= arrange.write_brief(
                folder, document, grouped, every.columns, every.z, every.assets
            )
        if len(table.id) <= options.item_files:
            document["links"] += write_item_files(folder, spooled.lines(table.line))
        _preview(folder, table, place, document)
        write_stac(folder, document)
        first, last = document["extent"]["temporal"]["interval"][0]
        report = Report(
            path=str(target),
            items=len(table.id),
            indexes=tuple(counts),
            encodings=tuple(encodings),
            stacks=tuple(stacks),
            overviews=tuple(
                (one.overview.file, one.overview.factor) for one in indexes.values() if one.overview
            ),
            slices=tuple(one.label for one in slices),
            crs=place.crs,
            resolution=(place.grid.affine.a, -place.grid.affine.e),
            shape=place.shape,
            source_crs=tuple((name, count) for name, count in document["mosaic:source_crs"]),
            interval=(first or "", last or ""),
            headers_read=gathered.headers_read,
            left_out=tuple(gathered.bad),
            disagreements=tuple(gathered.disagreements),
            notes=(*gathered.notes, *notes),
            seconds=0.0,
        )
    return replace(report, seconds=time.monotonic() - started)


def _encoded(table: Table, asset: str, common: Common) -> Iterator[Encoded]:
    """What each band of an index declares, and how many of its items are brought to that."""
    used = table.assets[asset].bands
    for position, band in enumerate(common.bands):
        rows = [row for row, how in common.recodings.items() if how[position].changes]
        changed = int(np.isin(used, rows).sum())
        yield Encoded(index_name(asset), position + 1, band.scale, band.offset, changed)


def left_out(bad: list[Problem], table: Table, indexes: dict[str, Index]) -> dict[str, list[str]]:
    """By asset, items that are in the mosaic without it, though they have it."""
    kept = set(table.id)
    found: dict[str, set[str]] = {}
    for one in bad:
        if one.item in kept and one.asset in indexes:
            found.setdefault(one.asset, set()).add(one.item)
    return {asset: sorted(ids) for asset, ids in found.items()}


def _preview(folder: Path, table: Table, place: Frame, document: Json) -> None:
    """The footprint of each item's first asset, coloured by CRS."""
    # equal footprints lie on each other: one of each is enough to draw
    pieces = place.pieces
    drawn = np.flatnonzero(np.isin(pieces.grid, table.first_grid()))
    plot.footprints(
        folder / PREVIEW,
        pieces.footprint[drawn],
        [table.grids.name(int(grid)) for grid in pieces.grid[drawn]],
        dict(document["mosaic:source_crs"]),
        place.crs,
        f"{document['title']}: {len(table.id)} items in {place.crs[:40]}",
    )
