"""Which files the engine parses itself, and which GDAL reads for it: by name and first bytes. Pure.

No file is tried by one reader after the other, and nothing is looked for beside it.
"""

from __future__ import annotations

import re
from urllib.parse import quote

FIRST = 64 << 10
"""Bytes read first of a file whose name says that GDAL will read it: what the loopback reads."""
ZARR = (".zarray", ".zgroup", ".zattrs", ".zmetadata")
"""Files of a Zarr store that no reader takes for sidecars."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NAMES = re.compile(
    r"\.(jp2|j2k|jpx|j2c|nc|nc4|cdf|h5|hdf5?|grib2?|grb2?|png|jpe?g|webp|gif|img|vrt|bil|hgt|asc)$",
    re.IGNORECASE,
)
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/", "/vsi7z/", "/vsirar/")
_SCHEMES = {"/vsis3/": "s3://", "/vsigs/": "gs://", "/vsicurl/": ""}
_OTHERS = re.compile(rb"^(?:\xef\xbb\xbf)?\s*(<|\{)")
_VRT = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<VRTDataset\b", re.DOTALL
)


def bare(href: str) -> str:
    """An href without its query, in lower case, without a slash at its end."""
    return href.partition("?")[0].partition("#")[0].rstrip("/").lower()


def is_tiff(first: bytes) -> bool:
    """Whether a file that begins so says it is a TIFF."""
    return first[:4] in _TIFF


def is_hdf5(first: bytes) -> bool:
    """Whether a file that begins so is HDF5, as NetCDF 4 is."""
    return first.startswith(_HDF5)


def is_vrt(first: bytes) -> bool:
    """Whether a file that begins so is one of GDAL's virtual rasters."""
    return _VRT.match(first) is not None


def is_named(href: str) -> bool:
    """Whether a file's name says that it is of a format that GDAL reads."""
    return _NAMES.search(bare(href)) is not None


def is_called_tiff(href: str) -> bool:
    """Whether a file's name says that it is a TIFF: one that isn't is damaged, or an error page."""
    return bare(href).endswith((".tif", ".tiff", ".btf", ".tf8"))


def is_zarr(href: str) -> bool:
    """Whether an href is a Zarr store, or an array in one: a folder, which has no first bytes."""
    return ".zarr/" in f"{bare(href)}/"


def is_archive(href: str) -> bool:
    """Whether an href is a file in an archive of this machine, which GDAL unpacks."""
    return href.startswith(_ARCHIVES) and "/vsi" not in href[4:] and "://" not in href


def names_others(first: bytes, href: str) -> bool:
    """Whether a text that begins so may name other files, which GDAL would open: XML, JSON."""
    name = bare(href).rpartition("/")[2]
    return _OTHERS.match(first) is not None and name not in (*ZARR, "zarr.json")


def governed(href: str) -> str | None:
    """The href that the gate reads, of one of GDAL's names for it; None where it has none."""
    if not href.startswith("/vsi"):
        return href
    for prefix, scheme in _SCHEMES.items():
        if href.startswith(prefix):
            rest = href.removeprefix(prefix)
            return scheme + quote(rest, safe="/") if scheme else rest
    return None
