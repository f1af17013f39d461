"""Items and their assets by columns: what every index of a mosaic is written from.

Items are rows, never objects, so that millions fit; equal grids and equal bands are kept once.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from mosaic.catalog.item import bbox, extent, when
from mosaic.catalog.source import Band, Source
from mosaic.grid import Grids
from mosaic.outline import lonlat_bounds

Json = dict[str, Any]
Ints = npt.NDArray[np.int32]
Bands = tuple[Band, ...]

SHARED = (
    "platform",
    "constellation",
    "mission",
    "instruments",
    "gsd",
    "processing:level",
    "license",
    "providers",
)
"""Properties that few distinct values of describe all items."""


@dataclass(frozen=True, slots=True)
class Assets:
    """One asset of the mosaic by columns, one row an item that has it."""

    item: Ints
    """(m,) row of the item."""
    href: list[str]
    """Absolute, unsigned."""
    grid: Ints
    """(m,) row of its grid."""
    bands: Ints
    """(m,) row of its bands."""
    mask_nodata: npt.NDArray[np.bool_]
    """(m,) whether the file itself doesn't declare the nodata value of its bands."""

    def take(self, rows: npt.NDArray[Any]) -> Assets:
        """The assets at these rows."""
        return Assets(
            self.item[rows],
            [self.href[row] for row in rows],
            self.grid[rows],
            self.bands[rows],
            self.mask_nodata[rows],
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Items, their assets, and the grids and bands these share."""

    line: Ints
    """(n,) position of each item among all that were gathered."""
    id: list[str]
    """(n,) ids of the items."""
    datetime: list[str]
    """(n,) RFC 3339 UTC with milliseconds (``datetime``, else ``start_datetime``), or empty."""
    sort: list[Any]
    """(n,) the property that orders the items, or None."""
    bbox: npt.NDArray[np.float64]
    """(n, 4) the items' own bbox, NaN where they have none."""
    extent: npt.NDArray[np.float64]
    """(n, 4) bounds of the items' geometry, NaN where they have none."""
    cloud_cover: npt.NDArray[np.float64]
    """(n,) ``eo:cloud_cover`` in percent, NaN where an item has none."""
    trait: Ints
    """(n,) row of what an item shares with others."""
    traits: list[Json]
    """Distinct values of the fields :data:`SHARED` and of ``collection``."""
    assets: dict[str, Assets]
    """By name of the asset."""
    grids: Grids
    """Distinct pixel grids."""
    lonlat: npt.NDArray[np.float64]
    """(grids, 4) bounds of each grid in degrees (:func:`mosaic.outline.lonlat_bounds`)."""
    bands: list[Bands]
    """Distinct bands."""

    def shared(self) -> list[Json]:
        """The traits that the items have."""
        return [self.traits[row] for row in np.unique(self.trait).tolist()]

    def first_grid(self) -> Ints:
        """(n,) grid of each item's first asset; -1 for an item without one."""
        first = np.full(len(self.id), -1, np.int32)
        for assets in self.assets.values():
            new = first[assets.item] < 0
            first[assets.item[new]] = assets.grid[new]
        return first

    def compact(self) -> Table:
        """The table without items that have no asset and grids that nothing lies on."""
        used = np.unique(np.concatenate([assets.item for assets in self.assets.values()]))
        laid = np.unique(np.concatenate([assets.grid for assets in self.assets.values()]))
        return Table(
            line=self.line[used],
            id=[self.id[row] for row in used],
            datetime=[self.datetime[row] for row in used],
            sort=[self.sort[row] for row in used],
            bbox=self.bbox[used],
            extent=self.extent[used],
            cloud_cover=self.cloud_cover[used],
            trait=self.trait[used],
            traits=self.traits,
            assets={
                name: replace(
                    assets,
                    item=np.searchsorted(used, assets.item).astype(np.int32),
                    grid=np.searchsorted(laid, assets.grid).astype(np.int32),
                )
                for name, assets in self.assets.items()
            },
            grids=self.grids.take(laid),
            lonlat=self.lonlat[laid],
            bands=self.bands,
        )


@dataclass(slots=True)
class _Columns:
    item: array[int] = field(default_factory=lambda: array("i"))
    href: list[str] = field(default_factory=list)
    grid: array[int] = field(default_factory=lambda: array("i"))
    bands: array[int] = field(default_factory=lambda: array("i"))
    mask_nodata: array[int] = field(default_factory=lambda: array("b"))


_GRID = Struct("<i2q6d")
_GRID_FIELDS = np.dtype([("crs", "<i4"), ("shape", "<i8", 2), ("transform", "<f8", 6)])


class Builder:
    """Gathers items into a :class:`Table`."""

    def __init__(self, sort_by: str) -> None:
        self._sort_by = sort_by
        self._id: list[str] = []
        self._datetime: list[str] = []
        self._sort: list[Any] = []
        self._bbox = array("d")
        self._extent = array("d")
        self._cloud_cover = array("d")
        self._trait = array("i")
        self._traits: dict[bytes, int] = {}
        self._assets: dict[str, _Columns] = {}
        self._crs: dict[str, int] = {}
        self._grids: dict[bytes, int] = {}
        self._bands: dict[Bands, int] = {}

    def __len__(self) -> int:
        return len(self._id)

    def add(self, item: Json, sources: list[Source]) -> None:
        """One item and its assets, all of them located and with bands."""
        row = len(self._id)
        time = when(item)
        self._id.append(str(item.get("id", "")))
        self._datetime.append(time)
        by = self._sort_by
        self._sort.append(time or None if by == "datetime" else item["properties"].get(by))
        self._bbox.extend(bbox(item))
        self._extent.extend(extent(item))
        properties = item["properties"]
        clouds = properties.get("eo:cloud_cover")
        self._cloud_cover.append(clouds if isinstance(clouds, int | float) else math.nan)
        trait = orjson.dumps([item.get("collection"), *map(properties.get, SHARED)])
        self._trait.append(self._traits.setdefault(trait, len(self._traits)))
        for source in sources:
            if source.crs is None or source.bands is None:
                raise ValueError(f"{source.item} {source.asset} is incomplete")
            if source.shape is None or source.transform is None:
                raise ValueError(f"{source.item} {source.asset} has no grid")
            crs = self._crs.setdefault(source.crs, len(self._crs))
            grid = _GRID.pack(crs, *source.shape, *source.transform)
            columns = self._assets.setdefault(source.asset, _Columns())
            columns.item.append(row)
            columns.href.append(source.href)
            columns.grid.append(self._grids.setdefault(grid, len(self._grids)))
            columns.bands.append(self._bands.setdefault(source.bands, len(self._bands)))
            columns.mask_nodata.append(source.mask_nodata)

    def table(self) -> Table:
        """What was gathered; the builder is empty then."""
        packed = np.frombuffer(b"".join(self._grids), _GRID_FIELDS)
        self._grids = {}
        laid = Grids(
            tuple(self._crs),
            packed["crs"].astype(np.int32),
            packed["shape"].astype(np.int64),
            packed["transform"].astype(np.float64),
        )
        return Table(
            line=np.arange(len(self._id), dtype=np.int32),
            id=self._id,
            datetime=self._datetime,
            sort=self._sort,
            bbox=np.array(self._bbox).reshape(-1, 4),
            extent=np.array(self._extent).reshape(-1, 4),
            cloud_cover=np.array(self._cloud_cover),
            trait=np.array(self._trait, np.int32),
            traits=[
                dict(zip(("collection", *SHARED), orjson.loads(trait), strict=True))
                for trait in self._traits
            ],
            assets={
                name: Assets(
                    np.array(c.item, np.int32),
                    c.href,
                    np.array(c.grid, np.int32),
                    np.array(c.bands, np.int32),
                    np.array(c.mask_nodata, bool),
                )
                for name, c in self._assets.items()
            },
            grids=laid,
            lonlat=lonlat_bounds(laid),
            bands=list(self._bands),
        )
