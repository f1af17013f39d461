"""`/zarr` by zarrita and by OpenLayers' GeoZarr source, the clients of browsers, in Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.settings import Retry
from tests.gateway.conftest import Serve
from tests.support.range_server import RangeServer

PACKAGES = ("zarrita@0.7.5", "ol@10.11.0", "proj4@2.22.0")
SCRIPT = """
import * as zarr from "zarrita";
const root = await zarr.open(new zarr.FetchStore(process.argv[2]), {kind: "group"});
const told = {attrs: Object.keys(root.attrs), arrays: {}};
for (const name of process.argv.slice(3)) {
  const array = await zarr.open(root.resolve(name), {kind: "array"});
  const {data, shape} = await zarr.get(array);
  told.arrays[name] = {shape, dims: array.dimensionNames, data: Array.from(data, Number)};
}
console.log(JSON.stringify(told));
"""
MAP = """
import TileState from "ol/TileState.js";
import GeoZarr from "ol/source/GeoZarr.js";
import {register} from "ol/proj/proj4.js";
import proj4 from "proj4";
proj4.defs("EPSG:32632", "+proj=utm +zone=32 +datum=WGS84");
register(proj4);
const [url, band, time] = process.argv.slice(2);
const source = new GeoZarr({url, bands: [band], dimensions: {time: Number(time)}});
await new Promise((ready, failed) => source.on("change", () =>
  source.getState() === "ready" ? ready() : failed(source.error_)));
const grid = source.tileGrid, told = [];
for (let z = 0; z < grid.getResolutions().length; z++) {
  const tile = source.getTile(z, 0, 0, 1, source.getProjection());
  await new Promise((ready, failed) => {
    tile.addEventListener("change", () => {
      if (tile.getState() === TileState.LOADED) ready();
      if (tile.getState() === TileState.ERROR) failed(tile.getError());
    });
    tile.load();
  });
  told.push({resolution: grid.getResolution(z), origin: grid.getOrigin(z),
             size: grid.getTileSize(z), data: Array.from(tile.getData())});
}
const crs = source.getProjection().getCode();
console.log(JSON.stringify({crs, extent: grid.getExtent(), told}));
"""


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both; without Node.js, or a registry, these tests skip aloud."""
    home = tmp_path_factory.mktemp("javascript")
    (home / "package.json").write_text('{"type": "module"}')
    (home / "read.mjs").write_text(SCRIPT)
    (home / "map.mjs").write_text(MAP)
    npm = shutil.which("npm")
    why = "no npm here"
    if npm and shutil.which("node"):
        command = [npm, "install", "--no-audit", "--no-fund", *PACKAGES]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return home
        why = f"npm can't install {PACKAGES}: {done.stderr[-300:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def test_zarrita_reads_what_open_gives(serve: Serve, remote: Path, javascript: Path) -> None:
    gateway = serve(remote)
    want = mosaic.open(remote, groupby="all", bands=["B04", "B03"]).load()
    url = f"{gateway.url}/zarr/mosaic/groupby=all&bands=B04,B03&chunk=256"
    names = ["B04", "B03", "x", "y", "levels/0/B04"]
    done = subprocess.run(
        ["node", "read.mjs", url, *names], cwd=javascript, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert "multiscales" in told["attrs"]
    for name in names:
        got = told["arrays"][name]
        one = want[name.rpartition("/")[2]]
        assert tuple(got["dims"]) == one.dims
        np.testing.assert_array_equal(np.reshape(got["data"], got["shape"]), one.values)


def test_what_cant_be_read_is_an_error(
    serve: Serve, remote: Path, server: RangeServer, javascript: Path
) -> None:
    gateway = serve(remote, retry=Retry(attempts=2, base=0.01, longest=0.05))
    server.behaviour.forbidden, server.behaviour.denial = "S2_32_0_1/B04.tif", 404
    url = f"{gateway.url}/zarr/mosaic/groupby=all"
    done = subprocess.run(
        ["node", "read.mjs", url, "B04"], cwd=javascript, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "502" in done.stderr


def test_openlayers_knows_place_and_levels(serve: Serve, remote: Path, javascript: Path) -> None:
    """By GeoZarr's conventions alone: CRS, grids from coarse to fine, and where nothing lies."""
    gateway = serve(remote)
    url = f"{gateway.url}/zarr/mosaic/resolution=20&bands=B04&chunk=512"
    want = mosaic.open(remote, resolution=20, bands=["B04"])
    done = subprocess.run(
        ["node", "map.mjs", url, "B04", "2"], cwd=javascript, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    grid = want.odc.geobox
    assert found["crs"] == f"EPSG:{grid.crs.epsg}"
    assert found["extent"] == list(grid.boundingbox)
    *coarser, finest = [one["resolution"] for one in found["told"]]
    assert [*coarser, finest] == [20.0 * 2**level for level in reversed(range(len(coarser) + 1))]
    assert coarser
    for level, one in enumerate(reversed(found["told"])):
        width, height = one["size"]
        assert one["origin"] == [grid.affine.c, grid.affine.f]
        place = Affine.scale(2**level)
        box = GeoBox((height, width), grid.affine @ place, f"EPSG:{grid.crs.epsg}")
        values = mosaic.open(remote, geobox=box, bands=["B04"], datetime="2025-06-06T10:00:00Z").B04
        shown, alpha = np.moveaxis(np.reshape(one["data"], (height, width, 2)), 2, 0)
        np.testing.assert_array_equal(shown, values.values[0])
        np.testing.assert_array_equal(alpha, values.values[0] != 0)
        assert 0 < alpha.mean() < 1
