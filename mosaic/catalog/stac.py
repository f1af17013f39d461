"""STAC items in, as STAC 1.1: one form, whatever version and habits they come with.

Sources: the STAC 1.1 specification's change log and the projection 2.0, eo 2.0 and raster 2.0
extensions. Items older than 1.0 are migrated by pystac first.
"""

from __future__ import annotations

from typing import Any

import pystac

from mosaic.catalog.source import has_code

Json = dict[str, Any]

VERSION = "1.1.0"
_EXTENSIONS = "https://stac-extensions.github.io/"
PROJECTION = f"{_EXTENSIONS}projection/v2.0.0/schema.json"
RASTER = f"{_EXTENSIONS}raster/v2.0.0/schema.json"
EO = f"{_EXTENSIONS}eo/v2.0.0/schema.json"
_NEWEST = {"projection": PROJECTION, "raster": RASTER, "eo": EO}

TIMES = (
    "datetime",
    "start_datetime",
    "end_datetime",
    "created",
    "updated",
    "published",
    "unpublished",
    "expires",
)
"""Properties that are times."""

_EO_FIELDS = {
    name: f"eo:{name}"
    for name in ("common_name", "center_wavelength", "full_width_half_max", "solar_illumination")
}
_RASTER_FIELDS = {
    name: f"raster:{name}"
    for name in "sampling bits_per_sample spatial_resolution scale offset histogram".split()
}


def crs_fields(crs: str) -> Json:
    """A canonical CRS as ``proj:code``, or ``proj:wkt2`` where it has no code."""
    return {"proj:code": crs} if has_code(crs) else {"proj:wkt2": crs}


def upgrade(item: Json) -> Json:
    """An item as STAC 1.1 with projection 2, eo 2 and raster 2; the input is left alone."""
    version = str(item.get("stac_version", "0"))
    given = {key: asset for key, asset in (item.get("assets") or {}).items() if _has_href(asset)}
    if version.startswith("0."):
        item = {**item, "assets": given}
        item = pystac.Item.from_dict(item, migrate=True, preserve_dict=True).to_dict(
            include_self_link=False, transform_hrefs=False
        )
        given = item["assets"]
    properties = _projection(item.get("properties") or {})
    properties.pop("eo:bands", None)
    assets = {key: _asset(asset) for key, asset in given.items()}
    return {
        **item,
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": extensions(
            item.get("stac_extensions") or [], properties, list(assets.values())
        ),
        "properties": properties,
        "assets": assets,
        "links": [link for link in _dicts(item.get("links")) if _has_href(link)],
    }


def _has_href(asset: Any) -> bool:
    """Whether an asset, or a link, leads anywhere."""
    href = asset.get("href") if isinstance(asset, dict) else None
    return isinstance(href, str) and bool(href.strip())


def extensions(given: list[str], properties: Json, assets: list[Json]) -> list[str]:
    """Schemas of the extensions that are used: those given, and the newest of proj, raster, eo."""
    kept: dict[str, None] = {}
    for uri in given:
        name = uri.removeprefix(_EXTENSIONS).split("/")[0] if "/" in uri else uri
        if name not in _NEWEST:
            kept[uri] = None
    fields = set(properties)
    for asset in assets:
        fields.update(asset)
        for band in asset.get("bands") or ():
            fields.update(band)
    used = {field.partition(":")[0] for field in fields}
    # raster 2 describes assets and bands; an item's own raster:bands is of an older one
    if "raster" in used and not any(
        field.startswith("raster:") for field in fields if field not in properties
    ):
        used.discard("raster")
    for prefix, uri in (("proj", PROJECTION), ("raster", RASTER), ("eo", EO)):
        if prefix in used:
            kept[uri] = None
    return list(kept)


def _projection(fields: Json) -> Json:
    """``proj:epsg`` as ``proj:code``."""
    if "proj:epsg" not in fields:
        return dict(fields)
    fields = dict(fields)
    epsg = fields.pop("proj:epsg")
    if epsg is not None and not fields.get("proj:code"):
        fields["proj:code"] = f"EPSG:{int(epsg)}"
    return fields


def _asset(asset: Json) -> Json:
    if "proj:epsg" in asset:
        asset = _projection(asset)
    eo, raster = asset.get("eo:bands"), asset.get("raster:bands")
    if eo is None and raster is None:
        return asset
    asset = {k: v for k, v in asset.items() if k not in ("eo:bands", "raster:bands")}
    asset["bands"] = _bands(asset.get("bands") or [], _dicts(eo), _dicts(raster))
    return asset


def _dicts(bands: Any) -> list[Json]:
    return [band for band in bands or () if isinstance(band, dict)]


def _bands(common: list[Json], eo: list[Json], raster: list[Json]) -> list[Json]:
    """The 1.1 ``bands`` of an asset from ``eo:bands`` and ``raster:bands``, paired by position.

    Where their counts differ, ``raster:bands`` says how many bands the file has: fewer names are
    those of the first ones (an alpha band has none), more can't be placed.
    """
    count = len(raster) or len(common) or len(eo)
    bands: list[Json] = []
    for index in range(count):
        band: Json = dict(common[index]) if index < len(common) else {}
        if index < len(eo) <= count:
            band |= _prefixed(eo[index], _EO_FIELDS)
        if index < len(raster):
            band |= _prefixed(raster[index], _RASTER_FIELDS)
        bands.append(band)
    return bands


def _prefixed(band: Json, names: dict[str, str]) -> Json:
    return {names.get(key, key): value for key, value in band.items()}
