"""Whatever users give, opened for reading: a built mosaic, items, files of items.

Items pass the stages of a build (gathered, agreed upon, framed), so that radiometry, checks and
what is said of bad items are the same; what a build would write stays in memory.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic import bridge
from mosaic.builder.bands import Common
from mosaic.builder.gather import gather
from mosaic.builder.inputs import Found, Given
from mosaic.builder.options import Options, options
from mosaic.builder.settle import Agreed, agreed, order, settled
from mosaic.catalog import sql
from mosaic.catalog.database import is_database
from mosaic.catalog.facts import asset_for, data_assets
from mosaic.catalog.folder import Folder
from mosaic.catalog.held import HeldColumns
from mosaic.catalog.href import resolve, unsigned
from mosaic.catalog.layout import COLLECTION, ITEMS, MARK
from mosaic.catalog.near import groups_of
from mosaic.catalog.opened import NEVER, Asset, Opened, Variant, open_mosaic
from mosaic.catalog.stac import upgrade
from mosaic.catalog.table import Assets, Table
from mosaic.catalog.when import Interval
from mosaic.cube.choice import is_stamped, stamp
from mosaic.cube.items import found, is_document, is_json, is_parquet
from mosaic.engine.reading import degrees, pixel_size, target_of
from mosaic.errors import InputError, NotACatalogError, StorageError, UsageError
from mosaic.grid import canonical
from mosaic.storage import Gate, default_gate

Json = dict[str, Any]
_INDEXES = (".gti", ".gti.gpkg")
_SMALL = 100_000
"""Items of a mosaic that stays open."""
_LOOKED_AT = 64
"""Items in which bands are looked for that aren't assets of their own."""


def opened(
    source: Any,
    *,
    gate: Gate | None = None,
    bands: Sequence[str] | None = None,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    sort: str = "-datetime",
    raw: bool = False,
    errors: str = "raise",
    where: str | None = None,
    span: Interval | None = None,
    also: Sequence[str] = (),
) -> Opened:
    """A source by columns.

    ``source``: a mosaic's folder or URL, or its ``items.parquet``, which have all they need; else
    items: pystac's Item, ItemCollection, Catalog, a search of pystac_client, dicts, lists of these,
    or a path or URL of JSON, NDJSON or stac-geoparquet; what is opened already stays as it is.
    For items ``crs``, ``resolution`` (in its units) and ``sort`` are what a build takes as
    ``dst_crs``, ``res`` and ``sort``; with ``geobox`` the grid is that. ``bands``: assets that will
    be read, by name; None for all. ``bbox``: west, south, east, north in degrees, outside which no
    item is needed, nor outside ``span`` (milliseconds). ``where``: an SQL condition on items
    (:mod:`mosaic.catalog.sql`). ``raw``: numbers as files have them. ``errors``: with
    ``ignore`` items that can't be read are left out, and told in the result's ``problems``.

    What comes back can be pickled. Raises :class:`~mosaic.errors.InputError` with a problem for
    each item that can't be indexed, :class:`~mosaic.errors.CatalogError` for a mosaic that can't be
    read, :class:`~mosaic.errors.UsageError` for an argument that can't be meant.
    """
    if errors not in ("raise", "ignore"):
        raise UsageError(f"errors={errors!r}: raise or ignore")
    if isinstance(source, Opened):
        return source
    gate = gate or default_gate()
    place = {"bbox": bbox, "geobox": geobox, "crs": crs, "resolution": resolution}
    # on the planner's thread: a fork waits for that one, and so finds none amid Arrow's work
    built = bridge.on_planner(lambda: _kept(source, gate, bands, also, place, span))
    if built is not None:
        return bridge.on_planner(lambda: _chosen(built, where))
    stream = found(source, gate)
    if bands is not None:
        bands, stream = _as_assets(bands, also, stream)
    if geobox is not None and geobox.crs is None:
        raise UsageError("geobox needs a CRS and pixels")
    chosen = options(
        dst_crs="auto" if crs is None or geobox is not None else canonical(str(crs)),
        res=None if resolution is None else pixel_size(resolution),
        bbox=None if bbox is None else _wrapped(bbox),
        bands=bands,
        sort=sort,
        raw=raw,
        skip_bad=errors == "ignore",
    )
    return _chosen(_of_items(stream, chosen, geobox, gate), where)


def _kept(
    source: Any,
    gate: Gate,
    bands: Sequence[str] | None,
    also: Sequence[str],
    place: Mapping[str, Any],
    span: Interval | None,
) -> Opened | None:
    """:func:`_built`; one that is opened again, and hasn't changed, needn't be read again."""
    if not isinstance(source, str):
        return _built(source, gate, bands, also, place, span)
    if "://" in source and not is_database(source):
        _renew(source, gate)
    version = stamp(source, gate)
    key = source, version, None if bands is None else (tuple(bands), tuple(also))
    known: Opened | None = gate.catalogs.get(key)
    made = known or _built(source, gate, bands, also, place, span)
    if known is None and made is not None and is_stamped(version):
        count = made.count
        if count <= _SMALL and made.total in (0, count):  # not of one window alone
            gate.catalogs.keep(key, made)
    return made


def _chosen(mosaic: Opened, where: str | None) -> Opened:
    return mosaic if where is None else mosaic.only(sql.rows(mosaic.columns, where))


def _renew(source: str, gate: Gate) -> None:
    """Ask which version of a mosaic lies at a URL now: one request, where it was read before."""
    whole = is_parquet(source)
    base = source.rstrip("/").removesuffix(f"/{COLLECTION}")
    first = source if whole else f"{base}/{COLLECTION}"
    before = gate.meta(first)
    if before is None:
        return
    gate.forget(first)
    try:
        gate.get_range(first, start=0, length=1 << 16)
    except StorageError:
        return  # who opens it says so
    if gate.meta(first) != before and not whole:
        gate.forget(f"{base}/{ITEMS}")


def _built(
    source: Any,
    gate: Gate,
    bands: Sequence[str] | None,
    also: Sequence[str],
    place: Mapping[str, Any],
    span: Interval | None,
) -> Opened | None:
    """A mosaic that lies at a path or URL; None for what can only be items.

    On the planner's thread, which projects.
    """
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


def _as_assets(
    bands: Sequence[str], also: Sequence[str], stream: Iterator[Found]
) -> tuple[tuple[str, ...], Iterator[Found]]:
    """The assets in which bands lie, and the stream as it was.

    A name that is no asset, and no asset's only band, may be one of several bands of an asset.
    """
    seen = list(islice(stream, _LOOKED_AT))
    items = [one.item for one in seen if isinstance(one, Given) and isinstance(one.item, dict)]
    assets = [_asset_of(band, items) or band for band in bands]
    assets += filter(None, (_asset_of(band, items) for band in also))
    return tuple(dict.fromkeys(assets)), chain(seen, stream)


def _asset_of(band: str, items: Sequence[Json]) -> str:
    """The asset in which a band lies; empty where there is none."""
    within = ""
    for item in items:
        try:
            modern = upgrade(item)
        except Exception:  # gathering says what is wrong with a broken item
            continue
        if asset_for(modern, band):
            return band
        for key in () if within else data_assets(modern):
            several: list[Json] = modern["assets"][key].get("bands") or []
            names = [band_.get(f) for band_ in several for f in ("name", "eo:common_name")]
            names += [f"{key}.{place + 1}" for place in range(len(several))]
            if band in names:
                within = str(key)
    return within


def _wrapped(bbox: Sequence[float]) -> list[float]:
    """A box whose longitudes lie within 180."""
    west, south, east, north = degrees(bbox)
    if east - west >= 360:
        return [-180.0, south, 180.0, north]
    west, east = ((x + 180) % 360 - 180 if abs(x) > 180 else x for x in (west, east))
    return [west, south, east, north]


@dataclass(slots=True)
class _Kept:
    """What a build would write of items."""

    properties: list[Json] = field(default_factory=list)
    signed: dict[str, str] = field(default_factory=dict)
    """hrefs as they were given, with their signature, by what remains without it."""

    def keep(self, item: Json) -> None:
        self.properties.append(item["properties"])

    def noted(self, stream: Iterable[Found]) -> Iterator[Found]:
        """The stream; signatures that hrefs carry are remembered: nothing is written here."""
        for one in stream:
            if isinstance(one, Given) and isinstance(one.item, dict):
                assets = one.item.get("assets")
                for asset in assets.values() if isinstance(assets, dict) else ():
                    href = asset.get("href") if isinstance(asset, dict) else None
                    if isinstance(href, str) and "://" in href and unsigned(href) != href:
                        self.signed[resolve(href, one.base)] = href
            yield one


def _of_items(
    stream: Iterator[Found], chosen: Options, geobox: GeoBox | None, gate: Gate
) -> Opened:
    kept = _Kept()
    gathered = gather(kept.noted(stream), chosen, kept.keep, gate=gate)
    if gathered.doubles:
        warnings.warn(gathered.doubles, stacklevel=2)
    whole: Agreed
    try:
        if geobox is not None:
            whole, crs, grid = agreed(gathered, chosen), canonical(str(geobox.crs)), geobox
        else:
            whole = placed = settled(gathered, chosen)
            crs, grid = placed.frame.crs, placed.frame.grid
    except InputError as error:
        hint = error.hint
        if "--skip-bad" in hint:
            hint = 'errors="ignore" leaves these out and goes on'
        told = [replace(p, advice=p.advice.replace("--bands", "bands=")) for p in error.problems]
        raise type(error)(told, hint) from None
    table = whole.table
    assets = {
        name: _asset(name, one, table, whole.common[name], chosen.method(name))
        for name, one in table.assets.items()
    }
    arrays = {"id": pa.array(table.id, pa.string())}
    for name, one in table.assets.items():
        hrefs: list[str | None] = [None] * len(table.id)
        for row, href in zip(one.item.tolist(), one.href, strict=True):
            hrefs[row] = kept.signed.get(href, href)
        arrays[f"assets.{name}.href"] = pa.array(hrefs, pa.string())
    properties = [kept.properties[line] for line in table.line.tolist()]
    z = order(table, chosen)
    return Opened(
        base="",
        crs=crs,
        grid=grid,
        id=arrays["id"],
        time=_times(table),
        z=z,
        assets=assets,
        columns=HeldColumns(arrays, properties),
        digest=_digest(assets, table, z),
        problems=tuple(gathered.bad),
    )


def _digest(assets: dict[str, Asset], table: Table, z: npt.NDArray[np.int64]) -> str:
    """Of all that decides what is read: signatures of hrefs don't."""
    told = hashlib.sha1("\n".join([*table.id, *table.datetime]).encode())
    told.update(z.tobytes())
    for name, asset in assets.items():
        told.update(repr((name, asset.bands, asset.resampling, asset.variants)).encode())
        told.update("\n".join([*asset.grids.crs, *table.assets[name].href]).encode())
        columns = (asset.item, asset.variant, asset.grids.crs_index)
        for column in (*columns, asset.grids.shape, asset.grids.transform):
            told.update(column.tobytes())
    return told.hexdigest()


def _asset(name: str, one: Assets, table: Table, common: Common, method: str) -> Asset:
    """One asset's columns, as :func:`mosaic.catalog.opened.open_mosaic` finds them on disk."""
    used, variant = np.unique(one.bands, return_inverse=True)
    single = len(common.bands) == 1
    return Asset(
        name=name,
        bands=tuple(
            replace(band, name=band.name or (name if single else "")) for band in common.bands
        ),
        resampling=method,
        item=one.item.astype(np.int64),
        key=np.zeros(len(one.item), np.int64),
        keys=(name,),
        grids=table.grids.take(one.grid),
        variant=variant.astype(np.int64),
        variants=tuple(
            Variant(table.bands[row], common.recodings.get(row)) for row in used.tolist()
        ),
    )


def _times(table: Table) -> npt.NDArray[np.int64]:
    """(n,) milliseconds since 1970; ``NEVER`` for an item without a time."""
    texts = [when.removesuffix("Z") or "NaT" for when in table.datetime]
    found_ = np.array(texts, "datetime64[ms]")
    return np.where(np.isnat(found_), NEVER, found_.astype(np.int64))
