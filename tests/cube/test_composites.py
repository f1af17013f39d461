"""Composites are what the same reductions make of the plain stack of time."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import orjson
import pystac
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.cube.backend import MosaicBackend
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.cube.test_processes import run
from tests.support.scenes import utm_scene
from tests.support.series import write_series

BANDS = ["B02", "B04"]
KEPT = Gate()


def quantile(stack: xr.DataArray, share: float) -> xr.DataArray:
    """xarray's takes a second for 10,000 pixels: each kind of pixel by itself is quicker."""
    values = np.sort(stack.values.astype(float), axis=0)  # what is no number comes last
    counts = np.isfinite(values).sum(0)
    out = np.full(counts.shape, np.nan)
    for count in np.unique(counts[counts > 0]):
        some = counts == count
        out[some] = np.quantile(values[:count, some], share, axis=0)
    return stack.isel(time=0).copy(data=out)


EXACT = {
    "min": lambda stack: stack.min("time"),
    "max": lambda stack: stack.max("time"),
    "mean": lambda stack: stack.astype("float64").mean("time"),
    "median": lambda stack: stack.median("time"),
    "count": lambda stack: stack.count("time"),
    "std": lambda stack: stack.astype("float64").std("time"),
    "percentile:20": lambda stack: quantile(stack, 0.2),
    "percentile:97.5": lambda stack: quantile(stack, 0.975),
}
"""xarray's own, over (time, y, x) with NaN."""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Six dates, three bands and a classification, in two zones; the mosaic is in EPSG:3035."""
    home = tmp_path_factory.mktemp("series")
    items = write_series(home / "scenes", size=256, res=60.0)
    mosaic.build(items, home / "mosaic", dst_crs="EPSG:3035")
    return Made(home / "mosaic", (), items)


def opened(one: Made, **told: Any) -> xr.Dataset:
    return mosaic.open(one.path, gate=KEPT, **{"bands": BANDS, **told})


def stack(one: Made, groupby: str = "solar_day", **told: Any) -> xr.Dataset:
    """The plain stack, NaN where nothing is."""
    found = opened(one, groupby=groupby, **told).load()
    assert found.sizes["time"] >= 3
    return found.where(found > 0)


def same(got: xr.DataArray, want: xr.DataArray | np.ndarray, exact: bool = True) -> None:
    """Equal numbers, and where there are none; nodata of integers is none."""
    values = got.values.astype(np.float64)
    if "nodata" in got.attrs:
        values = np.where(values == got.attrs["nodata"], np.nan, values)
    wanted = np.asarray(want).astype(got.dtype if got.dtype.kind == "f" else np.float64)
    assert np.isfinite(values).mean() > 0.2
    if exact:
        np.testing.assert_array_equal(values, wanted)
    else:
        np.testing.assert_allclose(values, wanted, rtol=2e-6, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning", "ignore:Degrees of:RuntimeWarning")
@pytest.mark.parametrize("method", EXACT)
def test_each_method_is_xarrays_over_the_stack(series: Made, method: str) -> None:
    """Of all, and by month; by solar day, and scene by scene. Scenes overlap, and have gaps."""
    got = opened(series, method=method)
    assert got.sizes["time"] == 1
    whole = stack(series)
    for band in BANDS:
        want = EXACT[method](whole[band])
        same(got[band][0], want, exact=method != "std")
        assert got[band].dtype == {"min": "uint16", "max": "uint16", "count": "uint16"}.get(
            method, "float32"
        )
    every = stack(series, "id")
    scenes = opened(series, method=method, over="id").B04[0]
    same(scenes, EXACT[method](every.B04), exact=method != "std")
    assert (scenes.values != got.B04[0].values).any()
    months = opened(series, method=method, groupby="month").B04
    begin = ["2025-06-01T00:00:00", "2025-07-01T00:00:00"]
    np.testing.assert_array_equal(months.time.values, np.array(begin, "datetime64[ns]"))
    for place, want in enumerate(
        (whole.B04.sel(time="2025-06"), whole.B04.sel(time="2025-07")),
    ):
        assert want.sizes["time"] == 3
        same(months[place], EXACT[method](want), exact=method != "std")


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning")
def test_over_odc_stacs_stack(series: Made) -> None:
    """In the scenes' own zone nothing is warped there either: equal numbers, none of ours."""
    document = orjson.loads(series.items.read_bytes())
    west = [one for one in document["features"] if "_32_" in one["id"]]
    for one in west:
        for asset in one["assets"].values():
            asset["href"] = str(series.items.parent / asset["href"])
    a = west[0]["assets"]["B04"]["proj:transform"]
    shape = west[0]["assets"]["B04"]["proj:shape"]
    box = GeoBox(shape, tuple_affine(a), "EPSG:32632")
    items = [pystac.Item.from_dict(one) for one in west]
    theirs = odc.stac.load(items, geobox=box, bands=[*BANDS, "SCL"], groupby="solar_day")
    clear = ~theirs.SCL.isin([3, 9]) & (theirs.SCL > 0)
    for masked in (False, True):
        for method, reduce in EXACT.items():
            told: dict[str, Any] = {"mask": {"SCL": [3, 9]}} if masked else {}
            ours = mosaic.open(west, geobox=box, bands=BANDS, method=method, gate=KEPT, **told)
            for band in BANDS:
                known = theirs[band].where((theirs[band] > 0) & (clear if masked else True))
                same(ours[band][0], reduce(known), exact=method != "std")


def tuple_affine(told: list[float]) -> Any:
    from affine import Affine

    return Affine(*told[:6])


def medoid(found: xr.Dataset) -> dict[str, np.ndarray]:
    """By its definition: the layer with the least sum of distances, the newest of equals."""
    values = np.stack([found[band].values[::-1].astype(float) for band in BANDS])  # newest first
    whole = np.isfinite(values).all(0)
    off = values[:, :, None] - values[:, None]
    far = np.sqrt((off**2).sum(0))
    sums = np.where(whole, np.nansum(np.where(whole[None], far, 0), axis=1), np.inf)
    best = sums.argmin(0)
    return {
        band: np.where(whole.any(0), np.take_along_axis(values[place], best[None], 0)[0], np.nan)
        for place, band in enumerate(BANDS)
    }


def test_medoid_by_its_definition(series: Made) -> None:
    got = opened(series, method="medoid")
    want = medoid(stack(series))
    for band in BANDS:
        same(got[band][0], want[band])
        assert got[band].dtype == np.uint16
    alone = opened(series, method="medoid").B04.values  # sees the other band all the same
    np.testing.assert_array_equal(alone, got.B04.values)
    other = opened(series, method="medoid", bands=["B04"]).B04.values
    assert (alone != other).any()


def test_a_function_sees_layers_and_items(series: Made) -> None:
    """As a dataset with NaN, of blocks; what it gives is what is shown."""
    seen: list[tuple[int, ...]] = []

    def rule(ds: xr.Dataset) -> xr.Dataset:
        seen.append(ds.B04.shape)
        assert list(ds.data_vars) == BANDS
        assert ds.B04.dtype == np.float32
        assert len(ds.attrs["items"]) == ds.sizes["time"]
        assert (np.diff(ds.time) > np.timedelta64(0)).all()
        clouds = [max(one["eo:cloud_cover"] for one in some) for some in ds.attrs["items"]]
        return ds.isel(time=[place for place, some in enumerate(clouds) if some < 80]).median(
            "time"
        )

    whole = stack(series, "id")
    kept = [one for one in range(12) if (one // 2 * 37 + 11 * (one % 2)) % 90 < 80]
    assert len(kept) < 12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        got = opened(series, method=rule, over="id").load()
        for band in BANDS:
            same(got[band][0], whole[band].isel(time=kept).median("time"))
    assert seen
    assert got.B04.dtype == np.float32


@pytest.mark.parametrize("greatest", [False, True])
def test_the_best_band_picks_a_layer(series: Made, greatest: bool) -> None:
    """In all bands, though it isn't among them."""
    got = opened(series, best="-B03" if greatest else "B03")
    whole = stack(series, bands=[*BANDS, "B03"])
    quality = whole.B03.values[::-1]  # the newest of equals
    filled = np.where(np.isnan(quality), -np.inf if greatest else np.inf, quality)
    place = filled.argmax(0) if greatest else filled.argmin(0)
    for band in BANDS:
        want = np.take_along_axis(whole[band].values[::-1], place[None], 0)[0]
        same(got[band][0], np.where(np.isnan(quality).all(0), np.nan, want))


@pytest.mark.parametrize("by", ["eo:cloud_cover", "-eo:cloud_cover"])
def test_the_best_scene_lies_on_top(series: Made, by: str) -> None:
    got = opened(series, best=by, groupby="all").B04[0]
    layers = opened(series, groupby="eo:cloud_cover").B04.values  # the least first
    layers = layers[::-1] if by[0] == "-" else layers
    want = layers[0].copy()
    for layer in layers[1:]:
        np.copyto(want, layer, where=want == 0)
    np.testing.assert_array_equal(got.values, want)
    read = mosaic.read(series.path, bands="B04", best=by, gate=KEPT)
    np.testing.assert_array_equal(read.values[0], want)


WAYS: dict[str, dict[str, Any]] = {
    "median": {"method": "median"},
    "std by month": {"method": "std", "groupby": "month"},
    "masked first": {"mask": {"SCL": [3, 9]}, "groupby": "all"},
    "masked medoid": {"method": "medoid", "mask": {"SCL": [3, 9]}, "mask_dilate": 4},
    "best": {"best": "-B03", "groupby": "all"},
    "function": {"method": lambda ds: ds.max("time")},
}


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning")
@pytest.mark.parametrize("way", WAYS)
def test_chunks_slices_and_steps_show_no_seam(
    series: Made, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In degrees, warped; whole, by dask, by small blocks, and by pieces: the same numbers."""
    told = {**WAYS[way], "crs": "EPSG:4326", "resolution": 0.0009}
    want = opened(series, **told).load()
    assert min(want.sizes["y"], want.sizes["x"]) > 130
    chunked = opened(series, **told, chunks={"y": 70, "x": 111})
    xr.testing.assert_identical(chunked.compute(), want)
    part = opened(series, **told).isel(y=slice(33, 101), x=slice(200, 60, -1))
    xr.testing.assert_equal(part.load(), want.isel(y=slice(33, 101), x=slice(200, 60, -1)))
    points = {"y": xr.DataArray([5, 90, 71], dims="p"), "x": xr.DataArray([7, 131, 70], dims="p")}
    np.testing.assert_array_equal(
        opened(series, **told).B04.isel(points).values, want.B04.isel(points).values
    )
    monkeypatch.setattr("mosaic.cube.composer.ROOM", 600_000)
    xr.testing.assert_identical(opened(series, **told).load(), want)


@pytest.mark.filterwarnings("ignore:.*NaN:RuntimeWarning")
def test_across_180_degrees_in_degrees(tmp_path: Path) -> None:
    scenes = [
        utm_scene(
            f"a{zone}_{day}", zone, lon, -17.0, 128, 120.0, datetime=f"2025-06-0{day}T00:00:00Z",
            hole=(0.1 * day, 0.1 * day + 0.3),
        )
        for day in (1, 2, 3)
        for zone, lon in ((32760, 179.98), (32701, -179.97))
    ]  # fmt: skip
    one = made(tmp_path, scenes, dst_crs="EPSG:3832")
    place = {"bbox": (179.9, -17.05, -179.9, -16.95), "crs": "EPSG:4326", "resolution": 0.001}
    told = {**place, "gate": KEPT}
    days = mosaic.open(one.path, groupby="day", **told).load()
    got = mosaic.open(one.path, method="median", **told)
    assert got.sizes["x"] == 200
    want = days.where(days > 0).B04.median("time")
    same(got.B04[0], want)
    assert np.isfinite(want.values).mean() > 0.9
    assert days.B04.astype(float).std("time").max() > 0


def test_read_is_open(series: Made) -> None:
    for told in ({"method": "median"}, {"method": "max", "mask": {"SCL": ["cloud_shadows"]}}):
        found = mosaic.read(series.path, bands=BANDS, gate=KEPT, **told)  # type: ignore[arg-type]
        want = opened(series, groupby="all", **told)
        for place, band in enumerate(BANDS):
            np.testing.assert_array_equal(found.values[place], want[band][0].values)
            there = want[band][0].values
            there = np.isfinite(there) if there.dtype.kind == "f" else there > 0
            np.testing.assert_array_equal(found.valid[place], there)
        assert found.covered.all()
        assert found.problems == ()
    first = mosaic.read(series.path, bands=BANDS, gate=KEPT, method="last")
    want = opened(series, groupby="all", method="last")
    np.testing.assert_array_equal(first.values[0], want.B02[0].values)


def test_what_is_planned_is_asked_for(series: Made) -> None:
    gate = Gate()
    ds = mosaic.open(series.path, gate=gate, bands=BANDS, method="mean", mask={"SCL": [9]})
    plan = ds.mosaic.plan()
    assert {row.asset for row in plan.rows} == {"B02", "B04", "SCL"}
    assert {row.item for row in plan.rows} == set(
        ds.encoding["mosaic"].scenes().mosaic.id.to_pylist()
    )
    again = mosaic.plan(series.path, bands=BANDS, method="mean", mask={"SCL": [9]}, gate=gate)
    assert again.least == plan.least


def test_attributes_say_what_numbers_are(tmp_path: Path) -> None:
    """An offset is in a mean and not in a deviation; a count has neither scale nor nodata."""
    home = tmp_path
    items = write_series(home / "scenes", size=64, res=240.0, dates=3)
    document = orjson.loads(items.read_bytes())
    for one in document["features"]:
        for band in ("B02", "B03", "B04"):
            one["assets"][band]["raster:bands"][0] |= {"scale": 0.0001, "offset": -0.1}
    items.write_bytes(orjson.dumps(document))
    told: dict[str, Any] = {"bands": ["B04"], "gate": KEPT, "groupby": "all"}
    makes: Callable[..., xr.DataArray] = lambda **more: mosaic.open(items, **told, **more).B04  # noqa: E731
    scaled = {"scale_factor": 0.0001, "add_offset": -0.1}
    assert scaled.items() <= makes(method="median").attrs.items()
    assert np.isnan(makes(method="median").attrs["_FillValue"])
    assert makes(method="median").attrs["cell_methods"] == "time: median"
    assert scaled.items() <= makes(method="min").attrs.items()
    assert makes(method="min").attrs["_FillValue"] == 0
    std = makes(method="std").attrs
    assert std["scale_factor"] == 0.0001
    assert std["add_offset"] == 0
    count = makes(method="count")
    assert not {"scale_factor", "nodata", "_FillValue"} & set(count.attrs)
    assert count.max() == 3
    raw = makes(method="median", raw=True)
    assert "scale_factor" not in raw.attrs
    np.testing.assert_array_equal(raw.values, makes(method="median").values)
    rounded = makes(method="mean", dtype="uint16")
    assert (rounded.dtype, rounded.attrs["nodata"]) == (np.uint16, 0)
    exact = makes(method="mean").values
    known = np.isfinite(exact)
    np.testing.assert_array_equal(rounded.values[known], np.floor(exact[known] + 0.5))
    assert (rounded.values[~known] == 0).all()


_ELSEWHERE = """
import pickle, sys
ds = pickle.load(open(sys.argv[1], "rb"))
pickle.dump(ds.compute(scheduler="sync").B04.values, open(sys.argv[2], "wb"))
"""


@pytest.mark.parametrize("chunks", [None, {"x": 100}])
def test_it_travels(series: Made, tmp_path: Path, chunks: dict[str, int] | None) -> None:
    """To another process, as what was asked for; and equal ones have equal tokens."""
    told: dict[str, Any] = {"method": "median", "mask": {"SCL": [9]}, "mask_dilate": 2}
    ds = opened(series, chunks=chunks, groupby="month", **told)
    data = pickle.dumps(ds)
    assert len(data) < 40_000
    (tmp_path / "in").write_bytes(data)
    run(_ELSEWHERE, tmp_path / "in", tmp_path / "out")
    want = opened(series, groupby="month", **told).B04.values
    np.testing.assert_array_equal(pickle.loads((tmp_path / "out").read_bytes()), want)
    tokens = {
        opened(series, **{**told, **more}).encoding["mosaic"].choice.token
        for more in ({}, {}, {"mask": {"SCL": [8]}}, {"mask_dilate": 3}, {"method": "mean"})
    }
    assert len(tokens) == 4


def test_as_xarrays_backend(series: Made) -> None:
    told: dict[str, Any] = {"bands": BANDS, "method": "max", "mask": {"SCL": [3]}}
    with xr.open_dataset(series.path, engine=MosaicBackend, **told) as ds:
        xr.testing.assert_equal(ds, opened(series, **told))


def test_encodings_agree_before_anything_is_made_of_them(tmp_path: Path) -> None:
    """Scenes of an old baseline are 1000 lower: brought up first, and not with ``raw``."""
    items = write_series(tmp_path / "scenes", size=64, res=240.0, dates=4)
    document = orjson.loads(items.read_bytes())
    for one in document["features"]:
        new = one["id"].endswith(("0", "2"))
        one["properties"] |= {
            "constellation": "sentinel-2",
            "s2:processing_baseline": "05.10" if new else "03.01",
        }
    items.write_bytes(orjson.dumps(document))
    told: dict[str, Any] = {"bands": ["B04"], "gate": KEPT}
    raw = mosaic.open(items, groupby="id", raw=True, **told).load().B04
    old = xr.DataArray([False, False, True, True] * 2, dims="time")
    high = xr.where(raw > 0, raw + xr.where(old, 1000, 0), 0)
    assert (high != raw).any()
    for stack, more in ((high, {}), (raw, {"raw": True})):
        known = stack.where(stack > 0)
        for method in ("median", "min", "mean", "std"):
            got = mosaic.open(items, method=method, over="id", **told, **more).B04
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                same(got[0], EXACT[method](known), exact=method != "std")


def test_groups_by_a_property_and_a_function(series: Made) -> None:
    """Each group's layers are reduced by themselves, in the groups' order."""
    days = stack(series)
    by = {"even": [0, 2, 4], "odd": [1, 3, 5]}
    dates = days.time.values.astype("datetime64[D]").tolist()

    def parity(item: dict[str, Any]) -> str:
        return "odd" if dates.index(item["datetime"].date()) % 2 else "even"

    got = opened(series, method="max", groupby=parity)
    assert got.sizes["time"] == 2
    for place, some in enumerate(by.values()):
        same(got.B04[place], days.B04.isel(time=some).max("time"))
    cloudy = opened(series, method="count", groupby="eo:cloud_cover", over="id").B04
    assert cloudy.sizes["time"] == 12
    assert cloudy.max() == 1
