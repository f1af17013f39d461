"""Remote headers pass the gate: the same headers as of local files, governed, retried, counted."""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

import mosaic
from mosaic.catalog.headers import Header, read_header
from mosaic.catalog.reading import read_headers
from mosaic.catalog.remote import read_governed
from mosaic.errors import HeaderError, InputError
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import CallableSigner, Gate, Token
from tests.support.range_server import RangeServer

PATIENCE = Retry(attempts=4, base=0.01, longest=0.1, deadline=2, attempt=1, connect=1, stall=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters of several formats, with names, scales, nodata, an alpha band; a container."""
    here = tmp_path_factory.mktemp("rasters")
    place = from_origin(500_000, 5_000_000, 10, 10)
    profile = {"width": 96, "height": 64, "crs": "EPSG:32633", "transform": place}
    with rasterio.open(
        here / "a.tif", "w", "GTiff", count=2, dtype="int16", nodata=-9, **profile
    ) as out:
        out.write(np.arange(2 * 96 * 64, dtype="int16").reshape(2, 64, 96))
        out.descriptions, out.scales, out.offsets = ("red", "nir"), (0.1, 0.2), (0.0, -1.0)
        out.update_tags(PLATFORM="x")
    with rasterio.open(here / "b c é.tif", "w", "COG", count=4, dtype="uint8", **profile) as out:
        out.write(np.full((4, 64, 96), 200, "uint8"))
    with rasterio.open(here / "one.tif", "w", "GTiff", count=1, dtype="uint16", **profile) as out:
        out.write(np.arange(96 * 64, dtype="uint16").reshape(1, 64, 96))
    for name, source, driver, options in (
        ("c.nc", "one.tif", "netCDF", {"FORMAT": "NC4"}),
        ("d.jp2", "one.tif", "JP2OpenJPEG", {"REVERSIBLE": "YES", "QUALITY": "100"}),
        ("e.vrt", "a.tif", "VRT", {}),
        ("two.nc", "a.tif", "netCDF", {"FORMAT": "NC4"}),
    ):
        rasterio.shutil.copy(here / source, here / name, driver=driver, **options)
    (here / "f.tif").write_bytes(b"no raster at all")
    return here


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    objects = {f"x/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with RangeServer(objects) as running:
        yield running


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate(Limits(concurrency=4, start=4), CacheSettings(), PATIENCE)
    yield one
    one.close()


def test_the_same_headers_as_of_local_files(server: RangeServer, folder: Path) -> None:
    names = ["a.tif", "b c é.tif", "c.nc", "d.jp2", "e.vrt"]
    got = dict(read_headers(server.url(f"x/{name}") for name in names))
    for name in names:
        local, remote = read_header(str(folder / name)), got[server.url(f"x/{name}")]
        assert isinstance(remote, Header)
        assert replace(remote, href="") == replace(local, href=""), name
    # each file was asked for once, and nothing else was
    assert sorted(path for _, path, _, _ in server.counts.log) == [f"/x/{name}" for name in names]
    assert server.counts.heads == 0


def test_a_header_is_what_is_there_now(server: RangeServer, folder: Path) -> None:
    href = server.url("x/a.tif")
    ((_, first),) = read_headers([href])
    server.objects["x/a.tif"], server.behaviour.etag = server.objects["x/b c é.tif"], "v2"
    ((_, second),) = read_headers([href])
    assert isinstance(first, Header)
    assert isinstance(second, Header)
    assert (len(first.bands), len(second.bands)) == (2, 4)


def test_the_gates_limits_retries_and_counts_hold(server: RangeServer, gate: Gate) -> None:
    for number in range(60):
        server.objects[f"many/{number}.tif"] = server.objects["x/a.tif"]
    hrefs = [server.url(f"many/{number}.tif") for number in range(60)]
    server.behaviour.latency, server.behaviour.flaky = 0.02, 0.2
    got = dict(read_governed(hrefs, 32, gate))
    assert list(map(type, got.values())) == [Header] * 60
    assert server.counts.peak == 4  # the gate's limit, though 32 are opened at once
    (row,) = gate.stats().origins
    assert row.requests == server.counts.requests > 60
    assert row.retries == row.throttled == server.counts.statuses[503] > 0


def dead() -> str:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{bound.getsockname()[1]}/x/a.tif"


@pytest.mark.parametrize(
    ("behaviour", "name", "kind", "words"),
    [
        ({}, "x/nothing.tif", "missing", ["status 404", "check the href"]),
        ({"status": 403}, "x/a.tif", "permission", ["status 403", "credentials"]),
        ({"status": 401}, "x/a.tif", "permission", ["status 401"]),
        ({"status": 500}, "x/a.tif", "unreadable", ["status 500", "4 attempts"]),
        ({"status": 503}, "x/a.tif", "unreadable", ["status 503", "4 attempts"]),
        ({"stalls": 1.0}, "x/a.tif", "unreadable", ["4 attempts", "no byte in time"]),
        ({"resets": 1.0}, "x/a.tif", "unreadable", ["4 attempts"]),
        ({"lie": "shifted"}, "x/a.tif", "unreadable", ["Content-Range"]),
        ({}, "x/f.tif", "format", ["no raster format"]),
        ({}, "x/two.nc", "subdatasets", ["container of 2 rasters"]),
        ({}, "dead", "unreadable", ["4 attempts", "host is up"]),
        ({}, "az://container/x.tif", "unreadable", ["AZURE_STORAGE_ACCOUNT"]),
    ],
)
def test_a_failure_names_href_and_cause(
    server: RangeServer,
    gate: Gate,
    behaviour: dict[str, object],
    name: str,
    kind: str,
    words: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    vars(server.behaviour).update(behaviour)
    href = {"dead": dead(), "az": name}.get(name.partition(":")[0], server.url(name))
    ((told, got),) = read_governed([href], 4, gate)
    assert told == href
    assert isinstance(got, HeaderError)
    assert got.problem.kind == kind
    assert got.problem.href == href
    for word in words:
        assert word in str(got)
    # neither the loopback nor GDAL's ways of speaking come through
    told_elsewhere = capfd.readouterr()
    for text in (str(got).replace(href, ""), told_elsewhere.err, told_elsewhere.out):
        assert "127.0.0.1" not in text
        assert "vsicurl" not in text


def test_requests_are_signed(server: RangeServer) -> None:
    secret = "TopSecret0123456789"
    server.behaviour.token = lambda token: token == secret
    signer = CallableSigner(lambda href: Token(query=f"sig={secret}"))
    one = Gate(Limits(), CacheSettings(), PATIENCE, sign=signer)
    ((_, got),) = read_governed([server.url("x/a.tif")], 4, one)
    one.close()
    assert isinstance(got, Header)
    assert secret not in repr(got)


def test_hrefs_of_clouds(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"http://127.0.0.1:{server.port}"
    for name, value in {
        "AWS_ENDPOINT_URL_S3": place,
        "AWS_NO_SIGN_REQUEST": "YES",
        "STORAGE_EMULATOR_HOST": place,
        "GS_NO_SIGN_REQUEST": "YES",
        "AZURE_STORAGE_BLOB_ENDPOINT": place,
        "AZURE_STORAGE_ACCOUNT": "acc",
        "AZURE_NO_SIGN_REQUEST": "YES",
    }.items():
        monkeypatch.setenv(name, value)
    one = Gate(Limits(), CacheSettings(), PATIENCE)
    hrefs = [f"{scheme}://x/b c é.tif" for scheme in ("s3", "gs", "az")]
    hrefs.append("abfs://x@acc.dfs.core.windows.net/a.tif")
    got = dict(read_governed(hrefs, 4, one))
    one.close()
    assert [len(got[href].bands) for href in hrefs] == [4, 4, 4, 2]  # type: ignore[union-attr]


def readers() -> list[int]:
    """Children of this process that read headers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid() and b"serve()" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for children in /proc")
@pytest.mark.parametrize("kills", [1, 2])
def test_a_file_that_breaks_gdal_takes_no_other_with_it(server: RangeServer, kills: int) -> None:
    hrefs = []
    for number in range(12):
        server.objects[f"many/{number}.tif"] = server.objects["x/a.tif"]
        hrefs.append(server.url(f"many/{number}.tif"))
    server.behaviour.latency = 0.3

    def kill() -> None:
        gone: set[int] = set()
        while len(gone) < kills:
            for pid in set(readers()) - gone:
                asked = server.counts.requests
                while server.counts.requests == asked:
                    time.sleep(0.01)
                os.kill(pid, signal.SIGKILL)
                gone.add(pid)
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    gate = Gate(Limits(concurrency=4, start=4), CacheSettings())
    got = dict(read_governed(hrefs, 4, gate))
    gate.close()
    killer.join()
    broken = [one for one in got.values() if isinstance(one, HeaderError)]
    assert len(got) == 12
    assert len(broken) == kills - 1  # alone in its process when that ended
    assert all("GDAL's process ended" in str(one) for one in broken)
    assert readers() == []


def test_a_build_of_remote_rasters(server: RangeServer, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.tif", tmp_path / "S2_a.tif")
    local = mosaic.build(tmp_path / "S2_a.tif", tmp_path / "local")
    server.objects["S2_a.tif"] = (folder / "a.tif").read_bytes()
    href = server.url("S2_a.tif")
    remote = mosaic.build(href, tmp_path / "remote")
    assert (remote.crs, remote.shape) == (local.crs, local.shape)
    (row,) = [row for row in mosaic.stats().origins if row.origin == href.rpartition("/")[0]]
    assert row.requests == server.counts.requests == 1
    with pytest.raises(InputError) as caught:
        mosaic.build([href, server.url("no.tif")], tmp_path / "bad")
    (problem,) = caught.value.problems
    assert problem.kind == "missing"
    assert problem.href == server.url("no.tif")
    assert "status 404" in str(problem)
    assert not (tmp_path / "bad").exists()
