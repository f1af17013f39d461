"""``mosaic.odc_driver`` in odc.stac.load: eager and dask; beside odc-loader's own, and PROJ."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import odc.loader
import odc.stac
import pyproj
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.loader.types import is_reader_driver

import mosaic
from mosaic.cube import odc as ours
from mosaic.errors import ReadError, UsageError
from mosaic.settings import Limits, Retry
from mosaic.storage import Gate
from tests.cube.conftest import Made
from tests.cube.test_like_odc import items_of
from tests.support.exact import shown
from tests.support.range_server import RangeServer


def own(**told: Any) -> Any:
    return mosaic.odc_driver(gate=Gate(**told))


def behind(made: Made, server: RangeServer) -> list[pystac.Item]:
    """The items, their files behind a server."""
    items = items_of(made)
    for item in items:
        for asset in item.assets.values():
            path = Path(asset.href)
            name = f"{path.parent.name}/{path.name}"
            server.objects[name] = path.read_bytes()
            asset.href = server.url(name)
    return items


def middle(made: Made, side: int = 300) -> GeoBox:
    """A grid in EPSG:3035 about the middle of a mosaic."""
    box = mosaic.open(made.path, gate=Gate()).odc.geobox
    x, y = box.affine @ (box.shape[1] / 2, box.shape[0] / 2)
    return GeoBox(
        (side, side + 40), Affine(47, 0, x - 23.5 * side, 0, -47, y + 23.5 * side), box.crs
    )


@pytest.mark.parametrize("groupby", ["id", "time", "solar_day", "tile"])
@pytest.mark.parametrize("how", ["eager", "pool", "dask"])
def test_pixels_are_odcs_where_nothing_is_warped(native: Made, groupby: str, how: str) -> None:
    """The whole dataset: numbers, coordinates, attributes; with properties, too."""
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    more: dict[str, Any] = {"pool": {"pool": 4}, "dask": {"chunks": {"x": 130, "y": 100}}}.get(
        how, {}
    )
    told = {"geobox": box, "groupby": groupby, "with_properties": ["eo:cloud_cover"], **more}
    theirs = odc.stac.load(items_of(native), **told)
    found = odc.stac.load(items_of(native), driver=own(), **told)
    assert (found.B02.chunks is not None) == (how == "dask")
    # as many threads as readers: what is drawn ahead belongs to whoever opened it
    with dask.config.set(scheduler="threads", num_workers=4):
        xr.testing.assert_identical(found.load(), theirs.load())
    assert (found.B02.values > 0).any()


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
def test_pixels_are_projs_however_it_is_cut(seamed: Made, resampling: str) -> None:
    box = middle(seamed)
    items = sorted(items_of(seamed), key=lambda item: (item.datetime, item.id))
    order = [item.id for item in items if item.datetime == items[0].datetime]
    files = [seamed.items.parent / name / "B04.tif" for name in order]
    want = shown(files, "EPSG:3035", box.affine, tuple(box.shape), resampling)
    assert want.valid.mean() > 0.5
    some = [item for item in items if item.id in order]
    told: dict[str, Any] = {"geobox": box, "groupby": "solar_day", "resampling": resampling}
    for chunks in (None, {"x": 100, "y": 77}):
        found = odc.stac.load(some, driver=own(), chunks=chunks, **told).B04.load()
        same = found.values[0] == np.where(want.valid, want.values, 0)
        # for cubic, where GDAL and the plain reference round a half
        assert same.mean() > (0.9999 if resampling == "cubic" else 0.999999)


def test_odcs_own_driver_is_within_its_eighth_of_a_pixel(seamed: Made) -> None:
    """Where its pixel is another one, PROJ's place is within 0.125 of that pixel's edge."""
    box = middle(seamed)
    item = min(items_of(seamed), key=lambda item: str(item.id))
    found = odc.stac.load([item], geobox=box, driver=own()).B04.values[0]
    theirs = odc.stac.load([item], geobox=box).B04.values[0]
    other = (found != theirs) & (found != 0) & (theirs != 0)
    assert 0 < other.mean() < 0.1
    with rasterio.open(item.assets["B04"].href) as file:
        pixels, back, crs = file.read(1), ~file.transform, file.crs.to_wkt()
    rows, columns = np.nonzero(other)
    x, y = box.affine @ (columns + 0.5, rows + 0.5)
    u, v = back @ pyproj.Transformer.from_crs("EPSG:3035", crs, always_xy=True).transform(x, y)
    near = np.zeros(len(u), bool)
    for du in (-0.125, 0, 0.125):
        for dv in (-0.125, 0, 0.125):
            r, c = (np.floor(place).astype(int) for place in (v + dv, u + du))
            near |= pixels[r.clip(0, 255), c.clip(0, 255)] == theirs[other]
    assert near.all()


def test_nodata_types_and_fill_values_are_odcs(native: Made) -> None:
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    for told in (
        {"dtype": "float32"},
        {"dtype": "int16", "nodata": -99},
        {"dtype": {"B02": "float64"}, "nodata": 7},
        {"dtype": "uint8"},  # numbers beyond its end stay at the end
    ):
        theirs = odc.stac.load(items_of(native), geobox=box, groupby="solar_day", **told)
        found = odc.stac.load(
            items_of(native), geobox=box, groupby="solar_day", driver=own(), **told
        )
        xr.testing.assert_identical(found, theirs)


def test_a_fuser_sees_each_source(native: Made) -> None:
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    told: dict[str, Any] = {"geobox": box, "groupby": "tile", "fuse_func": f"{__name__}.added"}
    theirs = odc.stac.load(items_of(native), **told)
    found = odc.stac.load(items_of(native), driver=own(), **told)
    xr.testing.assert_identical(found, theirs)
    plain = odc.stac.load(items_of(native), **{**told, "fuse_func": None})
    assert (found.B02.values > plain.B02.values).any()


def added(dst: np.ndarray, src: np.ndarray) -> None:
    dst += src


def test_overviews_serve_unless_they_may_not(native: Made, tmp_path: Path) -> None:
    item = items_of(native)[0]
    path = tmp_path / "a.tif"
    with rasterio.open(item.assets["B02"].href) as file:
        rasterio.shutil.copy(file, path, driver="COG", BLOCKSIZE=64, OVERVIEW_RESAMPLING="AVERAGE")
    for asset in item.assets.values():
        asset.href = str(path)
    with rasterio.open(path) as file:
        whole, coarse = file.read(1), file.read(1, out_shape=(64, 64))
        crs, affine = file.crs.to_string(), file.transform @ Affine.scale(4)
    box = GeoBox((64, 64), affine, crs)
    by = {flag: load_one(item, box, use_overviews=flag) for flag in (True, False)}
    np.testing.assert_array_equal(by[True], coarse)
    np.testing.assert_array_equal(by[False], whole[2::4, 2::4])


def load_one(item: pystac.Item, box: GeoBox, **told: Any) -> np.ndarray:
    found: np.ndarray = odc.stac.load([item], geobox=box, bands="B02", driver=own(), **told)[
        "B02"
    ].values[0]
    return found


def test_it_is_a_driver_that_travels() -> None:
    made = own()
    assert is_reader_driver(made)
    assert is_reader_driver(odc.loader.reader_driver("mosaic.odc_driver"))
    assert made.md_parser is None  # else odc-stac hears no stac_cfg=
    assert made.dask_reader is None
    assert hasattr(made.aux_reader, "read")
    assert len(pickle.dumps(made)) < 1000
    load = made.new_load(GeoBox((10, 10), Affine.identity(), "EPSG:3857"), chunks={"x": 5})
    reader = ours.Reader(odc.loader.RasterSource("https://a.b/c.tif?sig=abc"), ours.Opened(load))
    again = pickle.loads(pickle.dumps(reader))
    assert again.source == reader.source
    assert "abc" not in repr(again)
    assert made.finalise_load(load) is load


def test_what_is_told_of_collections_is_heard(native: Made) -> None:
    """``stac_cfg=`` of items that lack types: odc-stac's own parser reads it."""
    items = items_of(native)
    for item in items:
        for asset in item.assets.values():
            asset.extra_fields = {}
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    cfg = {"*": {"assets": {"*": {"data_type": "int32", "nodata": -1}}, "aliases": {"blue": "B02"}}}
    told: dict[str, Any] = {"geobox": box, "stac_cfg": cfg, "bands": ["blue"]}
    found = odc.stac.load(items, driver=own(), **told)
    assert found.blue.dtype == "int32"
    xr.testing.assert_identical(found, odc.stac.load(items, **told))


def test_what_cannot_be_read_is_an_error_or_logged(
    native: Made, caplog: pytest.LogCaptureFixture
) -> None:
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    with RangeServer({}) as server:
        items = behind(native, server)
        lost = Path(items[1].assets["B03"].href).parent.name
        del server.objects[f"{lost}/B03.tif"]
        for item in items:
            for asset in item.assets.values():
                asset.href += "?sig=secret"
        told: dict[str, Any] = {"geobox": box, "groupby": "id", "driver": own()}
        for chunks in (None, {}):
            with pytest.raises(ReadError, match=f"{lost}/B03.tif") as caught:
                odc.stac.load(items, chunks=chunks, **told).load()
            assert "secret" not in str(caught.value)
            with caplog.at_level(logging.WARNING, "mosaic.odc"):
                found = odc.stac.load(items, chunks=chunks, fail_on_error=False, **told).load()
            assert f"{lost}/B03.tif" in caplog.text
            assert "secret" not in caplog.text
            caplog.clear()
            want = odc.stac.load(items_of(native), geobox=box, groupby="id")
            xr.testing.assert_identical(found.B02, want.B02)
            there = [place for place in range(5) if place != 1]
            np.testing.assert_array_equal(found.B03[there], want.B03[there])
            assert not found.B03[1].values.any()
    with pytest.raises(UsageError, match="no resampling method"):
        odc.stac.load(items_of(native), geobox=box, resampling="best", driver=own())


def test_reads_pass_the_gate(seamed: Made) -> None:
    """Sources of a chunk travel beside each other, within the limit; nothing is asked for twice."""
    box = middle(seamed)
    with RangeServer({}, latency=0.02) as server:
        items = behind(seamed, server)
        told: dict[str, Any] = {"geobox": box, "groupby": "solar_day"}
        gate = Gate(limits=Limits(concurrency=4, start=4), retry=Retry(base=0.01))
        found = odc.stac.load(items, driver=mosaic.odc_driver(gate=gate), **told)
        assert 1 < server.counts.peak <= 4
        asked = [(path, span) for _, path, span, _ in server.counts.log]
        assert len(set(asked)) == len(asked)
        assert server.counts.heads == 0
        server.reset()
        again = odc.stac.load(items, driver=mosaic.odc_driver(gate=gate), **told)
        assert server.counts.requests == 0
        xr.testing.assert_identical(found, again)
        # refusals are asked again
        server.behaviour.flaky = 0.3
        other = mosaic.odc_driver(gate=Gate(retry=Retry(base=0.01)))
        xr.testing.assert_identical(found, odc.stac.load(items, driver=other, **told))
        assert server.counts.statuses.get(503, 0) > 0


def test_little_is_drawn_ahead(native: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more results wait than there is room for; without any each is drawn when it is asked."""
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    want = odc.stac.load(items_of(native), geobox=box, groupby="tile", driver=own())
    most: list[int] = []
    before = ours.Opened._ahead

    def ahead(self: ours.Opened, asked: Any) -> None:
        before(self, asked)
        most.append(len(self._begun))

    monkeypatch.setattr(ours.Opened, "_ahead", ahead)
    size = box.shape[0] * box.shape[1] * 3
    for room, count in ((0, 0), (size, 1), (10 * size, 2)):
        monkeypatch.setattr(ours, "AHEAD", room)
        most.clear()
        found = odc.stac.load(items_of(native), geobox=box, groupby="tile", driver=own())
        xr.testing.assert_identical(found, want)
        assert max(most) == count


def test_readers_of_one_load_are_each_others_neighbours_and_no_more(native: Made) -> None:
    """In whatever order they are asked, for whatever; and when their load has ended."""
    box = mosaic.open(native.path, gate=Gate()).odc.geobox
    driver = own()
    files = native.files("B02")
    want = {}
    for path in files:
        with rasterio.open(path) as file:
            want[path] = file.read(1)
    cfg = odc.loader.RasterLoadParams(dtype="uint16", fill_value=0)
    load = driver.new_load(box)
    with driver.restore_env(driver.capture_env(), load) as ctx:
        readers = [driver.open(odc.loader.RasterSource(str(path)), ctx) for path in files]
        for place in (2, 0, 3):
            roi, pixels = readers[place].read(cfg, box)
            assert np.isin(want[files[place]][want[files[place]] > 0], pixels).all()
        part = box[10:60, 20:90]
        whole = np.zeros(box.shape, "uint16")
        roi, pixels = readers[4].read(cfg, box)
        whole[roi] = pixels
        cut = np.zeros(part.shape, "uint16")
        roi, pixels = readers[1].read(cfg, part, dst=cut)
        assert pixels.base is cut or pixels is cut or not pixels.size
    again = np.zeros(box.shape, "uint16")
    roi, _ = readers[4].read(cfg, box, dst=again)
    np.testing.assert_array_equal(again, whole)
    with ThreadPoolExecutor(4) as pool:  # dask's threads may ask one reader for several chunks
        boxes = [box[:, at : at + 90] for at in range(0, 700, 90)]
        parts = list(pool.map(lambda one: (one, readers[4].read(cfg, one)), boxes))
    joined = np.zeros(box.shape, "uint16")
    for at, (_, (roi, pixels)) in zip(range(0, 700, 90), parts, strict=True):
        joined[:, at : at + 90][roi] = pixels
    np.testing.assert_array_equal(joined, whole)
