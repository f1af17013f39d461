"""A mosaic that was built, opened: a folder, a URL, a schema of PostGIS, an ``items.parquet``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.catalog.database import is_database
from mosaic.catalog.folder import Folder
from mosaic.catalog.layout import MARK
from mosaic.catalog.near import groups_of
from mosaic.catalog.opened import Opened, open_mosaic
from mosaic.catalog.when import Interval
from mosaic.cube.items import is_document, is_json, is_parquet
from mosaic.cube.stamp import is_stamped, renew, stamp
from mosaic.engine.reading import target_of
from mosaic.errors import NotACatalogError, UsageError
from mosaic.storage import Gate

Json = dict[str, Any]
_INDEXES = (".gti", ".gti.gpkg")
_SMALL = 100_000
"""Items of a mosaic that stays open."""


def standing(
    source: Any,
    gate: Gate,
    bands: Sequence[str] | None,
    also: Sequence[str],
    place: Mapping[str, Any],
    span: Interval | None,
) -> Opened | None:
    """A mosaic that lies at a path or URL; None for what can only be items.

    One that is opened again, and hasn't changed, needn't be read again. On the planner's thread,
    which projects.
    """
    if not isinstance(source, str):
        return _built(source, gate, bands, also, place, span)
    if "://" in source and not is_database(source):
        renew(source, gate)
    version = stamp(source, gate)
    key = source, version, None if bands is None else (tuple(bands), tuple(also))
    known: Opened | None = gate.catalogs.get(key)
    made = known or _built(source, gate, bands, also, place, span)
    if known is None and made is not None and is_stamped(version):
        count = made.count
        if count <= _SMALL and made.total in (0, count):  # not of one window alone
            gate.catalogs.keep(key, made)
    return made


def _built(
    source: Any,
    gate: Gate,
    bands: Sequence[str] | None,
    also: Sequence[str],
    place: Mapping[str, Any],
    span: Interval | None,
) -> Opened | None:
    if not isinstance(source, str | os.PathLike):
        return None
    name = os.fspath(source)
    if is_parquet(name):
        base, _, last = name.rpartition("/")
        folder = replace(Folder.at(base or ".", gate), gate=gate)
        columns = folder.columns(last)
        ours = [one for one in columns.collections().values() if MARK in one]
        return open_mosaic(folder, _own(bands, also, ours[0]), ours[0], columns) if ours else None
    if name.endswith(_INDEXES):
        raise UsageError(
            f"{name} is a tile index, for GDAL: open the mosaic's folder, {name.rpartition('/')[0]}"
        )
    folder = Folder.at(name, gate)
    try:
        if is_document(name) and not name.endswith(("/collection.json", "/catalog.json")):
            return None
        document = folder.collection()
    except NotACatalogError:
        if is_document(name) or (folder.remote and is_json(name, gate)):
            return None  # a STAC catalog of somebody else, or an item of an API
        raise
    groups = None
    if len(document.get("mosaic:groups") or ()) > 1:
        groups = groups_of(document, target_of(_Own(document), **place), span)
    return open_mosaic(folder, _own(bands, also, document), document, groups=groups)


class _Own:
    """A mosaic's own pixels, before it is opened."""

    def __init__(self, document: Json) -> None:
        told = document[MARK]
        self.crs = str(told["crs"])
        self.grid = GeoBox(tuple(told["shape"]), Affine(*told["transform"][:6]), self.crs)


def _own(bands: Sequence[str] | None, also: Sequence[str], document: Json) -> Sequence[str] | None:
    """Bands, where all are assets of a mosaic: no other is opened then."""
    there = document["mosaic:assets"]
    if not bands or not set(bands) <= set(there):
        return None
    if not set(also) <= set(there):  # a property, or a band of an asset
        return None
    return list(dict.fromkeys([*bands, *also]))
