"""What can't be read, and what can't be meant."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.errors import ReadError, UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.support.scenes import seam_scenes


@pytest.fixture
def spoilt(seamed: Made, tmp_path: Path) -> tuple[Made, str]:
    """Two zones and dates; one of the newer scenes' blocks are zeroed. And that scene's id."""
    items = tmp_path / "scenes" / "items.json"
    shutil.copytree(seamed.items.parent, items.parent)
    mosaic.build(items, tmp_path / "m", dst_crs="EPSG:3035")
    one = Made(tmp_path / "m", seamed.scenes, items)
    victim = "S2_32_0_1"
    path = items.parent / victim / "B04.tif"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)
    return one, victim


def test_what_cant_be_read_raises(spoilt: tuple[Made, str]) -> None:
    one, victim = spoilt
    ds = mosaic.open(one.path, gate=Gate(), groupby="all")
    with pytest.raises(ReadError, match=f"item {victim} asset B04 .*{victim}/B04.tif"):
        ds.load()
    with pytest.raises(ReadError, match=victim):
        ds.mosaic.load()
    with pytest.raises(ReadError, match=victim):
        ds.chunk(x=200).compute()


@pytest.mark.parametrize("how", ["load", "together", "dask", "coverage first"])
def test_or_it_is_told(spoilt: tuple[Made, str], seamed: Made, how: str) -> None:
    """Values, where all was read, and what wasn't; the sound part is as it would be."""
    one, victim = spoilt
    chunks = {"x": 150, "y": 150} if how == "dask" else None
    ds = mosaic.open(one.path, gate=Gate(), groupby="all", errors="ignore", chunks=chunks)
    assert ds.mosaic.report() == ()
    assert ds.B04.attrs["ancillary_variables"] == "B04_covered"
    if how == "coverage first":
        ds.B04_covered.load()
    got = ds.mosaic.load() if how == "together" else ds.compute()
    (problem,) = ds.mosaic.report()
    assert (problem.item, problem.asset) == (victim, "B04")
    assert got.mosaic.report() == ds.mosaic.report()
    assert pickle.loads(pickle.dumps(got)).mosaic.report() == (problem,)
    covered = got.B04_covered.values
    assert covered.dtype == bool
    assert 0.3 < covered.mean() < 0.98
    whole = mosaic.open(seamed.path, gate=Gate(), groupby="all").load()
    np.testing.assert_array_equal(got.B04.values[covered], whole.B04.values[covered])
    assert (got.B04.values != whole.B04.values).any()
    read = mosaic.read(one.path, errors="ignore", gate=Gate())
    assert covered[read.covered].all()  # smaller windows may know more
    if how != "dask":
        np.testing.assert_array_equal(got.B04.values, read.values)


def test_a_slice_of_what_cant_be_read(spoilt: tuple[Made, str]) -> None:
    one, _ = spoilt
    ds = mosaic.open(one.path, gate=Gate(), groupby="all", errors="ignore")
    whole = ds.compute()
    index = {"y": slice(None, None, -1), "x": [7, 100, 300]}
    part, want = ds.isel(index).compute(), whole.isel(index)
    sure = want.B04_covered.values
    assert 0 < sure.mean() < 1
    assert part.B04_covered.values[sure].all()
    np.testing.assert_array_equal(part.B04.values[sure], want.B04.values[sure])


BOX = GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), 3035)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"bands": "B99"}, "no band B99; the mosaic has B02, B03"),
        ({"bands": []}, "no bands"),
        ({"bbox": (10, 47, 9, 47)}, "empty"),
        ({"bbox": (9, 48, 10, 47)}, "empty"),
        ({"bbox": (9, 47, 10)}, "isn't west"),
        ({"crs": "EPSG:99999", "resolution": 1}, "no CRS"),
        ({"crs": "EPSG:4326"}, "give resolution="),
        ({"resolution": 0}, "no size"),
        ({"resolution": 1e-7}, "too many; give a smaller bbox"),
        ({"geobox": BOX, "crs": "EPSG:3035"}, "either"),
        ({"like": BOX, "bbox": (9, 47, 10, 48)}, "either like"),
        ({"like": xr.Dataset()}, "like= has no grid"),
        ({"like": 3}, "like= has no grid"),
        ({"geobox": BOX}, r"no item lies in this grid and time; .* has 5 items in \[8"),
        ({"datetime": "2019"}, "5 items in .*, 2025-06-01 to 2025-06-03"),
        ({"datetime": "soon"}, "no RFC 3339"),
        ({"groupby": "weather"}, "no item has such a property; or time, solar_day, day, week"),
        ({"groupby": 7}, "a property or a function"),
        ({"groupby": "bbox"}, "has no order"),
        ({"groupby": lambda item: item["id"] if item["id"] > "n2" else 3}, "no order"),
        ({"method": "best"}, "first, last, min, max"),
        ({"errors": "hide"}, "raise or ignore"),
        ({"resampling": "best"}, "no resampling method"),
        ({"resampling": {"B02": "best"}}, "no resampling method"),
        ({"resampling": {"B05": "cubic"}}, "resampling= names no band B05; there are B02, B03"),
        ({"resampling": 3}, "a name or a mapping"),
        ({"dtype": "uint17"}, "no type of numpy's"),
        ({"dtype": "datetime64[s]"}, "take an integer or floating"),
        ({"dtype": {"B05": "uint8"}}, "dtype= names no band B05"),
    ],
)
def test_what_cant_be_meant(native: Made, told: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mosaic.open(native.path, gate=Gate(), **told)


def test_a_tile_index_is_for_gdal(native: Made) -> None:
    with pytest.raises(UsageError, match="open the mosaic's folder"):
        mosaic.open(native.path / "B02.gti.gpkg", gate=Gate())


@pytest.mark.parametrize("chunks", [{"x": 0}, {"x": -5}, "foo", {"lon": 5}])
def test_chunks_that_cant_be_meant(native: Made, chunks: Any) -> None:
    with pytest.raises(UsageError, match="chunks="):
        mosaic.open(native.path, gate=Gate(), chunks=chunks)


def test_a_day_of_numpys_is_the_day(native: Made) -> None:
    day = mosaic.open(native.path, gate=Gate()).time.values[-1].astype("datetime64[D]")
    some = mosaic.open(native.path, gate=Gate(), datetime=day)
    assert set(some.time.values.astype("datetime64[D]")) == {day}


def test_the_accessor_knows_its_own(native: Made) -> None:
    with pytest.raises(UsageError, match=r"isn't one of mosaic\.open's"):
        xr.Dataset().mosaic.plan()
    ds = mosaic.open(native.path, gate=Gate())
    with pytest.raises(UsageError, match="no band"):
        ds[["time"]].mosaic.plan()
    with pytest.raises(UsageError, match="no coordinate y"):
        ds.drop_vars("y").mosaic.plan()


def test_bands_of_one_file_are_fetched_once(tmp_path: Path) -> None:
    """And are called as they are in the file; two of one name by their asset."""
    import orjson
    import rasterio

    scenes = seam_scenes(64, 60.0, ("B02", "B03"), dates=1)
    one = made(tmp_path / "one", list(scenes))
    document = orjson.loads(one.items.read_bytes())
    for item in document["features"]:
        parts = [item["assets"].pop(name) for name in ("B02", "B03")]
        files = [one.items.parent / part["href"] for part in parts]
        for asset, names in (("left", ("red", "blue")), ("right", ("red", "green"))):
            with rasterio.open(files[0]) as first, rasterio.open(files[1]) as second:
                path = files[0].parent / f"{asset}.tif"
                profile = {**first.profile, "driver": "GTiff", "count": 2, "interleave": "pixel"}
                with rasterio.open(path, "w", **profile) as out:
                    out.write(first.read(1), 1)
                    out.write(second.read(1), 2)
            bands = [{"name": name} for name in names]
            told = parts[0]["raster:bands"] * 2
            item["assets"][asset] = {**parts[0], "href": str(path), "eo:bands": bands}
            item["assets"][asset]["raster:bands"] = told
    (tmp_path / "two.json").write_bytes(orjson.dumps(document))
    mosaic.build(tmp_path / "two.json", tmp_path / "two")
    own = Gate()
    ds = mosaic.open(tmp_path / "two", gate=own, groupby="all")
    assert list(ds.data_vars) == ["left.1", "blue", "right.1", "green"]
    whole = mosaic.open(one.path, gate=Gate(), groupby="all").load()
    np.testing.assert_array_equal(ds["left.1"].values, whole.B02.values)
    np.testing.assert_array_equal(ds.green.values, whole.B03.values)
    only = mosaic.open(tmp_path / "two", gate=own, groupby="all", bands=["green", "blue"])
    assert list(only.data_vars) == ["green", "blue"]
    np.testing.assert_array_equal(only.mosaic.load().blue.values, whole.B03.values)
