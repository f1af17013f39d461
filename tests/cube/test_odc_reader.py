"""What odc-loader's tests ask of its own driver, asked of both, on files.

After odc-loader 0.6.5, ``odc/loader/test_reader.py`` and ``test_driver.py`` (Apache-2.0), written
anew: ``test_rio_read``, ``test_reader_ovr``, ``test_rio_read_rgb``, ``test_reader_unhappy_paths``,
``test_reader_fail_on_error``, ``test_dask_reader_adaptor``, ``test_driver_load``. Its others test
functions of odc-loader, no driver.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import odc.loader
import pytest
import xarray as xr
from dask import is_dask_collection
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_zeros
from odc.loader import RasterBandMetadata, RasterLoadParams, RasterSource
from odc.loader._reader import ReaderDaskAdaptor

import mosaic
from mosaic.storage import Gate

SPOT = np.s_[30:47, 190:210]
"""Where the numbers lie."""
WORLD = GeoBox.from_bbox((-180, -90, 180, 90), shape=(160, 320), tight=True)


@pytest.fixture(params=["odc", "mosaic"])
def driver(request: pytest.FixtureRequest) -> Any:
    return odc.loader.RioDriver() if request.param == "odc" else mosaic.odc_driver(gate=Gate())


def spotted(box: GeoBox = WORLD, dtype: str = "int16", value: int = 333) -> xr.DataArray:
    made = xr_zeros(box, dtype=dtype)
    made.values[SPOT] = value
    return made


def written(path: Path, data: xr.DataArray, **options: Any) -> RasterSource:
    data.odc.write_cog(str(path), **{"compress": None, **options})
    return RasterSource(str(path))


def read(
    driver: Any, source: RasterSource, cfg: RasterLoadParams, box: GeoBox, **told: Any
) -> tuple[tuple[slice, slice], np.ndarray]:
    load = driver.new_load(box)
    with driver.restore_env(driver.capture_env(), load) as ctx:
        found: tuple[tuple[slice, slice], np.ndarray] = driver.open(source, ctx).read(
            cfg, box, **told
        )
    driver.finalise_load(load)
    return found


def test_pixels_of_its_own_grid(driver: Any, tmp_path: Path) -> None:
    xx = spotted()
    source = written(tmp_path / "a.tif", xx)
    roi, pixels = read(driver, source, RasterLoadParams(), WORLD)
    assert WORLD[roi] == WORLD
    np.testing.assert_array_equal(pixels, xx.values)
    assert pixels.dtype == "int16"
    part = WORLD[SPOT]
    roi, pixels = read(driver, source, RasterLoadParams(), part)
    assert part[roi] == part
    assert (pixels == 333).all()


def test_numbers_that_mean_no_data_become_others(driver: Any, tmp_path: Path) -> None:
    xx = spotted()
    source = written(tmp_path / "a.tif", xx)
    whole = np.ones(WORLD.shape, "float32")
    roi, pixels = read(driver, source, RasterLoadParams(src_nodata_fallback=0), WORLD, dst=whole)
    assert pixels.dtype == "float32"
    want = np.where(xx.values == 0, np.nan, xx.values)
    np.testing.assert_array_equal(pixels, want)
    np.testing.assert_array_equal(whole[roi], want[roi])
    whole = np.ones(WORLD.shape, "int16")
    cfg = RasterLoadParams(src_nodata_fallback=0, fill_value=-99)
    _, pixels = read(driver, source, cfg, WORLD, dst=whole)
    np.testing.assert_array_equal(pixels, np.where(xx.values == 0, -99, xx.values))


def test_what_files_declare_can_be_overridden(driver: Any, tmp_path: Path) -> None:
    xx = spotted()
    xx.attrs["nodata"] = 333
    source = written(tmp_path / "a.tif", xx, nodata=333)
    for told, lost in (
        ({}, 333),
        ({"src_nodata_fallback": 0}, 333),
        ({"src_nodata_override": 0}, 0),
    ):
        cfg = RasterLoadParams(fill_value=-1, **told)  # type: ignore[arg-type]
        _, pixels = read(driver, source, cfg, WORLD)
        np.testing.assert_array_equal(pixels, np.where(xx.values == lost, -1, xx.values))


def test_a_smaller_source_fills_a_part(driver: Any, tmp_path: Path) -> None:
    inner = np.s_[2:-2, 3:-5]
    xx = spotted()
    floating = xx.astype("float32").where(xx != 0, np.nan)[inner]
    source = written(tmp_path / "a.tif", floating, overview_levels=[])
    roi, pixels = read(driver, source, RasterLoadParams(), WORLD)
    assert pixels.shape == tuple(WORLD[roi].shape)
    whole = np.full(WORLD.shape, np.nan)
    whole[roi] = pixels
    np.testing.assert_array_equal(whole[inner], floating.values)
    assert np.nansum(whole) == xx.values.sum()
    source = written(tmp_path / "b.tif", xx[inner], overview_levels=[])
    cfg = RasterLoadParams(fill_value=-99)
    roi, pixels = read(driver, source, cfg, WORLD)
    whole = np.full(WORLD.shape, -99)
    whole[roi] = pixels
    np.testing.assert_array_equal(whole[inner], xx[inner].values)
    whole[inner] = -99
    assert (whole == -99).all()
    coarse = WORLD.zoom_out(1.3)
    roi, pixels = read(driver, source, cfg, coarse)
    assert pixels.shape == tuple(coarse[roi].shape)
    assert (pixels == 333).any()


def test_beyond_a_source_there_is_nothing(driver: Any, tmp_path: Path) -> None:
    source = written(tmp_path / "a.tif", spotted()[40:80, 100:200], overview_levels=[])
    cfg = RasterLoadParams(fill_value=-99)
    roi, pixels = read(driver, source, cfg, WORLD[100:150, 250:300])
    assert pixels.shape == tuple(WORLD[100:150, 250:300][roi].shape)
    assert not (pixels != -99).any()


def test_overviews(driver: Any, tmp_path: Path) -> None:
    box = GeoBox.from_bbox((-180, -90, 180, 90), shape=(512, 512), tight=True)
    source = written(tmp_path / "a.tif", spotted(box), overview_levels=[2, 4])
    half = box.zoom_out(2)
    roi, pixels = read(driver, source, RasterLoadParams(), half)
    assert half[roi] == half
    assert pixels.shape == tuple(half.shape)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("dims", [("y", "x", "band"), ("band", "y", "x")])
def test_bands_as_a_dimension(
    driver: Any, tmp_path: Path, resampling: str, dims: tuple[str, ...]
) -> None:
    box = GeoBox.from_bbox((-180, -90, 180, 90), shape=(512, 512), tight=True)
    flat = spotted(box, "uint8", 255)
    xx = xr.concat([flat, flat // 2, flat // 3], "band").transpose("latitude", "longitude", "band")
    written(tmp_path / "a.tif", xx, overview_levels=[2, 4])
    cfg = RasterLoadParams(dtype="uint8", dims=dims, resampling=resampling)
    meta = RasterBandMetadata("uint8", dims=dims)
    source = RasterSource(str(tmp_path / "a.tif"), band=0, meta=meta)
    first = dims[0] == "band"
    for one in (box, box.zoom_to(237)):
        roi, pixels = read(driver, source, cfg, one)
        shape = tuple(one[roi].shape)
        assert pixels.shape == ((3, *shape) if first else (*shape, 3))
        whole = np.zeros((3, *one.shape) if first else (*one.shape, 3), "uint8")
        _, again = read(driver, source, cfg, one, dst=whole)
        np.testing.assert_array_equal(again, pixels)
        np.testing.assert_array_equal(whole[(slice(None),) * first + roi], pixels)
        _, two = read(driver, source, cfg, one, selection=np.s_[:2])
        np.testing.assert_array_equal(two, pixels[:2] if first else pixels[..., :2])
    single = RasterSource(source.uri, band=3, meta=meta)
    roi, pixels = read(driver, single, cfg, box)
    np.testing.assert_array_equal(np.squeeze(pixels), xx.values[..., 2])
    assert pixels.ndim == 3


def test_a_band_that_is_not_there(driver: Any, tmp_path: Path) -> None:
    source = written(tmp_path / "a.tif", spotted())
    with pytest.raises(ValueError, match=r"with only 1 bands|has 1 bands"):
        read(driver, RasterSource(source.uri, band=3), RasterLoadParams(), WORLD)


def test_a_file_that_is_not_there(driver: Any) -> None:
    source = RasterSource("file:///no-such-path/no-such.tif")
    with pytest.raises(Exception, match="no-such"):
        read(driver, source, RasterLoadParams(dtype="int16"), WORLD)
    cfg = RasterLoadParams(dtype="int16", fail_on_error=False)
    whole = spotted().values
    for told in ({}, {"dst": whole}):
        roi, pixels = read(driver, source, cfg, WORLD, **told)
        assert pixels.shape == (0, 0)
        assert pixels.dtype == "int16"
        assert roi == np.s_[0:0, 0:0]
    np.testing.assert_array_equal(whole, spotted().values)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_by_dask(driver: Any, tmp_path: Path, dtype: str) -> None:
    xx = spotted(dtype=dtype)
    written(tmp_path / "a.tif", xx)
    source = RasterSource(str(tmp_path / "a.tif"), meta=RasterBandMetadata(dtype, 0))
    cfg = RasterLoadParams.same_as(source)
    made = ReaderDaskAdaptor(driver)
    load = driver.new_load(WORLD, chunks={"x": 64, "y": 64})
    reader = made.open(source, cfg, load, layer_name="aa", idx=0)
    one = reader.read(WORLD, idx=(0,))
    assert is_dask_collection(one)
    assert one.key == ("aa", 0)
    assert reader.read(WORLD, idx=(1, 2, 3)).key == ("aa", 1, 2, 3)
    roi, pixels = one.compute(scheduler="synchronous")
    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels, xx.values[roi])


def test_by_name() -> None:
    made = mosaic.odc_driver(gate=Gate())
    assert odc.loader.reader_driver(made) is made
    odc.loader.register_driver("governed", made)
    try:
        assert odc.loader.reader_driver("governed") is made
    finally:
        odc.loader.unregister_driver("governed")
