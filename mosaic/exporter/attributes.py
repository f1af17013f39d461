"""What a Zarr store says of its arrays: CF, and GeoZarr's conventions. Pure."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from mosaic.catalog.source import has_code
from mosaic.exporter.layout import Fill, Layout

_HOME = "https://raw.githubusercontent.com/zarr-conventions"
CONVENTIONS = [
    {
        "schema_url": f"{_HOME}/geo-proj/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj:",
        "description": "Coordinate reference system information for geospatial data",
    },
    {
        "schema_url": f"{_HOME}/spatial/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial:",
        "description": "Spatial coordinate information",
    },
]
"""Of Zarr, that say where an array lies without its coordinates."""


def of_group(layout: Layout) -> dict[str, Any]:
    """Of the store."""
    return {"Conventions": "CF-1.11", **_place(layout)}


def of_band(layout: Layout, told: Mapping[Any, Any], dtype: str, nodata: Fill) -> dict[str, Any]:
    """Of a band's array. ``told``: attributes of the dataset's variable."""
    kept = {str(k): _plain(v) for k, v in told.items() if k not in ("nodata", "_FillValue")}
    if nodata is not None:
        kept["_FillValue"] = filling(dtype, nodata)
    return {**kept, "grid_mapping": "spatial_ref", **_place(layout)}


def filling(dtype: str, nodata: float | int) -> Any:
    """A ``_FillValue`` as xarray keeps it in Zarr v3: of floats their bytes (JSON has no NaN)."""
    if np.dtype(dtype).kind in "iu":
        return int(nodata)
    return base64.standard_b64encode(struct.pack("<d", float(nodata))).decode()


def _place(layout: Layout) -> dict[str, Any]:
    a, b, c, d, e, f = layout.transform
    _, height, width = layout.shape
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (0, width) for y in (0, height)]
    xs, ys = zip(*corners, strict=True)
    name = "proj:code" if has_code(layout.crs) else "proj:wkt2"
    return {
        "zarr_conventions": CONVENTIONS,
        name: layout.crs,
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": [height, width],
        "spatial:transform": list(layout.transform),
        "spatial:bbox": [min(xs), min(ys), max(xs), max(ys)],
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value
