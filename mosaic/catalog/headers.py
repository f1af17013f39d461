"""A raster's header: what a file says of itself, through GDAL."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from mosaic.catalog.href import location
from mosaic.catalog.source import GDAL_TYPES, Band, Told
from mosaic.errors import HeaderError, Problem, UsageError
from mosaic.grid import affine6, canonical

_DTYPES = {
    "complex_int16": "cint16",
    "complex64": "cfloat32",
    "complex128": "cfloat64",
}
_COLORS = {
    ColorInterp.red: "Red",
    ColorInterp.green: "Green",
    ColorInterp.blue: "Blue",
    ColorInterp.alpha: "Alpha",
    ColorInterp.palette: "Palette",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a raster says of itself."""

    href: str
    """Where it was read."""
    driver: str
    """GDAL's short name of the format."""
    crs: str
    """Canonical name of the CRS."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""
    bands: tuple[Band, ...]
    """The bands, with the nodata values that the file itself declares."""
    masked: bool
    """Whether every band has nodata, an alpha band or a mask: pixels can be missing."""
    tags: tuple[tuple[str, str], ...]
    """Dataset tags."""
    mask_beside: bool = False
    """Whether its mask lies in a file beside it (``.msk``); GDAL looks for none on storage."""


def read_header(href: str, name: str = "") -> Header:
    """The header of one raster, at an absolute href, opened by GDAL under ``name``.

    Raises :class:`~mosaic.errors.HeaderError` when the file can't be opened, is no raster that
    GDAL knows, or isn't georeferenced by a CRS and an affine transform.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(name or location(href)) as dataset:
                return _header(href, dataset)
        except (RasterioError, OSError, UsageError) as error:
            raise HeaderError(_unreadable(href, name, error)) from error


def _header(href: str, dataset: Any) -> Header:
    if dataset.count == 0:
        raise HeaderError(_no_bands(href, dataset))
    if dataset.crs is None or dataset.transform.is_identity:
        raise HeaderError(_ungeoreferenced(href, dataset))
    bands = []
    for index in range(1, dataset.count + 1):
        dtype = _DTYPES.get(dataset.dtypes[index - 1], dataset.dtypes[index - 1])
        if dtype not in GDAL_TYPES:
            raise HeaderError(
                Problem("dtype", f"band {index} has data type {dtype}", "convert it", href=href)
            )
        scale, offset = dataset.scales[index - 1], dataset.offsets[index - 1]
        bands.append(
            Band(
                dtype=dtype,
                name=dataset.descriptions[index - 1] or "",
                nodata=dataset.nodatavals[index - 1],
                scale=scale,
                offset=offset,
                unit=dataset.units[index - 1] or "",
                color=_COLORS.get(dataset.colorinterp[index - 1], ""),
                told=Told.NOTHING if (scale, offset) == (1.0, 0.0) else Told.DECLARED,
            )
        )
    flags = dataset.mask_flag_enums
    try:
        transform = affine6(dataset.transform)
        name = canonical(dataset.crs.to_wkt())
    except UsageError as error:
        raise HeaderError(Problem("crs", str(error), "mend the file", href=href)) from error
    return Header(
        href=href,
        driver=dataset.driver,
        crs=name,
        shape=(dataset.height, dataset.width),
        transform=transform,
        bands=tuple(bands),
        masked=all(MaskFlags.all_valid not in flag for flag in flags),
        tags=tuple(sorted(dataset.tags().items())),
        mask_beside=dataset.driver == "GTiff" and f"{href}.msk" in dataset.files,
    )


def _no_bands(href: str, dataset: Any) -> Problem:
    inner = dataset.subdatasets
    if inner:
        return Problem(
            "subdatasets",
            f"a container of {len(inner)} rasters, not a raster",
            f"give one of them, such as {inner[0].split('/')[-1]}, as a VRT",
            href=href,
        )
    return Problem("no-bands", "has no raster bands", "leave it out", href=href)


def _ungeoreferenced(href: str, dataset: Any) -> Problem:
    points, _ = dataset.gcps
    if points:
        what = f"is placed by {len(points)} ground control points only"
    elif dataset.rpcs is not None:
        what = "is placed by RPCs only"
    elif dataset.tags(ns="GEOLOCATION"):
        what = "is a swath placed by geolocation arrays only"
    elif dataset.crs is None and not dataset.transform.is_identity:
        return Problem("no-crs", "has no CRS", "assign one (gdal_edit.py -a_srs EPSG:…)", href=href)
    else:
        what = "isn't georeferenced"
    return Problem("ungeoreferenced", what, "warp it first (gdalwarp), or leave it out", href=href)


def _unreadable(href: str, name: str, error: Exception) -> Problem:
    text = str(error)
    for told in filter(None, (name, name.removeprefix("/vsicurl/"), href)):
        text = text.replace(told, "")
    text = text.strip(" :'")
    text = text.split("\n")[0]
    if "No such file" in text or "does not exist" in text:
        return Problem("missing", "no such file", "check the path", href=href)
    if "not recognized" in text:
        return Problem(
            "format", "no raster format that GDAL knows", "leave it out or convert it", href=href
        )
    if "Permission denied" in text:
        return Problem("permission", "can't be read: permission denied", href=href)
    return Problem("unreadable", f"can't be read ({text[:200]})", "mend or leave out", href=href)
