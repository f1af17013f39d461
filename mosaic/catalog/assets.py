"""One asset of a mosaic by columns: items that have it, grids and bands of their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mosaic.catalog.columns import Codes, Longs, fixed, true
from mosaic.catalog.facts import told_bands
from mosaic.catalog.folder import ParquetColumns
from mosaic.catalog.table import Bands
from mosaic.catalog.variants import Variant, stated, variants_of
from mosaic.errors import CatalogError
from mosaic.grid import Grids, canonical

Json = dict[str, Any]


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

    def take(self, kept: npt.NDArray[np.bool_]) -> Asset:
        """The asset of some of its items."""
        rows = np.flatnonzero(kept)
        return replace(
            self,
            item=self.item[rows],
            key=self.key[rows],
            grids=self.grids.take(rows),
            variant=self.variant[rows],
        )


def asset_of(
    columns: ParquetColumns, document: Json, name: str, ids: pa.Array, traits: Codes
) -> Asset:
    """One asset of all items that have it, whichever key it has in them."""
    declared, resampling = declaration(document, name)
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
        resampling=resampling,
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


def declaration(document: Json, name: str) -> tuple[Bands, str]:
    """What a mosaic declares of an asset's bands, and how it is resampled."""
    told = document["assets"][name]
    declared = told_bands({"bands": [stated(band) for band in told["bands"]]})
    if declared is None:
        raise CatalogError(f"the asset {name} of the mosaic declares no data type; build it anew")
    return declared, str(told.get("mosaic:resampling") or "nearest")


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
            single = true(pc.equal(pc.list_value_length(bands), 1))
            value = pc.struct_field(pc.list_element(bands.filter(pa.array(single)), 0), field_)
            named = np.zeros(count, bool)
            named[single] = true(pc.equal(value, name))
            rows = np.flatnonzero(named & free)
            free[rows] = False
            if len(rows):
                yield key, rows


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
    variants, variant = variants_of(columns, key, rows, declared, ids, traits)
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
