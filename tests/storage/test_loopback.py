"""The loopback: GDAL's own readers pass the gate, and sidecars cost nothing."""

import http.client
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from mosaic.storage import Gate
from mosaic.storage.loopback import Loopback
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]


@pytest.fixture
def loopback(gate: MakeGate) -> Iterator[Loopback]:
    running = Loopback(gate())
    yield running
    running.close()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request(method, parts.path, headers=headers)
    answer = connection.getresponse()
    told = {k.lower(): v for k, v in answer.getheaders()}
    try:
        return answer.status, told, answer.read()
    finally:
        connection.close()


def test_ranges_heads_and_whole_objects(
    server: RangeServer, loopback: Loopback, data: bytes
) -> None:
    url, size = loopback.url(server.url("a.bin")), len(data)
    status, told, body = ask(url, "HEAD")
    assert (status, told["content-length"], body) == (200, str(size), b"")
    assert told["etag"] == '"v1"'
    for text, want in (
        ("bytes=0-99", data[:100]),
        ("bytes=16384-49151", data[16384:49152]),
        ("bytes=65535-65536", data[65535:65537]),
        ("bytes=4194300-", data[4194300:]),
        ("bytes=-10", data[-10:]),
        ("bytes=1000-3500000", data[1000:3500001]),
        (f"bytes=0-{size + 999}", data),
    ):
        status, told, body = ask(url, Range=text)
        assert (status, body) == (206, want)
        begin = size - 10 if text == "bytes=-10" else int(text[6:].split("-")[0])
        assert told["content-range"] == f"bytes {begin}-{begin + len(want) - 1}/{size}"
    status, told, body = ask(url)
    assert (status, body) == (200, data)
    assert ask(url, Range=f"bytes={size}-")[0] == 416
    assert ask(url, **{"If-None-Match": '"v1"'})[0] == 304
    assert ask(url, "POST")[0] == 405
    assert server.counts.heads == 0
    # every block was asked for once, however often it was read here
    assert server.counts.bytes == size


def test_the_key_is_needed(server: RangeServer, loopback: Loopback) -> None:
    url = loopback.url(server.url("a.bin"))
    key = urlsplit(url).path.split("/")[1]
    assert len(key) >= 32
    for other in ("x", key[:-1], key + "x", "", "é"):
        assert ask(url.replace(key, quote(other)))[0] == 404
    assert server.counts.requests == 0
    assert key not in repr(loopback)
    host = urlsplit(url)
    assert host.hostname == "127.0.0.1"


def test_sidecars_cost_nothing(server: RangeServer, loopback: Loopback) -> None:
    base = loopback.url(server.url("dir/scene.tif"))
    probes = [
        f"{base}.aux.xml",
        f"{base}.ovr",
        f"{base}.msk",
        base.replace(".tif", ".prj"),
        base.replace(".tif", ".tfw"),
        base.replace(".tif", ".IMD"),
        base.replace(".tif", "_RPC.TXT"),
        base.rpartition("/")[0] + "/",
        base.replace("scene.tif", "METADATA.DIM"),
    ]
    for probe in probes:
        assert ask(probe)[0] == 404
        assert ask(probe, "HEAD")[0] == 404
    assert server.counts.requests == 0
    assert loopback.probes == 2 * len(probes)


def test_a_sidecar_that_exists_can_be_let_through(server: RangeServer, gate: MakeGate) -> None:
    server.objects["a.bin.ovr"] = b"overview"
    knowing = Loopback(gate(), sidecars=(".ovr",))
    near = knowing.url(server.url("a.bin"))
    assert ask(near + ".ovr")[2] == b"overview"
    assert ask(near + ".msk")[0] == 404
    # what is named is no probe
    server.objects["MTD.xml"] = b"<product/>"
    assert ask(near.replace("a.bin", "MTD.xml"))[0] == 404
    assert ask(knowing.url(server.url("MTD.xml")))[2] == b"<product/>"
    knowing.close()


def test_failures_keep_their_status(server: RangeServer, loopback: Loopback) -> None:
    url = loopback.url(server.url("a.bin"))
    assert ask(loopback.url(server.url("nothing.bin")))[0] == 404
    server.behaviour.status = 403
    status, _, body = ask(f"{url}")
    assert status == 403
    assert b"a.bin" in body
    server.behaviour.status = 0
    server.behaviour.lie = "shifted"
    assert ask(url)[0] == 502


def test_queries_reach_the_origin(server: RangeServer, loopback: Loopback, data: bytes) -> None:
    status, _, body = ask(loopback.url(server.url("a.bin?id=42&x=%20y")), Range="bytes=0-9")
    assert (status, body) == (206, data[:10])
    assert server.counts.targets[0] == "/a.bin?id=42&x=%20y"
    server.objects["with space/é.bin"] = data
    status, _, body = ask(loopback.url(server.url("with%20space/%C3%A9.bin")), Range="bytes=0-9")
    assert (status, body) == (206, data[:10])


def test_a_body_that_fails_midway_is_cut_off(
    server: RangeServer, loopback: Loopback, data: bytes
) -> None:
    url = loopback.url(server.url("a.bin"))
    assert ask(url, Range="bytes=2500000-2500009")[0] == 206
    assert ask(url, Range="bytes=0-9")[0] == 206
    ask(url, Range="bytes=0-2097151")  # the first step is at hand, in its old version
    server.objects["a.bin"], server.behaviour.etag = data[::-1], "v2"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(url, Range="bytes=0-4000000")
    status, _, body = ask(url, Range="bytes=0-4000000")
    assert (status, body) == (206, data[::-1][:4000001])


@pytest.fixture
def rasters(tmp_path: Path) -> dict[str, bytes]:
    pixels = np.arange(512 * 512, dtype="uint16").reshape(1, 512, 512)
    profile = {
        "width": 512,
        "height": 512,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32633",
        "transform": from_origin(500_000, 5_000_000, 10, 10),
    }
    with rasterio.open(
        tmp_path / "s.tif",
        "w",
        driver="GTiff",
        tiled=True,
        blockxsize=128,
        blockysize=128,
        **profile,
    ) as out:
        out.write(pixels)
    (tmp_path / "m.vrt").write_text(
        '<VRTDataset rasterXSize="512" rasterYSize="512"><VRTRasterBand dataType="UInt16" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">s.tif</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return {f"dir/{p.name}": p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}


@pytest.mark.parametrize("name", ["s.tif", "m.vrt"])
def test_gdal_reads_through_the_gate(
    server: RangeServer, loopback: Loopback, rasters: dict[str, bytes], name: str
) -> None:
    server.objects.update(rasters)
    # in another process: rasterio holds Python's lock while it opens, and the server needs it
    script = """
import sys, rasterio
with rasterio.open(sys.argv[1]) as source:
    sys.stdout.buffer.write(source.read(1, window=((100, 400), (30, 500))).tobytes())
"""
    url = f"/vsicurl/{loopback.url(server.url(f'dir/{name}'))}"
    ran = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, check=True, timeout=60
    )
    got = np.frombuffer(ran.stdout, "uint16").reshape(300, 470)
    want = np.arange(512 * 512, dtype="uint16").reshape(512, 512)[100:400, 30:500]
    np.testing.assert_array_equal(got, want)
    assert server.counts.heads == 0
    assert {entry[1:] for entry in server.counts.log if entry[3] != 206} == set()
    asked = [path for _, path, _, _ in server.counts.log]
    assert set(asked) <= {"/dir/s.tif", "/dir/m.vrt"}  # no sidecar, no listing


def test_urllib_is_a_reader_too(server: RangeServer, loopback: Loopback, data: bytes) -> None:
    with urllib.request.urlopen(loopback.url(server.url("b.bin")), timeout=20) as answer:
        assert answer.read() == data[::-1]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(loopback.url("ftp://nowhere/x"), timeout=20)
