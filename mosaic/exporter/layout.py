"""What a file says of its pixels: grid, bands, nodata, scale, offset. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mosaic.cube.cube import Cube
from mosaic.errors import UsageError
from mosaic.grid import canonical

Fill = float | int | None

_TIFF = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split()
"""Types that GDAL's GeoTIFFs have."""


@dataclass(frozen=True, slots=True)
class BandLayout:
    """One band."""

    name: str
    """Its name."""
    dtype: str
    """numpy's name of its type."""
    nodata: Fill
    """What stands for no data; None: nothing does, and 0 is there."""
    scale: float
    """value = number * scale + offset."""
    offset: float
    """The same."""
    unit: str
    """Of the value, or empty."""
    color: str
    """GDAL's colour interpretation, or empty."""
    nearest: bool
    """Whether numbers between two pixels' mean nothing, as of classes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All that a file says."""

    shape: tuple[int, int, int]
    """Layers, rows and columns."""
    crs: str
    """Canonical name: a code, else WKT2."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""
    bands: tuple[BandLayout, ...]
    """Its bands."""

    @property
    def pixel(self) -> int:
        """Bytes of a pixel of all bands."""
        return sum(np.dtype(band.dtype).itemsize for band in self.bands)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def layout_of(cube: Cube) -> Layout:
    """What a file of a cube says."""
    choice = cube.choice
    height, width = (int(size) for size in choice.target.shape)
    bands = []
    for one in choice.variables:
        fill: Fill = one.fill
        if fill is not None and one.dtype.kind in "iu":
            fill = int(fill)
        scale, offset = (1.0, 0.0) if choice.raw else (one.declared.scale, one.declared.offset)
        bands.append(
            BandLayout(
                one.name,
                one.dtype.name,
                fill,
                scale,
                offset,
                one.declared.unit,
                one.declared.color,
                one.method.name in ("nearest", "mode"),
            )
        )
    return Layout(
        (len(cube.scenes().groups), height, width),
        canonical(str(choice.target.crs)),
        tuple(float(number) for number in tuple(choice.target.affine)[:6]),
        tuple(bands),
    )


def fits_tiff(layout: Layout) -> None:
    """Raises UsageError for what one GeoTIFF can't hold."""
    layers = layout.shape[0]
    if layers > 1:
        raise UsageError(
            f"a GeoTIFF holds one layer of time, not {layers}: take --groupby all, a method, a "
            "shorter --datetime, or export to .zarr"
        )
    kinds = {band.dtype for band in layout.bands}
    if len(kinds) > 1:
        told = ", ".join(f"{band.name} is {band.dtype}" for band in layout.bands)
        raise UsageError(
            f"bands differ in data type ({told}), and a GeoTIFF has one: take --dtype or --bands, "
            "or export to .zarr"
        )
    if not kinds <= set(_TIFF):
        raise UsageError(f"a GeoTIFF can't hold {kinds.pop()}: take --dtype")
    if len({repr(band.nodata) for band in layout.bands}) > 1:
        told = ", ".join(f"{band.name} has {band.nodata}" for band in layout.bands)
        raise UsageError(
            f"bands differ in nodata ({told}), and a GeoTIFF has one: take --bands, --dtype "
            "float32, or export to .zarr"
        )
