"""Do the bands that an index declares hold for the items that it shows? Judging alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mosaic.catalog.facts import asset_for, number, sources
from mosaic.catalog.sentinel2 import encoded
from mosaic.catalog.source import GDAL_TYPES, Band
from mosaic.checker.files import dicts
from mosaic.checker.index import AGAIN
from mosaic.checker.read import Declared, plain_number
from mosaic.checker.vrt import Small
from mosaic.errors import MosaicError, Problem

Json = dict[str, Any]

_OFF = 0.1
"""Part of a stored number by which an encoding may be off: some came through single precision."""


def told_bands(item: Json, asset: str, base: str) -> tuple[Band, ...] | None:
    """The bands of an asset as its item tells them, with what their numbers mean; None if not."""
    key = asset_for(item, asset)
    if key is None:
        return None
    try:
        (source,) = sources(item, {asset: key}, base)
        return None if source.bands is None else encoded(item, key, source.bands)
    except (MosaicError, TypeError, ValueError, OverflowError):
        return None  # validation tells what is wrong with it


def collection_problems(name: str, asset: str, index: Declared, document: Json) -> list[Problem]:
    """Where an index and the collection that lists it contradict each other."""
    assets = document.get("assets")
    listed = assets.get(asset) if isinstance(assets, dict) else None
    bands = dicts(listed.get("bands")) if isinstance(listed, dict) else []
    said = [
        (
            GDAL_TYPES.get(str(band.get("data_type")), ""),
            _default(band.get("raster:scale"), 1.0),
            _default(band.get("raster:offset"), 0.0),
            plain_number(number(band.get("nodata"))),
        )
        for band in bands
    ]
    is_ = [
        (dtype, *encoding, nodata)
        for dtype, encoding, nodata in zip(index.dtypes, index.encodings, index.nodata, strict=True)
    ]
    if said == is_:
        return []
    what = f"{name} declares {_words(is_)}, collection.json {_words(said)}"
    return [Problem("bands", what, AGAIN, asset=asset)]


def band_problems(
    name: str,
    asset: str,
    index: Declared,
    shown: Sequence[tuple[Json, str, Small | None]],
    base: str,
) -> list[Problem]:
    """Items whose bands aren't those that their index declares.

    ``shown``: an item, its href, and the VRT that stands in for its file, if one does.
    """
    problems = []
    for item, href, one in shown:
        bands = told_bands(item, asset, base)
        wrong = "" if bands is None else _fault(index, bands, one)
        if wrong:
            item_id = str(item.get("id", ""))
            problems.append(Problem("bands", f"{name} {wrong}", AGAIN, item_id, asset, href))
    return problems


def _fault(index: Declared, bands: tuple[Band, ...], one: Small | None) -> str:
    own = tuple(GDAL_TYPES[band.dtype] for band in bands)
    if own != index.dtypes:
        return f"declares {_types(index.dtypes)}, the item {_types(own)}"
    changes = one.changes if one is not None else ()
    for position, ((scale, offset), band) in enumerate(zip(index.encodings, bands, strict=True)):
        ratio, shift = changes[position] if position < len(changes) else (1.0, 0.0)
        if (scale, offset) == (1.0, 0.0):
            if (ratio, shift) != (1.0, 0.0):
                return "declares no scale and offset, but its VRT changes the item's numbers"
            continue  # numbers as they are stored: --raw, or no encoding holds all
        # what is stored, changed by its VRT and read by the index, is what the item means by it
        close = math.isclose(scale * ratio, band.scale, rel_tol=1e-6)
        if not close or abs(scale * shift + offset - band.offset) > _OFF * abs(scale):
            change = "" if one is None else f", its VRT x {ratio:g} {shift:+g}"
            return (
                f"declares scale {scale:g} and offset {offset:g}{change}, the item "
                f"{band.scale:g} and {band.offset:g}"
            )
    return ""


def _default(value: Any, default: float) -> float:
    found = number(value)
    return default if found is None else found


def _types(names: Sequence[str]) -> str:
    return f"{len(names)} x {', '.join(dict.fromkeys(names)) or 'nothing'}"


def _words(bands: Sequence[tuple[Any, ...]]) -> str:
    """Bands in a few words: ``1 x UInt16 scale 0.0001 offset -0.1 nodata 0``."""
    texts = []
    for dtype, scale, offset, nodata in bands:
        more = f" scale {scale:g} offset {offset:g}" if (scale, offset) != (1.0, 0.0) else ""
        more += nodata and f" nodata {nodata.removesuffix('.0')}"
        texts.append(f"{dtype}{more}")
    return _types(texts)[:120]
