"""What a Zarr store says of its arrays: CF, and GeoZarr's conventions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mosaic.cube.geozarr import conventions, filling, placed
from mosaic.exporter.layout import Fill, Layout


def of_group(layout: Layout) -> dict[str, Any]:
    """Of the store."""
    return {"Conventions": "CF-1.11", **_place(layout)}


def of_band(layout: Layout, told: Mapping[Any, Any], dtype: str, nodata: Fill) -> dict[str, Any]:
    """Of a band's array. ``told``: attributes of the dataset's variable."""
    kept = {str(k): _plain(v) for k, v in told.items() if k not in ("nodata", "_FillValue")}
    if nodata is not None:
        kept["_FillValue"] = filling(np.dtype(dtype), nodata)
    return {**kept, "grid_mapping": "spatial_ref", **_place(layout)}


def _place(layout: Layout) -> dict[str, Any]:
    return {
        "zarr_conventions": conventions("spatial", "proj"),
        **placed(layout.crs, layout.shape[1:], layout.transform),
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value
