"""Items to a whole mosaic, which appears at once."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from mosaic import plot
from mosaic.builder import write
from mosaic.builder.bands import Common, common_bands, misfit
from mosaic.builder.collection import Json, collection, write_item_files, write_stac
from mosaic.builder.gather import Gathered, gather
from mosaic.builder.inputs import Source, items
from mosaic.builder.options import Options
from mosaic.builder.overview import overview_factor, write_overview
from mosaic.builder.parquet import write_items
from mosaic.builder.publish import building
from mosaic.builder.report import Encoded, Report
from mosaic.builder.search import Search, known, requests, searching
from mosaic.builder.spool import spool
from mosaic.builder.tiles import Frame, frame, tiles
from mosaic.builder.trust import contradictions
from mosaic.catalog.gti import Index, write_index
from mosaic.catalog.layout import ITEMS, PREVIEW, index_name
from mosaic.catalog.table import Assets, Table, drawing_order
from mosaic.errors import InputError, NoItemsError, Problem, UsageError
from mosaic.grid import Bounds, choose_crs, utm
from mosaic.outline import lonlat_union, meets

Progress = Callable[[str, int], None]
"""Called with the step that is under way and how many items it has done."""


def make(
    sources: Sequence[Source | Search],
    out: str | os.PathLike[str],
    options: Options,
    progress: Progress = lambda step, done: None,
    stdin: IO[bytes] | None = None,
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
            chain(searched, items(read, stdin)),
            options,
            spooled.keep,
            lambda count: progress("items", count),
        )
        table = gathered.builder.table()
        _expect_items(table, gathered, options)
        table, chosen, notes = _agreed(table, gathered, options)
        if options.bbox is not None:
            table = _within(table, options.bbox)
        place = _framed(table, options)
        lost = _lost(place, options)
        if len(lost):
            table = _shown(table, place, lost, gathered, options)
            place = _framed(table, options)
        factor = overview_factor(place.grid, options.overview) if options.overview else 0
        if options.overview and not factor:
            notes.append("no overview: the mosaic is hardly larger than one")
        z = drawing_order(table.sort, table.id, options.ascending)
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
        left_out = _left_out(gathered.bad, table, indexes)
        if left_out:
            document["mosaic:left_out"] = left_out
        origins: Counter[str | None] = Counter()
        for trait, count in zip(table.traits, np.bincount(table.trait).tolist(), strict=False):
            origins[trait["collection"]] += count
        origins = +origins  # without those of which no item is left
        if len(origins) > 1:
            counted = ", ".join(f"{name or 'none'} ({n})" for name, n in origins.most_common())
            notes.append(f"items of {len(origins)} collections: {counted}")
        progress("items.parquet", len(table.id))
        notes += write_items(folder / ITEMS, lambda: spooled.lines(table.line), document)
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


def _expect_items(table: Table, gathered: Gathered, options: Options) -> None:
    if gathered.bad and not options.skip_bad:
        if table.id:  # the list is to be whole: what would come to light next is said now
            gathered.bad += contradictions(table).values()
        raise _refusal(gathered, options)
    if not table.id:
        if gathered.bad:
            raise NoItemsError(gathered.bad, _hint(gathered, options) or "nothing is left to index")
        raise NoItemsError(
            [Problem("empty", "no items and no rasters were found", "check what you gave")]
        )


def _refusal(gathered: Gathered, options: Options) -> InputError:
    hint = _hint(gathered, options)
    if not len(gathered.builder):
        return NoItemsError(gathered.bad, hint)
    return InputError(gathered.bad, hint or "--skip-bad leaves these out and goes on")


def _hint(gathered: Gathered, options: Options) -> str:
    if options.bands and all(problem.kind == "no-asset" for problem in gathered.bad):
        names = sorted(gathered.available)
        return "the items have: " + ", ".join(names[:40])
    return ""


def _agreed(
    table: Table, gathered: Gathered, options: Options
) -> tuple[Table, dict[str, Common], list[str]]:
    """The table without what contradicts itself or doesn't fit; each asset's bands; notes."""
    bad = contradictions(table)
    gathered.bad += bad.values()
    chosen: dict[str, Common] = {}
    kept: dict[str, Assets] = {}
    said: dict[str, list[str]] = {}
    for name, assets in table.assets.items():
        assets = assets.take(np.flatnonzero(~np.isin(assets.item, list(bad))))
        if not len(assets.item):
            continue
        common = common_bands(assets, table, options.raw)
        for row in common.misfits:
            gathered.bad.append(misfit(table, name, assets, row, common.bands))
        kept[name] = assets.take(np.setdiff1d(np.arange(len(assets.item)), common.misfits))
        chosen[name] = common
        for text in common.notes:
            said.setdefault(text, []).append(name)
    if gathered.bad and not options.skip_bad:
        raise _refusal(gathered, options)
    if not kept:
        raise NoItemsError(gathered.bad, "nothing is left to index")
    _names_differ(list(kept))
    table = replace(table, assets=kept).compact()
    notes = [f"{', '.join(names)}: {text}" for text, names in said.items()]
    notes += [
        f"{name}: {len(assets.item)} of {len(table.id)} items have it"
        for name, assets in table.assets.items()
        if len(assets.item) < len(table.id)
    ]
    return table, chosen, notes


def _encoded(table: Table, asset: str, common: Common) -> Iterator[Encoded]:
    """What each band of an index declares, and how many of its items are brought to that."""
    used = table.assets[asset].bands
    for position, band in enumerate(common.bands):
        rows = [row for row, how in common.recodings.items() if how[position].changes]
        changed = int(np.isin(used, rows).sum())
        yield Encoded(index_name(asset), position + 1, band.scale, band.offset, changed)


def _left_out(bad: list[Problem], table: Table, indexes: dict[str, Index]) -> dict[str, list[str]]:
    """By asset, items that are in the mosaic without it, though they have it."""
    kept = set(table.id)
    found: dict[str, set[str]] = {}
    for one in bad:
        if one.item in kept and one.asset in indexes:
            found.setdefault(one.asset, set()).add(one.item)
    return {asset: sorted(ids) for asset, ids in found.items()}


def _names_differ(assets: list[str]) -> None:
    """Raises UsageError when two assets would have one file name."""
    taken: dict[str, str] = {}
    for asset in assets:
        other = taken.setdefault(index_name(asset).lower(), asset)
        if other != asset:
            raise UsageError(f"assets {other} and {asset} have one file name: choose with --bands")


def _within(table: Table, bbox: Bounds) -> Table:
    """The table without what lies outside a box in degrees: it was not asked for."""
    near = meets(table.lonlat, bbox)
    if not near.any():
        union = ", ".join(f"{value:.4g}" for value in lonlat_union(table.lonlat))
        raise NoItemsError(
            [Problem("outside", "no item lies inside --bbox")], f"the items lie at [{union}]"
        )
    kept = {
        name: assets.take(np.flatnonzero(near[assets.grid]))
        for name, assets in table.assets.items()
        if near[assets.grid].any()
    }
    return replace(table, assets=kept).compact()


def _lost(place: Frame, options: Options) -> npt.NDArray[np.int64]:
    """Grids that the mosaic can't show: nothing of them can be projected, or lies on the map."""
    if options.bbox is not None:  # what lies outside was not asked for
        return place.pieces.missing
    seen = place.pieces.grid[~np.isnan(place.pieces.inside[:, 0])]
    unseen = np.setdiff1d(place.pieces.grid, seen)
    return np.concatenate([place.pieces.missing, unseen])


def _shown(
    table: Table,
    place: Frame,
    unseen: npt.NDArray[np.int64],
    gathered: Gathered,
    options: Options,
) -> Table:
    """The table without what has no place in the mosaic's CRS."""
    kept: dict[str, Assets] = {}
    for name, assets in table.assets.items():
        lost = np.isin(assets.grid, unseen)
        gathered.bad += [
            Problem(
                "outside",
                f"can't be shown in {place.crs[:40]}",
                "choose another --dst-crs, or leave it out with --skip-bad",
                table.id[assets.item[row]],
                name,
                assets.href[row],
            )
            for row in np.flatnonzero(lost).tolist()
        ]
        if not lost.all():
            kept[name] = assets.take(np.flatnonzero(~lost))
    if not options.skip_bad or not kept:
        raise _refusal(gathered, options)
    return replace(table, assets=kept).compact()


def _framed(table: Table, options: Options) -> Frame:
    """The mosaic's grid over the scenes, in the CRS that was asked for."""
    union = lonlat_union(table.lonlat)
    west, south, east, north = options.bbox or union
    if options.dst_crs == "auto":
        used = np.unique(table.grids.crs_index)
        crs = choose_crs(tuple(table.grids.crs[i] for i in used), (west, south, east, north))
    elif options.dst_crs == "utm":
        crs = utm(west + ((east - west) % 360.0) / 2, (south + north) / 2)
    else:
        crs = options.dst_crs
    place = frame(table.grids, crs, options.res, options.bbox)
    if place is None:
        raise NoItemsError(
            [Problem("outside", f"no item lies inside --bbox, or none can be shown in {crs}")],
            f"the items lie at [{', '.join(f'{value:.4g}' for value in union)}]",
        )
    return place


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
