"""A mosaic of a few scenes that are processed again, and what it is to show."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine

import mosaic
from mosaic import plot
from tests.support.scenes import Scene, ramp, write_scene

Json = dict[str, Any]
OLD, NEW, NEWER = (f"2025-07-0{day}T00:00:00Z" for day in (1, 2, 3))
SIZE = 48
LEFT, TOP, RES = 500040.0, 5300040.0, 60.0
SHIFTS = {"a": (0, 0), "b": (30, 0), "c": (60, 10), "d": (20, 30), "e": (40, 20), "far": (150, 5)}
"""Columns and rows by which scenes lie off the first one; they overlap, but for the last."""


@dataclass(frozen=True)
class State:
    """One state of a scene: its item, and its pixels of each band."""

    item: Json
    """STAC item with absolute hrefs."""
    scene: Scene
    """The scene."""
    pixels: dict[str, np.ndarray] = field(repr=False)
    """(h, w) by band."""

    def told(self, updated: str | None) -> Json:
        """Its item with another ``updated``, or none."""
        properties = {k: v for k, v in self.item["properties"].items() if k != "updated"}
        return {**self.item, "properties": properties | ({"updated": updated} if updated else {})}


def state(folder: Path, name: str, updated: str, more: float = 0) -> State:
    """A scene as it was at ``updated``, its pixels ``more`` above the truth."""
    column, row = SHIFTS[name]
    place = Affine(RES, 0, LEFT + column * RES, 0, -RES, TOP - row * RES)
    day = 1 + 2 * list(SHIFTS).index(name)
    scene = Scene(
        name,
        "EPSG:32633",
        place,
        (SIZE, SIZE),
        f"2025-06-{day:02d}T10:00:00Z",
        ("B03", "B04"),
        properties={"updated": updated},
    )
    own = folder / updated[:10]

    def truth(lon: np.ndarray, lat: np.ndarray, band: int) -> np.ndarray:
        return ramp(lon, lat, band) + more

    item = write_scene(own, scene, truth)
    for asset in item["assets"].values():
        asset["href"] = str(own / asset["href"])
    pixels = {band: scene.pixels(number, truth) for number, band in enumerate(scene.bands)}
    return State(item, scene, pixels)


@pytest.fixture(scope="session")
def was(tmp_path_factory: pytest.TempPathFactory) -> dict[str, State]:
    """All scenes as they were at first."""
    folder = tmp_path_factory.mktemp("was")
    return {name: state(folder, name, OLD) for name in SHIFTS}


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> dict[str, State]:
    """The same scenes, processed again: other files with other pixels."""
    folder = tmp_path_factory.mktemp("later")
    return {name: state(folder, name, NEW, 1000) for name in SHIFTS}


@pytest.fixture(scope="session")
def abcd(was: dict[str, State], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic of four scenes; copied for each test."""
    out = tmp_path_factory.mktemp("abcd") / "m"
    mosaic.build([was[name].item for name in "abcd"], out, slices="month", stacks=[["B04", "B03"]])
    return out


@pytest.fixture
def out(abcd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mosaic of the scenes a to d, beside which nothing lies; its preview isn't drawn again."""
    # a third of a small update's time is drawing
    monkeypatch.setattr(plot, "footprints", lambda path, *args: path.write_bytes(b"PNG"))
    return Path(shutil.copytree(abcd, tmp_path / "place" / "m"))


def painted(states: Iterable[State], transform: Affine, shape: Any, band: str) -> np.ndarray:
    """What a mosaic is to show: scenes on one lattice, the latest on top."""
    canvas = np.zeros(shape, np.uint16)
    for one in by_time(states):
        place = one.scene.transform
        column, row = (round(part) for part in ~transform @ (place.c, place.f))
        canvas[row : row + SIZE, column : column + SIZE] = one.pixels[band]
    return canvas


def by_time(states: Iterable[State]) -> list[State]:
    return sorted(states, key=lambda one: one.scene.datetime)


def shows(out: Path, states: Iterable[State]) -> None:
    """A mosaic passes its check, and GDAL and mosaic read from it what the scenes hold."""
    wanted = by_time(states)
    ids = [one.scene.id for one in wanted]
    mosaic.check(out, all=True, offline=True).raise_for_errors()
    found = mosaic.read(out, bands=["B04", "B03"])
    for number, band in enumerate(("B04", "B03")):
        with rasterio.open(out / f"{band}.gti.gpkg") as dataset:
            want = painted(wanted, dataset.transform, dataset.shape, band)
            np.testing.assert_array_equal(dataset.read(1), want)
        np.testing.assert_array_equal(found.values[number], want)
        np.testing.assert_array_equal(found.valid[number], want != 0)
        assert drawn(out, band) == [
            (one.scene.id, one.item["assets"][band]["href"]) for one in wanted
        ]
    held = items(out)
    assert sorted(held) == sorted(ids)
    files = {path.stem: orjson.loads(path.read_bytes()) for path in (out / "items").iterdir()}
    assert sorted(files) == sorted(ids)
    for one in wanted:
        name, hrefs = one.scene.id, {b: a["href"] for b, a in one.item["assets"].items()}
        told = {band: held[name]["assets"][band]["href"] for band in hrefs}
        assert {band: os.path.normpath(out / href) for band, href in told.items()} == hrefs
        own = files[name]["assets"]
        where = {band: os.path.normpath(out / "items" / own[band]["href"]) for band in hrefs}
        assert where == hrefs
    assert mosaic.info(out)["items"] == len(ids)


def drawn(out: Path, band: str) -> list[tuple[str, str]]:
    """(item, absolute location) of each row of an index in drawing order, by SQLite."""
    base = sqlite3.connect(f"file:{out / band}.gti.gpkg?mode=ro", uri=True)
    try:
        found = base.execute("select item, location from tiles order by z").fetchall()
        (count,) = base.execute("select count(distinct z) from tiles").fetchone()
    finally:
        base.close()
    assert count == len(found)
    return [(item, os.path.normpath(out / where)) for item, where in found]


def items(out: Path) -> dict[str, Json]:
    """Rows of ``items.parquet`` by id."""
    table = pq.read_table(out / "items.parquet").to_pylist()
    found = {row["id"]: row for row in table}
    assert len(found) == len(table)
    return found


def traces(folder: Path) -> dict[str, Any]:
    """Inode, time and content of every file, and the folder's inode."""
    found: dict[str, Any] = {".": folder.stat().st_ino}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            told = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (told.st_ino, told.st_mtime_ns, digest)
    return found


def alone(out: Path) -> bool:
    """Whether nothing lies beside a mosaic."""
    return [path.name for path in out.parent.iterdir()] == [out.name]
