"""Scenes that change after they were indexed, on this machine and on a server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import rasterio
from click.testing import CliRunner

import mosaic
from mosaic.checker.findings import Finding
from mosaic.cli import main
from mosaic.errors import CatalogError
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes


def drift(folder: Path, noted: Path) -> Finding:
    report = mosaic.check(folder, all=True, schemas=folder, drift=noted)
    return next(one for one in report.findings if one.check == "drift")


@pytest.fixture
def local(tmp_path: Path) -> tuple[Path, Path]:
    """A mosaic, and one of its scenes."""
    given = write_scenes(tmp_path / "in", seam_scenes(64, 60.0, ("B04",), dates=1))
    mosaic.build(given, tmp_path / "m")
    return tmp_path / "m", tmp_path / "in/S2_32_0_0/B04.tif"


def touched(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def resized(path: Path) -> None:
    with path.open("ab") as out:
        out.write(bytes(10))


def retagged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.find(b"\x00\x00", 60)  # within the header
    data[place] = 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "level", "what"),
    [
        (touched, "warning", "was written anew"),
        (resized, "error", "bytes, had"),
        (retagged, "error", "another header"),
    ],
)
def test_a_scene_that_changed(
    change: Callable[[Path], None], level: str, what: str, local: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, scene = local
    first = drift(folder, tmp_path / "noted.parquet")
    assert first.level == "ok"
    assert "4 of them noted for the first time" in first.what
    second = drift(folder, tmp_path / "noted.parquet")
    assert second.level == "ok"
    assert second.what == "4 files looked at"
    change(scene)
    third = drift(folder, tmp_path / "noted.parquet")
    assert third.level == level
    (problem,) = third.problems
    assert what in problem.what
    assert problem.item == "S2_32_0_0"
    assert problem.href == str(scene)


def test_sizes_that_items_tell(tmp_path: Path) -> None:
    given = write_scenes(tmp_path / "in", seam_scenes(64, 60.0, ("B04",), dates=1))
    document = orjson.loads(given.read_bytes())
    for number, item in enumerate(document["features"]):
        path = tmp_path / "in" / item["assets"]["B04"]["href"]
        item["assets"]["B04"]["file:size"] = path.stat().st_size + (number == 2)
    given.write_bytes(orjson.dumps(document))
    mosaic.build(given, tmp_path / "m")
    found = drift(tmp_path / "m", tmp_path / "noted.parquet")
    (problem,) = found.problems
    assert problem.item == document["features"][2]["id"]
    assert "its item says" in problem.what


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, RangeServer]]:
    given = write_scenes(tmp_path / "in", seam_scenes(64, 60.0, ("B04",), dates=1))
    names = [str(p.relative_to(tmp_path / "in")) for p in (tmp_path / "in").rglob("*.tif")]
    objects = {name: (tmp_path / "in" / name).read_bytes() for name in names}
    with RangeServer(objects) as server:
        document = orjson.loads(given.read_bytes())
        for item in document["features"]:
            name = item["assets"]["B04"]["href"].removeprefix("./")
            item["assets"]["B04"]["href"] = server.url(name)
        given.write_bytes(orjson.dumps(document))
        mosaic.build(given, tmp_path / "m")
        yield tmp_path / "m", server


def test_on_a_server_by_one_range_each(
    served: tuple[Path, RangeServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder, server = served
    first = drift(folder, tmp_path / "noted.parquet")
    assert first.what == "4 files looked at, 4 of them noted for the first time"
    name = "S2_33_1_0/B04.tif"
    server.objects[name] += bytes(100)
    found = drift(folder, tmp_path / "noted.parquet")
    (problem,) = found.problems
    assert problem.item == "S2_33_1_0"
    assert "bytes, had" in problem.what


def test_on_the_command_line(local: tuple[Path, Path], tmp_path: Path) -> None:
    folder, scene = local
    with rasterio.open(scene) as before:
        profile, pixels = before.profile, before.read()
    words = ["check", str(folder), "--offline", "--drift", str(tmp_path / "noted.parquet")]
    assert CliRunner().invoke(main, words).exit_code == 0
    profile |= {"compress": "lzw"}
    with rasterio.open(scene, "w", **profile) as after:
        after.write(pixels)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert "S2_32_0_0" in done.output
    # a file of something else isn't written over
    shutil.copyfile(folder / "preview.png", tmp_path / "noted.parquet")
    with pytest.raises(CatalogError, match="headers can't be read"):
        mosaic.check(folder, offline=True, drift=tmp_path / "noted.parquet")
