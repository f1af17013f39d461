"""Scenes: are they where the items say, and what the items say? On real files and servers."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio

import mosaic
from mosaic import Gate
from mosaic.checker.items import spread
from mosaic.errors import BrokenCatalogError, SourceMismatchError
from mosaic.settings import Retry
from tests.check.conftest import errors, only
from tests.support.file_server import serving
from tests.support.scenes import seam_scenes, write_scenes

SCENE = "scenes/S2_33_0_1"


def test_a_file_that_is_gone(broken: Path, empty: Path) -> None:
    (broken / SCENE / "B03.tif").unlink()
    report = mosaic.check(broken, schemas=empty)
    (problem,) = only(report, "local files").problems
    assert (problem.item, problem.asset) == ("S2_33_0_1", "B03")
    assert problem.href.endswith(f"{SCENE}/B03.tif")
    assert "no such file" in str(problem)
    with pytest.raises(BrokenCatalogError, match="S2_33_0_1"):
        report.raise_for_errors()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"<!doctype html><p>Sign in", "no raster format"),
        (b"", "no raster format"),
        (None, "can't be read"),
    ],
    ids=["HTML", "empty", "cut"],
)
def test_a_file_that_is_no_raster(
    broken: Path, empty: Path, text: bytes | None, words: str
) -> None:
    path = broken / SCENE / "B03.tif"
    path.write_bytes(path.read_bytes()[:100] if text is None else text)
    report = mosaic.check(broken, schemas=empty, all=True)
    (problem,) = only(report, "headers").problems
    assert (problem.item, problem.asset) == ("S2_33_0_1", "B03")
    assert words in str(problem)


def rewrite(path: Path, **changed: Any) -> None:
    """The raster of a scene, with another profile."""
    with rasterio.open(path) as dataset:
        profile = {
            "driver": "GTiff",
            "width": dataset.width,
            "height": dataset.height,
            "count": 1,
            "dtype": "uint16",
            "crs": dataset.crs,
            "transform": dataset.transform,
            "nodata": 0,
        }
    profile |= changed
    with rasterio.open(path, "w", **profile) as dataset:
        shape = (profile["count"], profile["height"], profile["width"])
        dataset.write(np.ones(shape, profile["dtype"]))


MISMATCHES = [
    ({"crs": "EPSG:32632"}, "proj:code says EPSG:32633, the file EPSG:32632"),
    ({"width": 63}, "proj:shape says [64, 64], the file [64, 63]"),
    ({"transform": rasterio.Affine(60, 0, 3e5, 0, -60, 5.2e6)}, "pixels off the file's"),
    ({"dtype": "int16"}, "the item says uint16, the file int16"),
    ({"dtype": "int16"}, "the index declares 1 x UInt16, the file has 1 x Int16"),
    ({"count": 3}, "the item says 1 bands, the file has 3"),
    ({"nodata": 7}, "the item says nodata 0.0, the file 7.0"),
    ({"nodata": None}, "the item says nodata 0.0, the file None"),
]


@pytest.mark.parametrize(("changed", "words"), MISMATCHES, ids=[one[1][:40] for one in MISMATCHES])
def test_items_that_contradict_their_file(
    broken: Path, empty: Path, changed: dict[str, Any], words: str
) -> None:
    rewrite(broken / SCENE / "B03.tif", **changed)
    report = mosaic.check(broken, schemas=empty, all=True)
    found = only(report, "headers")
    assert {(problem.item, problem.asset) for problem in found.problems} == {("S2_33_0_1", "B03")}
    assert any(words in problem.what for problem in found.problems), found.problems
    assert "--verify" in str(found.problems[0])
    with pytest.raises(SourceMismatchError, match="S2_33_0_1"):
        report.raise_for_errors()


def test_a_mask_or_a_vrt_stands_in_for_a_nodata_value(tmp_path: Path, empty: Path) -> None:
    scenes = write_scenes(tmp_path / "in", seam_scenes(64, 60.0, ("B04",), dates=1))
    rewrite(tmp_path / "in/S2_32_0_0/B04.tif", nodata=None)
    mosaic.build(scenes, tmp_path / "m", verify=True)
    assert errors(mosaic.check(tmp_path / "m", schemas=empty, all=True)) == []
    mosaic.build(scenes, tmp_path / "m", overwrite=True)
    only(mosaic.check(tmp_path / "m", schemas=empty, all=True), "headers")


def test_a_sample_is_spread_and_always_the_same(good: Path, empty: Path) -> None:
    report = mosaic.check(good, schemas=empty, sample=6)
    (found,) = (one for one in report.findings if one.check == "headers")
    assert found.count == 6
    assert "6 of 6 opened (24 in all)" in found.what
    groups = [np.arange(10), np.arange(10, 12), np.arange(12, 13), np.arange(13, 13)]
    for count in range(1, 15):
        parts = spread(groups, count)
        assert sum(map(len, parts)) == min(count, 13)
        assert all(len(np.unique(part)) == len(part) for part in parts)
        if count >= 3:
            assert [len(part) > 0 for part in parts] == [True, True, True, False]
        for part, again in zip(parts, spread(groups, count), strict=True):
            np.testing.assert_array_equal(part, again)
    assert spread(groups, None) is groups


# ---- remote


@contextmanager
def refusing(status: int, host: str = "127.0.0.1") -> Iterator[str]:
    """A server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(status)

        def do_HEAD(self) -> None:
            self.send_error(status)

    server = ThreadingHTTPServer((host, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that loses its patience at once."""
    one = Gate(retry=Retry(attempts=2, base=0.01, longest=0.02, deadline=5.0))
    yield one
    one.close()


@pytest.fixture
def given(small_scenes: Path, tmp_path: Path) -> Path:
    """Scenes to be served, and changed."""
    return Path(shutil.copytree(small_scenes, tmp_path / "served"))


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    write_scenes(folder, seam_scenes(64, 60.0, ("B04",), dates=1))
    return folder


def at(folder: Path, url: str) -> list[dict[str, Any]]:
    """The items of a folder, their hrefs on a server."""
    items: list[dict[str, Any]] = orjson.loads((folder / "items.json").read_bytes())["features"]
    for item in items:
        item["assets"]["B04"]["href"] = url + item["assets"]["B04"]["href"].removeprefix(".")
    return items


def test_remote_files_are_asked_for_once(
    given: Path, tmp_path: Path, empty: Path, gate: Gate
) -> None:
    with serving(given) as served:
        mosaic.build(at(given, served.url), tmp_path / "m")
        served.log.clear()
        report = mosaic.check(tmp_path / "m", schemas=empty, gate=gate)
        assert errors(report) == []
        found = {one.check: one for one in report.findings}
        assert found["remote files"].count == found["headers"].count == 4
        assert "local files" not in found
        assert {origin.requests for origin in gate.stats().origins} == {4}
        assert len(served.log) == 4
        served.log.clear()
        sampled = mosaic.check(tmp_path / "m", schemas=empty, gate=gate, sample=2)
        told = {one.check: one.what for one in sampled.findings}
        assert told["remote files"] == "2 of 2 asked for answer (4 in all)"
        served.log.clear()
        offline = mosaic.check(tmp_path / "m", schemas=empty, offline=True)
        assert offline.ok
        assert served.log == []
        (unknown,) = (one for one in offline.findings if one.check == "remote files")
        assert (unknown.level, unknown.what) == ("unknown", "4 remote files, none asked for")


def test_a_remote_file_that_is_gone(given: Path, tmp_path: Path, empty: Path, gate: Gate) -> None:
    with serving(given) as served:
        mosaic.build(at(given, served.url), tmp_path / "m")
        (given / "S2_33_1_0/B04.tif").unlink()
        report = mosaic.check(tmp_path / "m", schemas=empty, gate=gate)
    (problem,) = only(report, "remote files").problems
    assert (problem.item, problem.asset) == ("S2_33_1_0", "B04")
    assert problem.href == f"{served.url}/S2_33_1_0/B04.tif"
    assert "no such object (status 404)" in str(problem)
    (headers,) = (one for one in report.findings if one.check == "headers")
    assert (headers.level, headers.count) == ("ok", 3)


def test_a_remote_file_that_changed(given: Path, tmp_path: Path, empty: Path, gate: Gate) -> None:
    with serving(given) as served:
        mosaic.build(at(given, served.url), tmp_path / "m")
        rewrite(given / "S2_33_1_0/B04.tif", crs="EPSG:32634")
        (given / "S2_33_0_0/B04.tif").write_bytes(b"<html>Please sign in</html>" * 99)
        report = mosaic.check(tmp_path / "m", schemas=empty, gate=gate)
    found = only(report, "headers")
    said = {problem.item: problem.what for problem in found.problems}
    assert said == {
        "S2_33_1_0": "proj:code says EPSG:32633, the file EPSG:32634",
        "S2_33_0_0": "no raster format that GDAL knows",
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_remote_file_that_is_refused(
    given: Path, tmp_path: Path, empty: Path, gate: Gate, status: int
) -> None:
    with refusing(status) as url:
        mosaic.build(at(given, f"{url}?sig=SECRET"), tmp_path / "m")
        report = mosaic.check(tmp_path / "m", schemas=empty, gate=gate)
    found = only(report, "remote files")
    assert {problem.kind for problem in found.problems} == {"access"}
    assert f"status {status}" in str(found.problems[0])
    assert found.problems[0].asset == "B04"


def test_a_host_that_is_gone_is_told(given: Path, tmp_path: Path, empty: Path, gate: Gate) -> None:
    with refusing(404) as url:
        mosaic.build(at(given, url), tmp_path / "m")
    report = mosaic.check(tmp_path / "m", schemas=empty, gate=gate)
    found = only(report, "remote files")
    assert len(found.problems) == 4
    assert {problem.kind for problem in found.problems} == {"unreachable"}
    assert "--offline leaves remote files out" in str(found.problems[0])
