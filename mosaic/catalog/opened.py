"""A built mosaic opened for reading: ``collection.json`` and ``items.parquet`` as columns.

No work is done per item: a million of them open in seconds, and only those that a window needs are
looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.catalog.columns import Codes, Columns, codes, distinct, fixed, joined
from mosaic.catalog.facts import told_bands
from mosaic.catalog.folder import Folder, ParquetColumns
from mosaic.catalog.href import resolve
from mosaic.catalog.layout import ITEMS, MARK
from mosaic.catalog.radiometry import Recoding, recoding
from mosaic.catalog.sentinel2 import encoded, is_sentinel2, processing_baseline
from mosaic.catalog.source import Band, Told
from mosaic.catalog.table import Bands, drawing_order
from mosaic.errors import CatalogError, Problem, UsageError
from mosaic.grid import Grids, canonical

Json = dict[str, Any]
Longs = npt.NDArray[np.int64]

NEVER = -(1 << 62)
"""Time of an item that has none."""
_NAMED = r"^S2[A-D]_MSIL\w\w_\d{8}T\d{6}_N(?P<found>\d{4})_"
_NAMES = ("s2:product_uri", "sentinel:product_id")
_TRAITS = (
    "constellation",
    "platform",
    "s2:processing_baseline",
    "sentinel:processing_baseline",
    "processing:version",
    "earthsearch:boa_offset_applied",
    "sentinel:boa_offset_applied",
)
"""Properties that tell how Sentinel-2's numbers are encoded, besides the product's name."""
_OF_BAND = (
    "data_type",
    "nodata",
    "unit",
    "raster:scale",
    "raster:offset",
    "name",
    "eo:common_name",
)
_OF_ASSET = ("data_type", "nodata", "unit", "raster:scale", "raster:offset")


@dataclass(frozen=True, slots=True)
class Variant:
    """The bands of some of an asset's files, and how their numbers become the mosaic's."""

    bands: Bands
    """The bands as the files have them."""
    recodings: tuple[Recoding, ...] | None
    """By band; None where every number stays what it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Asset:
    """One asset of the mosaic by columns, one row an item that has it."""

    name: str
    """Name of the asset in the mosaic."""
    bands: Bands
    """What the mosaic declares: nodata, scale and offset of the values that a read returns."""
    resampling: str
    """rasterio's name of the resampling method."""
    item: Longs
    """(m,) row of the item."""
    key: Longs
    """(m,) place in ``keys`` of the asset's key in the item."""
    keys: tuple[str, ...]
    """Keys under which items have it."""
    grids: Grids
    """(m,) pixel grids."""
    variant: Longs
    """(m,) row in ``variants``."""
    variants: tuple[Variant, ...]
    """Distinct bands."""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A built mosaic."""

    base: str
    """Its folder or URL; empty for items in memory."""
    crs: str
    """Canonical name of its CRS."""
    grid: GeoBox
    """Its pixels."""
    id: pa.Array
    """(n,) ids of the items."""
    time: Longs
    """(n,) ``datetime``, else ``start_datetime``, in milliseconds since 1970; else ``NEVER``."""
    z: Longs
    """(n,) drawing order: the highest lies on top."""
    assets: dict[str, Asset]
    """By name; those that were asked for."""
    columns: Columns = field(repr=False)
    """Of ``items.parquet``, or of items in memory: ``assets.<key>.href``, properties by name."""
    digest: str = ""
    """Names items in memory: equal for what reads the same, in every process. Empty for a mosaic
    that lies somewhere."""
    problems: tuple[Problem, ...] = ()
    """What was left out of it as it was opened."""

    def hrefs(self, asset: Asset, rows: Longs) -> list[str]:
        """Where the files of some rows of an asset lie: absolute paths or URLs."""
        found = [""] * len(rows)
        for place, key in enumerate(asset.keys):
            mine = np.flatnonzero(asset.key[rows] == place)
            kept = self.columns.take(f"assets.{key}.href", asset.item[rows[mine]])
            for row, href in zip(mine.tolist(), kept.to_pylist(), strict=True):
                # an absolute path means this machine, wherever the catalog lies; items that
                # nobody wrote have absolute hrefs, which may carry a signature
                whole = not self.base or href.startswith("/")
                found[row] = href if whole else resolve(href, self.base)
        return found


def open_mosaic(
    folder: Folder,
    assets: Sequence[str] | None = None,
    document: Json | None = None,
    columns: ParquetColumns | None = None,
) -> Opened:
    """A mosaic's items and assets, by columns.

    ``assets``: names of those that will be read; None for all. ``document``, ``columns``: its
    collection and items, where they are at hand. Raises
    :class:`~mosaic.errors.NotACatalogError` where there is no mosaic,
    :class:`~mosaic.errors.CatalogError` where it can't be read,
    :class:`~mosaic.errors.UsageError` for an asset that it hasn't.
    """
    document = folder.collection() if document is None else document
    own = [str(name) for name in document["mosaic:assets"]]
    unknown = [name for name in assets or () if name not in own]
    if unknown:
        raise UsageError(f"the mosaic has no asset {', '.join(unknown)}; it has {', '.join(own)}")
    columns = folder.columns(ITEMS) if columns is None else columns
    try:
        ids = columns.read("id")
        traits = _traits(columns, ids)
        found = {name: _asset(columns, document, name, ids, traits) for name in assets or own}
        time = _times(columns)
        z = _drawing_order(columns, document, ids, time)
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0][:160]
        raise CatalogError(
            f"{folder.base}: {ITEMS} isn't as mosaic writes it ({reason}); build it anew"
        ) from error
    told = document[MARK]
    height, width = told["shape"]
    grid = GeoBox((height, width), Affine(*told["transform"][:6]), told["crs"])
    return Opened(folder.base, told["crs"], grid, ids, time, z, found, columns)


def _times(columns: ParquetColumns) -> Longs:
    time = np.full(len(columns), NEVER, np.int64)
    for name in ("start_datetime", "datetime"):
        if columns.has(name):
            micro = columns.read(name).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
            known = micro.is_valid().to_numpy(zero_copy_only=False)
            time[known] = pc.fill_null(micro, 0).to_numpy()[known] // 1000
    return time


def _drawing_order(columns: ParquetColumns, document: Json, ids: pa.Array, time: Longs) -> Longs:
    """(n,) z of each item, as :func:`mosaic.catalog.table.drawing_order` has it."""
    sort = str(document["mosaic:sort"])
    ascending, name = sort[0] == "+", sort[1:]
    if name == "datetime":
        values = pa.array(time, mask=time == NEVER)
    elif columns.has(name):
        values = columns.read(name)
    else:
        values = pa.nulls(len(ids), pa.int64())
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    flat = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not flat and not pa.types.is_timestamp(values.type):
        return drawing_order(values.to_pylist(), ids.to_pylist(), ascending)
    # ties are few: only they are ordered by id
    number = values.cast(pa.int64()) if not pa.types.is_floating(values.type) else values
    known = number.is_valid().to_numpy(zero_copy_only=False)
    key = pc.fill_null(number, 0).to_numpy()
    sign = 1 if ascending else -1
    order = np.lexsort((sign * key, ~known))
    run = np.ones(len(order), bool)
    run[1:] = (np.diff(key[order]) != 0) | (np.diff(known[order]) != 0)
    group = np.cumsum(run) - 1
    tied = np.bincount(group)[group] > 1
    if tied.any():
        rows = order[tied]
        by_id = pc.sort_indices(ids.take(pa.array(rows))).to_numpy()
        rank = np.empty(len(rows), np.int64)
        rank[by_id] = np.arange(len(rows))
        order[tied] = rows[np.lexsort((rank, group[tied]))]
    z = np.empty(len(order), np.int64)
    z[order] = np.arange(len(order))[::-1]
    return z


def _asset(
    columns: ParquetColumns, document: Json, name: str, ids: pa.Array, traits: Codes
) -> Asset:
    """One asset of all items that have it, whichever key it has in them."""
    told = document["assets"][name]
    declared = told_bands({"bands": [_known(band) for band in told["bands"]]})
    if declared is None:
        raise CatalogError(f"the asset {name} of the mosaic declares no data type; build it anew")
    raw = bool(document.get("mosaic:raw"))
    parts = [
        _part(columns, key, rows, declared, ids, traits, raw)
        for key, rows in _keys(columns, name, len(ids))
    ]
    crs: dict[str, int] = {}
    for part in parts:
        for one in part.grids.crs:
            crs.setdefault(one, len(crs))
    index = [
        np.array([crs[one] for one in part.grids.crs], np.int32)[part.grids.crs_index]
        for part in parts
    ]
    shift = np.cumsum([0, *(len(part.variants) for part in parts)])
    return Asset(
        name=name,
        bands=declared,
        resampling=str(told.get("mosaic:resampling") or "nearest"),
        item=_stacked([part.item for part in parts], np.int64),
        key=np.repeat(np.arange(len(parts)), [len(part.item) for part in parts]),
        keys=tuple(part.key for part in parts),
        grids=Grids(
            tuple(crs),
            _stacked(index, np.int32),
            _stacked([part.grids.shape for part in parts], np.int64, (0, 2)),
            _stacked([part.grids.transform for part in parts], np.float64, (0, 6)),
        ),
        variant=_stacked([p.variant + s for p, s in zip(parts, shift, strict=False)], np.int64),
        variants=tuple(variant for part in parts for variant in part.variants),
    )


def _stacked(parts: list[Any], dtype: type, shape: tuple[int, ...] = (0,)) -> npt.NDArray[Any]:
    if len(parts) == 1:
        return np.asarray(parts[0], dtype)
    return np.concatenate([np.zeros(shape, dtype), *parts])


def _keys(columns: ParquetColumns, name: str, count: int) -> Iterator[tuple[str, Longs]]:
    """Keys under which items have an asset, and their rows, as ``facts.asset_for`` finds them."""
    free = np.ones(count, bool)
    keys = columns.fields("assets")
    if name in keys:
        # a place in the grid, which every indexed asset has, is cheaper to read than an href
        place = f"assets.{name}.proj:transform"
        free[:] = False
        if not columns.complete(place):
            free = ~columns.read(place).is_valid().to_numpy(zero_copy_only=False)
        yield name, np.flatnonzero(~free)
    for field_ in ("name", "eo:common_name"):
        for key in keys:
            path = f"assets.{key}.bands"
            if not free.any():
                return
            if key == name or not columns.has(f"{path}.list.element.{field_}"):
                continue
            bands = columns.read(path, [field_])
            single = _true(pc.equal(pc.list_value_length(bands), 1))
            value = pc.struct_field(pc.list_element(bands.filter(pa.array(single)), 0), field_)
            named = np.zeros(count, bool)
            named[single] = _true(pc.equal(value, name))
            rows = np.flatnonzero(named & free)
            free[rows] = False
            if len(rows):
                yield key, rows


def _true(values: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.coalesce(values, pa.scalar(False)).to_numpy(
        zero_copy_only=False
    )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What items have under one key."""

    key: str
    item: Longs
    grids: Grids
    variant: Longs
    variants: tuple[Variant, ...]


def _part(
    columns: ParquetColumns,
    key: str,
    rows: Longs,
    declared: Bands,
    ids: pa.Array,
    traits: Codes,
    raw: bool,
) -> _Part:
    asset = f"assets.{key}"
    every = len(rows) == len(ids)

    def numbers(name: str, width: int, dtype: type) -> npt.NDArray[Any]:
        if not columns.has(f"{asset}.{name}"):
            return np.full((len(rows), width), -1, dtype)
        found = fixed(columns.read(f"{asset}.{name}"), width, dtype)
        return found if every else found[rows]

    shape = numbers("proj:shape", 2, np.int64)
    transform = numbers("proj:transform", 6, np.float64)
    names, crs_index = _crs(columns, asset, len(ids))
    crs_index = crs_index if every else crs_index[rows]
    variants, variant = _variants(columns, key, rows, declared, ids, traits)
    if raw:
        variants = tuple(replace(one, recodings=None) for one in variants)
    whole = (shape[:, 0] > 0) & (shape[:, 1] > 0) & (crs_index >= 0) & (variant >= 0)
    whole &= np.isfinite(transform.sum(axis=1))
    if not whole.all():
        kept = np.flatnonzero(whole)
        shape, transform, crs_index = shape[kept], transform[kept], crs_index[kept]
        rows, variant = rows[kept], variant[kept]
    return _Part(
        key, rows, Grids(names, crs_index.astype(np.int32), shape, transform), variant, variants
    )


def _crs(columns: ParquetColumns, asset: str, count: int) -> tuple[tuple[str, ...], Longs]:
    known = [
        columns.read(f"{asset}.{name}")
        for name in ("proj:code", "proj:wkt2")
        if columns.has(f"{asset}.{name}")
    ]
    if not known:
        return (), np.full(count, -1, np.int64)
    coded = pc.dictionary_encode(pc.coalesce(*known) if len(known) > 1 else known[0])
    names = [canonical(name) for name in coded.dictionary.to_pylist()]
    own = {name: place for place, name in enumerate(dict.fromkeys(names))}
    to = np.array([*(own[name] for name in names), -1], np.int64)
    return tuple(own), to[pc.fill_null(coded.indices, -1).to_numpy()]


def _variants(
    columns: ParquetColumns, key: str, rows: Longs, declared: Bands, ids: pa.Array, traits: Codes
) -> tuple[tuple[Variant, ...], Longs]:
    """Distinct bands, each once; and (m,) which; -1 for files whose bands aren't of the kind."""
    asset = f"assets.{key}"
    paths = {name: f"{asset}.{name}" for name in _OF_ASSET if columns.has(f"{asset}.{name}")}
    parts = [columns.codes(path) for path in paths.values()]
    parts += [columns.codes(f"{asset}.bands", _OF_BAND), traits]
    original = _original(columns, asset)
    parts.append(original.astype(np.int64))
    first, which = distinct(joined([part[rows] for part in parts]))
    at = rows[first]
    told = {name: columns.values(path, at) for name, path in paths.items()}
    bands = columns.values(f"{asset}.bands", at, _OF_BAND)
    properties = {name: columns.values(name, at) for name in (*_TRAITS, *_NAMES)}
    found: list[Bands | None] = []
    for place, row in enumerate(at.tolist()):
        fields = _known({name: values[place] for name, values in told.items()})
        fields["bands"] = [_known(band) for band in bands[place] or ()]
        fields["href"] = ".jp2" if original[row] else ""
        item = {
            "id": ids[row].as_py(),
            "properties": _known({name: values[place] for name, values in properties.items()}),
            "assets": {key: fields},
        }
        own = told_bands(fields)
        fits = own is not None and [b.dtype for b in own] == [b.dtype for b in declared]
        found.append(encoded(item, key, own) if fits and own is not None else None)
    unique = list(dict.fromkeys(one for one in found if one is not None))
    to = np.array([-1 if one is None else unique.index(one) for one in found], np.int64)
    return _recoded(unique, declared), to[which]


def _original(columns: ParquetColumns, asset: str) -> npt.NDArray[np.bool_]:
    """(n,) whether files are ESA's own JPEG 2000: by media type, else by name."""
    types = columns.codes(f"{asset}.type")
    first, which = distinct(types)
    told = columns.values(f"{asset}.type", first)
    found = np.array([str(one).startswith("image/jp2") for one in told], bool)[which]
    untold = np.array([one is None for one in told], bool)[which]
    if untold.any():
        href = pc.utf8_lower(columns.read(f"{asset}.href"))
        href = pc.replace_substring_regex(href, r"\?.*$", "")
        jp2 = pc.or_(pc.ends_with(href, ".jp2"), pc.ends_with(href, ".j2k"))
        found |= untold & _true(jp2)
    return found


def _traits(columns: ParquetColumns, ids: pa.Array) -> Codes:
    """(n,) codes of what items say of Sentinel-2's encoding."""
    parts = [columns.codes(name) for name in _TRAITS]
    parts += [_named(columns.read(name)) for name in _NAMES if columns.has(name)]
    traits = joined(parts)
    first, _ = distinct(traits)
    told = {name: columns.values(name, first) for name in (*_TRAITS, *_NAMES)}
    for place in range(len(first)):
        own = _known({name: values[place] for name, values in told.items()})
        if is_sentinel2(own) and processing_baseline(own) is None:
            # the ids themselves may be names of products
            return joined([traits, _named(ids)])
    return traits


def _named(names: pa.Array) -> Codes:
    """(n,) codes of the processing baseline in products' names; null and none apart."""
    baseline = pc.struct_field(pc.extract_regex(names, _NAMED), "found")
    there = names.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
    return joined([there, codes(baseline)])


def _known(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _recoded(unique: Sequence[Bands], declared: Bands) -> tuple[Variant, ...]:
    """Each variant with how its numbers become what the mosaic declares.

    As the builder decides it (``builder.bands``): numbers stay where all files agree, and where
    the mosaic declares none because some of its files don't tell.
    """
    per_band = [
        _recodings([bands[place] for bands in unique], declared[place])
        for place in range(len(declared))
    ]
    found = []
    for row, bands in enumerate(unique):
        how = tuple(changes[row] for changes in per_band)
        changes = any(
            one.changes or (band.nodata is None and one.nodata_in is not None)
            for one, band in zip(how, bands, strict=True)
        )
        found.append(Variant(bands, how if changes else None))
    return tuple(found)


def _recodings(bands: list[Band], declared: Band) -> list[Recoding]:
    kept = [Recoding(1.0, 0.0, band.nodata, band.nodata) for band in bands]
    target = (declared.scale, declared.offset)
    if len({(band.scale, band.offset) for band in bands}) <= 1:
        return kept
    if target == (1.0, 0.0) and any(band.told is Told.NOTHING for band in bands):
        return kept
    found = []
    for band, same in zip(bands, kept, strict=True):
        nodata = band.nodata if band.nodata is not None else band.usual_nodata
        how = recoding(
            Band(band.dtype, nodata=nodata, scale=band.scale, offset=band.offset),
            target,
            declared.nodata,
        )
        if how is None:
            return kept
        found.append(how if how.changes else (same if band.nodata is not None else how))
    return found
