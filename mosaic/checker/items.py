"""``items.parquet`` as a check needs it: ids and, by columns, where each asset's pixels lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mosaic.builder.rows import items as items_of
from mosaic.catalog.facts import asset_for, sources
from mosaic.catalog.href import resolve
from mosaic.catalog.layout import ITEMS
from mosaic.errors import CatalogError, MosaicError
from mosaic.grid import Floats, canonical

Json = dict[str, Any]

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Places:
    """One asset of the items by columns; only items that have it and tell its grid."""

    item: npt.NDArray[np.int64]
    """(m,) row of the item."""
    href: list[str]
    """Absolute and unsigned."""
    crs: list[str]
    """Canonical name of the CRS."""
    shape: npt.NDArray[np.int64]
    """(m, 2) height and width in pixels."""
    transform: Floats
    """(m, 6) affine a, b, c, d, e, f."""

    def without(self, items: list[int]) -> Places:
        """The places without those of items at these rows."""
        if not items:
            return self
        kept = np.flatnonzero(~np.isin(self.item, items))
        return Places(
            self.item[kept],
            [self.href[row] for row in kept],
            [self.crs[row] for row in kept],
            self.shape[kept],
            self.transform[kept],
        )


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a mosaic, read from its ``items.parquet``."""

    folder: Path
    """The mosaic's folder."""
    table: pa.Table
    """The table as it was read."""
    id: list[str]
    """(n,) ids."""

    def __len__(self) -> int:
        return len(self.id)

    def some(self, rows: npt.NDArray[np.int64]) -> Iterator[Json]:
        """These items as STAC, without the nulls that a table puts where a field isn't told."""
        for start in range(0, len(rows), _AT_ONCE):
            # stac-geoparquet itself can't read a geometry that is null, of an item or of an asset
            part = self.table.take(pa.array(rows[start : start + _AT_ONCE])).combine_chunks()
            for batch in part.to_batches():
                yield from map(_told, items_of(batch))

    def sorted_by(self, name: str) -> list[Any] | None:
        """A property of all items, or None where the table has no such column."""
        if name not in self.table.column_names:
            return None
        column = self.table[name]
        if pa.types.is_timestamp(column.type):
            column = pc.strftime(column, "%Y-%m-%dT%H:%M:%SZ")
        values: list[Any] = column.to_pylist()
        return values

    def places(self, asset: str) -> Places:
        """Where the pixels of one of the mosaic's assets lie."""
        fast = self._by_column(asset)
        done = np.zeros(len(self), bool) if fast is None else np.isin(np.arange(len(self)), fast[0])
        slow = _one_by_one(self, asset, np.flatnonzero(~done))
        if fast is None:
            return slow
        rows, href, crs, shape, transform = fast
        item = np.concatenate([rows, slow.item])
        order = np.argsort(item, kind="stable")
        hrefs, names = [*href, *slow.href], [*crs, *slow.crs]
        return Places(
            item[order],
            [hrefs[i] for i in order],
            [names[i] for i in order],
            np.concatenate([shape, slow.shape])[order],
            np.concatenate([transform, slow.transform])[order],
        )

    def _by_column(self, asset: str) -> Any:
        """Rows, hrefs, CRSs, shapes and transforms, where all are told in the plainest way."""
        assets = self.table["assets"].combine_chunks()
        if not pa.types.is_struct(assets.type) or assets.type.get_field_index(asset) < 0:
            return None
        own = pc.struct_field(assets, [assets.type.get_field_index(asset)])
        if not pa.types.is_struct(own.type):
            return None

        def column(name: str) -> Any:
            place = own.type.get_field_index(name)
            if place >= 0:
                return pc.struct_field(own, [place])
            return None

        code, shape, transform = (
            column(name) for name in ("proj:code", "proj:shape", "proj:transform")
        )
        common = self._common("proj:code")
        code = common if code is None else code if common is None else pc.coalesce(code, common)
        if (
            code is None
            or not pa.types.is_string(code.type)
            or column("href") is None
            or not all(_is_list(value) for value in (shape, transform))
        ):
            return None
        plain = pc.and_(
            pc.greater_equal(pc.list_value_length(transform), 6),
            pc.equal(pc.list_value_length(shape), 2),
        )
        plain = pc.and_(plain, pc.and_(pc.is_valid(code), pc.is_valid(column("href"))))
        rows = np.flatnonzero(plain.fill_null(False).to_numpy(zero_copy_only=False))
        names = code.take(pa.array(rows)).to_pylist()
        hrefs = column("href").take(pa.array(rows)).to_pylist()
        base = str(self.folder)
        return (
            rows,
            [resolve(href, base) for href in hrefs],
            [canonical(name) for name in names],
            _numbers(shape, rows, 2).astype(np.int64),
            _numbers(transform, rows, 6),
        )

    def _common(self, name: str) -> Any:
        if name not in self.table.column_names:
            return None
        column = self.table[name].combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def read_items(folder: Path) -> Items:
    """The items of a mosaic.

    Raises :class:`~mosaic.errors.CatalogError` when the file isn't there, is broken, or holds
    no STAC items.
    """
    path = folder / ITEMS
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise CatalogError(f"{ITEMS} isn't there: build the mosaic again") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0][:160]
        raise CatalogError(f"{ITEMS} can't be read ({reason}): build the mosaic again") from error
    missing = {"id", "assets", "geometry"} - set(table.column_names)
    if missing:
        raise CatalogError(f"{ITEMS} is no stac-geoparquet: it lacks {', '.join(sorted(missing))}")
    return Items(folder, table.combine_chunks(), [str(name) for name in table["id"].to_pylist()])


def collections(items: Items) -> list[str]:
    """Ids of the collections in the metadata of ``items.parquet``."""
    text = (items.table.schema.metadata or {}).get(b"stac-geoparquet")
    try:
        return list(orjson.loads(text)["collections"]) if text else []
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []


def _is_list(column: Any) -> bool:
    return column is not None and (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    )


def _numbers(column: Any, rows: npt.NDArray[np.int64], count: int) -> Floats:
    taken = column.take(pa.array(rows))
    sides = [
        pc.list_element(taken, index).cast(pa.float64()).to_numpy(zero_copy_only=False)
        for index in range(count)
    ]
    found: Floats = np.column_stack(sides) if len(rows) else np.zeros((0, count))
    return found


def _one_by_one(items: Items, asset: str, rows: npt.NDArray[np.int64]) -> Places:
    """The same from the items themselves: other keys, item-wide grids, WKT, PROJJSON."""
    kept: list[tuple[int, str, str, tuple[int, int], tuple[float, ...]]] = []
    for row, item in zip(rows.tolist(), items.some(rows), strict=True):
        key = asset_for(item, asset)
        if key is None:
            continue
        try:
            (source,) = sources(item, {asset: key}, str(items.folder))
        except MosaicError:
            continue  # the item's own fields are wrong: validation and headers tell of it
        if source.crs and source.shape and source.transform:
            kept.append((row, source.href, source.crs, source.shape, source.transform))
    return Places(
        np.array([one[0] for one in kept], np.int64),
        [one[1] for one in kept],
        [one[2] for one in kept],
        np.array([one[3] for one in kept], np.int64).reshape(-1, 2),
        np.array([one[4] for one in kept], np.float64).reshape(-1, 6),
    )


def _told(value: Any) -> Any:
    """A value without null members; ``datetime``, ``geometry`` and ``bbox`` may be null in STAC."""
    if isinstance(value, dict):
        return {
            key: _told(inner)
            for key, inner in value.items()
            if inner is not None or key in ("datetime", "geometry")
        }
    if isinstance(value, list):
        return [_told(inner) for inner in value]
    return value


def spread(groups: list[npt.NDArray[np.int64]], count: int | None) -> list[npt.NDArray[np.int64]]:
    """Of each group as many rows as fall to it when ``count`` are picked, evenly spaced.

    ``count``: None for all. Every group gets one before any gets two.
    """
    if count is None:
        return groups
    shares = [0] * len(groups)
    left = min(count, sum(map(len, groups)))
    while left > 0:
        open_ = [i for i, group in enumerate(groups) if shares[i] < len(group)]
        step = max(1, left // len(open_))
        for i in open_:
            given = min(step, len(groups[i]) - shares[i], left)
            shares[i] += given
            left -= given
    return [
        group[np.unique(np.linspace(0, len(group) - 1, share).round().astype(int))]
        if share
        else group[:0]
        for group, share in zip(groups, shares, strict=True)
    ]
