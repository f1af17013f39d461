"""Scenes without a nodata value that can't be read: an error to GDAL 3.10.3, and no zeros."""

from __future__ import annotations

import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyproj
import pytest
import rasterio

import mosaic
from mosaic.catalog.href import location
from mosaic.catalog.source import Band
from mosaic.catalog.vrt import Tile
from mosaic.gateway.app import Gateway
from mosaic.gateway.standins import marked
from tests.gateway.conftest import Serve
from tests.gateway.test_catalogs import pixels
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes
from tests.support.upstream import ask, publish

LOCATION = location("http://127.0.0.1:8790/raw/http/example.org/a.tif")
SCENES = [replace(one, nodata=None, hole=None) for one in seam_scenes(256, 60.0, ("B04",), 1)]


@pytest.fixture
def bare(tmp_path: Path, server: RangeServer) -> Path:
    """A mosaic of four scenes without a nodata value, two in another CRS than its own."""
    return publish(tmp_path, SCENES, server)


def tiles(gateway: Gateway, home: Path) -> dict[str, str]:
    """URLs of the tiles of an index, by the names of their files."""
    (home / "i.gpkg").write_bytes(ask(f"{gateway.url}/catalogs/mosaic/B04.gti.gpkg")[2])
    with sqlite3.connect(home / "i.gpkg") as database:
        rows = database.execute("SELECT location FROM tiles").fetchall()
    found = [unquote(text.partition("&url=")[2]) for (text,) in rows]
    return {"/".join(url.partition("?")[0].split("/")[-2:]): url for url in found}


@pytest.mark.parametrize("status", [403, 404, 500])
def test_no_zeros_for_a_scene_that_fails(
    serve: Serve, bare: Path, server: RangeServer, status: int
) -> None:
    """Whichever fails, of the mosaic's CRS or not; the same read again when it doesn't."""
    home = bare.parent
    mosaic.build(home / "scenes/items.json", home / "own")
    want = pixels(home / "own/B04.gti.gpkg")
    crss = {item.crs for item in SCENES}
    assert len(crss) == 2
    for scene in SCENES:
        gateway = serve(bare)
        source = f"/vsicurl/{gateway.url}/catalogs/mosaic/B04.gti.gpkg"
        server.behaviour.forbidden, server.behaviour.denial = f"{scene.id}/B04.tif", status
        with pytest.raises(subprocess.CalledProcessError) as failed:
            pixels(source)
        assert b"HTTP" in failed.value.stderr
        server.behaviour.forbidden = ""
        assert pixels(f"/vsicurl/{serve(bare).url}/catalogs/mosaic/B04.gti.gpkg") == want
    assert np.frombuffer(want, np.uint16).any()


def test_a_stand_in_opens_and_cant_be_read(
    serve: Serve, bare: Path, server: RangeServer, tmp_path: Path
) -> None:
    gateway = serve(bare)
    scene = SCENES[0]
    name = f"{scene.id}/B04.tif"
    url = tiles(gateway, tmp_path)[name]
    plain = url.partition("?")[0]
    server.behaviour.forbidden, server.behaviour.denial = name, 403
    status, told, body = ask(url)
    assert (status, told["cache-control"]) == (200, "no-store")
    with (
        rasterio.MemoryFile(body, ext=".vrt") as file,
        file.open() as dataset,
        rasterio.open(tmp_path / "scenes" / name) as own,
    ):
        for trait in ("crs", "shape", "transform", "dtypes", "nodatavals", "mask_flag_enums"):
            assert getattr(dataset, trait) == getattr(own, trait)
    status, told, part = ask(url, Range="bytes=0-16383")
    size = len(body)
    assert (status, told["content-range"], part) == (206, f"bytes 0-{size - 1}/{size}", body)
    (led,) = {word for word in body.decode().replace("<", ">").split(">") if "vsicurl" in word}
    assert ask(unquote(led.partition("url=")[2]))[0] == 403
    asked = server.counts.requests
    for beside in (".ovr", ".msk", ".aux.xml"):  # GDAL asks for it, and again and again if 503
        assert ask(url + beside)[0] == 404
    assert server.counts.requests == asked
    # a scene that left the mosaic since the index was opened isn't a hole either
    gone = f"{gateway.url}/raw/http/example.org/gone.tif?{url.partition('?')[2]}"
    assert ask(gone)[2][:11] == b"<VRTDataset"
    assert server.counts.requests == asked
    # only for who opens a tile: whoever reads on, or asks for the file itself, is refused
    assert ask(url, "HEAD")[0] == 403
    assert ask(url, Range="bytes=65536-81919")[0] == 403
    assert ask(url, Range="bytes=0-9")[0] == 403
    assert ask(plain)[0] == 403
    # who opened one has all of it, though the scene can be read again meanwhile
    server.behaviour.forbidden = ""
    assert ask(plain)[2] == server.objects[name]
    assert ask(url, Range="bytes=0-16383")[2] == body
    assert ask(tiles(gateway, tmp_path)[f"{SCENES[1].id}/B04.tif"])[2][:2] == b"II"


def test_a_full_queue_is_no_zeros_either(
    serve: Serve, bare: Path, server: RangeServer, tmp_path: Path
) -> None:
    gateway = serve(bare, busy=1, queue=0)
    urls = list(tiles(gateway, tmp_path).values())
    server.behaviour.latency = 2.0
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, urls))
    bodies = [body[:11] for _, _, body in answers]
    assert sum(body == b"<VRTDataset" for body in bodies) == 3
    assert {status for status, _, _ in answers} == {200}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "EPSG:32632~256~256~60~0~0~0~-60~0~uint99",
        "EPSG:32632~0~256~60~0~0~0~-60~0~uint16",
        "EPSG:32632~256~256~60~0~0~0~-60~uint16",
        "EPSG:32632~256~256~60~0~x~0~-60~0~uint16",
    ],
)
def test_what_tells_no_grid_is_nothing(
    serve: Serve, bare: Path, server: RangeServer, tmp_path: Path, text: str
) -> None:
    gateway = serve(bare)
    url = next(iter(tiles(gateway, tmp_path).values())).partition("?")[0]
    assert ask(f"{url}?grid={text}")[0] == 404
    assert server.counts.requests == 0
    assert ask(f"{gateway.url}/failed/503/x")[0] == 424
    assert ask(f"{gateway.url}/failed/200/x")[0] == 404


def test_a_grid_that_is_too_long_to_tell() -> None:
    """A URL that a gateway would refuse is none; a usual WKT fits."""
    for crs, fits in (
        (pyproj.CRS("+proj=sinu +R=6371007.181").to_wkt(), True),
        ("x" * 4000, False),
    ):
        tile = Tile(LOCATION, False, crs, (9, 9), (1.5, 0, 0, 0, -1.5, 0), (Band("uint16"),))
        assert (marked(tile) != LOCATION) is fits
        assert len(unquote(marked(tile))) < 4096
