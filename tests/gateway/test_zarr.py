"""`/zarr`: a mosaic as a Zarr store, by real clients, against `mosaic.open` of the same folder."""

from __future__ import annotations

import shutil
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rioxarray  # noqa: F401 - gives datasets their .rio
import xarray as xr
import zarr
import zarr_cm
from affine import Affine
from obstore.store import HTTPStore
from odc.geo.geobox import GeoBox
from zarr.storage import ObjectStore

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.settings import Retry
from tests.gateway.conftest import Serve
from tests.support.range_server import RangeServer
from tests.support.scenes import Scene, seam_scenes, utm_scene, write_scenes
from tests.support.upstream import ask

MICROSECONDS = xr.coders.CFDatetimeCoder(time_unit="us")


def at(gateway: Gateway, *parts: str) -> str:
    return "/".join((gateway.url, "zarr", "mosaic", *parts))


def plain(url: str, **options: Any) -> xr.Dataset:
    """Numbers as they are stored, times as mosaic.open has them."""
    return xr.open_zarr(url, mask_and_scale=False, decode_times=MICROSECONDS, **options)


def same(got: xr.Dataset, want: xr.Dataset) -> None:
    """Numbers, names and types, and all that mosaic.open tells of them."""
    assert set(got.data_vars) == set(want.data_vars)
    assert set(got.coords) == set(want.coords)
    for name, one in want.variables.items():
        assert got[name].dims == one.dims
        assert got[name].dtype == one.dtype, name
        np.testing.assert_array_equal(got[name].values, one.values, err_msg=str(name))
        # JSON has no NaN; _FillValue tells it
        told = {key: value for key, value in one.attrs.items() if key != "nodata" or value == value}
        np.testing.assert_equal({key: got[name].attrs.get(key) for key in told}, told)


@pytest.mark.parametrize(
    ("choice", "arguments"),
    [
        ("", {}),
        ("groupby=all", {"groupby": "all"}),
        ("groupby=solar_day&bands=B03,B02", {"groupby": "solar_day", "bands": ["B03", "B02"]}),
        ("method=median", {"method": "median"}),
        ("method=count&groupby=month", {"method": "count", "groupby": "month"}),
        ("method=percentile:90&over=id", {"method": "percentile:90", "over": "id"}),
        ("mask=B03:0,bit:3&mask_dilate=2", {"mask": {"B03": [0, "bit:3"]}, "mask_dilate": 2}),
        ("datetime=2025-06-02..2025-07", {"datetime": "2025-06-02/2025-07"}),
        ("best=-datetime&bands=B04", {"best": "-datetime", "bands": "B04"}),
        (
            "crs=EPSG:4326&resolution=0.0009&resampling=cubic&dtype=float32&chunk=256",
            {"crs": "EPSG:4326", "resolution": 0.0009, "resampling": "cubic", "dtype": "float32"},
        ),
        (
            "bbox=11.97,47.46,12.03,47.54&resolution=20,40",
            {"bbox": [11.97, 47.46, 12.03, 47.54], "resolution": [20, 40]},
        ),
    ],
)
def test_a_store_is_what_open_gives(
    serve: Serve, remote: Path, choice: str, arguments: dict[str, Any]
) -> None:
    gateway = serve(remote)
    want = mosaic.open(remote, **arguments).load()
    got = plain(at(gateway, choice) if choice else at(gateway))
    same(got.load(), want)
    assert got.odc.geobox == want.odc.geobox


def test_other_clients_and_decoded(serve: Serve, remote: Path) -> None:
    """zarr-python by obstore, with and without consolidated metadata; xarray as it decodes."""
    gateway = serve(remote)
    want = mosaic.open(remote).load()
    store = ObjectStore(HTTPStore.from_url(at(gateway), client_options={"allow_http": True}))
    for consolidated in (True, False):
        root = zarr.open_group(store, mode="r", use_consolidated=consolidated)
        for name in want.data_vars:
            np.testing.assert_array_equal(root[name][:], want[name].values)
            assert root[name].metadata.dimension_names == ("time", "y", "x")
            assert root[name].fill_value == want[name].attrs["nodata"]
        assert root["spatial_ref"][()] == want.spatial_ref
    members = dict(zarr.open_group(store, mode="r").members(max_depth=None))
    assert {"B04", "levels/0/B04", "levels", "time"} <= set(members)
    got = xr.open_zarr(at(gateway), decode_coords="all").load()
    decoded = xr.decode_cf(want, decode_coords="all")
    xr.testing.assert_equal(got, decoded)
    assert got.B04.dtype.kind == "f"
    assert got.B04.isnull().any()
    assert got.rio.crs == decoded.rio.crs


@pytest.mark.parametrize("choice", ["", "groupby=all/"])
def test_a_url_may_end_in_a_slash(serve: Serve, remote: Path, choice: str) -> None:
    """By every client, with all chunks: what has arrays but no chunks is read as no data."""
    gateway = serve(remote)
    want = mosaic.open(remote, **({"groupby": "all"} if choice else {})).B04.values
    assert want.any()
    url = at(gateway, choice)
    assert url.endswith("/")
    store = ObjectStore(HTTPStore.from_url(url, client_options={"allow_http": True}))
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["B04"][:], want)
    np.testing.assert_array_equal(plain(url).B04.values, want)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic that has coarser grids, and corners where nothing lies."""
    home = tmp_path_factory.mktemp("wide")
    items = write_scenes(home / "scenes", seam_scenes(700, 60.0, ("B04",), dates=1))
    mosaic.build(items, home / "mosaic", resampling="bilinear")
    return home / "mosaic"


def test_levels_are_coarser_grids(serve: Serve, wide: Path) -> None:
    gateway = serve(wide)
    tree = xr.open_datatree(at(gateway, "levels"), engine="zarr", mask_and_scale=False)
    base = mosaic.open(wide)
    (height, width), affine = base.odc.geobox.shape, base.odc.geobox.affine
    assert len(tree.children) == len(tree.attrs["multiscales"]["layout"]) == 3
    for level, entry in enumerate(tree.attrs["multiscales"]["layout"]):
        assert entry["asset"] == str(level)
        factor = 2**level
        shape = -(-height // factor), -(-width // factor)
        grid = GeoBox(shape, affine @ Affine.scale(factor), "EPSG:32633")
        want = mosaic.open(wide, geobox=grid).load()
        same(plain(at(gateway), group=f"levels/{level}").load(), want)
        same(plain(at(gateway, "levels", str(level))).load(), want)
        np.testing.assert_array_equal(tree[str(level)].B04.values, want.B04.values)
        assert Affine(*entry["spatial:transform"]) == grid.affine
        assert tuple(entry["spatial:shape"]) == grid.shape
    assert max(grid.shape) <= 512 < 2 * max(grid.shape)


def test_what_the_conventions_want(serve: Serve, wide: Path) -> None:
    gateway = serve(wide)
    root = orjson.loads(ask(at(gateway, "zarr.json"))[2])
    inner = root["consolidated_metadata"]["metadata"]
    below = {path: one["attributes"] for path, one in inner.items() if one["node_type"] == "group"}
    for attributes, many in ((root["attributes"], True), (below["levels"], True),
                             (below["levels/1"], False)):  # fmt: skip
        node = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        zarr_cm.spatial.validate_group_metadata(node)
        zarr_cm.proj.validate_group_metadata(node)
        if many:
            zarr_cm.multiscales.validate_group_metadata(node)
        told = {one["name"]: one for one in attributes["zarr_conventions"]}
        for name in told:
            assert told[name] == dict(getattr(zarr_cm, name).CMO)
    assert root["attributes"]["proj:code"] == "EPSG:32633"
    # each node has its own document too, and groups tell of all below them
    for path, one in inner.items():
        own = orjson.loads(ask(at(gateway, path, "zarr.json"))[2])
        assert own | {"consolidated_metadata": None} == one | {"consolidated_metadata": None}
    level = orjson.loads(ask(at(gateway, "levels/2/zarr.json"))[2])
    assert set(level["consolidated_metadata"]["metadata"]) == {
        "B04", "time", "x", "y", "spatial_ref",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", None), ("int16", -32768), ("float32", None), ("float32", -9999.0),
     ("float64", float("nan")), ("int32", 5)],
)  # fmt: skip
def test_types_and_no_data(serve: Serve, tmp_path: Path, dtype: str, nodata: float | None) -> None:
    """Chunks that aren't there hold what mosaic.open has where nothing lies."""
    scenes = [
        utm_scene(name, 32633, lon, 47.5, 64, 60.0, dtype=dtype, nodata=nodata)
        for name, lon in (("west", 14.0), ("east", 15.2))
    ]
    folder = tmp_path / "mosaic"
    mosaic.build(write_scenes(tmp_path / "scenes", scenes), folder)
    gateway = serve(folder)
    want = mosaic.open(folder, groupby="all").load()
    url = at(gateway, "groupby=all&chunk=256")
    same(plain(url).load(), want)
    decoded = xr.open_zarr(url, decode_times=MICROSECONDS, decode_coords="all").load()
    xr.testing.assert_equal(decoded, xr.decode_cf(want, decode_coords="all"))
    statuses = [ask(f"{url}/B04/c/0/0/{place}")[0] for place in range(-(-want.x.size // 256))]
    assert statuses[0] == statuses[-1] == 200
    assert 404 in statuses  # between them nothing lies


def test_axes_of_many_pixels_come_in_parts(serve: Serve, remote: Path) -> None:
    """Each part is made by itself: all of an axis, for each part, would fill the memory."""
    gateway = serve(remote)
    want = mosaic.open(remote, resolution=[0.01, 100], groupby="all")
    assert want.x.size > 2_900_000
    got = plain(at(gateway, "resolution=0.01,100&groupby=all"), chunks=None)
    np.testing.assert_array_equal(got.x.values, want.x.values)
    np.testing.assert_array_equal(got.y.values, want.y.values)
    url = at(serve(remote), "resolution=0.01,100&groupby=all")
    last = (want.x.size - 1) // (1 << 18)
    ask(f"{url}/zarr.json")
    tracemalloc.start()
    assert ask(f"{url}/x/c/{last}")[0] == ask(f"{url}/spatial_ref/c")[0] == 200
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < want.x.nbytes


def test_about_a_pole_both_axes_have_units(serve: Serve, tmp_path: Path) -> None:
    transform = Affine(100.0, 0.0, -3000.0, 0.0, -100.0, 3000.0)
    scene = Scene("pole", "EPSG:3031", transform, (60, 60))
    mosaic.build(write_scenes(tmp_path / "scenes", [scene]), tmp_path / "mosaic")
    want = mosaic.open(tmp_path / "mosaic").load()
    got = plain(at(serve(tmp_path / "mosaic"))).load()
    same(got, want)
    assert [got[name].attrs["units"] for name in "xy"] == ["metre", "metre"]


def test_keys_versions_and_ranges(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    metadata, chunk = at(gateway, "zarr.json"), at(gateway, "B04/c/0/0/0")
    for key in ("", ".zgroup", ".zarray", ".zmetadata", ".zattrs", "B04", "B04/", "B04/.zarray",
                "B04/c", "B04/c/0", "B04/c/0/0", "B04/c/0/0/0/0", "B04/c/4/0/0", "B04/c/0/1/0",
                "B04/c/0/0/-1", "B04/c/00/0/0", "B04/c/0/0/9999999999", "B04/c.0.0.0", "c/0", "c",
                "B05/c/0/0/0", "B05/zarr.json", "levels/9/zarr.json", "levels/0/B04/0/0/0",
                "../mosaic/zarr.json", "//zarr.json", "//B04/zarr.json", "//B04/c/0/0/0",
                "groupby=all///zarr.json", "x/c/1", "spatial_ref/c/0"):  # fmt: skip
        for method in ("GET", "HEAD"):
            assert ask(at(gateway, key), method)[0] == 404, key
    assert ask(f"{gateway.url}/zarr/other/zarr.json")[0] == 404
    assert ask(metadata)[0] == ask(at(gateway, "spatial_ref/c"))[0] == 200
    for url in (metadata, at(gateway, "x/c/0")):
        told = ask(url, "HEAD")[1]
        assert int(told["content-length"]) == len(ask(url)[2])
    assert server.counts.requests == 0  # all of that costs nothing
    status, told, body = ask(chunk)
    assert (status, told["content-type"]) == (200, "application/octet-stream")
    asked = server.counts.requests
    assert asked > 0
    head = ask(chunk, "HEAD")
    assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(body)), b"")
    for text, want in (("bytes=0-9", body[:10]), ("bytes=-7", body[-7:]), ("bytes=5-", body[5:])):
        assert ask(chunk, Range=text)[::2] == (206, want)
    assert ask(chunk, Range="bytes=0-9", If_Range='"other"')[::2] == (200, body)
    assert ask(chunk, Range=f"bytes={len(body)}-")[0] == 416
    assert ask(chunk, Range="bytes=0-1,5-6")[0] == 416
    assert ask(chunk, If_None_Match=told["etag"])[::2] == (304, b"")
    assert ask(chunk, If_Match='"other"')[0] == 412
    assert ask(chunk, If_Match=told["etag"])[::2] == (200, body)
    others = ("zarr.json", "B04/zarr.json", "B03/c/0/0/0", "B04/c/1/0/0", "groupby=id/B04/c/0/0/0")
    tags = {ask(at(gateway, key))[1]["etag"] for key in others}
    assert len(tags | {told["etag"]}) == 6
    # the finest grid has two paths, and is drawn once
    server.reset()
    assert ask(at(gateway, "levels/0/B04/c/0/0/0"))[2] == body
    # another gateway of the same mosaic needn't draw to know that nothing changed
    other = serve(remote)
    assert ask(at(other, "B04/c/0/0/0"), If_None_Match=told["etag"])[0] == 304
    assert server.counts.requests == 0


def test_what_cant_be_meant_is_said(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    for choice in (
        "=", "groupby=", "groupby=nothing", "method=magic", "method=mean&method=median", "a=1",
        "bands=B99", "bands=,", "crs=EPSG:0", "crs=none", "resolution=x",
        "resolution=0.0000001", "resolution=nan", "bbox=1,2,3", "bbox=a", "bbox=1,1,2,2",
        "datetime=never", "mask=B04", "mask=B99:1", "mask=B04:", "mask_dilate=-1", "mask_dilate=x",
        "mask=B03:1&mask=B03:2", "chunk=1", "chunk=99999", "dtype=object",
        "dtype=complex64", "dtype=U4", "dtype=float128", "dtype=,", "dtype=(", "best=none",
        "resampling=magic", "over=nothing&method=mean", "raw=1", "errors=ignore", "where=1=1",
        "gate=x", "groupby=all&", "&groupby=all", "groupby=links", "groupby=assets",
    ):  # fmt: skip
        status, _, body = ask(at(gateway, choice, "zarr.json"))
        assert status == 400, (choice, status, body)
        assert body
        assert b"Traceback" not in body
    assert server.counts.requests == 0


def test_a_scene_that_cant_be_read_is_no_empty_chunk(
    serve: Serve, remote: Path, server: RangeServer
) -> None:
    """Clients take 404 for a chunk of nothing: whatever fails must be another error."""
    gateway = serve(remote, retry=Retry(attempts=2, base=0.01, longest=0.05))
    want = mosaic.open(remote, groupby="all")
    kept = server.objects.pop("S2_32_0_1/B04.tif")
    url = at(gateway, "groupby=all")
    status, _, body = ask(f"{url}/B04/c/0/0/0")
    assert status == 502
    assert b"S2_32_0_1" in body
    assert ask(f"{url}/B04/c/0/0/0", "HEAD")[0] == 502
    with pytest.raises(Exception, match="502"):
        plain(url).B04.load()
    np.testing.assert_array_equal(plain(url).B03.values, want.B03.values)
    server.objects["S2_32_0_1/B04.tif"] = kept
    np.testing.assert_array_equal(plain(url).B04.values, want.B04.values)  # no failure is kept


def test_a_chunk_is_drawn_once(serve: Serve, remote: Path, server: RangeServer) -> None:
    """Many that ask at one time wait for one drawing; one that leaves doesn't spoil it."""
    gateway = serve(remote)
    server.behaviour.latency = 0.1
    url = at(gateway, "B04/c/0/0/0")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(url), range(8)))
    assert {body for _, _, body in answers} == {answers[0][2]}
    assert {status for status, _, _ in answers} == {200}
    alone = serve(remote)
    assert ask(at(alone, "B04/c/0/0/0"))[2] == answers[0][2]
    for one in (gateway.gate, alone.gate):
        assert one.stats().hits == alone.gate.stats().hits
    drawn = gateway.gate.stats()
    assert ask(url)[2] == answers[0][2]
    assert gateway.gate.stats() == drawn


def test_a_mosaic_built_anew_is_another_store(serve: Serve, tmp_path: Path) -> None:
    """ETags change, and a client that names the build never mixes two of them."""
    folder = tmp_path / "mosaic"
    first = write_scenes(tmp_path / "first", seam_scenes(64, 60.0, ("B04",), dates=1))
    second = write_scenes(tmp_path / "second", seam_scenes(64, 90.0, ("B04",), dates=2))
    mosaic.build(first, folder)
    gateway = serve(folder)
    old = plain(at(gateway))
    told = ask(at(gateway, "B04/c/0/0/0"))[1]
    pinned = plain(at(gateway, f"build={old.attrs['mosaic:build']}"))
    same(pinned.load(), mosaic.open(folder).load())
    pinned = plain(at(gateway, f"build={old.attrs['mosaic:build']}"))
    mosaic.build(second, folder, overwrite=True)
    time.sleep(1.1)  # what a gateway takes to notice
    want = mosaic.open(folder).load()
    assert ask(at(gateway, "B04/c/0/0/0"), If_None_Match=told["etag"])[0] == 200
    same(plain(at(gateway)).load(), want)
    with pytest.raises(Exception, match="410"):
        pinned.load()
    shutil.rmtree(folder)
    time.sleep(1.1)
    assert ask(at(gateway, "B04/c/0/0/0"))[0] == 503
    assert ask(at(gateway, "zarr.json"))[0] == 503
