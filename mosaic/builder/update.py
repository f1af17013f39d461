"""A mosaic brought up to date: items added, replaced and dropped; only what changes is written."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.builder import repack
from mosaic.builder.bands import Common
from mosaic.builder.fits import fitting
from mosaic.builder.frame import Frame, frame
from mosaic.builder.gather import Gathered, gather, uncollected
from mosaic.builder.inputs import Source, items
from mosaic.builder.make import left_out
from mosaic.builder.options import Options
from mosaic.builder.publish import building, call_off, holding, recover
from mosaic.builder.report import Updated
from mosaic.builder.rewrite import Change, Progress, rewritten
from mosaic.builder.search import Search, repeated, requests, searching
from mosaic.builder.settle import lost, shown, within
from mosaic.builder.sift import Sift
from mosaic.builder.spool import Spool, spool
from mosaic.builder.standing import Standing, built_with, standing
from mosaic.builder.trust import contradictions
from mosaic.catalog.database import refuse
from mosaic.catalog.layout import ITEMS
from mosaic.catalog.table import Table
from mosaic.errors import InputError, Problem, UsageError

Json = dict[str, Any]
Longs = npt.NDArray[np.int64]


def update(
    folder: str | os.PathLike[str],
    sources: Sequence[Source | Search],
    *,
    drop: Collection[str] = (),
    drop_missing: bool = False,
    recipe: str | None = None,
    skip_bad: bool = False,
    progress: Progress = lambda step, done: None,
) -> Updated:
    """Brings a mosaic up to date. See :func:`mosaic.update`."""
    started = time.monotonic()
    refuse(folder, "update")
    target = Path(folder).expanduser().absolute()
    recover(target)
    with holding(target) as held, uncollected():
        stand = standing(target)
        options = built_with(stand, recipe, skip_bad)
        wanted, read = requests(sources, options)
        if not sources and (drop_missing or not drop):
            wanted = repeated(stand.document, options)
        unknown = sorted(set(drop) - stand.rows.keys())
        if unknown:
            raise UsageError(f"--drop: the mosaic has no item {', '.join(unknown[:5])}")
        with (
            searching(wanted, target, progress) as searched,
            building(target, True, held) as into,
            spool(into, target) as spooled,
        ):
            sift = Sift(stand, frozenset(drop))
            gathered = gather(
                sift.new(chain(searched, items(read))),
                options,
                spooled.keep,
                lambda count: progress("items", count),
            )
            change = _change(stand, options, gathered, sift, spooled, drop, drop_missing)
            notes = list(gathered.notes)
            if sift.older:
                notes.append(f"{sift.older} items were given in an earlier state: not taken")
            count = len(stand.rows)
            if len(change.gone) or change.fresh is not None:
                count, more = rewritten(stand, options, change, spooled, into, progress)
                notes += more
            else:
                call_off(into)
    fresh = len(change.fresh.id) if change.fresh is not None else 0
    replaced = fresh - change.added
    return Updated(
        path=str(target),
        added=change.added,
        replaced=replaced,
        dropped=len(change.gone) - replaced,
        same=sift.same + sift.older + len(sift.doubted),
        items=count,
        left_out=tuple(gathered.bad),
        notes=tuple(notes),
        seconds=time.monotonic() - started,
    )


def _change(
    stand: Standing,
    options: Options,
    gathered: Gathered,
    sift: Sift,
    spooled: Spool,
    drop: Collection[str],
    drop_missing: bool,
) -> Change:
    """What is to be done with what was found. Raises InputError for what doesn't fit."""
    if drop_missing and not sift.seen:
        raise InputError(
            [Problem("empty", "nothing was found: --drop-missing would drop all", "look there")]
        )
    gone = {stand.rows[name] for name in drop}
    if drop_missing:
        gone |= {row for name, row in stand.rows.items() if name not in sift.seen}
    table: Table | None = None
    common: dict[str, Common] = {}
    place: Frame | None = None
    if len(gathered.builder):
        table, common, place = _settled(stand, options, gathered, sift, spooled)
    if gathered.bad and not options.skip_bad:
        raise InputError(gathered.bad, "--skip-bad leaves these out and goes on")
    replaced = [stand.rows[name] for name in (table.id if table else ()) if name in stand.rows]
    sift.doubted -= set(table.id if table else ())
    rows = np.array(sorted(gone.union(replaced)), np.int64)
    if len(rows) == len(stand.rows) and table is None:
        raise UsageError("nothing would be left of the mosaic: remove its folder")
    added = len(table.id) - len(replaced) if table else 0
    lacking = left_out(gathered.bad, table, stand.indexes) if table else {}
    return Change(rows, table, common, place, added, lacking)


def _settled(
    stand: Standing, options: Options, gathered: Gathered, sift: Sift, spooled: Spool
) -> tuple[Table | None, dict[str, Common], Frame | None]:
    """What of the items comes to be in the mosaic."""
    table = gathered.builder.table()
    same = _unchanged(stand, table, sift, spooled)
    bad = contradictions(table)
    gathered.bad += [one for row, one in bad.items() if table.id[row] not in same]
    out = [*bad, *(row for row, name in enumerate(table.id) if name in same)]
    kept = {}
    for name, assets in table.assets.items():
        rows = np.flatnonzero(~np.isin(assets.item, out))
        if len(rows):
            kept[name] = assets.take(rows)
    table, common, problems = fitting(
        replace(table, assets=kept), stand.indexes, stand.opened, options.raw
    )
    gathered.bad += problems
    if (gathered.bad and not options.skip_bad) or not table.assets:
        return None, {}, None
    table = table.compact()
    if options.bbox is not None:
        table = within(table, options.bbox)
    place = _framed(stand, table, options)
    unseen = lost(place, options) if place else np.arange(len(table.grids))
    if len(unseen):
        table = shown(table, stand.opened.crs, unseen, gathered, options)
        place = _framed(stand, table, options)
    return table, common, place


def _unchanged(stand: Standing, table: Table, sift: Sift, spooled: Spool) -> set[str]:
    """Ids of items that don't tell when they were updated, and are in the mosaic as they are."""
    lines = [row for row, name in enumerate(table.id) if name in sift.doubted]
    if not lines:
        return set()
    given = {
        item["id"]: item for item in repack.items_of(spooled.lines(table.line[np.array(lines)]))
    }
    at = np.array(sorted(stand.rows[name] for name in given), np.int64)
    held = repack.items_at(stand.folder / ITEMS, at)
    return {item["id"] for item in held if item == given[item["id"]]}


def _framed(stand: Standing, table: Table, options: Options) -> Frame | None:
    a = stand.opened.grid.affine
    return frame(table.grids, stand.opened.crs, (a.a, -a.e), options.bbox, stand.opened.grid)
