"""One asset of one item as an index needs it: where it lies, its grid, its bands."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float16": "Float32",  # GDAL knows Float16 since 3.11 only; it reads it as Float32
    "float32": "Float32",
    "float64": "Float64",
    "cint16": "CInt16",
    "cint32": "CInt32",
    "cfloat32": "CFloat32",
    "cfloat64": "CFloat64",
}
"""STAC ``data_type`` to GDAL's name of it."""

COLORS = {"red": "Red", "green": "Green", "blue": "Blue", "alpha": "Alpha"}
"""Common names that are colour interpretations of GDAL too."""


_PROJECTED = re.compile(r'(?:CONVERSION|METHOD|PROJECTION)\["([^"]*)"')
"""Names in WKT of how a CRS projects."""


def label(crs: str) -> str:
    """A canonical CRS as people read it: its code, else the name that its WKT begins with.

    One without a name is called as its projection.
    """
    if has_code(crs):
        return crs
    first = crs.split('"')[1]
    names = (first, *_PROJECTED.findall(crs))
    return next((name for name in names if name.lower() not in ("unnamed", "unknown")), first)


def has_code(crs: str) -> bool:
    """Whether a canonical CRS is an authority's code, not WKT."""
    return len(crs) < 32


_INTEGER = re.compile(r"(u?)int(\d+)$")


def span(dtype: str) -> tuple[int, int] | None:
    """Least and greatest number of an integer type; None for other types."""
    match = _INTEGER.match(dtype)
    if not match:
        return None
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def holds(dtype: str, value: float) -> bool:
    """Whether pixels of a data type can have a value."""
    ends = span(dtype)
    if ends is None:
        return True
    if not math.isfinite(value) or not float(value).is_integer():
        return False
    return ends[0] <= value <= ends[1]


class Told(StrEnum):
    """How it is known what the numbers of a band mean."""

    NOTHING = ""
    """Nobody tells: scale 1 and offset 0 are defaults."""
    SCALE = "scale"
    """The item declares a scale and no offset."""
    DECLARED = "declared"
    """The item or the file declares it."""
    SHARED = "shared"
    """Another file of the collection declares it."""
    ASSUMED = "assumed"
    """A rule for the product tells (:mod:`mosaic.catalog.sentinel2`), the item doesn't."""
    REMOVED = "removed"
    """The item declares an offset that it also says to be removed: none is taken."""
    DOUBTED = "doubted"
    """The item declares what its processing baseline contradicts: believed."""
    UNSURE = "unsure"
    """The item says its offset isn't removed, in a field that is known to err: believed."""


@dataclass(frozen=True, slots=True)
class Band:
    """One band of an asset."""

    dtype: str
    """STAC data type, such as ``uint16``."""
    name: str = ""
    """Name, or empty."""
    nodata: float | None = None
    """Value that stands for no data (may be NaN), or None."""
    scale: float = 1.0
    """Factor from stored numbers to physical values."""
    offset: float = 0.0
    """Added after ``scale``."""
    unit: str = ""
    """Unit of the physical values, or empty."""
    color: str = ""
    """GDAL's colour interpretation (Red, Green, Blue, Alpha, Palette), or empty."""
    told: Told = Told.NOTHING
    """How scale and offset are known."""
    usual_nodata: float | None = None
    """Nodata value of the product, where neither item nor file declares one, or None."""

    def __post_init__(self) -> None:
        """Drops a nodata value that the data type can't hold: no pixel can have it."""
        if self.nodata is not None and not holds(self.dtype, self.nodata):
            object.__setattr__(self, "nodata", None)

    def same_nodata(self, other: Band) -> bool:
        """Whether both declare the same nodata value; NaN equals NaN."""
        a, b = self.nodata, other.nodata
        if a is None or b is None:
            return a is b
        return a == b or (math.isnan(a) and math.isnan(b))


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of one asset of one item; None where the item doesn't tell."""

    item: str
    """Id of the item."""
    asset: str
    """Key of the asset, or the band name that was asked for."""
    href: str
    """Unsigned URL or absolute path."""
    crs: str | None
    """Canonical name of the CRS."""
    shape: tuple[int, int] | None
    """Height and width in pixels."""
    transform: tuple[float, ...] | None
    """Affine a, b, c, d, e, f."""
    bands: tuple[Band, ...] | None
    """The bands, in the order of the file."""
    mask_nodata: bool = False
    """Whether the nodata value is known from elsewhere and the file doesn't declare it."""

    @property
    def located(self) -> bool:
        """Whether the pixel grid is known."""
        return self.crs is not None and self.shape is not None and self.transform is not None
