"""`/zarr` by zarrita, the Zarr client of browsers, in Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mosaic
from mosaic.settings import Retry
from tests.gateway.conftest import Serve
from tests.support.range_server import RangeServer

VERSION = "0.7.5"
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


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with zarrita; without Node.js, or a registry, these tests skip aloud."""
    home = tmp_path_factory.mktemp("javascript")
    (home / "package.json").write_text('{"type": "module"}')
    (home / "read.mjs").write_text(SCRIPT)
    npm = shutil.which("npm")
    why = "no npm here"
    if npm and shutil.which("node"):
        command = [npm, "install", "--no-audit", "--no-fund", f"zarrita@{VERSION}"]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return home
        why = f"npm can't install zarrita: {done.stderr[-300:]}"
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
