"""Tiles as files: PNG by libpng, JPEG and WebP by Pillow, GeoTIFF by rasterio."""

from __future__ import annotations

import io
import math
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.io import MemoryFile

KINDS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "tif": "image/tiff; application=geotiff",
}
"""Media types by the end of a tile's name."""


def picture(kind: str, colours: npt.NDArray[np.uint8]) -> bytes:
    """(h, w, 4) RGBA as ``png``, ``webp``, or, without its alpha, ``jpg``."""
    if kind == "png":  # in a third of Pillow's time, for files as large
        return bytes(imagecodecs.png_encode(colours, level=1, filter=imagecodecs.PNG.FILTER.UP))
    image = Image.fromarray(colours, "RGBA")
    out = io.BytesIO()
    if kind == "jpg":
        image.convert("RGB").save(out, "JPEG", quality=90, subsampling=0)
    else:
        image.save(out, "WEBP", lossless=True, quality=0)
    return out.getvalue()


def geotiff(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], grid: GeoBox, names: tuple[str, ...]
) -> bytes:
    """(bands, h, w) float32 or float64, NaN where there are none; ``valid``: (h, w)."""
    count, height, width = values.shape
    filled = np.where(valid, values, values.dtype.type(math.nan))
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=count,
            dtype=filled.dtype.name,
            crs=str(grid.crs),
            transform=grid.affine,
            nodata=math.nan,
            compress="deflate",
            predictor=3,
        ) as dataset:
            dataset.write(filled)
            for place, name in enumerate(names, 1):
                dataset.set_band_description(place, name)
        return bytes(memory.read())
