"""A mosaic that is to be updated: what it declares, what it was built with, what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mosaic.builder.options import Options
from mosaic.builder.spool import ORIGIN
from mosaic.catalog.facts import told_bands
from mosaic.catalog.folder import Folder, ParquetColumns
from mosaic.catalog.gti import Index, read_xml
from mosaic.catalog.layout import index_name, read_collection
from mosaic.catalog.opened import Opened, open_mosaic
from mosaic.catalog.variants import stated
from mosaic.errors import UsageError
from mosaic.recipes.load import is_recipe, load
from mosaic.storage import default_gate

Json = dict[str, Any]

UNKNOWN = np.iinfo(np.int64).min
"""Time at which an item was updated that doesn't tell."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A mosaic as it is before an update."""

    folder: Path
    """Where it lies."""
    document: Json
    """Its collection."""
    opened: Opened
    """Its items and assets by columns."""
    rows: Mapping[str, int]
    """Ids of the items to their rows."""
    updated: npt.NDArray[np.int64]
    """(n,) ``updated`` in microseconds since 1970, or ``UNKNOWN``."""
    collections: frozenset[str | None]
    """Ids of the collections that its items come from; None: from none."""
    indexes: dict[str, Index]
    """What its indexes declare, by asset."""

    @property
    def columns(self) -> ParquetColumns:
        """Its ``items.parquet``."""
        found = self.opened.columns
        assert isinstance(found, ParquetColumns)
        return found


def standing(folder: Path) -> Standing:
    """A mosaic that can be updated.

    Raises :class:`~mosaic.errors.CatalogError` for one that can't be read,
    :class:`~mosaic.errors.UsageError` for one that has to be built anew.
    """
    document = read_collection(folder)
    if "mosaic:groups" not in document:
        raise UsageError(f"{folder} was built by an older mosaic: build it anew, with --overwrite")
    if any("overview" in asset.get("roles", ()) for asset in _rasters(document)):
        raise UsageError(
            f"{folder} has coarse overviews, which show what was built: build it anew, "
            "with --overwrite"
        )
    opened = open_mosaic(Folder.at(folder, default_gate()), None, document)
    columns = opened.columns
    ids = columns.read("id").to_pylist()
    rows = dict(zip(ids, range(len(ids)), strict=True))
    if len(rows) < len(ids):
        raise UsageError(
            f"{folder} holds items of several collections under one id, which can't be told "
            "apart: build it anew, with --overwrite"
        )
    updated = np.full(len(ids), UNKNOWN)
    if columns.has("updated"):
        told = columns.read("updated").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        known = told.is_valid().to_numpy(zero_copy_only=False)
        updated[known] = told.drop_null().to_numpy()
    origins = columns.read(ORIGIN).unique().to_pylist() if columns.has(ORIGIN) else [None]
    indexes = {
        asset: _index(folder, document, asset, opened)
        for asset in document["mosaic:assets"]
        if asset in document["assets"]
    }
    return Standing(folder, document, opened, rows, updated, frozenset(origins), indexes)


def _rasters(document: Json) -> list[Json]:
    return [one for one in document["assets"].values() if one["href"].endswith(".tif")]


def _index(folder: Path, document: Json, asset: str, opened: Opened) -> Index:
    """What an index declares, from its collection and its own XML."""
    told = document["assets"][asset]
    bands = told_bands({"bands": [stated(band) for band in told["bands"]]}) or ()
    tree = ET.fromstring(read_xml(folder / index_name(asset)))
    own = [
        replace(
            band,
            name="" if said.findtext("Description") == asset else band.name,
            color=said.findtext("ColorInterp") or "",
        )
        for band, said in zip(bands, tree.findall("Band"), strict=True)
    ]
    return Index(asset, opened.grid, opened.crs, tuple(own), told["mosaic:resampling"])


def built_with(stand: Standing, recipe: str | None, skip_bad: bool) -> Options:
    """The options that a mosaic was built with, as far as they matter to more items.

    ``recipe``: file of a recipe that doesn't travel with the package, or None.
    """
    told = stand.document["mosaic:options"]
    known = stand.document.get("mosaic:recipe")
    if known and recipe is None:
        if not is_recipe(known["name"]):
            raise UsageError(f"{stand.folder} follows the recipe {known['name']}: give --recipe")
        recipe = known["name"]
    sort = stand.document["mosaic:sort"]
    return Options(
        dst_crs=stand.opened.crs,
        bbox=told["bbox"] and tuple(told["bbox"]),
        bands=tuple(stand.indexes),
        resampling_of=tuple((name, one.resampling) for name, one in stand.indexes.items()),
        sort=sort[1:],
        ascending=sort[0] == "+",
        slices=told["slices"],
        stacks=tuple(tuple(members) for members in told["stacks"]),
        nodata=told["nodata"],
        dtype=told["dtype"],
        item_files=told["item_files"],
        raw=stand.document["mosaic:raw"],
        skip_bad=skip_bad,
        recipe=load(recipe) if recipe else None,
    )
