"""What the numbers of Sentinel-2 items mean, whether or not the items say so. Pure.

From processing baseline 04.00 on (25 January 2022, and all of Collection 1) 1000 is added to the
numbers of reflectance bands: reflectance = (DN - 1000) / 10000, in L1C and in L2A; 0 is still no
data. Many catalogs don't declare that (Planetary Computer, Earth Search v0);
Earth Search subtracts it in the COGs of ``sentinel-2-l2a``, says so in
``earthsearch:boa_offset_applied`` (v0: ``sentinel:boa_offset_applied``), and declares an offset of
-0.1 all the same; the JPEG 2000 originals in the same items keep it.

Sources: ESA, Sentinel-2 processing baseline 04.00 (RADIO_ADD_OFFSET, BOA_ADD_OFFSET) and the
Products Specification Document (special values: no data 0, saturated 65535); Element84/earth-search
issues 23 (the property), 66 and 71 (``false`` where the offset is removed all the same).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mosaic.catalog.source import Band, Told

Json = dict[str, Any]

SCALE = 1e-4
"""1 / QUANTIFICATION_VALUE."""
ADDED = 1000
"""What is added to the numbers from ``SINCE`` on."""
SINCE = (4, 0)
"""The processing baseline from which on it is."""
NODATA = 0.0
"""The product's special value for no data."""

_COMMON = frozenset(
    "coastal blue green red rededge rededge1 rededge2 rededge3 rededge071 rededge075 rededge078 "
    "nir nir08 nir09 cirrus swir16 swir22".split()
)
_BAND = re.compile(r"B(0?[1-9]|1[0-2]|8A)", re.IGNORECASE)
_PICTURE = re.compile(r"(visual|tci)", re.IGNORECASE)
"""Keys of true-colour images, whose bands carry the names of those they were made from."""
_SUFFIX = re.compile(r"(_\d\dm)?([-_]jp2)?$")
_PRODUCT = re.compile(r"S2[A-D]_MSIL\w\w_\d{8}T\d{6}_N(\d\d)(\d\d)_")
_VERSION = re.compile(r"(\d\d?)\.(\d\d?)")
_OWN = ("s2:processing_baseline", "sentinel:processing_baseline")
_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
NAMES = ("s2:product_uri", "sentinel:product_id")
"""Properties that hold the product's name."""
TRAITS = ("constellation", "platform", *_OWN, "processing:version", *_FLAGS)
"""Properties that tell how numbers are encoded, besides the product's name."""


def encoded(item: Json, key: str, bands: tuple[Band, ...]) -> tuple[Band, ...]:
    """Bands of one asset with the scale and offset that its numbers have; others as they are.

    ``item``: STAC 1.1. ``key``: of the asset. Reflectance bands are those of UInt16 that are
    named so (``B04``, ``red``): by their name, their common name or, alone in a file, their key.
    Roles don't tell: Earth Search's classification has the role ``reflectance`` too.
    """
    properties: Json = item["properties"]
    if not is_sentinel2(properties) or _PICTURE.match(key):
        return bands
    asset: Json = item["assets"][key]
    named = _reflectances(key, asset.get("bands") or [], len(bands))
    if not any(named):
        return bands
    baseline = processing_baseline(properties, str(item.get("id") or ""))
    new = None if baseline is None else baseline >= SINCE
    removed = None if _is_original(asset) else _flag(properties)
    return _encoded(bands, named, new, removed)


def is_sentinel2(properties: Json) -> bool:
    """Whether an item is of Sentinel-2: a field of its own, or the platform's name."""
    if any(field in properties for field in (*_OWN, *_FLAGS, *NAMES)):
        return True
    names = (properties.get("constellation"), properties.get("platform"))
    return any(
        re.sub(r"[ _]", "-", str(name)).lower().startswith("sentinel-2") for name in names if name
    )


def processing_baseline(properties: Json, item_id: str = "") -> tuple[int, int] | None:
    """The processing baseline, such as (5, 11), from its fields or the product's name."""
    for field in (*_OWN, "processing:version"):
        version = _version(str(properties.get(field) or ""))
        if version:
            return version
    for name in (*(properties.get(field) for field in NAMES), item_id):
        match = _PRODUCT.match(str(name or ""))
        if match:
            return int(match[1]), int(match[2])
    return None


@lru_cache(maxsize=1024)
def _version(text: str) -> tuple[int, int] | None:
    match = _VERSION.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def rule(band: Band, new: bool | None, removed: bool | None) -> Band:
    """A reflectance band as its numbers are encoded.

    ``new``: whether the baseline is 04.00 or later. ``removed``: whether the item says that the
    offset is already subtracted. None: not told. What an item or a file declares is believed,
    but for an offset that is removed; where they don't, the baseline decides.
    """
    nodata = NODATA if band.nodata is None else None
    declared = band.told is Told.DECLARED
    scale = band.scale if band.told is not Told.NOTHING else SCALE
    offset, told = band.offset, band.told
    if removed:
        if not declared:
            told = Told.ASSUMED
        elif offset:
            told = Told.REMOVED
        offset = 0.0
    elif declared:
        if new is not None and new != bool(offset):
            told = Told.DOUBTED
        elif new and removed is False:
            told = Told.UNSURE
    elif new is None:
        scale = band.scale
    else:
        told = Told.ASSUMED
        offset = -ADDED * scale if new else 0.0
    return replace(band, scale=scale, offset=offset, told=told, usual_nodata=nodata)


@lru_cache(maxsize=65536)
def _encoded(
    bands: tuple[Band, ...], named: tuple[bool, ...], new: bool | None, removed: bool | None
) -> tuple[Band, ...]:
    return tuple(
        rule(band, new, removed) if is_named and band.dtype == "uint16" else band
        for band, is_named in zip(bands, named, strict=True)
    )


def _reflectances(key: str, fields: list[Json], count: int) -> tuple[bool, ...]:
    names = tuple(
        (str(band.get("name") or ""), str(band.get("eo:common_name") or "")) for band in fields
    )
    return _reflecting(key, names, count)


@lru_cache(maxsize=4096)
def _reflecting(key: str, fields: tuple[tuple[str, str], ...], count: int) -> tuple[bool, ...]:
    if len(fields) == count:
        found = tuple(_is_reflectance(name) or common in _COMMON for name, common in fields)
        if any(found) or count > 1:
            return found
    return (_is_reflectance(key),) if count == 1 and len(fields) <= 1 else (False,) * count


@lru_cache(maxsize=1024)
def _is_reflectance(name: str) -> bool:
    name = _SUFFIX.sub("", name, count=1)
    return name in _COMMON or bool(_BAND.fullmatch(name))


def _flag(properties: Json) -> bool | None:
    for field in _FLAGS:
        value = properties.get(field)
        if isinstance(value, bool):
            return value
    return None


def _is_original(asset: Json) -> bool:
    """Whether an asset is ESA's own JPEG 2000 file, which no catalog has changed."""
    href = str(asset["href"]).split("?")[0].lower()
    return href.endswith((".jp2", ".j2k")) or str(asset.get("type") or "").startswith("image/jp2")
