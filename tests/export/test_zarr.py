"""Zarr stores: what xarray, zarr and rioxarray read of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives datasets their .rio
import xarray as xr
import zarr
import zarr_cm
from click.testing import Result

import mosaic
from mosaic.errors import ExportExistsError
from tests.cube.conftest import Made, made
from tests.export.conftest import left_behind
from tests.export.test_cog import indexed
from tests.support.scenes import utm_scene


def opened(path: Path, **options: Any) -> xr.Dataset:
    """A store as xarray opens it, with the numbers that are kept."""
    return xr.open_zarr(path, chunks=None, mask_and_scale=False, **options)


@pytest.mark.usefixtures("small_windows")
def test_a_series_is_as_it_is_opened(native: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    report = mosaic.export(native.path, out, groupby="solar_day", blocksize=128)
    want = mosaic.open(native.path, groupby="solar_day").load()
    for consolidated in (True, False):
        found = opened(out, consolidated=consolidated)
        assert set(found.data_vars) == {"B02", "B03"}
        for name in ("B02", "B03", "y", "x", "time"):
            np.testing.assert_array_equal(found[name].values, want[name].values, err_msg=name)
        assert found.B02.dtype == want.B02.dtype
        assert found.B02.dims == ("time", "y", "x")
        assert found.odc.geobox == want.odc.geobox
        assert found.rio.crs == want.rio.crs
        assert found.rio.transform() == want.rio.transform()
        assert found.B02.rio.nodata == want.B02.attrs["nodata"]
    assert report.windows > 20
    assert report.shape == want.B02.shape
    assert left_behind(tmp_path) == []
    group = zarr.open_group(out, mode="r")
    assert group.metadata.zarr_format == 3
    assert group["B02"].shards == (1, 128, 128)
    assert group["B02"].chunks == (1, 128, 128)
    assert group["B02"].fill_value == 0
    # a shard in which nothing lies is none
    files = [path for path in (out / "B02" / "c").rglob("*") if path.is_file()]
    assert 0 < len(files) < report.windows


def test_shards_hold_inner_chunks(native: Made, tmp_path: Path) -> None:
    mosaic.export(native.path, tmp_path / "out.zarr", blocksize=128)
    array = zarr.open_group(tmp_path / "out.zarr", mode="r")["B02"]
    assert array.chunks == (1, 128, 128)
    assert array.shards == (1, 2048, 2048)
    np.testing.assert_array_equal(array[:], indexed(native.path, "B02"))
    files = [path for path in (tmp_path / "out.zarr/B02/c").rglob("*") if path.is_file()]
    assert len(files) == 1


def test_scaled_numbers_and_nodata_read_as_values(tmp_path: Path) -> None:
    """By CF: what xarray, and whoever knows CF, makes of the store."""
    scene = utm_scene("s", 32632, 9.0, 47.5, 160, 60.0, bands=("B04",), hole=(0.2, 0.6))
    home = made(tmp_path, [scene])
    document = json.loads(home.items.read_text())
    band = {"name": "B04", "data_type": "uint16", "nodata": 0, "unit": "1"}
    band |= {"raster:scale": 0.0001, "raster:offset": -0.1}
    for item in document["features"]:
        item["assets"]["B04"]["bands"] = [band]
    home.items.write_text(json.dumps(document))
    mosaic.export(home.items, tmp_path / "out.zarr")
    raw, valid = mosaic.read(home.items)
    found = xr.open_zarr(tmp_path / "out.zarr", chunks=None).B04
    np.testing.assert_array_equal(np.isnan(found.values[0]), ~valid[0])
    want = raw[0][valid[0]] * 0.0001 - 0.1
    np.testing.assert_allclose(found.values[0][valid[0]], want, atol=1e-6)
    assert found.encoding["_FillValue"] == 0
    assert found.attrs["units"] == "1"
    assert "nodata" not in found.attrs


def test_a_composite_keeps_nan(series: Path, tmp_path: Path) -> None:
    """Bands of several types lie in one store."""
    chosen: dict[str, Any] = {"groupby": "month", "mask": {"SCL": [3, 8, 9]}, "mask_dilate": 2}
    mosaic.export(series, tmp_path / "m.zarr", bands=["B04"], method="median", **chosen)
    want = mosaic.open(series, bands=["B04"], method="median", **chosen).load()
    found = xr.open_zarr(tmp_path / "m.zarr", chunks=None)
    np.testing.assert_array_equal(found.B04.values, want.B04.values)
    assert found.B04.dtype == np.float32
    assert np.isnan(found.B04.encoding["_FillValue"])
    assert np.isnan(zarr.open_group(tmp_path / "m.zarr", mode="r")["B04"].fill_value)
    mosaic.export(series, tmp_path / "all.zarr")
    kinds = {name: one.dtype.name for name, one in opened(tmp_path / "all.zarr").items()}
    assert kinds["SCL"] == "uint8"
    assert kinds["B04"] == "uint16"


def test_geozarr_tells_place_and_crs(native: Made, tmp_path: Path) -> None:
    """By the conventions' own words, without coordinates."""
    mosaic.export(native.path, tmp_path / "out.zarr", bands=["B02"])
    grid = mosaic.open(native.path).odc.geobox
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    for told in (group.attrs, group["B02"].attrs):
        assert told["proj:code"] == "EPSG:32632"
        assert told["spatial:dimensions"] == ["y", "x"]
        assert told["spatial:shape"] == list(grid.shape)
        assert told["spatial:transform"] == list(grid.affine)[:6]
        assert told["spatial:bbox"] == list(grid.boundingbox)
        for convention in (zarr_cm.spatial, zarr_cm.proj):
            assert dict(convention.CMO) in told["zarr_conventions"]
    whole, band = (
        json.loads((tmp_path / "out.zarr" / path).read_bytes())
        for path in ("zarr.json", "B02/zarr.json")
    )
    for convention in (zarr_cm.spatial, zarr_cm.proj):
        convention.validate_group_metadata(whole)
        convention.validate_array_metadata(band)
    assert group["B02"].metadata.dimension_names == ("time", "y", "x")
    assert "spatial_ref" in group


def test_a_store_is_replaced_as_a_whole(
    native: Made, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    out = tmp_path / "out.zarr"
    mosaic.export(native.path, out)
    with pytest.raises(ExportExistsError):
        mosaic.export(native.path, out, bands=["B02"])
    result = cli("export", native.path, out, "--overwrite", "--bands", "B02", "--compress", "gzip")
    assert result.exit_code == 0, result.output
    assert set(opened(out).data_vars) == {"B02"}
    np.testing.assert_array_equal(opened(out).B02.values, indexed(native.path, "B02"))
    folder = tmp_path / "mine.zarr"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ExportExistsError, match="is no Zarr store"):
        mosaic.export(native.path, folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert left_behind(tmp_path) == []


def test_items_without_a_time(tmp_path: Path) -> None:
    home = made(tmp_path, [utm_scene("s", 32632, 9.0, 47.5, 64, 60.0)])
    document = json.loads(home.items.read_text())
    for item in document["features"]:
        item["properties"] |= {"datetime": None, "start_datetime": None, "end_datetime": None}
    home.items.write_text(json.dumps(document))
    mosaic.export(home.items, tmp_path / "out.zarr")
    assert np.isnat(xr.open_zarr(tmp_path / "out.zarr", chunks=None).time.values).all()
