"""Every raster of the shared data by ``mosaic.odc_driver``: its own pixels are rasterio's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from odc.loader import RasterLoadParams, RasterSource

import mosaic
from mosaic.storage import Gate
from tests.real.test_read import compared, part


def faults(driver: Any, path: Path) -> list[str]:
    """What differs. Raises what reading raises."""
    with rasterio.open(path) as dataset:
        window = part(dataset)
        want, mask = dataset.read(1, window=window), dataset.read_masks(1, window=window) > 0
        box = GeoBox(dataset.shape, dataset.transform, dataset.crs)
        nodata = dataset.nodata
    rows, columns = (slice(int(low), int(high)) for low, high in window.toranges())
    load = driver.new_load(box)
    with driver.restore_env(driver.capture_env(), load) as ctx:
        reader = driver.open(RasterSource(str(path)), ctx)
        roi, pixels = reader.read(RasterLoadParams(), box[rows, columns])
    kept = 0 if nodata is None else nodata
    shown = np.full(want.shape, np.nan if pixels.dtype.kind == "f" else kept, pixels.dtype)
    shown[roi] = pixels
    same = (shown == want) | (want != want) | ~mask
    return [] if same.all() else [f"{(~same).sum()} of {same.size} pixels differ"]


def test_pixels_are_what_rasterio_reads(shared: Path) -> None:
    driver = mosaic.odc_driver(gate=Gate())
    assert compared(shared, lambda path: faults(driver, path)) == (219, 11)
