"""Do more items fit what a mosaic declares, and where in its drawing order do they lie? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mosaic.builder.bands import Common, misfit
from mosaic.catalog.gti import Index
from mosaic.catalog.opened import Opened
from mosaic.catalog.radiometry import Recoding, recoding
from mosaic.catalog.source import Band, Told
from mosaic.catalog.table import Bands, Table
from mosaic.errors import Problem

Longs = npt.NDArray[np.int64]


def fitting(
    table: Table, indexes: Mapping[str, Index], opened: Opened, raw: bool
) -> tuple[Table, dict[str, Common], list[Problem]]:
    """The table without assets that don't fit their index, how the others do, and problems."""
    common: dict[str, Common] = {}
    kept = {}
    problems: list[Problem] = []
    for name, assets in table.assets.items():
        declared = indexes[name].bands
        known = [variant.bands for variant in opened.assets[name].variants]
        used = np.unique(assets.bands).tolist()
        known += [table.bands[row] for row in used]
        recodings: dict[int, tuple[Recoding, ...]] = {}
        bad = []
        for row in used:
            own = table.bands[row]
            mine = np.flatnonzero(assets.bands == row)
            if [band.dtype for band in own] != [band.dtype for band in declared]:
                problems += [misfit(table, name, assets, int(at), declared) for at in mine]
                bad.append(row)
                continue
            how = _recoded(own, declared, known, raw)
            if how is None:
                problems += [
                    Problem(
                        "encoding",
                        "has another scale and offset, which can't be brought to the mosaic's",
                        "build the mosaic anew, or leave it out with --skip-bad",
                        table.id[assets.item[at]],
                        name,
                        assets.href[at],
                    )
                    for at in mine
                ]
                bad.append(row)
            elif any(
                one.changes or (band.nodata is None and one.nodata_in is not None)
                for one, band in zip(how, own, strict=True)
            ):
                recodings[row] = how
        good = np.flatnonzero(~np.isin(assets.bands, bad))
        if len(good):
            kept[name] = assets.take(good)
            common[name] = Common(declared, [], recodings)
    return replace(table, assets=kept), common, problems


def _recoded(
    own: Bands, declared: Bands, known: Sequence[Bands], raw: bool
) -> tuple[Recoding, ...] | None:
    """How numbers become those that an index declares; None where they can't.

    As a build decides it for all items (``builder.bands``), and a reader (``catalog.variants``).
    """
    found = []
    for place, (band, target) in enumerate(zip(own, declared, strict=True)):
        one = _one(band, target, [bands[place] for bands in known], raw)
        if one is None:
            return None
        found.append(one)
    return tuple(found)


def _one(band: Band, target: Band, known: Sequence[Band], raw: bool) -> Recoding | None:
    same = Recoding(1.0, 0.0, band.nodata, band.nodata)
    encoding = (target.scale, target.offset)
    if raw or len({(one.scale, one.offset) for one in known}) <= 1:
        return same
    if encoding == (1.0, 0.0) and any(one.told is Told.NOTHING for one in known):
        return same
    if (band.scale, band.offset) != encoding and band.told is Told.NOTHING:
        return None  # nobody tells what its numbers mean
    nodata = band.nodata if band.nodata is not None else band.usual_nodata
    stored = Band(band.dtype, nodata=nodata, scale=band.scale, offset=band.offset)
    how = recoding(stored, encoding, target.nodata)
    return how if how is None or how.changes or band.nodata is None else same


def placed(
    ids: pa.Array, rank: Longs, known: Iterable[pa.Table], fresh: int
) -> tuple[Longs, dict[int, int]]:
    """(n,) z of items, and which z of rows that are there become others.

    ``ids``: (n,) of all items. ``rank``: (n,) their order, from below to the top. ``known``:
    columns ``item`` and ``z`` of indexes, of items that stay; no more of them are asked for than it
    takes. ``fresh``: how many of the items are new, and in none. New items lie between; where there
    is no room, those above are pushed up.
    """
    z = pa.nulls(len(ids), pa.int64())
    for table in known:
        item = table["item"].combine_chunks()
        z = pc.coalesce(z, table["z"].combine_chunks().take(pc.index_in(ids, item)))
        if z.null_count <= fresh:
            break  # before the next index is read
    there = z.is_valid().to_numpy(zero_copy_only=False)
    order = np.argsort(rank, kind="stable")
    old = pc.fill_null(z, 0).to_numpy()[order]
    kept = there[order]
    new = old.copy()
    last = -1
    place = 0
    gaps = np.flatnonzero(~kept)
    at = 0
    while at < len(gaps):
        start = int(gaps[at])
        if start > place:
            last = int(new[start - 1])
        stop = start
        while stop < len(order) and not kept[stop]:
            stop += 1
        count = stop - start
        above = int(old[stop]) if stop < len(order) else last + (count + 1) * 1024
        step = max(1, (above - last) // (count + 1))
        new[start:stop] = last + step * np.arange(1, count + 1)
        last = int(new[stop - 1])
        while stop < len(order) and kept[stop] and old[stop] <= last:
            last += 1
            new[stop] = last
            stop += 1
        place = stop
        at = int(np.searchsorted(gaps, stop))
    pushed = np.flatnonzero(kept & (new != old))
    moved = dict(zip(old[pushed].tolist(), new[pushed].tolist(), strict=True))
    found = np.empty(len(order), np.int64)
    found[order] = new
    return found, moved
