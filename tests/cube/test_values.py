"""Numbers of ``mosaic.open``, against PROJ at every pixel, rasterio, and odc's rules of time."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives datasets their .rio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

import mosaic
from mosaic.cube.values import cast
from mosaic.errors import UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.support.exact import shown
from tests.support.scenes import Scene, seam_scenes, utm_scene


def opened(one: Made, **told: Any) -> xr.Dataset:
    return mosaic.open(one.path, gate=Gate(), **told)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035", "EPSG:4326"])
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_every_pixel_of_every_time(seamed: Made, crs: str, method: str) -> None:
    """Across a zone's edge, each instant's own scenes: where PROJ puts them."""
    size = 0.0007 if crs == "EPSG:4326" else 60
    ds = opened(seamed, crs=crs, resolution=size, resampling=method)
    instants = sorted({scene.datetime for scene in seamed.scenes})
    assert [f"{one}Z" for one in np.datetime_as_string(ds.time.values, "s")] == instants
    total = wrong = 0
    for place, instant in enumerate(instants):
        files = seamed.files("B04", lambda scene, at=instant: scene.datetime == at)  # type: ignore[misc]
        box = ds.odc.geobox
        want = shown(files, crs, box.affine, box.shape, method)
        got = ds.B04[place].values
        total += int(want.valid.sum())
        wrong += int((got != np.where(want.valid, want.values, 0)).sum())
        off = np.abs(got.astype(int) - want.values)[want.valid & (got > 0)]
        assert method == "nearest" or off.max() <= 1
    assert total > 100_000
    assert wrong <= (1e-4 if method == "nearest" else 1e-3) * total


def test_one_layer_of_all_is_the_index(native: Made) -> None:
    for method, files in (("first", native.files("B03")), ("last", native.files("B03")[::-1])):
        ds = opened(native, groupby="all", bands="B03", method=method)
        box = ds.odc.geobox
        want = shown(files, "EPSG:32632", box.affine, box.shape, "nearest")
        np.testing.assert_array_equal(ds.B03[0].values, want.values)
    with rasterio.open(native.path / "B03.gti.gpkg") as index:
        np.testing.assert_array_equal(opened(native, groupby="all").B03[0].values, index.read(1))


def test_layers_of_time(native: Made) -> None:
    """By day, property and function, in order; each layer shows its own items alone."""
    days = opened(native, groupby="solar_day")
    assert [str(day)[:10] for day in days.time.values] == ["2025-06-01", "2025-06-02", "2025-06-03"]
    by_cloud = opened(native, groupby="eo:cloud_cover")  # 10 - number: the last scene comes first
    by_id = opened(native, groupby="id")
    np.testing.assert_array_equal(by_cloud.B02.values, by_id.B02.values[::-1])

    def weekday(item: dict[str, Any]) -> int:
        assert item["tile"] in ("T0", "T1")
        return -date.fromisoformat(str(item["datetime"])[:10]).day

    backwards = opened(native, groupby=weekday)
    np.testing.assert_array_equal(backwards.B02.values, days.B02.values[::-1])
    later = opened(native, datetime="2025-06-02/..", groupby="solar_day")
    np.testing.assert_array_equal(later.B02.values, days.B02.values[1:])


def test_a_solar_day_is_the_places_own(tmp_path: Path) -> None:
    """At 170 E, 20:00 and 03:00 UTC are one day there; at 9 E they are two."""
    for lon, epsg, count in ((170.0, 32659, 1), (9.0, 32632, 2)):
        scenes = [
            utm_scene(f"s{n}", epsg, lon, 10.0, 64, 60.0, datetime=when)
            for n, when in enumerate(("2025-06-01T20:00:00Z", "2025-06-02T03:00:00Z"))
        ]
        one = made(tmp_path / str(epsg), scenes)
        assert opened(one, groupby="solar_day").sizes["time"] == count


def test_only_times_near_the_grid_appear(native: Made) -> None:
    west = GeoBox.from_bbox((8.95, 47.48, 8.97, 47.5), "EPSG:4326", resolution=0.001)
    found = opened(native, geobox=west)
    assert found.sizes["time"] < opened(native).sizes["time"]
    assert (found.B02.values > 0).any()


def test_resampling_by_band(seamed: Made, tmp_path: Path) -> None:
    scenes = seam_scenes(128, 120.0, ("B03", "B04"), dates=1)
    one = made(tmp_path, list(scenes), resampling={"*": "bilinear", "B03": "nearest"})
    ds = opened(one, groupby="all", crs="EPSG:3035", resolution=100)
    for told, methods in (
        (None, ("nearest", "bilinear")),
        ("cubic", ("cubic", "cubic")),
        ({"*": "nearest", "B03": "bilinear"}, ("bilinear", "nearest")),
        ({"B03": "cubic"}, ("cubic", "bilinear")),
    ):
        got = opened(one, groupby="all", like=ds, resampling=told)
        for name, method in zip(("B03", "B04"), methods, strict=True):
            want = mosaic.read(
                one.path, bands=name, geobox=ds.odc.geobox, resampling=method, gate=Gate()
            )
            np.testing.assert_array_equal(got[name][0].values, want.values[0])


def test_types_and_what_is_no_data(tmp_path: Path) -> None:
    """Bands of several types are variables of several types; nodata is told as it is."""

    def scene(name: str, dtype: str, nodata: float | None) -> Scene:
        return utm_scene(
            "s", 32632, 9, 47, 64, 60.0, bands=(name,), dtype=dtype, nodata=nodata, hole=(0.2, 0.4)
        )

    kinds = {
        "a": ("uint8", None),
        "b": ("int16", -99),
        "c": ("float32", None),
        "d": ("float64", -1.5),
    }
    for name, (dtype, nodata) in kinds.items():
        one = made(tmp_path / name, [scene(name, dtype, nodata)])
        wide = opened(one, groupby="all", bbox=(8.9, 46.9, 9.1, 47.1))[name]
        assert wide.dtype == dtype
        told = wide.attrs.get("nodata")
        outside = wide.values[0, 0, 0]
        if nodata is None and dtype == "uint8":
            assert told is None
            assert wide.rio.nodata is None
            assert outside == 0
        elif nodata is not None:
            assert (told, wide.rio.nodata, outside) == (nodata, nodata, nodata)
        else:
            assert np.isnan([told, wide.rio.nodata, outside]).all()
    both = opened(one, dtype="float32")
    assert both.d.dtype == "float32"
    assert both.d.attrs["nodata"] == -1.5
    with pytest.raises(UsageError, match=r"int16 can.t hold its nodata value -1\.5"):
        opened(one, dtype="int16")


def test_narrow_types_round_and_stop_at_their_ends(native: Made) -> None:
    own = opened(native, groupby="all").B02.values
    assert own.max() > 255
    got = opened(native, groupby="all", dtype="uint8").B02.values
    np.testing.assert_array_equal(got, np.minimum(own, 255))


@pytest.mark.parametrize("own", ["float32", "float64", "int16", "uint16", "int32", "uint8"])
def test_numbers_become_others_as_gdal_has_it(own: str) -> None:
    """Halves, ends and what lies beyond them, in every type."""
    told = [0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.4, 254.5, 255.5, 300, -7, 40000, -40000, 3e9, 65535]
    values = np.array(told)
    if own[0] != "f":
        ends = np.iinfo(own)
        values = np.clip(values, ends.min, ends.max)
    values = values.astype(own)[None, None]
    profile = {"driver": "GTiff", "width": len(told), "height": 1, "count": 1, "dtype": own}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore")  # it has no place
        with memory.open(**profile) as file:
            file.write(values[0], 1)
        with memory.open() as file:
            for kind in ("uint8", "int16", "uint16", "int32", "uint32", "float32"):
                want = file.read(1, out_dtype=kind)
                np.testing.assert_array_equal(cast(values, np.dtype(kind))[0], want, err_msg=kind)


@pytest.mark.parametrize("axes", ["yx", "y", "x"])
def test_a_step_reads_overviews(tmp_path_factory: pytest.TempPathFactory, axes: str) -> None:
    """A step is the grid of that resolution: pixels of the overview below their middles."""
    folder = tmp_path_factory.mktemp("steps")
    one = made(folder, [utm_scene("s", 32632, 9, 47, 2048, 20.0)])
    with rasterio.open(one.files("B04")[0]) as file:
        assert 8 in file.overviews(1)
    ds = opened(one, groupby="all")
    index = {axis: slice(3, None, 8) for axis in axes}
    part = ds.isel(index)
    box = part.odc.geobox
    assert box.affine.a == (160 if "x" in axes else 20)
    got = part.B04[0].values
    np.testing.assert_array_equal(got, opened(one, groupby="all", geobox=box).B04[0].values)
    if axes == "yx":
        plan, whole = part.mosaic.plan(), ds.mosaic.plan()
        assert plan.most.bytes * 10 < whole.most.bytes
        near = ds.B04[0].values[3::8, 3::8].astype(int)
        assert np.median(np.abs(got.astype(int) - near)) < 250  # DN, by a pixel's half diagonal
