"""`/catalogs`: STAC, items and tile indexes whose every location leads to the gateway."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote, urljoin
from xml.etree import ElementTree as ET

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest

import mosaic
from mosaic.errors import CatalogError, UsageError
from mosaic.gateway.app import Gateway
from mosaic.gateway.catalogs import named
from mosaic.gateway.locations import WEB_MAP_LINKS, Site
from mosaic.gateway.options import Options
from mosaic.storage.address import url_path
from tests.gateway.conftest import Serve
from tests.support.mosaics import CASES, build
from tests.support.range_server import RangeServer
from tests.support.scenes import ramp, seam_scenes, utm_scene, write_scenes
from tests.support.upstream import ask, publish

READ = """
import json, sys, rasterio
from rasterio.windows import Window
with rasterio.open(sys.argv[1]) as source:
    for window in json.loads(sys.argv[2]) or [(0, 0, source.width, source.height)]:
        sys.stdout.buffer.write(source.read(window=Window(*window)).tobytes())
"""
Windows = Sequence[tuple[int, int, int, int]]


def pixels(location: str | Path, windows: Windows = ()) -> bytes:
    """Pixels of some windows, or of all, read in another process: this one serves."""
    command = [sys.executable, "-c", READ, str(location), json.dumps(windows)]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def test_the_list_is_stac(serve: Serve, remote: Path) -> None:
    gateway = serve(remote)
    status, told, body = ask(f"{gateway.url}/catalogs")
    assert (status, told["content-type"]) == (200, "application/json")
    assert orjson.loads(body)["mosaics"]["mosaic"]["items"] == 8
    assert orjson.loads(body)["mosaics"]["mosaic"]["gdal"] == gateway.locations()
    catalog = pystac.Catalog.from_dict(orjson.loads(body))
    (child,) = catalog.get_child_links()
    collection = orjson.loads(ask(child.href)[2])
    own = orjson.loads((remote / "collection.json").read_bytes())
    more = collection["links"][len(own["links"]) :]
    extensions = [*own["stac_extensions"], WEB_MAP_LINKS]
    assert collection == {
        **own,
        "links": own["links"] + more,
        "stac_extensions": extensions,
    }
    pystac.Collection.from_dict(collection)
    found = {link["rel"]: (link["href"], link["type"].partition(";")[0]) for link in more}
    assert set(found) == {"alternate", "xyz", "store"}
    assert orjson.loads(ask(f"{found['store'][0]}/zarr.json")[2])["node_type"] == "group"
    for rel in ("alternate", "xyz"):
        href, kind = found[rel]
        status, told, _ = ask(href.format(z=11, x=1092, y=715))
        assert (status, told["content-type"].partition(";")[0]) == (200, kind)


def test_bytes_are_linked_as_pictures(serve: Serve, tmp_path: Path) -> None:
    scene = utm_scene("one", 32633, 15.0, 47.5, 64, 60.0, dtype="uint8")
    items = write_scenes(tmp_path / "scenes", [scene])
    mosaic.build(items, tmp_path / "mosaic")
    gateway = serve(tmp_path / "mosaic")
    links = orjson.loads(ask(f"{gateway.url}/catalogs/mosaic/collection.json")[2])["links"]
    (link,) = [link for link in links if link["rel"] == "xyz"]
    told = orjson.loads(ask(f"{gateway.url}/tiles/mosaic/tilejson.json")[2])
    assert told["tiles"] == [link["href"]]
    assert link["type"] == "image/png"
    assert ask(link["href"].format(z=10, x=554, y=358))[1]["content-type"] == "image/png"


def test_items_lead_to_the_gateway(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    root = f"{gateway.url}/catalogs/mosaic"
    table = pq.read_table(io.BytesIO(ask(f"{root}/items.parquet")[2]))
    own = pq.read_table(remote / "items.parquet")
    assert table.schema.equals(own.schema, check_metadata=True)
    assert table.drop(["assets"]).equals(own.drop(["assets"]))
    served, kept = table.column("assets").to_pylist(), own.column("assets").to_pylist()
    for new, old in zip(served, kept, strict=True):
        for key in old:
            assert {**new[key], "href": ""} == {**old[key], "href": ""}
            path = old[key]["href"].partition("://")[2]
            assert new[key]["href"] == f"{gateway.url}/raw/http/{path}"
    name = next(iter(remote.glob("items/*.json"))).name
    item = orjson.loads(ask(f"{root}/items/{name}")[2])
    asset = next(iter(item["assets"].values()))
    name = asset["href"].partition(f"/raw/http/127.0.0.1:{server.port}/")[2]
    assert ask(asset["href"])[2] == server.objects[name]


def test_every_location_of_an_index_is_the_gateways(
    serve: Serve, remote: Path, server: RangeServer, tmp_path: Path
) -> None:
    gateway = serve(remote)
    root = f"{gateway.url}/catalogs/mosaic"
    (tmp_path / "i.gpkg").write_bytes(ask(f"{root}/B04.gti.gpkg")[2])
    with (
        sqlite3.connect(tmp_path / "i.gpkg") as new,
        sqlite3.connect(remote / "B04.gti.gpkg") as old,
    ):
        rows = new.execute("SELECT fid, location FROM tiles").fetchall()
        assert len(rows) == 8
        for _, text in rows:
            (found,) = re.findall(r"url=([^<&]*)<", text)
            assert unquote(found).startswith(f"{gateway.url}/raw/http/127.0.0.1")
            assert 'relativeToVRT="0"' in text
        for query in (
            "SELECT fid, item, z, crs, geom FROM tiles",
            "SELECT name, sql FROM sqlite_master ORDER BY name",
            "SELECT metadata FROM gpkg_metadata",
            "SELECT * FROM rtree_tiles_geom_node",
        ):
            assert new.execute(query).fetchall() == old.execute(query).fetchall()
    assert server.counts.requests == 0


@pytest.mark.parametrize("file", ["B04.gti.gpkg", "B04_B03_B02.vrt", "B04_2025-06-06.gti"])
def test_pixels_are_those_of_the_scenes(
    serve: Serve, remote: Path, server: RangeServer, tmp_path: Path, file: str
) -> None:
    """Of index, stack and slice, while the server refuses a third; only scenes are asked for."""
    home = remote.parent
    stack = ("B04", "B03", "B02")
    mosaic.build(home / "scenes/items.json", tmp_path / "own", stacks=[stack], slices="day")
    gateway = serve(remote)
    server.behaviour.flaky = 0.3
    got = pixels(f"/vsicurl/{gateway.url}/catalogs/mosaic/{file}")
    assert got == pixels(tmp_path / "own" / file)
    assert np.frombuffer(got, np.uint16).any()
    assert {path.rpartition(".")[2] for _, path, _, _ in server.counts.log} == {"tif"}
    asked = server.counts.requests
    assert pixels(f"/vsicurl/{gateway.url}/catalogs/mosaic/{file}") == got
    assert server.counts.requests == asked


@pytest.mark.parametrize("name", ["north180-EPSG3857", "arctic-EPSG4326"])
@pytest.mark.parametrize("inside", [True, False])
def test_scenes_that_need_vrts(
    serve: Serve, server: RangeServer, tmp_path: Path, name: str, inside: bool
) -> None:
    """Across 180 degrees and round a pole; scenes on a server, and in the mosaic's own folder."""
    case = next(case for case in CASES if str(case) == name)
    built = publish(tmp_path, case.scenes, server, dst_crs=case.crs)
    own = tmp_path / "own"
    shutil.copytree(tmp_path / "scenes", own / "scenes")
    mosaic.build(own / "scenes/items.json", own, dst_crs=case.crs, overwrite=True)
    gateway = serve(own if inside else built)
    windows = build(case, tmp_path / "scenes/items.json", tmp_path / "whole", "nearest").windows
    got = pixels(gateway.locations()[0], windows)
    assert got == pixels(own / "B04.gti.gpkg", windows)
    assert np.frombuffer(got, np.uint16).any()


def test_an_overview_and_scenes_without_nodata(
    serve: Serve, tmp_path: Path, server: RangeServer
) -> None:
    scenes = seam_scenes(256, 60.0, ("B04",), dates=1)
    bare = [replace(scene, nodata=None) for scene in scenes]
    for number, some in enumerate((scenes, bare)):
        home = tmp_path / str(number)
        built = publish(home, some, server, overview=480.0)
        mosaic.build(home / "scenes/items.json", home / "own", overview=480.0)
        gateway = serve(built)
        got = pixels(f"/vsicurl/{gateway.url}/catalogs/mosaic/B04.gti.gpkg")
        assert got == pixels(home / "own/B04.gti.gpkg")


def test_a_mosaic_that_is_built_anew(serve: Serve, tmp_path: Path, server: RangeServer) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",), dates=2)
    built = publish(tmp_path, scenes, server)
    gateway = serve(built)
    root = f"{gateway.url}/catalogs/mosaic"
    before = ask(f"{root}/B04.gti.gpkg")
    document = [orjson.loads(path.read_bytes()) for path in sorted(built.glob("items/*.json"))]
    gone = server.url("S2_32_0_1/B04.tif").replace("http://", "")
    assert ask(f"{gateway.url}/raw/http/{gone}")[0] == 200
    mosaic.build([i for i in document if i["id"] != "S2_32_0_1"], built, overwrite=True)
    time.sleep(1.1)
    assert json.loads(ask(f"{gateway.url}/catalogs")[2])["mosaics"]["mosaic"]["items"] == 7
    after = ask(f"{root}/B04.gti.gpkg")
    assert after[1]["etag"] != before[1]["etag"]
    assert ask(f"{gateway.url}/raw/http/{gone}")[0] == 404
    left = len(list(gateway.folder.rglob("*.gpkg")))
    for _ in range(3):
        mosaic.build(document, built, overwrite=True)
        time.sleep(1.1)
        assert ask(f"{root}/B04.gti.gpkg")[0] == 200
    assert len(list(gateway.folder.rglob("*.gpkg"))) == left  # the last two builds'
    shutil.rmtree(built)
    time.sleep(1.1)
    assert ask(f"{gateway.url}/catalogs")[0] == 200
    status, told, body = ask(f"{root}/B04.gti.gpkg")
    assert (status, "retry-after" in told) == (503, True)
    assert str(tmp_path).encode() not in body
    mosaic.build(document, built)
    time.sleep(1.1)
    assert ask(f"{root}/B04.gti.gpkg")[0] == 200


@pytest.mark.parametrize(
    ("key", "status"),
    [
        *(("mosaic:files", 503), ("extent", 503), ("mosaic:assets", 503), ("mosaic:sort", 503)),
        ("mosaic:options", 200),  # old builds lack it
    ],
)
def test_a_mosaic_that_is_spoiled_takes_no_other_along(
    serve: Serve, remote: Path, tmp_path: Path, key: str, status: int
) -> None:
    shutil.copytree(remote, tmp_path / "spoiled")
    gateway = serve(remote, tmp_path / "spoiled")
    document = orjson.loads((remote / "collection.json").read_bytes())
    del document[key]
    (tmp_path / "spoiled/collection.json").write_bytes(orjson.dumps(document))
    time.sleep(1.1)
    for name, want in (("mosaic", 200), ("spoiled", status)):
        for path in (f"catalogs/{name}/collection.json", f"map/{name}/legend.json"):
            assert ask(f"{gateway.url}/{path}")[0] == want


@pytest.mark.parametrize("text", [b"null", b"[]", b'{"assets": {"B04": {}}}', b"\xff"])
def test_an_item_that_is_spoiled(serve: Serve, remote: Path, tmp_path: Path, text: bytes) -> None:
    copy = shutil.copytree(remote, tmp_path / "copy")
    item = next(copy.glob("items/*.json"))
    item.write_bytes(text)
    gateway = serve(copy)
    status, _, body = ask(f"{gateway.url}/catalogs/copy/items/{item.name}")
    assert (status, str(tmp_path).encode() in body) == (503, False)
    assert ask(f"{gateway.url}/catalogs/copy/collection.json")[0] == 200


def test_a_copy_that_cant_be_made_leaves_nothing(
    serve: Serve, remote: Path, tmp_path: Path
) -> None:
    """A disk that is full would stay so. What was cleared away is made again."""
    spoiled = shutil.copytree(remote, tmp_path / "spoiled")
    (spoiled / "B04.gti.gpkg").write_bytes(bytes(1 << 20))
    gateway = serve(remote, spoiled)
    for _ in range(3):
        assert ask(f"{gateway.url}/catalogs/spoiled/B04.gti.gpkg")[0] == 503
    assert not list(gateway.folder.rglob("*"))
    url = f"{gateway.url}/catalogs/mosaic/B04.gti.gpkg"
    want = ask(url)[2]
    shutil.rmtree(gateway.folder)
    assert ask(url)[::2] == (200, want)


def test_scenes_that_are_written_anew_with_their_mosaic(
    serve: Serve, tmp_path: Path, server: RangeServer
) -> None:
    """No block of an old scene stands beside one of the new, nor in its place."""
    scenes = seam_scenes(256, 60.0, ("B04",), dates=1)
    built = publish(tmp_path, scenes, server)
    gateway = serve(built)
    names = "S2_32_0_0/B04.tif", "S2_33_0_0/B04.tif"
    urls = [f"{gateway.url}/raw/{url_path(server.url(name))}" for name in names]
    assert all(ask(url, Range="bytes=0-70000")[0] == 206 for url in urls)
    write_scenes(tmp_path / "scenes", scenes, lambda lon, lat, band: ramp(lon, lat, band) / 2)
    for path in (tmp_path / "scenes").rglob("*.tif"):
        server.objects[path.relative_to(tmp_path / "scenes").as_posix()] = path.read_bytes()
    server.behaviour.etag = "v2"
    document = [orjson.loads(path.read_bytes()) for path in sorted(built.glob("items/*.json"))]
    mosaic.build(document, built, overwrite=True)
    time.sleep(1.1)
    for url, name in zip(urls, names, strict=True):
        status, told, body = ask(url)
        assert (status, told["etag"], body) == (200, '"v2"', server.objects[name])


def test_what_isnt_the_mosaics_own_stays_hidden(serve: Serve, remote: Path) -> None:
    (remote / "notes.txt").write_text("private")
    (remote / "items" / "more.json").write_text("{}")
    gateway = serve(remote)
    for path in ("notes.txt", "items/more.json", "", "items", "items/", "collection.json/"):
        assert ask(f"{gateway.url}/catalogs/mosaic/{path}")[0] == 404, path
    assert ask(f"{gateway.url}/catalogs/other/collection.json")[0] == 404
    (remote / "notes.txt").unlink()
    (remote / "items" / "more.json").unlink()


def test_a_collection_can_claim_no_file_elsewhere(
    serve: Serve, remote: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(remote, tmp_path / "copy")
    (tmp_path / "private").write_text("hush")
    document = orjson.loads((copy / "collection.json").read_bytes())
    claimed = [str(tmp_path / "private"), "../private", "items/../../private", "./../private"]
    document["mosaic:files"] += claimed
    (copy / "collection.json").write_bytes(orjson.dumps(document))
    gateway = serve(copy)
    assert ask(f"{gateway.url}/catalogs/copy/collection.json")[0] == 200
    for path in claimed:
        status, _, body = ask(f"{gateway.url}/catalogs/copy/{path}")
        assert (status, b"hush" in body) == (404, False), path


def test_what_cant_be_served_is_said_at_the_start(tmp_path: Path, remote: Path) -> None:
    with pytest.raises(CatalogError, match="holds no mosaic"):
        Gateway({"x": tmp_path}, Options(port=0))
    copy = shutil.copytree(remote, tmp_path / "copy")
    table = pq.read_table(copy / "items.parquet")
    schema, rows = table.schema, table.to_pylist()
    rows[0]["assets"]["B04"]["href"] = "/vsizip/some.zip/x.tif"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), copy / "items.parquet")
    with pytest.raises(CatalogError, match="vsizip"):
        Gateway({"x": copy}, Options(port=0))
    (copy / "collection.json").write_bytes(b"null")
    with pytest.raises(CatalogError, match="build the mosaic again"):
        Gateway({"x": copy}, Options(port=0))


def test_scenes_in_the_folder_by_any_name(serve: Serve, tmp_path: Path) -> None:
    """What is relative in an item is a URL's path to those who read it over HTTP."""
    built = tmp_path / "mosaic"
    scenes = [utm_scene(name, 32632, 9.0, 47.5, 64, 60.0) for name in ("a b#1", "100%é?x=1")]
    mosaic.build(write_scenes(built / "scènes", scenes), built)
    root = f"{serve(built).url}/catalogs/mosaic/"
    items = [f"items/{quote(path.name)}" for path in built.glob("items/*.json")]
    table = pq.read_table(io.BytesIO(ask(f"{root}items.parquet")[2])).to_pylist()
    found = [urljoin(root, row["assets"]["B04"]["href"]) for row in table]
    for item in items:
        told = json.loads(ask(root + item)[2])
        found.append(urljoin(root + item, told["assets"]["B04"]["href"]))
    files = {path.read_bytes() for path in built.rglob("B04.tif")}
    assert len(found) == 4
    assert all(ask(url)[2] in files for url in found)
    got = mosaic.read(f"{root}items.parquet", bands=["B04"])
    np.testing.assert_array_equal(got.values, mosaic.read(built, bands=["B04"]).values)


def test_a_folder_by_its_relative_path(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "mosaic"
    scenes = [utm_scene("a", 32632, 9.0, 47.5, 64, 60.0)]
    mosaic.build(write_scenes(built / "scenes", scenes), built)
    monkeypatch.chdir(tmp_path)
    url = serve(Path("mosaic")).url
    assert pixels(f"/vsicurl/{url}/catalogs/mosaic/B04.gti.gpkg") == pixels(built / "B04.gti.gpkg")


def test_scenes_in_the_folder_that_cant_be_read(serve: Serve, tmp_path: Path) -> None:
    """Errors don't tell where the folder lies; what is no file doesn't hang."""
    built = tmp_path / "a b"
    mosaic.build(write_scenes(built / "scenes", seam_scenes(64, 60.0, ("B04",), dates=1)), built)
    gone, pipe = (built / "scenes" / name / "B04.tif" for name in ("S2_32_0_0", "S2_32_1_0"))
    for path in (gone, pipe):
        path.unlink()
    os.mkfifo(pipe)
    gateway = serve(built)
    root = f"{gateway.url}/catalogs/{quote(built.name)}/scenes"
    for url, want, why in (
        (f"{root}/S2_32_0_0/B04.tif", 404, b"a b/scenes/S2_32_0_0/B04.tif: can't be read"),
        (f"{root}/S2_32_1_0/B04.tif", 502, b"not a regular file"),
        (f"{gateway.url}/tiles/a%20b/11/1092/715.tif?bands=B04", 502, b"a b/scenes"),
        (f"{gateway.url}/zarr/a%20b/B04/c/0/0/0", 502, b"a b/scenes"),
    ):
        status, _, body = ask(url)
        assert (status, why in body) == (want, True), body
        assert tmp_path.name.encode() not in body


def test_names() -> None:
    assert named(("/a/b/../c",)) == {"c": Path("/a/c")}
    assert list(named(("/a/one", "two=/b/x", "/c/d e"))) == ["one", "two", "d_e"]
    with pytest.raises(UsageError, match="NAME="):
        named(("/a/one", "/b/one"))


def test_locations_on_clouds() -> None:
    href = "abfs://data@account.dfs.core.windows.net/a/b.tif"
    site = Site("http://gate:1", "m", "/data/m", {"/vsiaz/data/a/b.tif": href})
    for where, path in (
        ("/vsis3/bucket/a b.tif", "s3/bucket/a%20b.tif"),
        ("/vsigs/bucket/a.tif", "gs/bucket/a.tif"),
        ("/vsiaz/data/a/b.tif", "abfs/data@account.dfs.core.windows.net/a/b.tif"),
        ("/vsicurl?empty_dir=yes&url=https%3A//h/a%2520b.tif", "https/h/a%2520b.tif"),
        ("/elsewhere/a.tif", "file/elsewhere/a.tif"),
    ):
        got = site.location(where, "/data/m")
        assert unquote(got.rpartition("url=")[2]) == f"http://gate:1/raw/{path}"
    assert site.location("s/a.tif", "/data/m").endswith("http%3A//gate%3A1/catalogs/m/s/a.tif")
    inner = '<VRTDataset><SourceFilename relativeToVRT="1">../s/a.tif</SourceFilename></VRTDataset>'
    outer = ET.Element("VRTDataset")
    ET.SubElement(outer, "SourceFilename", relativeToVRT="0").text = inner
    led = site.vrt(ET.tostring(outer, encoding="unicode"), "/data/m/vrt")
    assert "catalogs/m/s/a.tif" not in led  # relative to the mosaic, not to the VRT that holds it
    with pytest.raises(CatalogError, match="vsizip"):
        site.location("/vsizip/x.zip/a.tif", "/data/m")
