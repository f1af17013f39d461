"""What an item says of its assets: CRS, grid, bands. Pure; nothing is opened."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from mosaic.catalog.href import resolve
from mosaic.catalog.source import COLORS, GDAL_TYPES, Band, Source, Told
from mosaic.errors import UsageError
from mosaic.grid import LONLAT, affine6, canonical, transformer

Json = dict[str, Any]

RASTER_SUFFIXES = frozenset(
    ".tif .tiff .gtiff .jp2 .j2k .vrt .img .nc .nc4 .hgt .asc .dem .dt0 .dt1 .dt2 .bil .bip "
    ".bsq .ntf .png .jpg .jpeg .webp .hdf .h5 .grd .ers .flt .sdat .kea .mrf .lerc".split()
)
"""File name endings that are taken for rasters."""

_NO_DATA_ROLES = frozenset(
    "thumbnail overview metadata tiles graphic iso-19115 visual-preview index".split()
)
_RASTER_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "application/x-geotiff")
_DATA_TYPES = (*_RASTER_TYPES, "application/netcdf", "application/x-netcdf", "application/x-hdf")


def data_assets(item: Json) -> list[str]:
    """Keys of the assets that hold pixels: rasters by media type or suffix, no previews."""
    return [key for key, asset in item["assets"].items() if _holds_pixels(key, asset)]


def _holds_pixels(key: str, asset: Json) -> bool:
    roles = asset.get("roles") or ()
    if _NO_DATA_ROLES.intersection(roles) or key in ("thumbnail", "preview", "overview"):
        return False
    media = str(asset.get("type") or "").lower()
    if media:
        return media.startswith(_DATA_TYPES)
    path = asset["href"].split("?")[0].lower()
    return any(path.endswith(suffix) for suffix in RASTER_SUFFIXES - {".png", ".jpg", ".jpeg"})


def asset_for(item: Json, name: str) -> str | None:
    """Key of the asset that a user means by ``name``.

    The key itself; else the one asset with a single band of that name, then common name.
    """
    assets: dict[str, Json] = item["assets"]
    if name in assets:
        return name
    for field in ("name", "eo:common_name"):
        for key, asset in assets.items():
            bands: list[Json] = asset.get("bands") or []
            if len(bands) == 1 and bands[0].get(field) == name and _holds_pixels(key, asset):
                return key
    return None


def sources(item: Json, keys: dict[str, str], base: str) -> Iterator[Source]:
    """What a STAC 1.1 item says of these assets.

    ``keys``: name of the mosaic's asset to key in the item. ``base``: folder or URL against
    which relative hrefs are read. Raises :class:`~mosaic.errors.UsageError` for a
    ``proj:`` field that means nothing.
    """
    properties: Json = item["properties"]
    for name, key in keys.items():
        asset: Json = item["assets"][key]
        crs = _crs(asset) or _crs(properties)
        if crs:
            transformer(crs, LONLAT)  # a CRS of another planet is said of its item
        shape, transform = _grid(asset, properties)
        yield Source(
            item=str(item.get("id", "")),
            asset=name,
            href=resolve(asset["href"], base),
            crs=crs,
            shape=shape,
            transform=transform,
            bands=told_bands(asset),
        )


def _crs(fields: Json) -> str | None:
    code = fields.get("proj:code")
    if code:
        return canonical(str(code))
    wkt = fields.get("proj:wkt2")
    if wkt:
        return canonical(str(wkt))
    projjson = fields.get("proj:projjson")
    if isinstance(projjson, dict):
        return canonical(orjson.dumps(projjson).decode())
    return None


def _grid(asset: Json, properties: Json) -> tuple[tuple[int, int] | None, tuple[float, ...] | None]:
    """Shape and affine; ``proj:bbox`` stands in for a missing ``proj:transform``.

    An item's transform belongs to the item's shape: an asset with a shape of its own (a pan or
    a 20 m band) doesn't take it.
    """
    shape = _shape(asset.get("proj:shape"))
    transform = asset.get("proj:transform")
    common = _shape(properties.get("proj:shape"))
    if not transform and shape in (None, common):
        transform = properties.get("proj:transform")
    shape = shape or common
    if transform:
        if not isinstance(transform, list) or not _numbers(transform):
            raise UsageError(f"its proj:transform {transform!r:.80} isn't a list of numbers")
        return shape, affine6(transform)
    box = asset.get("proj:bbox") or properties.get("proj:bbox")
    if shape and isinstance(box, list) and len(box) in (4, 6):
        west, south, east, north = box if len(box) == 4 else [*box[:2], *box[3:5]]
        height, width = shape
        if east > west and north > south:
            dx, dy = (east - west) / width, (north - south) / height
            return shape, (dx, 0.0, float(west), 0.0, -dy, float(north))
    return shape, None


_NUMBERS = frozenset((int, float))


def _numbers(values: list[Any]) -> bool:
    """Whether all are finite numbers: one text in a million items would make texts of all."""
    return _NUMBERS.issuperset(map(type, values)) and all(map(math.isfinite, values))


def _shape(field: Any) -> tuple[int, int] | None:
    if field is None or field == []:
        return None
    if not isinstance(field, list) or len(field) != 2 or not _numbers(field):
        raise UsageError(f"its proj:shape {field!r:.80} isn't height and width")
    height, width = (int(value) for value in field)
    if height < 1 or width < 1:
        raise UsageError(f"proj:shape {field!r} has no pixels")
    if max(height, width) >= 1 << 31:
        raise UsageError(f"proj:shape {field!r:.80} is more than GDAL can address")
    return height, width


OF_ASSET = ("data_type", "nodata", "unit", "raster:scale", "raster:offset")
"""Fields of an asset that hold for all of its bands."""


def bands_of(asset: Json, dtype: str) -> tuple[Band, ...]:
    """The bands an asset lists, or the one it is taken to have; ``dtype``: where they tell none."""
    bands = [{"data_type": dtype, **band} for band in asset.get("bands") or [{}]]
    return told_bands({**asset, "bands": bands}) or (Band(dtype),)


def told_bands(asset: Json) -> tuple[Band, ...] | None:
    """The bands an asset tells, or None where it tells no data type."""
    bands = asset.get("bands")
    common = {k: asset[k] for k in OF_ASSET if k in asset}
    if not bands and not common:
        return None
    return _parsed(orjson.dumps([bands or [{}], common]))


@lru_cache(maxsize=65536)
def _parsed(text: bytes) -> tuple[Band, ...] | None:
    bands, common = orjson.loads(text)
    parsed = tuple(_band({**common, **band}) for band in bands)
    return parsed if all(band.dtype for band in parsed) else None


def _band(fields: Json) -> Band:
    dtype = str(fields.get("data_type") or "")
    return Band(
        dtype=dtype if dtype in GDAL_TYPES else "",
        name=str(fields.get("name") or ""),
        nodata=number(fields.get("nodata")),
        scale=_float(fields.get("raster:scale"), 1.0),
        offset=_float(fields.get("raster:offset"), 0.0),
        unit=str(fields.get("unit") or ""),
        color=COLORS.get(str(fields.get("eo:common_name") or fields.get("name") or ""), ""),
        told=_told(fields),
    )


def _told(fields: Json) -> Told:
    if number(fields.get("raster:offset")) is not None:
        return Told.DECLARED
    return Told.NOTHING if number(fields.get("raster:scale")) is None else Told.SCALE


def number(value: Any) -> float | None:
    """A STAC nodata value, which may be a number, "nan", "inf" or "-inf", as a float."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _float(value: Any, default: float) -> float:
    found = number(value)
    return default if found is None or not math.isfinite(found) else found
