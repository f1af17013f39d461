"""A good mosaic to break, and tools to break it with."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import shapely
import stac_geoparquet.arrow
from affine import Affine

import mosaic
from mosaic.checker.findings import CheckReport, Finding
from tests.support.scenes import seam_scenes, write_scenes

Json = dict[str, Any]
Mended = Callable[[str], str]


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without schemas: with it nothing is fetched."""
    return tmp_path_factory.mktemp("schemas")


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic of eight scenes in two zones, three bands, slices and a stack, scenes inside."""
    out = tmp_path_factory.mktemp("check") / "m"
    scenes = write_scenes(out / "scenes", seam_scenes(64, 60.0))
    mosaic.build(scenes, out, slices="day", stacks=[["B04", "B03", "B02"]])
    return out


@pytest.fixture
def broken(good: Path, tmp_path: Path) -> Path:
    """A copy of the good mosaic; its slices point to where it lies."""
    return copied(good, tmp_path / "m")


def copied(source: Path, out: Path) -> Path:
    """A copy of a mosaic whose slices point to where it lies."""
    shutil.copytree(source, out)
    mosaic.relocate(out)
    return out


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No socket opens but to this machine, and no schemas of it are used."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def only_here(self: socket.socket, address: Any) -> None:
        assert isinstance(address, str | bytes) or address[0] in ("127.0.0.1", "::1"), address
        connect(self, address)

    def known(host: Any, *args: Any, **options: Any) -> Any:
        assert host in ("127.0.0.1", "localhost", None), f"a test asked for {host}"
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    monkeypatch.setattr(socket, "getaddrinfo", known)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A GeoPackage to be edited, without the triggers that need GDAL's functions."""
    with closing(sqlite3.connect(path)) as database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        yield database
        database.commit()


def edit_xml(path: Path, change: Mended) -> None:
    """Changes the GTI XML in a GeoPackage."""
    with opened(path) as database:
        number, text = database.execute(
            "SELECT id, metadata FROM gpkg_metadata WHERE metadata LIKE '%xml:GTI%'"
        ).fetchone()
        changed = change(text)
        assert changed != text
        database.execute("UPDATE gpkg_metadata SET metadata = ? WHERE id = ?", (changed, number))


def sub(pattern: str, by: str) -> Mended:
    """A change by a regular expression."""
    return lambda text: re.sub(pattern, by, text, flags=re.DOTALL)


def errors(report: CheckReport) -> list[Finding]:
    """The findings of a report that fail it."""
    return [found for found in report.findings if found.level == "error"]


def only(report: CheckReport, check: str) -> Finding:
    """The one finding that fails a report, which is of this check."""
    (found,) = errors(report)
    assert found.check == check, found
    return found


def rewritten(folder: Path, change: Callable[[Json], Json]) -> None:
    """Writes ``items.parquet`` again from changed items."""
    path = folder / "items.parquet"
    table = pq.read_table(path)
    items = [change(dict(item)) for item in stac_geoparquet.arrow.stac_table_to_items(table)]
    again = stac_geoparquet.arrow.parse_stac_items_to_arrow(items).read_all()
    stac_geoparquet.arrow.to_parquet(again, path)


def geometries(path: Path, change: Callable[[np.ndarray], np.ndarray], item: str = "") -> None:
    """Changes footprints, and the spatial index with them, as GeoPackage keeps both."""
    _, fids, wkb, _ = pyogrio.raw.read(path, columns=["item"], return_fids=True)
    items = pyogrio.raw.read(path, columns=["item"])[3][0]
    with opened(path) as database:
        for fid, one, name in zip(fids, change(shapely.from_wkb(wkb)), items, strict=True):
            if item and name != item:
                continue
            west, south, east, north = shapely.bounds(one)
            head = database.execute("SELECT geom FROM tiles WHERE fid = ?", (int(fid),)).fetchone()
            # "GP", version, flags without an envelope, the same SRS
            data = b"GP\x00\x01" + head[0][4:8] + shapely.to_wkb(one, byte_order=1)
            database.execute("UPDATE tiles SET geom = ? WHERE fid = ?", (data, int(fid)))
            database.execute(
                "UPDATE rtree_tiles_geom SET minx = ?, maxx = ?, miny = ?, maxy = ? WHERE id = ?",
                (west, east, south, north, int(fid)),
            )


def rasters(folder: Path, transforms: list[Affine], count: int = 1, **options: object) -> Path:
    folder.mkdir(parents=True)
    for number, transform in enumerate(transforms):
        profile = {"driver": "GTiff", "width": 60, "height": 40, "count": count, "dtype": "uint16"}
        with rasterio.open(
            folder / f"t{number}.tif", "w", **{**profile, "crs": "EPSG:32632", **options},
            transform=transform,
        ) as dataset:  # fmt: skip
            dataset.write(np.full((count, 40, 60), 100 + number, profile["dtype"]))
    return folder


TURNED = Affine.translation(500_000, 5_000_000) @ Affine.rotation(20) @ Affine.scale(10, -10)
