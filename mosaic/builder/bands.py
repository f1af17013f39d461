"""One set of bands for an index whose items differ: what it declares, what its tiles change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from mosaic.catalog.radiometry import Encoding, Recoding, recoding
from mosaic.catalog.source import Band, Told, span
from mosaic.catalog.table import Assets, Bands, Table
from mosaic.errors import Problem

_SAID = {
    Told.ASSUMED: "tell no offset, or no scale: those of their Sentinel-2 processing baseline "
    "are taken",
    Told.REMOVED: "declare an offset that they say is removed from their pixels "
    "(boa_offset_applied): it isn't applied again",
    Told.DOUBTED: "declare an offset that their Sentinel-2 processing baseline contradicts: "
    "what they declare is believed",
    Told.UNSURE: "declare an offset and say that it isn't removed from their pixels "
    "(boa_offset_applied: false), in which Earth Search is known to err: look at dark pixels",
    Told.SHARED: "tell no scale and offset: those of another file of their collection are taken",
}
"""What is to be said of items whose encoding isn't simply declared."""

_SHOWN = 3
"""Changes that are told one by one."""

_NONE = "none is declared, values are raw"

_Changes = dict[int, Recoding]
"""By row in the table's bands."""


@dataclass(frozen=True, slots=True)
class Common:
    """The bands of an index, and what of its items doesn't fit them."""

    bands: Bands
    """What the index declares."""
    misfits: list[int]
    """Rows of assets whose band count or data types aren't those of most."""
    recodings: dict[int, tuple[Recoding, ...]] = field(default_factory=dict)
    """By row in the table's bands: how their numbers become those of the index."""
    notes: list[str] = field(default_factory=list)
    """What should be said."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """One band as some of the items have it."""

    row: int
    """Row in the table's bands."""
    band: Band
    """The band."""
    count: int
    """Items that have it so."""
    newest: str
    """Time of the newest of them."""
    example: str
    """Id of the newest of them."""

    @property
    def encoding(self) -> Encoding:
        """Scale and offset."""
        return (self.band.scale, self.band.offset)


def common_bands(assets: Assets, table: Table, raw: bool = False) -> Common:
    """The bands of one asset's index.

    Count and data types are those of most items, nodata is the most frequent one (GDAL honours
    each tile's own). Scale and offset are the newest item's if the numbers of all others can be
    brought to them exactly, else those to which all can, else none. ``raw``: none.
    """
    shapes = [tuple(band.dtype for band in bands) for bands in table.bands]
    usage = np.bincount(assets.bands, minlength=len(shapes))
    votes: Counter[tuple[str, ...]] = Counter()
    for shape, count in zip(shapes, usage, strict=True):
        votes[shape] += int(count)
    chosen = votes.most_common(1)[0][0]
    fits = np.array([shape == chosen for shape in shapes])
    misfits = [int(row) for row in np.flatnonzero(~fits[assets.bands])]
    newest = _newest(assets, table)
    rows = [int(row) for row in np.flatnonzero(fits & (usage > 0))]
    notes: list[str] = []
    declared: list[Band] = []
    changes: dict[int, list[Recoding]] = {row: [] for row in rows}
    for position in range(len(chosen)):
        variants = [
            _Variant(row, table.bands[row][position], int(usage[row]), *newest[row]) for row in rows
        ]
        band, how = _common(variants, raw, notes)
        declared.append(band)
        for variant in variants:
            changes[variant.row].append(how[variant.row])
    recodings = {
        row: tuple(how)
        for row, how in changes.items()
        if any(_needed(one, band) for one, band in zip(how, table.bands[row], strict=True))
    }
    return Common(tuple(declared), misfits, recodings, list(dict.fromkeys(notes)))


def _needed(one: Recoding, band: Band) -> bool:
    return one.changes or (band.nodata is None and one.nodata_in is not None)


def _newest(assets: Assets, table: Table) -> dict[int, tuple[str, str]]:
    """Time and id of the newest item of each of the table's bands."""
    found: dict[int, tuple[str, str]] = {}
    for row, item in zip(assets.bands.tolist(), assets.item.tolist(), strict=True):
        when = table.datetime[item]
        if row not in found or when > found[row][0]:
            found[row] = (when, table.id[item])
    return found


def _common(variants: list[_Variant], raw: bool, notes: list[str]) -> tuple[Band, _Changes]:
    """What an index declares of one band, and how each variant's numbers become that."""
    first = max(variants, key=lambda v: v.count).band
    with_nodata = [v for v in variants if v.band.nodata is not None]
    nodata = max(with_nodata, key=lambda v: v.count).band.nodata if with_nodata else None
    if len({v.band.nodata for v in variants if v.band.nodata == v.band.nodata}) > 1:
        notes.append(f"items differ in nodata: the mosaic declares {nodata:g}")
    none = replace(first, nodata=nodata, scale=1.0, offset=0.0)
    kept = {v.row: Recoding(1.0, 0.0, v.band.nodata, v.band.nodata) for v in variants}
    if raw:
        return none, kept
    if len({v.encoding for v in variants}) == 1:
        notes += _said(variants)
        return replace(first, nodata=nodata), kept
    silent = [v for v in variants if v.band.told is Told.NOTHING]
    if silent:
        who = _counted(silent, variants)
        notes.append(f"{who} tell no scale and offset, others do: {_NONE}")
        return none, kept
    for target in sorted(variants, key=lambda v: (v.newest, v.count), reverse=True):
        changes, shown = _towards(target.encoding, variants, nodata)
        if changes is not None:
            notes += [*_said(variants), *_brought(target, variants, changes)]
            scale, offset = target.encoding
            return replace(first, nodata=shown, scale=scale, offset=offset), changes
    notes.append(f"items differ in scale and offset, and no encoding holds all exactly: {_NONE}")
    return none, kept


def _towards(
    target: Encoding, variants: list[_Variant], nodata: float | None
) -> tuple[_Changes | None, float | None]:
    """How all variants take an encoding, None if they can't; and the index's nodata value.

    Where nobody declares nodata, the product's usual value is kept apart from what is shifted.
    """
    usual = [v.band.usual_nodata for v in variants if v.band.nodata is None]
    if nodata is None and usual and None not in usual:
        nodata = usual[0]
    found: _Changes = {}
    for v in variants:
        band = v.band
        if band.nodata is None:
            band = replace(band, nodata=band.usual_nodata)
        how = recoding(band, target, nodata)
        if how is None:
            return None, nodata
        # a tile that doesn't change keeps its own nodata value, which GDAL honours
        found[v.row] = how if how.changes else replace(how, nodata_out=how.nodata_in)
    return found, nodata


def _said(variants: list[_Variant]) -> Iterator[str]:
    """Notes on encodings that aren't simply declared."""
    for told, text in _SAID.items():
        some = [v for v in variants if v.band.told is told and _matters(v)]
        if some:
            yield f"{_counted(some, variants)} {text}"


def _matters(v: _Variant) -> bool:
    return v.band.told is not Told.SHARED or v.encoding != (1.0, 0.0)


def _brought(target: _Variant, variants: list[_Variant], changes: _Changes) -> Iterator[str]:
    """Notes on numbers that change as they are read."""
    scale, offset = target.encoding
    newest = max(v.newest for v in variants)
    kind = "the newest" if target.newest == newest else "the one that can hold all exactly"
    by_change: dict[tuple[float, float], list[_Variant]] = {}
    for v in variants:
        how = changes[v.row]
        if how.changes:
            by_change.setdefault((how.ratio, how.shift), []).append(v)
    to = f"are brought to scale {scale:g} and offset {offset:g}, {kind}"
    if len(by_change) > _SHOWN:
        changed = [v for v in variants if changes[v.row].changes]
        yield f"{_counted(changed, variants)} {to}, from {len(by_change)} others"
        by_change.clear()
    for (ratio, shift), some in by_change.items():
        what = f"{shift:+g}" if ratio == 1 else f"x {ratio:g} {shift:+g}"
        edge = _edge(some[0].band, changes[some[0].row])
        yield f"{_counted(some, variants)} {to}: their numbers are read {what}{edge}"
    some = [v for v in variants if v.band.nodata is None and changes[v.row].nodata_in is not None]
    if some:
        value = some[0].band.usual_nodata
        yield f"{_counted(some, variants)} tell no nodata: {value:g}, as all Sentinel-2 products"


def _edge(band: Band, how: Recoding) -> str:
    """Numbers for which the data type has no room, or the one that becomes nodata."""
    ends = span(band.dtype)
    if ends:
        up = how.shift > 0
        return f", those {'above' if up else 'below'} {ends[up] - how.shift:g} as {ends[up]}"
    lost = how.nodata_out
    if lost is None or not math.isfinite(lost):
        return ""
    return f"; {(lost - how.shift) / how.ratio:g} would become {lost:g}, no data"


def _counted(some: list[_Variant], all_: list[_Variant]) -> str:
    count = sum(v.count for v in some)
    example = max(some, key=lambda v: v.newest).example
    return f"{count} of {sum(v.count for v in all_)} items (such as {example})"


def misfit(table: Table, name: str, assets: Assets, row: int, chosen: Bands) -> Problem:
    """An asset whose band count or data type isn't that of the others."""
    own = table.bands[assets.bands[row]]
    return Problem(
        "bands",
        f"has {_kind(own)}, most items have {_kind(chosen)}",
        "build them apart, or leave it out with --skip-bad",
        table.id[assets.item[row]],
        name,
        assets.href[row],
    )


def _kind(bands: Bands) -> str:
    types = list(dict.fromkeys(band.dtype for band in bands))
    return f"{len(bands)} band{'s'[: len(bands) > 1]} of {' and '.join(types)}"
