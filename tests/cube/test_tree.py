"""Native pixels beside the mosaic: what nodes there are, and that they are the files' own."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import rasterio
import xarray as xr
from affine import Affine

import mosaic
from mosaic.errors import UsageError
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.support.range_server import RangeServer
from tests.support.scenes import utm_scene


def on_disk(one: Made, band: str, node: xr.Dataset) -> int:
    """How many files of a band a node shows to the bit, each as a layer of its own."""
    found = 0
    for scene in one.scenes:
        if node.odc.crs.to_epsg() != int(scene.crs.removeprefix("EPSG:")):
            continue
        with rasterio.open(one.items.parent / scene.id / f"{band}.tif") as file:
            want, (x, y) = file.read(1), file.xy(0, 0)
        part = node[band].sel(
            x=slice(x - 1, x + file.transform.a * file.width - 1),
            y=slice(y + 1, y + file.transform.e * file.height + 1),
        )
        assert part.shape[1:] == want.shape
        found += sum(bool((layer == want).all()) for layer in part.values)
    return found


def test_each_crs_has_its_own_pixels(seamed: Made) -> None:
    tree = mosaic.open_tree(seamed.path, gate=Gate())
    assert sorted(node.path for node in tree.leaves) == [
        "/EPSG_32632/60m", "/EPSG_32633/60m", "/mosaic",
    ]  # fmt: skip
    xr.testing.assert_identical(
        tree["mosaic"].to_dataset().load(), mosaic.open(seamed.path, gate=Gate()).load()
    )
    shown = 0
    for path in ("EPSG_32632/60m", "EPSG_32633/60m"):
        node = tree[path].to_dataset()
        shown += on_disk(seamed, "B04", node)
        assert node.odc.geobox.resolution.xy == (60, -60)
    assert shown == len(seamed.scenes)


def test_opening_asks_for_no_pixel_and_slices_for_a_few(seamed: Made, tmp_path: Path) -> None:
    home = seamed.items.parent
    files = {p.relative_to(home).as_posix(): p.read_bytes() for p in home.rglob("*.tif")}
    with RangeServer(files) as server:
        items = orjson.loads(seamed.items.read_bytes())["features"]
        for item in items:
            for name, asset in item["assets"].items():
                asset["href"] = server.url(f"{item['id']}/{name}.tif")
        tree = mosaic.open_tree(items, gate=Gate())
        assert server.counts.requests == 0
        node = tree["EPSG_32633/60m"]
        node["B04"][:, 100:108, 100:108].load()
        assert 0 < server.counts.requests <= 2 * len(items)


def test_sizes_and_places_have_nodes_of_their_own(tmp_path: Path) -> None:
    fine = utm_scene("fine", 32632, 9.0, 47.0, 128, 10.0, bands=("B02",))
    near = replace(fine, id="near", transform=fine.transform @ Affine.translation(100, -30))
    half = replace(fine, id="half", transform=fine.transform @ Affine.translation(0.5, 0))
    coarse = utm_scene("coarse", 32632, 9.0, 47.0, 64, 20.0, bands=("B05",))
    one = made(tmp_path, [fine, near, half, coarse])
    tree = mosaic.open_tree(one.path, gate=Gate())
    found = {n.path: [*sorted(map(str, n.data_vars)), *n.sizes.values()] for n in tree.leaves}
    del found["/mosaic"]
    assert sorted(found) == ["/EPSG_32632/10m", "/EPSG_32632/10m_2", "/EPSG_32632/20m"]
    assert sorted(found.values(), key=str) == [
        ["B02", 1, 128, 128], ["B02", 2, 158, 228], ["B05", 1, 64, 64],
    ]  # fmt: skip


def test_a_box_and_a_time_cut_nodes(seamed: Made) -> None:
    day = str(min(scene.datetime for scene in seamed.scenes))[:10]
    whole = mosaic.open_tree(seamed.path, gate=Gate())
    west, south, east, north = mosaic.open(seamed.path).odc.geobox.geographic_extent.boundingbox
    some = mosaic.open_tree(
        seamed.path, bbox=(west, south, (west + east) / 2, north), datetime=day, gate=Gate()
    )
    cut = 0
    for node in some.leaves:
        if node.path != "/mosaic":
            part, every = node.to_dataset(), whole[node.path].to_dataset()
            cut += part.sizes["x"] < every.sizes["x"]
            assert part.sizes["time"] < every.sizes["time"]
            same = every.sel(x=part.x, y=part.y)
            same = same.isel(time=np.isin(every.time.values, part.time.values))
            np.testing.assert_array_equal(part["B04"].values, same["B04"].values)
    assert cut


def test_it_travels_and_goes_through_dask(seamed: Made) -> None:
    tree = mosaic.open_tree(seamed.path, gate=Gate())
    again = pickle.loads(pickle.dumps(tree["EPSG_32632/60m"].to_dataset()))
    lazy = mosaic.open_tree(seamed.path, chunks={}, gate=Gate())["EPSG_32632/60m"].to_dataset()
    assert lazy.chunks
    want = tree["EPSG_32632/60m"].to_dataset().load()
    xr.testing.assert_equal(again.load(), want)
    xr.testing.assert_equal(lazy.compute(), want)


def test_what_cant_be_meant(seamed: Made) -> None:
    with pytest.raises(UsageError, match="no band nope"):
        mosaic.open_tree(seamed.path, bands=["nope"], gate=Gate())
    with pytest.raises(UsageError, match="no item lies"):
        mosaic.open_tree(seamed.path, datetime="1999", gate=Gate())
