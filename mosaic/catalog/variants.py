"""Bands of an asset's files by columns: each kind once, and how its numbers are changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mosaic.catalog.columns import Codes, Longs, codes, distinct, joined, true
from mosaic.catalog.facts import OF_ASSET, told_bands
from mosaic.catalog.folder import ParquetColumns
from mosaic.catalog.radiometry import Recoding, recoding
from mosaic.catalog.sentinel2 import NAMES, TRAITS, encoded, is_sentinel2, processing_baseline
from mosaic.catalog.source import Band, Told
from mosaic.catalog.table import Bands

Json = dict[str, Any]

_NAMED = r"^S2[A-D]_MSIL\w\w_\d{8}T\d{6}_N(?P<found>\d{4})_"
_OF_BAND = (*OF_ASSET, "name", "eo:common_name")


@dataclass(frozen=True, slots=True)
class Variant:
    """The bands of some of an asset's files, and how their numbers become the mosaic's."""

    bands: Bands
    """The bands as the files have them."""
    recodings: tuple[Recoding, ...] | None
    """By band; None where every number stays what it is."""


def variants_of(
    columns: ParquetColumns, key: str, rows: Longs, declared: Bands, ids: pa.Array, traits: Codes
) -> tuple[tuple[Variant, ...], Longs]:
    """Distinct bands, each once; and (m,) which; -1 for files whose bands aren't of the kind."""
    asset = f"assets.{key}"
    paths = {name: f"{asset}.{name}" for name in OF_ASSET if columns.has(f"{asset}.{name}")}
    parts = [columns.codes(path) for path in paths.values()]
    parts += [columns.codes(f"{asset}.bands", _OF_BAND), traits]
    original = _original(columns, asset)
    parts.append(original.astype(np.int64))
    first, which = distinct(joined([part[rows] for part in parts]))
    at = rows[first]
    told = {name: columns.values(path, at) for name, path in paths.items()}
    bands = columns.values(f"{asset}.bands", at, _OF_BAND)
    properties = {name: columns.values(name, at) for name in (*TRAITS, *NAMES)}
    found: list[Bands | None] = []
    for place, row in enumerate(at.tolist()):
        fields = stated({name: values[place] for name, values in told.items()})
        fields["bands"] = [stated(band) for band in bands[place] or ()]
        fields["href"] = ".jp2" if original[row] else ""
        item = {
            "id": ids[row].as_py(),
            "properties": stated({name: values[place] for name, values in properties.items()}),
            "assets": {key: fields},
        }
        own = told_bands(fields)
        fits = own is not None and [b.dtype for b in own] == [b.dtype for b in declared]
        found.append(encoded(item, key, own) if fits and own is not None else None)
    unique = list(dict.fromkeys(one for one in found if one is not None))
    to = np.array([-1 if one is None else unique.index(one) for one in found], np.int64)
    return _recoded(unique, declared), to[which]


def _original(columns: ParquetColumns, asset: str) -> npt.NDArray[np.bool_]:
    """(n,) whether files are ESA's own JPEG 2000: by media type, else by name."""
    types = columns.codes(f"{asset}.type")
    first, which = distinct(types)
    told = columns.values(f"{asset}.type", first)
    found = np.array([str(one).startswith("image/jp2") for one in told], bool)[which]
    untold = np.array([one is None for one in told], bool)[which]
    if untold.any():
        href = pc.utf8_lower(columns.read(f"{asset}.href"))
        href = pc.replace_substring_regex(href, r"\?.*$", "")
        jp2 = pc.or_(pc.ends_with(href, ".jp2"), pc.ends_with(href, ".j2k"))
        found |= untold & true(jp2)
    return found


def traits_of(columns: ParquetColumns, ids: pa.Array) -> Codes:
    """(n,) codes of what items say of Sentinel-2's encoding."""
    parts = [columns.codes(name) for name in TRAITS]
    parts += [_named(columns.read(name)) for name in NAMES if columns.has(name)]
    traits = joined(parts)
    first, _ = distinct(traits)
    told = {name: columns.values(name, first) for name in (*TRAITS, *NAMES)}
    for place in range(len(first)):
        own = stated({name: values[place] for name, values in told.items()})
        if is_sentinel2(own) and processing_baseline(own) is None:
            # the ids themselves may be names of products
            return joined([traits, _named(ids)])
    return traits


def _named(names: pa.Array) -> Codes:
    """(n,) codes of the processing baseline in products' names; null and none apart."""
    baseline = pc.struct_field(pc.extract_regex(names, _NAMED), "found")
    there = names.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
    return joined([there, codes(baseline)])


def stated(fields: Json) -> Json:
    """Fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _recoded(unique: Sequence[Bands], declared: Bands) -> tuple[Variant, ...]:
    """Each variant with how its numbers become what the mosaic declares.

    As the builder decides it (``builder.bands``): numbers stay where all files agree, and where
    the mosaic declares none because some of its files don't tell.
    """
    per_band = [
        _recodings([bands[place] for bands in unique], declared[place])
        for place in range(len(declared))
    ]
    found = []
    for row, bands in enumerate(unique):
        how = tuple(changes[row] for changes in per_band)
        changes = any(
            one.changes or (band.nodata is None and one.nodata_in is not None)
            for one, band in zip(how, bands, strict=True)
        )
        found.append(Variant(bands, how if changes else None))
    return tuple(found)


def _recodings(bands: list[Band], declared: Band) -> list[Recoding]:
    kept = [Recoding(1.0, 0.0, band.nodata, band.nodata) for band in bands]
    target = (declared.scale, declared.offset)
    if len({(band.scale, band.offset) for band in bands}) <= 1:
        return kept
    if target == (1.0, 0.0) and any(band.told is Told.NOTHING for band in bands):
        return kept
    found = []
    for band, same in zip(bands, kept, strict=True):
        nodata = band.nodata if band.nodata is not None else band.usual_nodata
        how = recoding(
            Band(band.dtype, nodata=nodata, scale=band.scale, offset=band.offset),
            target,
            declared.nodata,
        )
        if how is None:
            return kept
        found.append(how if how.changes else (same if band.nodata is not None else how))
    return found
