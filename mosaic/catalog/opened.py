"""A built mosaic opened for reading: ``collection.json`` and ``items.parquet`` as columns.

No work is done per item: a million of them open in seconds, and only those that a window needs are
looked at one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.catalog import brief
from mosaic.catalog.assets import Asset, asset_of, declaration
from mosaic.catalog.columns import Columns, Longs
from mosaic.catalog.database import shown
from mosaic.catalog.facts import OF_ASSET
from mosaic.catalog.folder import Folder, ParquetColumns
from mosaic.catalog.href import resolve
from mosaic.catalog.later import LaterColumns
from mosaic.catalog.layout import BRIEF, ITEMS, MARK, MASK
from mosaic.catalog.order import NEVER, drawn, times
from mosaic.catalog.sentinel2 import TRAITS
from mosaic.catalog.variants import Variant, traits_of
from mosaic.errors import CatalogError, Problem, UsageError

Json = dict[str, Any]
_GRID = ("proj:shape", "proj:transform", "proj:code", "proj:wkt2")
__all__ = ["NEVER", "Asset", "Opened", "Variant", "open_mosaic"]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A built mosaic."""

    base: str
    """Its folder or URL; empty for items in memory."""
    crs: str
    """Canonical name of its CRS."""
    grid: GeoBox
    """Its pixels."""
    id: pa.Array | None
    """(n,) ids of the items; None where they are read as they are asked for (:meth:`ids`)."""
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
    total: int = 0
    """Items of a mosaic of which only some row groups were opened."""

    @property
    def count(self) -> int:
        """How many items are opened."""
        return len(self.time)

    def ids(self, rows: Longs) -> list[str]:
        """Ids of some items."""
        taken = self.columns.take("id", rows) if self.id is None else self.id.take(pa.array(rows))
        found: list[str] = taken.to_pylist()
        return found

    def only(self, rows: Longs) -> Opened:
        """The mosaic without the files of all other items; those stay as columns."""
        kept = np.zeros(self.count, bool)
        kept[rows] = True
        found = {name: asset.take(kept[asset.item]) for name, asset in self.assets.items()}
        told = hashlib.sha1(self.digest.encode() + kept.tobytes()).hexdigest()
        return replace(self, assets=found, digest=told if self.digest else "")

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

    def masks(self, asset: Asset, rows: Longs) -> list[bool]:
        """Whether the masks of these files lie beside them, as the items say."""
        found = [False] * len(rows)
        for place, key in enumerate(asset.keys):
            if not self.columns.has(f"assets.{key}.{MASK}"):
                continue
            mine = np.flatnonzero(asset.key[rows] == place)
            told = self.columns.take(f"assets.{key}.{MASK}", asset.item[rows[mine]])
            for row, beside in zip(mine.tolist(), told.to_pylist(), strict=True):
                found[row] = beside is True
        return found


def open_mosaic(
    folder: Folder,
    assets: Sequence[str] | None = None,
    document: Json | None = None,
    columns: ParquetColumns | None = None,
    groups: Sequence[int] | None = None,
) -> Opened:
    """A mosaic's items and assets, by columns.

    ``assets``: names of those that will be read; None for all. ``document``, ``columns``: its
    collection and items, where they are at hand. ``groups``: row groups of items that are enough;
    None for all. Raises
    :class:`~mosaic.errors.NotACatalogError` where there is no mosaic,
    :class:`~mosaic.errors.CatalogError` where it can't be read,
    :class:`~mosaic.errors.UsageError` for an asset that it hasn't.
    """
    document = folder.collection() if document is None else document
    own = [str(name) for name in document["mosaic:assets"]]
    unknown = [name for name in assets or () if name not in own]
    if unknown:
        raise UsageError(f"the mosaic has no asset {', '.join(unknown)}; it has {', '.join(own)}")
    if columns is None and document.get("mosaic:brief"):
        return _in_brief(folder, assets or own, document, groups)
    columns = folder.columns(ITEMS, groups) if columns is None else columns
    sort = str(document["mosaic:sort"])[1:]
    paths = ["id", "datetime", "start_datetime", sort, *TRAITS]
    for name in assets or own:
        paths += [f"assets.{name}.{field}" for field in ("bands", "type", *_GRID, *OF_ASSET)]
    columns.fetch(paths)
    try:
        ids = columns.read("id")
        found = assets_in(columns, document, ids, assets)
        time = times(columns)
        z = drawn(columns, document, ids, time)
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0][:160]
        raise CatalogError(
            f"{shown(folder.base)}: {ITEMS} isn't as mosaic writes it ({reason}); build it anew"
        ) from error
    return _opened(folder, document, ids, (time, z), found, columns)


def assets_in(
    columns: ParquetColumns, document: Json, ids: pa.Array, names: Sequence[str] | None = None
) -> dict[str, Asset]:
    """Assets of the items in ``items.parquet``. ``names``: those that are wanted; None for all.

    Raises what a file that mosaic didn't write may raise: KeyError, TypeError, ValueError,
    pa.ArrowException.
    """
    traits = traits_of(columns, ids)
    wanted = names or document["mosaic:assets"]
    return {name: asset_of(columns, document, name, ids, traits) for name in wanted}


def _in_brief(
    folder: Folder, names: Sequence[str], document: Json, groups: Sequence[int] | None
) -> Opened:
    """A large mosaic, by ``items.arrow``; ``items.parquet`` is opened when a read wants it."""
    told = document["mosaic:brief"]
    parts = folder.parts(BRIEF, brief.spans(told, groups))
    try:
        table = brief.read(told, parts)
        declared = {name: declaration(document, name) for name in names}
        found = brief.assets_of(table, declared)
        known = {name: table[name].combine_chunks() for name in brief.TIMES}
        z = table["z"].to_numpy().astype(np.int64)
    except (CatalogError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise CatalogError(
            f"{shown(folder.base)}/{BRIEF}: {error}; open it again, or build it anew"
        ) from error
    later = LaterColumns(folder, ITEMS, groups, known, str(told.get("items") or ""))
    # a file that is open stays what it was, whatever an update does
    columns: Columns = later if folder.remote else later.file
    return _opened(folder, document, None, (times(columns), z), found, columns)


def _opened(
    folder: Folder,
    document: Json,
    ids: pa.Array | None,
    order: tuple[Longs, Longs],
    assets: dict[str, Asset],
    columns: Columns,
) -> Opened:
    told = document[MARK]
    height, width = told["shape"]
    grid = GeoBox((height, width), Affine(*told["transform"][:6]), told["crs"])
    count = int(document.get("mosaic:items") or 0)
    return Opened(folder.base, told["crs"], grid, ids, *order, assets, columns, total=count)
