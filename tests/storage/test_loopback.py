"""The loopback: GDAL's own readers pass the gate, and sidecars cost nothing."""

import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from mosaic.errors import MissingError
from mosaic.storage import Gate
from mosaic.storage.loopback import Loopback
from tests.support.range_server import RangeServer
from tests.support.upstream import ask

MakeGate = Callable[..., Gate]


@pytest.fixture
def loopback(gate: MakeGate) -> Iterator[Loopback]:
    running = Loopback(gate())
    yield running
    running.close()


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


PIXELS = (np.arange(512 * 512) % 30_000).astype("int16").reshape(512, 512)
SENTINEL = "stactools-packages+sentinel2/tests/data-files"
VRT = (
    '<VRTDataset rasterXSize="512" rasterYSize="512"><SRS>EPSG:32633</SRS>'
    "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
    '<VRTRasterBand dataType="Int16" band="1">'
    '<SimpleSource><SourceFilename relativeToVRT="1">LC08_L1TP_B2.TIF</SourceFilename>'
    "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with equal pixels as TIFF, VRT, NetCDF (HDF5 and classic) and lossless JP2."""
    folder = tmp_path_factory.mktemp("rasters")
    tif = folder / "LC08_L1TP_B2.TIF"  # a name for which GDAL looks for Landsat's sidecars
    with rasterio.open(
        tif,
        "w",
        driver="GTiff",
        width=512,
        height=512,
        count=1,
        dtype="int16",
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
        tiled=True,
        blockxsize=128,
        blockysize=128,
    ) as out:
        out.write(PIXELS, 1)
    (folder / "m.vrt").write_text(VRT)
    rasterio.shutil.copy(tif, folder / "hdf5.nc", driver="netCDF", FORMAT="NC4", COMPRESS="DEFLATE")
    rasterio.shutil.copy(tif, folder / "classic.nc", driver="netCDF", FORMAT="NC2")
    rasterio.shutil.copy(
        tif, folder / "s.jp2", driver="JP2OpenJPEG", REVERSIBLE="YES", QUALITY="100"
    )
    return folder


READ = """
import sys, rasterio
with rasterio.open(sys.argv[1]) as source:
    source.tags(), source.mask_flag_enums, source.rpcs, source.gcps, source.overviews(1)
    print(source.driver, file=sys.stderr)
    sys.stdout.buffer.write(source.read(1, window=((100, 400), (30, 500))).tobytes())
"""


def read_elsewhere(location: str) -> tuple[str, bytes]:
    """The driver and the pixels of a window, read in another process: rasterio holds Python's lock
    through some of its calls, and the loopback needs it."""
    ran = subprocess.run(
        [sys.executable, "-c", READ, location], capture_output=True, check=True, timeout=60
    )
    return ran.stderr.decode().strip(), ran.stdout


@pytest.mark.parametrize(
    ("name", "driver", "asked"),
    [
        ("LC08_L1TP_B2.TIF", "GTiff", {"LC08_L1TP_B2.TIF"}),
        ("m.vrt", "VRT", {"m.vrt", "LC08_L1TP_B2.TIF"}),
        ("s.jp2", "JP2OpenJPEG", {"s.jp2"}),
        ("hdf5.nc", "netCDF", {"hdf5.nc"}),
        ("classic.nc", "netCDF", {"classic.nc"}),
    ],
)
@pytest.mark.parametrize("prefix", ["/vsicurl/", "/vsicurl?empty_dir=yes&use_head=no&url="])
def test_gdal_reads_through_the_gate(
    server: RangeServer,
    loopback: Loopback,
    rasters: Path,
    name: str,
    driver: str,
    asked: set[str],
    prefix: str,
) -> None:
    server.objects.update({f"dir/{p.name}": p.read_bytes() for p in rasters.iterdir()})
    used, got = read_elsewhere(f"{prefix}{loopback.url(server.url(f'dir/{name}'))}")
    assert used == driver
    np.testing.assert_array_equal(
        np.frombuffer(got, "int16").reshape(300, 470), PIXELS[100:400, 30:500]
    )
    # as its server saw it: the files, in ranges; no sidecar, no listing, no HEAD
    assert {path.removeprefix("/dir/") for _, path, _, _ in server.counts.log} == asked
    assert set(server.counts.statuses) == {206}
    assert server.counts.heads == 0
    size = sum((rasters / one).stat().st_size for one in asked)
    # each byte once, unless GDAL begins with all of a file and breaks off what is under way
    assert server.counts.bytes <= (size if prefix == "/vsicurl/" else 2 * size)
    if prefix == "/vsicurl/":
        assert loopback.probes > 5


def test_real_jp2_through_the_gate(server: RangeServer, loopback: Loopback, shared: Path) -> None:
    (path,) = (shared / SENTINEL).rglob("T29UNU_*_SCL_60m.jp2")
    server.objects[path.name] = path.read_bytes()
    url = f"/vsicurl/{loopback.url(server.url(path.name))}"
    assert read_elsewhere(url) == read_elsewhere(str(path))
    assert {path for _, path, _, _ in server.counts.log} == {f"/{path.name}"}
    assert server.counts.bytes < path.stat().st_size  # the window, not the file


def test_a_reader_that_leaves_early_costs_little(
    server: RangeServer, loopback: Loopback, caplog: pytest.LogCaptureFixture
) -> None:
    server.objects["large.bin"] = bytes(30 << 20)
    parts = urlsplit(loopback.url(server.url("large.bin")))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("GET", parts.path)  # as GDAL begins where HEAD is forbidden
    answer = connection.getresponse()
    assert answer.headers["Content-Length"] == str(30 << 20)
    answer.read(100)
    connection.sock.close()
    connection.close()
    time.sleep(0.5)
    assert server.counts.bytes < 16 << 20
    assert not caplog.records


def test_a_failure_is_remembered_with_its_cause(server: RangeServer, loopback: Loopback) -> None:
    href = server.url("no such é?v=1.tif")
    assert loopback.failure(href) is None
    assert ask(loopback.url(href))[0] == 404
    assert isinstance(loopback.failure(href), MissingError)


def test_a_gate_that_nobody_closes_ends_quietly(server: RangeServer) -> None:
    script = """
import gc, sys, urllib.request
from mosaic.errors import MissingError
from mosaic.storage import Gate
from mosaic.storage.loopback import Loopback
for _ in range(3):
    loopback = Loopback(Gate())
    print(len(urllib.request.urlopen(loopback.url(sys.argv[1])).read()))
    loopback.close()
    del loopback
    gc.collect()
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, server.url("a.bin")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (ran.stdout.split(), ran.stderr) == ([str(4 << 20)] * 3, "")


def test_urllib_is_a_reader_too(server: RangeServer, loopback: Loopback, data: bytes) -> None:
    with urllib.request.urlopen(loopback.url(server.url("b.bin")), timeout=20) as answer:
        assert answer.read() == data[::-1]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(loopback.url("ftp://nowhere/x"), timeout=20)
