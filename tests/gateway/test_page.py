"""The map page: its files, and what it asks the gateway, against the items themselves."""

from __future__ import annotations

import html.parser
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import numpy as np
import orjson
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform

import mosaic
from mosaic.gateway import static
from mosaic.gateway.app import Gateway
from mosaic.gateway.pyramid import tile
from tests.gateway.conftest import Serve
from tests.gateway.test_tiles import LAT, LON, place
from tests.support.range_server import RangeServer
from tests.support.scenes import item_of, utm_scene, write_scene
from tests.support.upstream import ask

PAGE = Path(static.__file__).with_name("page")


def documents(folder: Path) -> list[dict[str, Any]]:
    """The mosaic's items."""
    return [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("items/*.json"))]


def told(gateway: Gateway, path: str) -> Any:
    status, _, body = ask(f"{gateway.url}/{path}")
    assert status == 200, body
    return orjson.loads(body)


class Links(html.parser.HTMLParser):
    """What a page loads, and what it holds in line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("script", "img"):
            self.loads.append(named.get("src") or "")
        if tag == "link":
            self.loads.append(named.get("href") or "")
        if tag == "style" or (tag == "script" and not named.get("src")):
            self.inline.append(tag)
        self.inline += [name for name in named if name == "style" or name.startswith("on")]


def test_all_that_the_page_loads_comes_from_the_gateway(serve: Serve, remote: Path) -> None:
    gateway = serve(remote)
    status, headers, _ = ask(f"{gateway.url}/")
    assert (status, headers["location"]) == (302, "map/mosaic")
    start = f"{gateway.url}/map/mosaic"
    status, headers, body = ask(start)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert not any("unsafe" in value for value in policy.values())
    page = Links(body.decode())
    assert page.inline == []
    waiting, seen = [urljoin(start, href) for href in page.loads], set[str]()
    while waiting:
        url = waiting.pop()
        if url in seen:
            continue
        seen.add(url)
        assert url.startswith(f"{gateway.url}/page/"), url
        status, headers, body = ask(url)
        assert status == 200, url
        assert ask(url, If_None_Match=headers["etag"])[0] == 304
        if url.endswith(".js"):
            assert headers["content-type"] == "text/javascript; charset=utf-8"
            found = re.findall(r'^(?:import|export)[^"]* from "([^"]+)"', body.decode(), re.M)
            waiting += [urljoin(url, name) for name in found]
    assert f"{gateway.url}/page/leaflet/leaflet-src.esm.js" in seen
    own = {path.name for path in PAGE.iterdir()} - {"index.html"}
    assert own == {url.rpartition("/")[2] for url in seen if "/leaflet/" not in url}
    for path in ("index.html", "../app.py", "%2e%2e/app.py", "leaflet/leaflet.js", "", "leaflet"):
        assert ask(f"{gateway.url}/page/{path}")[0] == 404
    assert ask(f"{gateway.url}/map/other")[0] == 404


def test_without_leaflet_it_says_how_to_get_it(
    serve: Serve, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "LEAFLET", "no-such-distribution")
    status, _, body = ask(f"{serve(remote).url}/map/mosaic")
    assert (status, b"pip install XStatic-Leaflet" in body) == (503, True)


def test_the_page_is_for_those_who_may_ask(serve: Serve, remote: Path) -> None:
    gateway = serve(remote, token="s3cret")
    for path in ("", "map/mosaic", "map/mosaic/legend.json", "page/main.js", "metrics.json"):
        assert ask(f"{gateway.url}/{path}")[0] == 401
        assert ask(f"{gateway.url}/{path}", Host="evil.example")[0] == 421
        assert ask(f"{gateway.url}/{path}", Authorization="Bearer s3cret")[0] in (200, 302)


def test_the_legend_tells_what_items_tell(serve: Serve, remote: Path) -> None:
    found = told(serve(remote), "map/mosaic/legend.json")
    items = documents(remote)
    days = Counter(item["properties"]["datetime"][:10] for item in items)
    assert found["days"] == [list(pair) for pair in sorted(days.items())]
    codes = Counter(item["assets"]["B04"]["proj:code"] for item in items)
    assert {one["name"]: one["items"] for one in found["source_crs"]} == codes
    assert len({one["colour"] for one in found["source_crs"]}) == len(codes)
    assert found["items"] == len(items)
    assert [band["name"] for band in found["bands"]] == ["B04", "B03", "B02"]
    assert found["rgb"] == ["B04", "B03", "B02"]
    west, south, east, north = shapely.total_bounds(
        [shapely.from_geojson(orjson.dumps(item["geometry"])) for item in items]
    )
    assert west < found["start"][0] < east
    assert south < found["start"][1] < north
    assert found["mosaics"] == ["mosaic"]
    assert all(re.fullmatch("#[0-9a-f]{6}", c) for c in found["colormaps"]["viridis"])


def test_bands_of_an_asset_with_several_can_be_picked(serve: Serve, tmp_path: Path) -> None:
    """An aerial picture of four bands, one of which is called as another asset."""
    scene = utm_scene("a", 32632, LON, LAT, 64, 60.0, bands=("image", "Red"), dtype="uint8")
    item = write_scene(tmp_path, scene, lambda lon, lat, band: np.full(lon.shape, 99))
    named = ("Red", "Green", "Blue", "NIR")
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 4, "dtype": "uint8"}
    profile |= {"crs": scene.crs, "transform": scene.transform, "nodata": 0}
    with rasterio.open(tmp_path / "a/image.tif", "w", **profile) as file:
        file.write(np.stack([np.full((64, 64), 10 * place) for place in (1, 2, 3, 4)]))
    image = item["assets"]["image"]
    image["eo:bands"] = [{"name": one, "common_name": one.lower()} for one in named]
    image["raster:bands"] *= 4
    item["assets"] = {"image": image, "Red": item["assets"]["Red"]}
    (tmp_path / "items.json").write_bytes(orjson.dumps(item))
    mosaic.build(tmp_path / "items.json", tmp_path / "mosaic")
    gateway = serve(tmp_path / "mosaic")
    legend = told(gateway, "map/mosaic/legend.json")
    picked = [band["name"] for band in legend["bands"]]
    assert picked == ["image.1", "Green", "Blue", "NIR", "Red"]
    z, x, y = place(12)
    for name, want in zip(picked, (10, 20, 30, 40, 99), strict=True):
        found = told(gateway, f"tiles/mosaic/{z}/{x}/{y}.json?bands={name}")
        assert [band["max"] for band in found["bands"]] == [want]
    assert legend["rgb"] == ["Red", "Green", "Blue"]
    usual, chosen = (
        ask(f"{gateway.url}/tiles/mosaic/{z}/{x}/{y}.png{query}")
        for query in ("", "?bands=Red,Green,Blue")
    )
    assert (usual[0], usual[2]) == (200, chosen[2])
    status, _, body = ask(f"{gateway.url}/tiles/mosaic/{z}/{x}/{y}.png?bands=other")
    assert (status, b"image.1" in body) == (400, False)  # each is told once


def test_a_crs_without_a_name_is_called_as_its_projection(serve: Serve, tmp_path: Path) -> None:
    """MODIS, as GDAL writes it."""
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    profile |= {"crs": "+proj=sinu +R=6371007.181", "transform": Affine(900, 0, 0, 0, -900, 0)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile):
        pass
    mosaic.build(str(tmp_path / "a.tif"), tmp_path / "mosaic")
    found = told(serve(tmp_path / "mosaic"), "map/mosaic/legend.json")
    assert (found["crs"], found["source_crs"][0]["name"]) == ("Sinusoidal", "Sinusoidal")


def exact(item: dict[str, Any]) -> shapely.Polygon:
    """An item's outline in degrees, from its own grid by rasterio's corners."""
    asset = item["assets"]["B04"]
    height, width = asset["proj:shape"]
    affine = Affine(*asset["proj:transform"][:6])
    side = np.linspace(0, 1, 40)
    ring = [(t, 0) for t in side] + [(1, t) for t in side]
    ring += [(1 - t, 1) for t in side] + [(0, 1 - t) for t in side]
    xy = [affine @ (u * width, v * height) for u, v in ring]
    lon, lat = transform(asset["proj:code"], "EPSG:4326", *zip(*xy, strict=True))
    return shapely.Polygon(list(zip(lon, lat, strict=True)))


def test_footprints_are_those_of_the_items(serve: Serve, remote: Path) -> None:
    gateway = serve(remote)
    items = documents(remote)
    found = told(gateway, "map/mosaic/footprints.json?bbox=11,47,13,48")
    assert (found["kind"], found["items"]) == ("footprints", len(items))
    crs = [one["name"] for one in told(gateway, "map/mosaic/legend.json")["source_crs"]]
    shapes = [shapely.from_geojson(orjson.dumps(one)) for one in found["features"]]
    for item in items:
        want = exact(item)
        over = [shapely.area(want ^ shape) / want.area for shape in shapes]
        best = int(np.argmin(over))
        assert over[best] < 0.003
        assert (
            crs[found["features"][best]["properties"]["crs"]] == item["assets"]["B04"]["proj:code"]
        )
    # the two dates of a place have one footprint
    assert [one["properties"]["items"] for one in found["features"]] == [2] * (len(items) // 2)
    day = told(gateway, "map/mosaic/footprints.json?bbox=11,47,13,48&datetime=2025-06-01")
    names = {item["id"] for item in items if item["properties"]["datetime"][:10] == "2025-06-01"}
    assert {one["properties"]["id"] for one in day["features"]} == names
    assert told(gateway, "map/mosaic/footprints.json?bbox=20,47,21,48")["items"] == 0
    round_again = told(gateway, "map/mosaic/footprints.json?bbox=371,47,373,48")
    assert round_again["items"] == len(items)


def test_items_below_a_place(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    items = {item["id"]: item for item in documents(remote)}
    outlines = {name: exact(item) for name, item in items.items()}
    generator = np.random.default_rng(5)
    seen = set[int]()
    for lon, lat in generator.uniform((11.6, 47.2), (12.4, 47.8), (60, 2)).tolist():
        here = shapely.Point(lon, lat)
        if min(shape.exterior.distance(here) for shape in outlines.values()) < 1e-4:
            continue
        found = told(gateway, f"map/mosaic/items.json?at={lon},{lat}")
        below = {name for name, shape in outlines.items() if shape.contains(here)}
        assert {one["id"] for one in found["items"]} == below
        assert found["count"] == len(below)
        times = [one["datetime"] for one in found["items"]]
        assert times == sorted(times, reverse=True)  # the newest lies on top
        seen.add(len(below))
    assert {0, 2} <= seen
    found = told(gateway, f"map/mosaic/items.json?at={LON},{LAT}&datetime=2025-06-06")
    first = found["items"][0]
    assert first["crs"] == items[first["id"]]["assets"]["B04"]["proj:code"]
    asked = server.counts.requests
    url = urljoin(f"{gateway.url}/map/mosaic", first["assets"]["B04"])
    assert ask(url)[2] == server.objects[f"{first['id']}/B04.tif"]
    assert server.counts.requests > asked


def test_many_items_are_counted_in_cells(serve: Serve, tmp_path: Path) -> None:
    """Each cell tells how many items' boxes meet it: against as many comparisons."""
    generator = np.random.default_rng(7)
    scenes = []
    places = generator.uniform((170, -20), (190, 5), (700, 2)).tolist()
    for number, (lon, lat) in enumerate(places):
        zone = int(((lon + 180) % 360) // 6) + 1
        crs = (32600 if lat >= 0 else 32700) + zone
        turned = (lon + 180) % 360 - 180
        scenes.append(utm_scene(f"s{number:03}", crs, turned, lat, 64, 900.0))
    items = [item_of(scene) for scene in scenes]
    for item in items:
        item["assets"]["B04"]["href"] = f"https://scenes.example/{item['id']}.tif"
    mosaic.build(items, tmp_path / "many", dst_crs="EPSG:3832")
    gateway = serve(tmp_path / "many")
    boxes = np.array([item["bbox"] for item in documents(tmp_path / "many")])
    for west, east in ((168, 192), (-192, -168)):  # both are the same round of the world
        found = told(gateway, f"map/many/footprints.json?bbox={west},-25,{east},10")
        assert (found["kind"], found["items"]) == ("cells", 700)
        assert 100 < len(found["features"]) <= 41 * 41
        assert sum(one["properties"]["items"] for one in found["features"]) > 700
        for one in found["features"]:
            w, s, e, n = shapely.from_geojson(orjson.dumps(one)).bounds
            meets = (boxes[:, 1] < n) & (boxes[:, 3] >= s) & _meets(boxes, w, e)
            assert one["properties"]["items"] == meets.sum()
    few = told(gateway, "map/many/footprints.json?bbox=179,-2,181,0")
    assert few["kind"] == "footprints"
    assert 0 < few["items"] < 100


def _meets(boxes: np.ndarray, west: float, east: float) -> np.ndarray:
    """Whether boxes, which may cross 180, meet longitudes that may go on beyond it."""
    west_of, east_of = boxes[:, 0], boxes[:, 2]
    east_of = np.where(east_of < west_of, east_of + 360, east_of)
    found = np.zeros(len(boxes), bool)
    for turn in (-360, 0, 360):
        found |= (west_of + turn < east) & (east_of + turn >= west)
    return found


def test_figures_of_a_tile(serve: Serve, remote: Path) -> None:
    gateway = serve(remote)
    want = mosaic.read(remote, geobox=tile(*place(12)), bands=["B04", "B03"])
    z, x, y = place(12)
    found = told(gateway, f"tiles/mosaic/{z}/{x}/{y}.json?bands=B04,B03,B02")
    there = want.valid.all(axis=0)
    assert found["valid"] == pytest.approx(there.mean())
    values = want.values[0][there]
    assert found["bands"][0] == {
        "name": "B04",
        "min": values.min(),
        "p2": pytest.approx(np.percentile(values, 2)),
        "p98": pytest.approx(np.percentile(values, 98)),
        "max": values.max(),
    }
    empty = told(gateway, f"tiles/mosaic/{z}/0/{y}.json?expression={quote('B04-B03')}")
    assert (empty["valid"], empty["bands"][0]["p2"]) == (0.0, None)


def test_what_cant_be_meant_is_said(serve: Serve, remote: Path, server: RangeServer) -> None:
    gateway = serve(remote)
    for path in (
        "footprints.json",
        "footprints.json?bbox=1,2,3",
        "footprints.json?bbox=1,2,3,x",
        "footprints.json?bbox=1,2,nan,4",
        "footprints.json?bbox=3,2,1,4",
        "footprints.json?bbox=1,4,3,2",
        "footprints.json?bbox=1,2,inf,4",
        "footprints.json?bbox=1,91,3,95",
        "footprints.json?bbox=1,2,3,4&datetime=soon",
        "items.json",
        "items.json?at=1",
        "items.json?at=1,91",
        "items.json?at=x,1",
        "items.json?at=1e999,1",
    ):
        status, _, body = ask(f"{gateway.url}/map/mosaic/{path}")
        assert status == 400, path
        assert len(body) > 10
    for path in ("bbox=-1e9,-90,1e9,90", "bbox=5,5,5,5", "bbox=1e300,-90,1e300,90"):
        assert ask(f"{gateway.url}/map/mosaic/footprints.json?{path}")[0] == 200, path
    assert ask(f"{gateway.url}/map/mosaic/items.json?at=1e300,0")[0] == 200
    assert server.counts.requests == 0


def test_live_figures_are_those_of_the_server(
    serve: Serve, remote: Path, server: RangeServer
) -> None:
    gateway = serve(remote)
    server.behaviour.flaky = 0.3
    z, x, y = place(12)
    assert ask(f"{gateway.url}/tiles/mosaic/{z}/{x}/{y}.png?bands=B04&rescale=0,1")[0] == 200
    found = told(gateway, "metrics.json")
    (origin,) = found["origins"]
    assert origin["requests"] == server.counts.requests > 0
    assert origin["bytes"] == server.counts.bytes
    assert (origin["in_flight"], origin["failed"]) == (0, 0)
    assert origin["retries"] == origin["throttled"]
    assert found["gateway"]["waiting"] == 0
    assert found["memory_bytes"] > 0
