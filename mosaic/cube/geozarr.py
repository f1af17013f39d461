"""What Zarr's metadata says of where pixels lie, and of fill values. Pure.

Sources: GeoZarr's conventions spatial, proj and multiscales, v0.1; xarray's way with Zarr v3.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from mosaic.catalog.source import has_code

Json = dict[str, Any]

_RAW = "https://raw.githubusercontent.com/zarr-conventions"
_CONVENTIONS = {
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
    "proj": (
        "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "Coordinate reference system information for geospatial data",
    ),
}


def conventions(*names: str) -> list[Json]:
    """What a group or an array says of the conventions that it keeps."""
    return [
        {
            "schema_url": f"{_RAW}/{name}/refs/tags/v0.1/schema.json",
            "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v0.1/README.md",
            "uuid": _CONVENTIONS[name][0],
            "name": name,
            "description": _CONVENTIONS[name][1],
        }
        for name in names
    ]


def pixels(shape: Sequence[int], transform: Sequence[float]) -> Json:
    """A grid's size, rows first, and its affine a, b, c, d, e, f, by the convention spatial."""
    return {
        "spatial:transform": [float(one) for one in transform[:6]],
        "spatial:shape": [int(size) for size in shape],
    }


def placed(crs: str, shape: Sequence[int], transform: Sequence[float]) -> Json:
    """Where a grid's pixels lie, by the conventions spatial and proj. ``crs``: canonical."""
    a, b, c, d, e, f = transform[:6]
    height, width = shape
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, width) for y in (0, height)]
    xs, ys = zip(*corners, strict=True)
    return {
        "proj:code" if has_code(crs) else "proj:wkt2": crs,
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": [min(xs), min(ys), max(xs), max(ys)],
        **pixels(shape, transform),
    }


def filling(dtype: np.dtype[Any], value: float | int) -> int | str:
    """A ``_FillValue`` as xarray keeps it in Zarr v3: of floats their bytes (JSON has no NaN)."""
    if dtype.kind in "iu":
        return int(value)
    return base64.standard_b64encode(struct.pack("<d", float(value))).decode()
