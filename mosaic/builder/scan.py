"""Raster files to STAC items: one item a scene, one asset a file.

Files of one folder that differ only in a last word naming a band (``…_B04.tif``,
``…_SR_B4.TIF``, ``B8A.jp2``, ``…_SCL_20m.tif``) are the assets of one item; any other file is
an item of its own with the asset ``data``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import shapely
from shapely.geometry import mapping

from mosaic.catalog.headers import Header
from mosaic.catalog.layout import MASK
from mosaic.catalog.reading import read_headers
from mosaic.catalog.source import Band
from mosaic.catalog.stac import EO, PROJECTION, RASTER, VERSION, crs_fields
from mosaic.errors import HeaderError, Problem
from mosaic.grid import LONLAT, Grids, pixel_extent
from mosaic.outline import lonlat_bounds, outlines

if TYPE_CHECKING:
    from mosaic.storage import Gate

Json = dict[str, Any]

_BAND = re.compile(
    r"^(?:(?P<scene>.+?)[_.\-])??"
    r"(?P<band>(?:SR_|ST_|SR-|ST-)?B\d{1,2}A?|B8A|SCL|AOT|WVP|TCI|CLD|SNW|Fmask|DN_udm"
    r"|(?:SR_|ST_)?QA(?:_PIXEL|_RADSAT|_AEROSOL)?"
    r"|red|green|blue|nir|nir08|nir09|swir|swir16|swir22|rededge[123]?|coastal|pan|lwir11"
    r"|vv|vh|hh|hv)"
    r"(?:_\d{1,3}m)?$",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(19[6-9]\d|20\d\d)-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])(?!\d)")
_MEDIA = {
    "GTiff": "image/tiff; application=geotiff",
    "COG": "image/tiff; application=geotiff; profile=cloud-optimized",
    "JP2OpenJPEG": "image/jp2",
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "netCDF": "application/netcdf",
}


def scene_and_band(href: str) -> tuple[str, str]:
    """Id of the item and key of the asset that a file name stands for."""
    path = Path(urlsplit(href).path if "://" in href else href)
    match = _BAND.match(path.stem)
    if not match:
        return path.stem, "data"
    return match["scene"] or path.parent.name or path.stem, match["band"]


def scan(hrefs: Iterable[str], gate: Gate | None = None) -> Iterator[Json | Problem]:
    """Items for rasters at absolute hrefs, in their order; a Problem for what can't be read.

    ``gate``: as :func:`mosaic.builder.gather.gather` takes it.
    """
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for href in hrefs:
        scene, band = scene_and_band(href)
        folder = href.rpartition("/")[0]
        taken = groups[folder, scene]
        if taken.get(band, href) != href:  # a.tif beside a.jp2
            groups[folder, href.rpartition("/")[2]][band] = href
        else:
            taken[band] = href
    ids = _ids(list(groups))
    wanted = (href for assets in groups.values() for href in assets.values())
    headers = dict(read_headers(wanted, gate=gate, fresh=gate is None))
    for key, assets in groups.items():
        found: dict[str, Header] = {}
        for band, href in assets.items():
            header = headers[href]
            if isinstance(header, HeaderError):
                problem = header.problem
                yield Problem(
                    problem.kind, problem.what, problem.advice, ids[key], band, problem.href
                )
            else:
                found[band] = header
        if found:
            yield _item(ids[key], found)


def _ids(keys: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Unique ids: the scene's name, with as many parent folders as tell it from others."""
    ids = {key: key[1] for key in keys}
    for depth in range(1, 32):
        counts: dict[str, int] = defaultdict(int)
        for name in ids.values():
            counts[name] += 1
        clashes = [key for key, name in ids.items() if counts[name] > 1]
        if not clashes:
            break
        for folder, scene in clashes:
            ids[folder, scene] = "_".join([*folder.split("/")[-depth:], scene])
    return ids


def _item(name: str, headers: dict[str, Header]) -> Json:
    first = next(iter(headers.values()))
    when, told_by = acquired(first)
    geometry, bbox = footprint(Grids.one(first.crs, first.shape, first.transform))
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [PROJECTION, RASTER, EO],
        "id": name,
        "geometry": geometry,
        "bbox": bbox,
        "properties": {"datetime": when, "mosaic:datetime_from": told_by},
        "links": [],
        "assets": {key: asset(header) for key, header in headers.items()},
    }


def asset(header: Header) -> Json:
    """A STAC 1.1 asset that says what a header says."""
    return {
        "href": header.href,
        "type": _MEDIA.get(header.driver, "application/octet-stream"),
        "roles": ["data"],
        **crs_fields(header.crs),
        "proj:shape": list(header.shape),
        "proj:transform": list(header.transform),
        "bands": [band_fields(band) for band in header.bands],
        **({MASK: True} if header.mask_beside else {}),
    }


def band_fields(band: Band) -> Json:
    """A band as STAC 1.1 tells it, with the fields of raster 2 and eo 2."""
    fields: Json = {"data_type": band.dtype}
    if band.name:
        fields["name"] = band.name
    if band.nodata is not None:
        finite = np.isfinite(band.nodata)
        fields["nodata"] = band.nodata if finite else str(band.nodata)
        if finite and abs(band.nodata) < 2**53 and float(band.nodata).is_integer():
            fields["nodata"] = int(band.nodata)
    if (band.scale, band.offset) != (1.0, 0.0):
        fields |= {"raster:scale": band.scale, "raster:offset": band.offset}
    if band.unit:
        fields["unit"] = band.unit
    if band.color.lower() in ("red", "green", "blue"):
        fields["eo:common_name"] = band.color.lower()
    elif band.color == "Alpha":
        fields.setdefault("name", "alpha")
    return fields


def footprint(grids: Grids) -> tuple[Json | None, list[float]]:
    """GeoJSON geometry and bbox (RFC 7946: west > east across 180 degrees)."""
    pixel = np.nan_to_num(pixel_extent(grids, LONLAT)[1], nan=1.0)
    found = outlines(grids, LONLAT, pixel)
    if not len(found.grid):
        return None, [-180.0, -90.0, 180.0, 90.0]
    pieces = shapely.simplify(found.geometry, float(pixel.min()) / 2)
    shape = pieces[0] if len(pieces) == 1 else shapely.multipolygons(pieces)
    bbox = [round(float(value), 9) for value in lonlat_bounds(grids)[0]]
    geometry: Json = mapping(shapely.orient_polygons(shape))
    return geometry, bbox


def acquired(header: Header) -> tuple[str, str]:
    """When a raster was taken, in RFC 3339 UTC, and what tells so.

    The TIFF date tag of a scene, else a date in the file's name, else the file's own time.
    """
    tags = dict(header.tags)
    for tag in ("ACQUISITION_DATE", "acquisition_date", "TIFFTAG_DATETIME"):
        for form in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"):
            try:
                when = datetime.strptime(tags.get(tag, ""), form).replace(tzinfo=UTC)
            except ValueError:
                continue
            return when.strftime("%Y-%m-%dT%H:%M:%SZ"), "tag"
    match = _DATE.search(header.href.rpartition("/")[2]) or _DATE.search(header.href)
    if match:
        return f"{match[1]}-{match[2]}-{match[3]}T00:00:00Z", "name"
    try:
        when = datetime.fromtimestamp(int(Path(header.href).stat().st_mtime), UTC)
    except OSError:
        when = datetime(1970, 1, 1, tzinfo=UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ"), "file"
