"""Items that nobody built, opened.

They pass the stages of a build (gathered, agreed upon, framed), so that radiometry, checks and
what is said of bad items are the same; what a build would write stays in memory.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from odc.geo.geobox import GeoBox

from mosaic.builder.bands import Common
from mosaic.builder.gather import gather
from mosaic.builder.inputs import Found, Given
from mosaic.builder.options import Options
from mosaic.builder.settle import Agreed, agreed, order, settled
from mosaic.catalog.facts import asset_for, data_assets
from mosaic.catalog.held import HeldColumns
from mosaic.catalog.href import resolve
from mosaic.catalog.opened import NEVER, Asset, Opened, Variant
from mosaic.catalog.stac import upgrade
from mosaic.catalog.table import Assets, Table
from mosaic.errors import InputError
from mosaic.grid import canonical
from mosaic.secret import unsigned
from mosaic.storage import Gate

Json = dict[str, Any]
_LOOKED_AT = 64
"""Items in which bands are looked for that aren't assets of their own."""


def as_assets(
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


def of_items(stream: Iterator[Found], chosen: Options, geobox: GeoBox | None, gate: Gate) -> Opened:
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
