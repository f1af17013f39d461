"""Structure and numbers of ``mosaic.open`` beside those of odc.stac.load, on the same items."""

from __future__ import annotations

from typing import Any

import numpy as np
import odc.stac
import orjson
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_zeros

import mosaic
from mosaic.storage import Gate
from tests.cube.conftest import Made


def items_of(made: Made) -> list[pystac.Item]:
    found = []
    for told in orjson.loads(made.items.read_bytes())["features"]:
        item = pystac.Item.from_dict(told)
        for asset in item.assets.values():
            asset.href = str(made.items.parent / asset.href)
        found.append(item)
    return found


def opened(made: Made, **told: Any) -> xr.Dataset:
    return mosaic.open(made.path, gate=Gate(), **told)


@pytest.mark.parametrize("groupby", ["time", "solar_day", "id", None, "tile"])
def test_names_coordinates_and_pixels_are_odcs(native: Made, groupby: str | None) -> None:
    """One zone, its own pixels: nothing is warped, so numbers are equal too."""
    own = opened(native, groupby=groupby, chunks=None)
    box = GeoBox(own.odc.geobox.shape, own.odc.geobox.affine, "EPSG:32632")
    theirs = odc.stac.load(items_of(native), geobox=box, groupby=groupby)
    assert list(own.data_vars) == list(theirs.data_vars)
    assert dict(own.sizes) == dict(theirs.sizes)
    assert set(own.coords) == set(theirs.coords)
    for name in theirs.coords:
        xr.testing.assert_identical(own.coords[name].variable, theirs.coords[name].variable)
    for name, band in theirs.data_vars.items():
        assert own[name].dims == band.dims
        assert own[name].dtype == band.dtype
        assert own[name].encoding["grid_mapping"] == band.encoding["grid_mapping"]
        assert band.attrs.items() <= own[name].attrs.items()
        filled = own[name].values
        if groupby in ("solar_day", "tile"):  # odc has the oldest on top, a mosaic the newest
            filled = opened(native, groupby=groupby, method="last")[name].values
        np.testing.assert_array_equal(filled, band.values)
        assert (filled > 0).any(axis=(1, 2)).all()


def test_another_type_is_odcs(native: Made) -> None:
    own = opened(native, dtype={"B02": "float32"})
    theirs = odc.stac.load(items_of(native), geobox=own.odc.geobox, dtype={"B02": "float32"})
    for name in ("B02", "B03"):
        assert own[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(own[name].values, theirs[name].values)


def test_degrees_have_x_and_y(seamed: Made) -> None:
    own = opened(seamed, crs="EPSG:4326", resolution=0.001)
    assert own["B04"].dims == ("time", "y", "x")
    assert own.rio.crs.to_epsg() == 4326
    theirs = odc.stac.load(items_of(seamed), geobox=own.odc.geobox)
    np.testing.assert_array_equal(own.y.values, theirs.latitude.values)
    np.testing.assert_array_equal(own.x.values, theirs.longitude.values)


def test_grids_and_files_of_rio_and_odc(native: Made, tmp_path: Any) -> None:
    """``.rio`` and ``.odc`` know where the result and its slices lie; a file read back agrees."""
    own = opened(native, groupby="all")
    with rasterio.open(native.path / "B02.gti.gpkg") as index:
        want, transform, bounds = index.read(1), index.transform, index.bounds
    assert own.rio.transform() == own.odc.geobox.affine == transform
    assert own.rio.bounds() == pytest.approx(tuple(bounds))
    assert own.B02.rio.nodata == 0
    part = own.B02.isel(time=0, y=slice(40, 240, 2), x=slice(30, 130))
    box: GeoBox = part.odc.geobox
    assert box.shape == (100, 100)
    assert (box.affine.a, box.affine.e) == (60, -120)
    part = own.B02.isel(time=0, y=slice(40, 240), x=slice(30, 130))
    part.rio.to_raster(tmp_path / "part.tif")
    with rasterio.open(tmp_path / "part.tif") as again:
        np.testing.assert_array_equal(again.read(1), want[40:240, 30:130])
        assert again.transform == transform @ rasterio.Affine.translation(30, 40)
        assert again.nodata == 0
    warped = part.rio.reproject("EPSG:3857")
    assert warped.rio.crs.to_epsg() == 3857
    assert (warped.values > 0).any()
    masked = part.where(part != part.nodata)
    whole = rioxarray.open_rasterio(native.path / "B02.gti.gpkg", masked=True)
    assert float(masked.mean()) == pytest.approx(float(whole[0, 40:240, 30:130].mean()))  # type: ignore[call-overload, index]


def test_what_is_no_data_is_where_cf_has_it(native: Made) -> None:
    """As files written from it are decoded."""
    own = opened(native, groupby="all", bands="B02")
    again = xr.decode_cf(own)
    np.testing.assert_array_equal(np.isnan(again.B02.values), own.B02.values == 0)
    assert again.B02.notnull().any()


def test_like_takes_another_grid(native: Made) -> None:
    box = GeoBox.from_bbox((9.0, 47.4, 9.2, 47.55), "EPSG:4326", resolution=0.002)
    for like in (box, xr_zeros(box, "uint8"), opened(native, geobox=box)):
        assert opened(native, like=like).odc.geobox == box
