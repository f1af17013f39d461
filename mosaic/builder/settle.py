"""What of the items becomes a mosaic: the bands they agree on, its grid, what lies on what."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mosaic.builder.bands import Common, common_bands, misfit
from mosaic.builder.frame import Frame, frame
from mosaic.builder.gather import Gathered
from mosaic.builder.options import Options
from mosaic.builder.trust import contradictions
from mosaic.catalog.layout import index_name
from mosaic.catalog.order import drawing_order
from mosaic.catalog.table import Assets, Table
from mosaic.errors import InputError, NoItemsError, Problem, UsageError
from mosaic.grid import Bounds, choose_crs, utm
from mosaic.outline import lonlat_union, meets


@dataclass(frozen=True, slots=True)
class Agreed:
    """The items of a mosaic, and the bands that they agree on."""

    table: Table
    """Items and assets that are in it."""
    common: dict[str, Common]
    """What each asset's bands are."""
    notes: tuple[str, ...]
    """What should be said."""


@dataclass(frozen=True, slots=True)
class Settled(Agreed):
    """All that is decided over the items of a mosaic."""

    frame: Frame
    """Its grid, and where the items' grids lie in it."""
    z: npt.NDArray[np.int64]
    """(n,) drawing order of the items: the highest lies on top."""


def agreed(gathered: Gathered, options: Options) -> Agreed:
    """Decides over what was gathered; what doesn't fit is added to its problems.

    Raises :class:`~mosaic.errors.InputError` for these, unless ``options.skip_bad``,
    :class:`~mosaic.errors.NoItemsError` when nothing is left.
    """
    table = gathered.builder.table()
    _expect_items(table, gathered, options)
    table, common, notes = _agreed(table, gathered, options)
    if options.bbox is not None:
        table = within(table, options.bbox)
    return Agreed(table, common, tuple(notes))


def settled(gathered: Gathered, options: Options) -> Settled:
    """:func:`agreed`, and the grid on which what is left can be shown; raises as it does."""
    found = agreed(gathered, options)
    table = found.table
    place = _framed(table, options)
    unseen = lost(place, options)
    if len(unseen):
        table = shown(table, place.crs, unseen, gathered, options)
        place = _framed(table, options)
    return Settled(table, found.common, found.notes, place, order(table, options))


def order(table: Table, options: Options) -> npt.NDArray[np.int64]:
    """(n,) drawing order of the items: the highest lies on top."""
    return drawing_order(table.sort, table.id, options.ascending)


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


def _names_differ(assets: list[str]) -> None:
    """Raises UsageError when two assets would have one file name."""
    taken: dict[str, str] = {}
    for asset in assets:
        other = taken.setdefault(index_name(asset).lower(), asset)
        if other != asset:
            raise UsageError(f"assets {other} and {asset} have one file name: choose with --bands")


def within(table: Table, bbox: Bounds) -> Table:
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


def lost(place: Frame, options: Options) -> npt.NDArray[np.int64]:
    """Grids that the mosaic can't show: nothing of them can be projected, or lies on the map."""
    if options.bbox is not None:  # what lies outside was not asked for
        return place.pieces.missing
    seen = place.pieces.grid[~np.isnan(place.pieces.inside[:, 0])]
    unseen = np.setdiff1d(place.pieces.grid, seen)
    return np.concatenate([place.pieces.missing, unseen])


def shown(
    table: Table,
    crs: str,
    unseen: npt.NDArray[np.int64],
    gathered: Gathered,
    options: Options,
) -> Table:
    """The table without what has no place in the mosaic's CRS."""
    kept: dict[str, Assets] = {}
    for name, assets in table.assets.items():
        gone = np.isin(assets.grid, unseen)
        gathered.bad += [
            Problem(
                "outside",
                f"can't be shown in {crs[:40]}",
                "choose another --dst-crs, or leave it out with --skip-bad",
                table.id[assets.item[row]],
                name,
                assets.href[row],
            )
            for row in np.flatnonzero(gone).tolist()
        ]
        if not gone.all():
            kept[name] = assets.take(np.flatnonzero(~gone))
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
