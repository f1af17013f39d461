"""Python through a gateway: the same pixels, and one budget for all."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import orjson
import pytest
import xarray as xr

import mosaic
from mosaic.cube.backend import MosaicBackend
from mosaic.errors import NotACatalogError, ReadError, UsageError
from mosaic.gateway.app import Gateway
from mosaic.storage import Gate, gate_via
from mosaic.storage.address import behind
from tests.gateway.conftest import Serve
from tests.support.range_server import RangeServer


@pytest.fixture(scope="module")
def own(remote: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same mosaic, of the scenes on disk."""
    out = tmp_path_factory.mktemp("own") / "m"
    mosaic.build(remote.parent / "scenes/items.json", out)
    return out


def sent(gateway: Gateway) -> int:
    """Requests that a gateway sent to servers."""
    rows = gateway.gate.stats().origins
    return sum(row.requests for row in rows if row.origin.startswith("http"))


def test_reads_through_a_gateway(
    serve: Serve, remote: Path, own: Path, server: RangeServer
) -> None:
    """A folder, items and the gateway's own URL; storage is asked by the gateway alone."""
    gateway = serve(remote)
    want = mosaic.read(own, bands=["B04", "B02"])
    items = [orjson.loads(path.read_bytes()) for path in sorted(remote.glob("items/*.json"))]
    server.behaviour.flaky = 0.2
    server.behaviour.most = 4
    for source, more in (
        (remote, {"via": gateway.url}),
        (items, {"via": f"{gateway.url}/catalogs/", "geobox": want.geobox}),
        (f"{gateway.url}/catalogs/mosaic", {}),
    ):
        got = mosaic.read(source, bands=["B04", "B02"], **more)
        np.testing.assert_array_equal(got.values, want.values)
        np.testing.assert_array_equal(got.valid, want.valid)
    assert server.counts.peak <= 4
    asked = server.counts.requests
    assert asked == sent(gateway)
    fresh = Gate(via=gateway.url)  # another client, which has nothing yet
    np.testing.assert_array_equal(
        mosaic.read(remote, bands=["B04"], gate=fresh).values[0], want.values[0]
    )
    assert server.counts.requests == asked
    fresh.close()


def test_lazy_and_planned(serve: Serve, remote: Path, own: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    want = mosaic.open(own, groupby="all").load()
    got = mosaic.open(remote, groupby="all", via=gateway.url, chunks={"x": 200, "y": 200})
    xr.testing.assert_equal(got.compute(), want)
    got = xr.open_dataset(remote, engine=MosaicBackend, groupby="all", via=gateway.url)
    xr.testing.assert_equal(got.load(), want)
    tree = mosaic.open_tree(remote, bands=["B04"], via=gateway.url).load()
    xr.testing.assert_equal(tree, mosaic.open_tree(own, bands=["B04"]).load())
    plan = mosaic.plan(remote, bands=["B04"], via=gateway.url)
    assert plan.items == (8, 8)
    assert server.counts.requests == sent(gateway)
    gate = gate_via(gateway.url)
    assert gate is gate_via(f"{gateway.url}/")
    assert pickle.loads(pickle.dumps(gate)) is gate
    other = Gate(via=gateway.url)
    assert pickle.loads(pickle.dumps(other)).settings == other.settings


def test_files_of_this_machine_stay_here(serve: Serve, remote: Path, own: Path) -> None:
    gateway = serve(remote)
    mosaic.read(own, bands=["B04"], via=gateway.url)
    assert gateway.gate.stats().requests == 0


def test_many_clients_one_budget(
    serve: Serve, remote: Path, own: Path, server: RangeServer
) -> None:
    gateway = serve(remote)
    server.behaviour.most, server.behaviour.latency = 4, 0.02
    want = mosaic.read(own).values
    clients = [Gate(via=gateway.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda gate: mosaic.read(remote, gate=gate).values, clients):
            np.testing.assert_array_equal(got, want)
    assert server.counts.refused == 0
    assert server.counts.peak <= 4
    for client in clients:
        client.close()


def test_what_cant_be_read_names_the_item(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    del server.objects["S2_33_0_0/B04.tif"]
    with pytest.raises(ReadError, match=r"S2_33_0_0.*404"):
        mosaic.read(remote, bands=["B04"], gate=Gate(via=gateway.url))


def test_a_token_goes_with_the_url(serve: Serve, remote: Path) -> None:
    gateway = serve(remote, token="s3cret")
    with pytest.raises(ReadError, match="401") as caught:
        mosaic.read(remote, bands=["B04"], via=gateway.url)
    assert "s3cret" not in str(caught.value)
    url = gateway.url.replace("http://", "http://me:s3cret@")
    assert mosaic.read(remote, bands=["B04"], via=url).valid.any()
    assert "s3cret" not in repr(Gate(via=url).settings)
    for source in (gateway.url, url):  # what lies behind the gateway already is asked with it, too
        for name in ("catalogs/mosaic", "catalogs/mosaic/items.parquet"):
            assert mosaic.read(f"{source}/{name}", bands=["B04"], via=url).valid.any()
    with pytest.raises(NotACatalogError, match="401"):
        mosaic.read(f"{gateway.url}/catalogs/mosaic", bands=["B04"])


@pytest.mark.parametrize(
    "token", ["hush/hush@hush", "12/hush", "hush?hush=1", "#hush", "hush:%2Fhush"]
)
def test_any_token_goes_with_the_url_if_it_is_encoded(
    serve: Serve, remote: Path, token: str
) -> None:
    gateway = serve(remote, token=token)
    host = gateway.url.removeprefix("http://")
    assert mosaic.read(remote, via=f"http://me:{quote(token, safe='')}@{host}").valid.any()
    with pytest.raises((UsageError, ReadError)) as caught:
        mosaic.read(remote, bands=["B04"], via=f"http://me:{token}@{host}")
    assert "hush" not in str(caught.value)


def test_signed_items_are_asked_for_as_the_gateway_knows_them(
    serve: Serve, remote: Path, server: RangeServer, caplog: pytest.LogCaptureFixture
) -> None:
    items = [orjson.loads(path.read_bytes()) for path in sorted(remote.glob("items/*.json"))]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = asset["href"].replace("//", "//me:s3cret@") + "?key=s3cret&sig=s3cret#x"
    gateway = serve(remote)
    with caplog.at_level("INFO", "mosaic.gateway"):
        assert mosaic.read(items, bands=["B04"], via=gateway.url).valid.any()
    assert "GET /raw/http/127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text


def test_what_cant_be_meant() -> None:
    for url in (
        *("gate:8790", "ftp://gate", "http://", "http://[", "http://g?x=1", "http://g#x"),
        *("http://g:x", "http://g:99999", "http://me:s3cret@g:x", "http://me:12/s3cret@g"),
    ):
        with pytest.raises(UsageError, match="via=") as caught:
            Gate(via=url)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(UsageError, match="either"):
        mosaic.read("nowhere", gate=Gate(), via="http://gate")


def test_hrefs_behind_a_gateway() -> None:
    for href, want in (
        ("https://h/a.tif", "g/raw/https/h/a.tif"),
        ("https://h/a.tif?sig=x&id=1", "g/raw/https/h/a.tif%3Fid=1"),
        ("https://h/a.tif?sig=x", "g/raw/https/h/a.tif"),
        ("https://me:x@h/a.tif?password=x#y", "g/raw/https/h/a.tif"),
        ("abfs://c@acc.dfs.core.windows.net/a.tif?sig=x",
         "g/raw/abfs/c@acc.dfs.core.windows.net/a.tif"),
        ("FILE:///data/a.tif", "FILE:///data/a.tif"),
        ("s3://b/k é.tif", "g/raw/s3/b/k%20%C3%A9.tif"),
        ("/data/a.tif", "/data/a.tif"),
        ("file:///data/a.tif", "file:///data/a.tif"),
        ("g/catalogs/m/items.parquet", "g/catalogs/m/items.parquet"),
    ):  # fmt: skip
        assert behind("g", href) == want
