"""What a mask hides, and what of it can't be meant."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
import xarray as xr

import mosaic
from mosaic.cube.hidden import grown
from mosaic.errors import CompositeError, InputError, ReadError, UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made
from tests.support.series import write_series

KEPT = Gate()
BANDS = ["B02", "B04"]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four dates in two zones, read in EPSG:3035, with a classification of half the resolution."""
    home = tmp_path_factory.mktemp("masked")
    items = write_series(home / "scenes", size=192, res=80.0, dates=4)
    mosaic.build(items, home / "mosaic", dst_crs="EPSG:3035", resampling={"*": "bilinear"})
    return Made(home / "mosaic", (), items)


def opened(one: Made, **told: Any) -> xr.Dataset:
    return mosaic.open(one.path, gate=KEPT, **{"bands": BANDS, **told})


def disk(mask: np.ndarray, size: int) -> np.ndarray:
    """All pixels within a distance of masked ones, by shifting."""
    out = np.zeros_like(mask)
    padded = np.pad(mask, size)
    for r in range(-size, size + 1):
        for c in range(-size, size + 1):
            if r * r + c * c <= size * size:
                rows, columns = (
                    slice(size + s, size + s + n)
                    for s, n in ((r, mask.shape[0]), (c, mask.shape[1]))
                )
                out |= padded[rows, columns]
    return out


def test_masks_grow_by_a_disk() -> None:
    mask = np.random.default_rng(1).random((60, 47)) < 0.01
    for size in (1, 2, 5, 13):
        np.testing.assert_array_equal(grown(mask, size), disk(mask, size))
    assert grown(np.zeros((3, 3), bool), 2).sum() == 0


@pytest.mark.parametrize("size", [0, 3])
def test_masked_layers_are_the_stack_masked(series: Made, size: int) -> None:
    """Scene by scene; SCL is nearest, whatever the bands are; chunks see over their edge."""
    bands = opened(
        series, groupby="id", bands=[*BANDS, "SCL"], resampling={"SCL": "nearest"}
    ).load()
    scl = bands.SCL.values
    hidden = np.stack([disk(np.isin(layer, (3, 9)), size) for layer in scl])
    told: dict[str, Any] = {"mask": {"SCL": ["cloud_shadows", 9]}, "mask_dilate": size}
    got = opened(series, groupby="id", **told).load()
    assert 0.2 < hidden[scl > 0].mean() < 0.9
    # where the grid ends, the mask goes on: scenes reach no further here than their holes
    for band in BANDS:
        want = np.where(hidden | (scl == 0), 0, bands[band].values)
        np.testing.assert_array_equal(got[band].values, want)
    chunked = opened(series, groupby="id", chunks={"y": 60, "x": 77}, **told)
    xr.testing.assert_identical(chunked.compute(), got)
    # of a day: the topmost clear pixel, as when all scenes are masked first
    days = opened(series, groupby="solar_day", **told).B04
    newest = got.B04.values.reshape(4, 2, *scl.shape[1:])[:, ::-1]
    want = np.where(newest[:, 0] > 0, newest[:, 0], newest[:, 1])
    np.testing.assert_array_equal(days.values, want)
    first = opened(series, groupby="all", **told).B04[0].values
    want = days.values[-1].copy()
    for layer in days.values[-2::-1]:
        np.copyto(want, layer, where=want == 0)
    np.testing.assert_array_equal(first, want)
    median = opened(series, method="median", **told).B04[0].values
    with np.errstate(all="ignore"):
        known = days.where(days > 0)
        np.testing.assert_array_equal(median, known.median("time").values)


def test_a_window_sees_clouds_beyond_its_edge(series: Made) -> None:
    """A grid cut out of another shows the same, its own edges included; a step isn't finer."""
    told: dict[str, Any] = {"groupby": "all", "mask": {"SCL": [9]}, "mask_dilate": 6}
    whole = opened(series, **told).load()
    part = whole.odc.geobox[40:90, 60:133]
    got = opened(series, geobox=part, **told)
    np.testing.assert_array_equal(got.B04.values, whole.B04.values[:, 40:90, 60:133])
    step = opened(series, **told).isel(y=slice(1, None, 2), x=slice(1, None, 2)).B04.values
    assert ((step > 0) & (whole.B04.values[:, 1::2, 1::2] == 0)).mean() < 0.04


def test_bits_by_name(tmp_path: Path) -> None:
    """QA_PIXEL's and Fmask's names, bits of anything, and levels."""
    items = write_series(tmp_path / "s", size=64, res=240.0, dates=1)
    document = orjson.loads(items.read_bytes())
    rng = np.random.default_rng(3)
    for one in document["features"]:
        path = items.parent / one["id"] / "SCL.tif"
        with rasterio.open(path) as dataset:
            profile = dataset.profile
        bits = rng.integers(1, 1 << 16, (32, 32)).astype(np.uint16)
        profile |= {"dtype": "uint16", "nodata": None, "driver": "GTiff", "predictor": 1}
        with rasterio.open(items.parent / one["id"] / "qa.tif", "w", **profile) as dataset:
            dataset.write(bits, 1)
        asset = one["assets"].pop("SCL")
        asset["raster:bands"] = [{"data_type": "uint16"}]
        asset["href"] = f"./{one['id']}/qa.tif"
        asset["eo:bands"] = [{"name": "qa"}]
        one["assets"] |= {
            "qa_pixel": asset,
            "Fmask": asset | {"roles": ["data", "again"]},
            "other": dict(asset),
        }
    items.write_bytes(orjson.dumps(document))
    told: dict[str, Any] = {"groupby": "id", "gate": KEPT, "resampling": "nearest"}
    qa = mosaic.open(items, bands=["qa_pixel", "B04"], **told).load()
    bits, there = qa.qa_pixel.values, qa.B04.values > 0
    for band, name, hides in (
        ("qa_pixel", "cloud", bits & 8 > 0),
        ("qa_pixel", "cloud_shadow", bits & 16 > 0),
        ("qa_pixel", "cloud_confidence=medium", bits >> 8 & 3 == 2),
        ("qa_pixel", "cirrus_confidence=high", bits >> 14 == 3),
        ("Fmask", "water", bits & 32 > 0),
        ("Fmask", "aerosol=climatology", bits >> 6 & 3 == 0),
        ("other", "bit:11", bits & 2048 > 0),
        ("other", ["bit:0", "bit:1"], bits & 3 > 0),
    ):
        got = mosaic.open(items, bands=["B04"], mask={band: name}, **told).B04.values
        np.testing.assert_array_equal(got > 0, there & ~hides, err_msg=f"{band} {name}")
    both = mosaic.open(
        items, bands=["B04"], mask={"qa_pixel": ["cloud"], "Fmask": ["water"]}, **told
    ).B04.values
    np.testing.assert_array_equal(both > 0, there & (bits & 40 == 0))


def test_without_a_classification_nothing_is_shown_silently(series: Made) -> None:
    document = orjson.loads(series.items.read_bytes())
    for one in document["features"]:
        for asset in one["assets"].values():
            asset["href"] = str(series.items.parent / asset["href"])
    del document["features"][2]["assets"]["SCL"]
    lacking = document["features"][2]["id"]
    told: dict[str, Any] = {"bands": ["B04"], "mask": {"SCL": [9]}, "gate": Gate()}
    with pytest.raises(InputError, match=f"item {lacking}: it has no SCL"):
        mosaic.open(document, **told)
    with pytest.raises(InputError, match=f"item {lacking}: it has no SCL"):
        mosaic.read(document, **told)
    ds = mosaic.open(document, errors="ignore", groupby="id", **told)
    assert [(one.item, one.kind) for one in ds.mosaic.report()] == [(lacking, "unjudged")]
    assert (ds.B04.values > 0).any(axis=(1, 2)).tolist() == [True, True, False, *[True] * 5]


def test_what_doesnt_show_isnt_read(series: Made) -> None:
    """Of scenes that are hidden as a whole the mask alone; of the first what is still open."""

    def asked(**told: Any) -> int:
        gate = Gate()
        ds = mosaic.open(series.path, bands=["B04"], groupby="all", gate=gate, **told)
        ds.load()
        return sum(one.requests for one in gate.stats().origins)

    masks = asked(method="max", mask={"SCL": [3, 4, 9]})
    every = asked(method="max", mask={"SCL": [11]})
    assert masks * 2 < every
    assert masks < asked(mask={"SCL": [11]}) < every


@pytest.mark.parametrize(
    ("band", "how"),
    [
        ("SCL", {"method": "max", "mask": {"SCL": [9]}}),
        ("B04", {"method": "max", "mask": {"SCL": [9]}}),
        ("B03", {"best": "B03"}),
    ],
)
def test_what_cant_be_read(series: Made, tmp_path: Path, band: str, how: dict[str, Any]) -> None:
    """Of a band, its mask, or that which picks: an error; or what is covered is right."""
    document = orjson.loads(series.items.read_bytes())
    for one in document["features"]:
        for asset in one["assets"].values():
            asset["href"] = str(series.items.parent / asset["href"])
    victim = document["features"][5]
    data = bytearray(Path(victim["assets"][band]["href"]).read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    victim["assets"][band]["href"] = str(tmp_path / "SCL.tif")
    (tmp_path / "SCL.tif").write_bytes(data)
    told: dict[str, Any] = {"bands": ["B04"], "gate": Gate(), **how}
    with pytest.raises(ReadError, match=f"item {victim['id']} asset {band}"):
        mosaic.open(document, **told).load()
    ds = mosaic.open(document, errors="ignore", **told).load()
    (problem,) = ds.mosaic.report()
    assert (problem.item, problem.asset) == (victim["id"], band)
    covered = ds.B04_covered.values
    assert 0.2 < covered.mean() < 0.98
    sound = orjson.loads(series.items.read_bytes())
    for one in sound["features"]:
        for asset in one["assets"].values():
            asset["href"] = str(series.items.parent / asset["href"])
    want = mosaic.open(sound, **told).B04.values
    np.testing.assert_array_equal(ds.B04.values[covered], want[covered])
    assert (ds.B04.values != want).any()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"mask": {"SCL": [42]}}, "SCL has no class 42; it has 0 no_data, 1 saturated"),
        ({"mask": {"SCL": ["clouds"]}}, "SCL has no class or bit 'clouds'; it has no_data, sat"),
        ({"mask": {"SCL": ["bit:9"]}}, "no class or bit 'bit:9'"),
        ({"mask": {"SCL": [300]}}, "SCL is uint8, no pixel of it is 300"),
        ({"mask": {"SCL": [None]}}, "None is no value of SCL"),
        ({"mask": {"SCL": []}}, "name values of SCL"),
        ({"mask": {"QA_PIXEL": ["cloud"]}}, "no band QA_PIXEL; the mosaic has .*SCL"),
        ({"mask": {"B04": ["cloud"]}}, "B04 has no class or bit 'cloud'; it has bit:0 to bit:15"),
        ({"mask": "SCL"}, 'a mapping such as {"SCL"'),
        ({"mask": {}}, "a mapping such as"),
        ({"mask_dilate": 2}, "needs a mask="),
        ({"mask": {"SCL": [9]}, "mask_dilate": -1}, "0 or more"),
        ({"mask": {"SCL": [9]}, "mask_dilate": 1.5}, "0 or more"),
        ({"mask": {"SCL": [9]}, "mask_dilate": 10_000}, "512 pixels at most"),
        ({"method": "modal"}, "first, last, min, max, medoid, mean, median, std, count, percent"),
        ({"method": 3}, "or a function of a dataset"),
        ({"method": "percentile:101"}, "percentile:0 to percentile:100"),
        ({"method": "percentile"}, "percentile:0 to percentile:100"),
        ({"method": "median", "bands": ["B04", "SCL"]}, "SCL holds classes"),
        ({"method": "count", "dtype": "uint16", "over": 3}, "over=3"),
        ({"method": "median", "over": "weather"}, "no item has such a property"),
        ({"method": "median", "groupby": "fortnight"}, "or time, solar_day, day, week, month"),
        ({"method": "median", "dtype": "complex64"}, "take an integer or floating"),
        (
            {"best": "clouds"},
            "best='clouds': no band and no property; bands are B02, B03",
        ),
        ({"best": "B04", "method": "median"}, 'take method="first", not'),
        ({"best": 3}, "a band or a property"),
    ],
)
def test_what_cant_be_meant(series: Made, told: dict[str, Any], said: str) -> None:
    told = {"bands": None, **told}
    with pytest.raises(UsageError, match=said):
        opened(series, **told)


def test_a_band_without_nodata_cant_be_masked_but_as_floats(tmp_path: Path) -> None:
    items = write_series(tmp_path / "s", size=64, res=240.0, dates=1)
    document = orjson.loads(items.read_bytes())
    for one in document["features"]:
        del one["assets"]["B04"]["raster:bands"][0]["nodata"]
    items.write_bytes(orjson.dumps(document))
    told: dict[str, Any] = {"bands": ["B04"], "mask": {"SCL": [9]}, "gate": KEPT}
    with pytest.raises(UsageError, match=r'B04 has no nodata value .* take dtype="float32"'):
        mosaic.open(items, **told)
    got = mosaic.open(items, dtype="float32", groupby="all", **told).B04
    read = mosaic.read(items, **told)
    np.testing.assert_array_equal(np.isfinite(got.values), read.valid)
    np.testing.assert_array_equal(got.values[read.valid], read.values[read.valid])


def test_a_function_that_fails_names_items_and_window(series: Made) -> None:
    def broken(ds: xr.Dataset) -> xr.Dataset:
        raise KeyError("no such thing")

    ds = opened(series, method=broken)
    with pytest.raises(CompositeError, match=r"rows 0 to .*, columns 0 to .*KeyError") as caught:
        ds.load()
    assert set(caught.value.items) == {
        f"S2_{zone}_{date}" for zone in (32, 33) for date in range(4)
    }
    assert isinstance(caught.value.__cause__, KeyError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.window) == (str(caught.value), caught.value.window)
    for gives, said in (
        (lambda ds: ds, "came back as .*not as y, x of"),
        (lambda ds: 3, "it gave int, not a Dataset"),
        (lambda ds: ds[["B02"]].max("time"), "it gave no B04"),
        (lambda ds: ds.max("time").astype(str), "B02 came back as <U"),
    ):
        with pytest.raises(CompositeError, match=said):
            opened(series, method=gives).load()
