"""What a build leaves on disk, read by others' tools and checked against PROJ itself."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import orjson
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pystac
import pystac.validation
import pytest
import rustac
import shapely
import stac_geoparquet.arrow
from affine import Affine
from pystac.validation.local_validator import LocalValidator
from rasterio.warp import calculate_default_transform

import mosaic
from mosaic.catalog.gti import read_xml
from tests.support.scenes import Scene, item_of, seam_scenes, utm_scene

Json = dict[str, Any]


@pytest.fixture(scope="module")
def seam_mosaic(seam: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight scenes of the seam, three bands, with slices and a stack."""
    out = tmp_path_factory.mktemp("written") / "m"
    mosaic.build(seam, out, slices="month", stacks=[["B04", "B03", "B02"]])
    return out


def by_id(items: list[Json]) -> dict[str, Json]:
    return {item["id"]: item for item in items}


def shape_of(item: Json) -> shapely.Geometry:
    return shapely.from_geojson(orjson.dumps(item["geometry"]))


def same_items(found: dict[str, Json], given: dict[str, Json], folder: Path) -> None:
    """Ids, geometries and assets as they were given."""
    assert found.keys() == given.keys()
    for name, item in given.items():
        other = found[name]
        assert shapely.equals_exact(shape_of(item), shape_of(other), 1e-12)
        assert np.allclose(other["bbox"], item["bbox"], rtol=0, atol=1e-12)
        assert other["assets"].keys() == item["assets"].keys()
        assert other["stac_version"] == "1.1.0"
        assert other["properties"]["proj:code"] == f"EPSG:{item['properties']['proj:epsg']}"
        for key, asset in item["assets"].items():
            assert other["assets"][key]["href"] == str(folder / asset["href"])
            assert other["assets"][key]["proj:shape"] == asset["proj:shape"]
            assert other["assets"][key]["proj:transform"] == asset["proj:transform"]
            (band,) = other["assets"][key]["bands"]
            assert band == {"name": key, "data_type": "uint16", "nodata": 0}


def test_items_read_back_with_stac_geoparquet(seam: Path, seam_mosaic: Path) -> None:
    given = by_id(orjson.loads(seam.read_bytes())["features"])
    table = pq.read_table(seam_mosaic / "items.parquet")
    found = by_id(list(stac_geoparquet.arrow.stac_table_to_items(table)))
    same_items(found, given, seam.parent)
    metadata = orjson.loads(table.schema.metadata[b"stac-geoparquet"])
    assert orjson.loads(table.schema.metadata[b"geo"])["version"] == "1.1.0"
    (name,) = metadata["collections"]
    assert name == "m"


def test_items_read_back_with_rustac(seam: Path, seam_mosaic: Path) -> None:
    given = by_id(orjson.loads(seam.read_bytes())["features"])

    async def read() -> Json:
        document: Json = await rustac.read(str(seam_mosaic / "items.parquet"))
        return document

    document = asyncio.run(read())
    same_items(by_id(document["features"]), given, seam.parent)


def test_items_read_back_with_geopandas(seam: Path, seam_mosaic: Path) -> None:
    given = by_id(orjson.loads(seam.read_bytes())["features"])
    frame = geopandas.read_parquet(seam_mosaic / "items.parquet").set_index("id")
    assert frame.crs.to_epsg() == 4326
    assert set(frame.index) == set(given)
    for name, item in given.items():
        assert shapely.equals_exact(frame.geometry[name], shape_of(item), 1e-12)
        assert frame["assets"][name]["B04"]["href"] == str(
            seam.parent / item["assets"]["B04"]["href"]
        )
        assert frame["datetime"][name].isoformat() == item["properties"]["datetime"].replace(
            "Z", "+00:00"
        )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket opens."""

    def refuse(*args: object, **kw: object) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["catalog.json", "collection.json"])
def test_documents_are_valid_stac(seam_mosaic: Path, name: str) -> None:
    document = orjson.loads((seam_mosaic / name).read_bytes())
    kind = {"Catalog": LocalValidator().catalog_validator}.get(
        document["type"], LocalValidator().collection_validator
    )()
    assert list(map(str, kind.iter_errors(document))) == []
    broken = {**document, "stac_version": 1, "links": [{"rel": "root"}]}
    assert list(kind.iter_errors(broken))  # the schema is really there


@pytest.mark.usefixtures("offline")
def test_catalog_holds_together(seam_mosaic: Path) -> None:
    catalog = pystac.Catalog.from_file(str(seam_mosaic / "catalog.json"))
    (collection,) = catalog.get_children()
    assert isinstance(collection, pystac.Collection)
    for asset in collection.assets.values():
        assert not asset.href.startswith("/")
        assert (seam_mosaic / asset.href).is_file()
    document = orjson.loads((seam_mosaic / "collection.json").read_bytes())
    on_disk = {p.relative_to(seam_mosaic).as_posix() for p in seam_mosaic.rglob("*") if p.is_file()}
    assert set(document["mosaic:files"]) == on_disk
    for link in (
        *document["links"],
        *orjson.loads((seam_mosaic / "catalog.json").read_bytes())["links"],
    ):
        assert (seam_mosaic / link["href"]).is_file()


# ---- tile indexes

N = 100
"""Points a side."""


SETS: dict[str, list[Scene]] = {
    "seam": seam_scenes(64, 60.0, ("B04",), dates=1),
    "coarse": seam_scenes(400, 300.0, ("B04",), dates=1),
    "dateline": [
        utm_scene("west", 32660, 179.5, 52.0, 64, 600.0, bands=("B04",)),
        utm_scene("across", 32660, 179.9, 52.1, 64, 600.0, bands=("B04",)),
        utm_scene("east", 32601, -179.6, 52.0, 64, 600.0, bands=("B04",)),
    ],
    "north": [
        Scene("n1", "EPSG:3413", Affine(500, 0, 900000, 0, -500, -900000), (128, 128)),
        utm_scene("n2", 32633, 15.0, 80.0, 128, 300.0, bands=("B04",)),
    ],
}
CASES = [
    *(("seam", crs) for crs in ("EPSG:4326", "EPSG:3857", "EPSG:3035", "EPSG:32633")),
    *(("coarse", crs) for crs in ("EPSG:4326", "EPSG:3857", "EPSG:3035", "EPSG:32633")),
    *(("dateline", crs) for crs in ("EPSG:4326", "EPSG:3857", "EPSG:32660", "EPSG:3832")),
    *(("north", crs) for crs in ("EPSG:3413", "EPSG:3857", "EPSG:4326")),
]


@pytest.fixture(scope="module")
def index_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Builds a set of scenes (items alone) in a CRS; its index."""

    def build(name: str, crs: str) -> Path:
        items = [item_of(scene) for scene in SETS[name]]
        for item in items:
            # places are no secret of the files: nothing is there to be opened
            for asset in item["assets"].values():
                asset["href"] = f"/nowhere/{item['id']}.tif"
        out = tmp_path_factory.mktemp(name) / "m"
        mosaic.build(items, out, dst_crs=crs)
        return out / "B04.gti.gpkg"

    return build


def outline(scene: Scene, crs: str) -> np.ndarray:
    """(4 * N, 2) points of a scene's edge in a CRS, straight from PROJ."""
    height, width = scene.shape
    t = np.linspace(0, 1, N, endpoint=False)
    u = np.concatenate([t, np.ones(N), 1 - t, np.zeros(N)]) * width
    v = np.concatenate([np.zeros(N), t, np.ones(N), 1 - t]) * height
    a, b, c, d, e, f = tuple(scene.transform)[:6]
    to = pyproj.Transformer.from_crs(scene.crs, crs, always_xy=True)
    return np.column_stack(to.transform(a * u + b * v + c, d * u + e * v + f))


def pixel_of(scene: Scene, crs: str) -> np.ndarray:
    """(2,) largest width and height, in a CRS, of a pixel of a scene."""
    height, width = scene.shape
    a, b, c, d, e, f = tuple(scene.transform)[:6]
    to = pyproj.Transformer.from_crs(scene.crs, crs, always_xy=True)
    column, row = (g.ravel() for g in np.meshgrid([0, width / 2, width], [0, height / 2, height]))
    x, y = a * column + b * row + c, d * column + e * row + f
    at = np.array(to.transform(x, y))
    steps = [np.abs(np.array(to.transform(x + dx, y + dy)) - at) for dx, dy in ((a, d), (b, e))]
    return np.asarray((steps[0] + steps[1]).max(axis=1))


def pixels_of(scene: Scene, crs: str, geotransform: list[float], location: str) -> np.ndarray:
    """(4,) left, top, right, bottom that GDAL gives a tile, in pixels of the mosaic.

    A tile of another CRS has the size that GDAL itself suggests for it, out to whole pixels.
    """
    x0, dx, _, y0, _, dy = geotransform
    height, width = scene.shape
    t = scene.transform
    box = [t.c, t.f, t.c + t.a * width, t.f + t.e * height]
    if location.startswith("<VRTDataset"):
        vrt = ET.fromstring(location)
        c, a, _, f, _, e = map(float, (vrt.findtext("GeoTransform") or "").split(","))
        columns, rows = int(vrt.get("rasterXSize", "")), int(vrt.get("rasterYSize", ""))
        box = [c, f, c + a * columns, f + e * rows]
    elif scene.crs != crs:
        to, columns, rows = calculate_default_transform(
            scene.crs, crs, width, height, left=box[0], bottom=box[3], right=box[2], top=box[1]
        )
        box = [to.c, to.f, to.c + to.a * columns, to.f + to.e * rows]
    found = (np.array(box) - [x0, y0, x0, y0]) / [dx, dy, dx, dy]
    if scene.crs != crs:
        found = np.concatenate([np.floor(found[:2] + 1e-9), np.ceil(found[2:] - 1e-9)])
    return np.asarray(found)


def check_footprint(
    footprint: shapely.Geometry, scene: Scene, crs: str, geotransform: list[float], location: str
) -> None:
    """It ends within its tile's pixels, less than one from their end, and meets all with data."""
    x0, dx, _, y0, _, dy = geotransform
    unit = shapely.transform(footprint, lambda xy: (xy - [x0, y0]) / [dx, dy])
    given = pixels_of(scene, crs, geotransform, location)
    left, top, right, bottom = unit.bounds  # rows count southward
    inside = np.array([left, top, -right, -bottom]) - given * [1, 1, -1, -1]
    assert (inside > 1e-4).all(), inside
    # GDAL 3.13 drops a tile whose pixels are more than one larger than its footprint
    assert (inside < 0.999).all(), inside
    points = outline(scene, crs)
    own = np.maximum(np.abs([dx, dy]), pixel_of(scene, crs))
    scaled = shapely.transform(footprint, lambda xy: xy / own)
    # sharp corners reach further than the edges: they are measured along the edge only
    corner = np.isin(np.arange(4 * N), [0, N, 2 * N, 3 * N])
    far = shapely.distance(shapely.points(points / own), scaled.exterior)
    assert far[~corner].max() <= 2.0 + 0.05
    # pixels near the edge whose middle lies in the scene
    near = np.floor((points - [x0, y0]) / [dx, dy])
    steps = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    pixels = np.unique((near[:, None] + steps).reshape(-1, 2), axis=0)
    pixels = pixels[((pixels >= given[:2]) & (pixels + 1 <= given[2:])).all(axis=1)]
    back = pyproj.Transformer.from_crs(crs, scene.crs, always_xy=True)
    x, y = back.transform(*((pixels + 0.5) * [dx, dy] + [x0, y0]).T)
    column, row = ~scene.transform @ (np.asarray(x), np.asarray(y))
    height, width = scene.shape
    held = (column > 0) & (column < width) & (row > 0) & (row < height)
    assert held.sum() > 50
    boxes = shapely.box(*pixels[held].T, *(pixels[held] + 1).T)
    assert shapely.intersects(unit, boxes).all()


@pytest.mark.parametrize(("name", "crs"), CASES, ids=[f"{n}-{c[5:]}" for n, c in CASES])
def test_index_keeps_the_rules(index_of: Any, name: str, crs: str) -> None:
    index = index_of(name, crs)
    xml = ET.fromstring(read_xml(index))
    text = {child.tag: child.text for child in xml}
    meta, _, geometry, fields = pyogrio.raw.read(index, columns=["location", "item"])
    locations, items = fields
    footprints = shapely.from_wkb(geometry)
    # one CRS
    assert pyproj.CRS(meta["crs"]) == pyproj.CRS(crs) == pyproj.CRS(text["SRS"])
    # nothing has to be opened to know the bands
    assert text["BandCount"] == "1"
    assert [band.get("dataType") for band in xml.iter("Band")] == ["UInt16"]
    # overviews without a shift
    factors = [int(factor.text or "") for factor in xml.iter("Factor")]
    width, height = int(text["XSize"] or ""), int(text["YSize"] or "")
    assert factors == sorted(factors)
    if factors:
        assert width % factors[-1] == height % factors[-1] == 0
    assert max(width, height) / (factors or [1])[-1] <= 256
    # no name that GDAL reads badly
    for location in locations:
        assert "GTI:" not in location
        assert not re.match(r"(https?|s3|gs|az|abfss?)://", location)
    geotransform = [float(value) for value in (text["GeoTransform"] or "").split(",")]
    bounds = shapely.bounds(footprints)
    if crs in ("EPSG:4326", "EPSG:3857"):
        half = 180.0 if crs == "EPSG:4326" else 20037508.342789244
        assert bounds[:, 0].min() >= -half
        assert bounds[:, 2].max() <= half
        assert (bounds[:, 2] - bounds[:, 0]).max() < half
    scenes = {scene.id: scene for scene in SETS[name]}
    assert set(items) == set(scenes)
    whole = 0
    for item, scene in scenes.items():
        if list(items).count(item) > 1:
            continue  # in pieces: the property test compares their union
        whole += 1
        row = list(items).index(item)
        check_footprint(footprints[row], scene, crs, geotransform, locations[row])
    assert whole >= 2


# ---- secrets

SECRETS = {
    "sas": "https://acc.blob.core.windows.net/c/B04.tif?se=2030-01-01&sp=rl&sig=SECRETsas%2Bx%3D",
    "aws": "https://b.s3.amazonaws.com/B04.tif?X-Amz-Signature=SECRETaws&X-Amz-Credential=SECRETid"
    "&X-Amz-Security-Token=SECRETtok&v=2",
    "goog": "https://storage.googleapis.com/b/B04.tif?X-Goog-Signature=SECRETgoog",
    "user": "https://me:SECRETword@host.org/B04.tif",
    "key": "https://host.org/B04.tif?api_key=SECRETkey&version=SAFE",
    "front": "https://d.cloudfront.net/B04.tif?Policy=SECRETp&Key-Pair-Id=SECRETk&Signature=SECRETs",
}


def strings(value: Any) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*strings(key), *strings(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


def test_no_secret_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    items = []
    for number, href in enumerate(SECRETS.values()):
        scene = utm_scene(f"s{number}", 32633, 12.5 + number / 50, 47.5, 64, 60.0, bands=("B04",))
        item = item_of(scene)
        item["assets"]["B04"]["href"] = href
        # other assets, alternates and links carry signatures as well
        item["assets"]["thumbnail"] = {"href": href, "type": "image/png", "roles": ["thumbnail"]}
        item["assets"]["B04"]["alternate"] = {"other": {"href": href}}
        item["links"] = [{"rel": "self", "href": href}, {"rel": "via", "href": href}]
        items.append(item)
    out = tmp_path / "m"
    report = mosaic.build(items, out, slices="day", overwrite=True)
    assert report.items == len(SECRETS)
    for path in out.rglob("*"):
        assert path.is_dir() or b"SECRET" not in path.read_bytes(), path
    table = pq.read_table(out / "items.parquet")
    texts = list(strings(table.to_pylist()))
    assert any("version=SAFE" in text for text in texts)
    assert [text for text in texts if "SECRET" in text] == []
    metadata = table.schema.metadata or {}
    assert not any(b"SECRET" in key + value for key, value in metadata.items())
    rows = pyogrio.read_arrow(out / "B04.gti.gpkg")[1].to_pydict()
    assert [text for text in strings(rows) if "SECRET" in text] == []
    assert all(text.startswith("/vsicurl?") for text in rows["location"])
    assert "SECRET" not in str(report.as_dict()) + "".join(capfd.readouterr())


def test_a_bbox_leaves_out_what_lies_outside(seam: Path, tmp_path: Path) -> None:
    everything = mosaic.build(seam, tmp_path / "all")
    part = mosaic.build(seam, tmp_path / "part", bbox=(11.8, 47.53, 11.9, 47.56))
    assert everything.items == 8
    assert part.items == 2
    assert set(part.source_crs) == {("EPSG:32632", 2)}
    assert part.shape[0] < everything.shape[0]
    ids = pq.read_table(tmp_path / "part" / "items.parquet")["id"].to_pylist()
    assert sorted(ids) == ["S2_32_0_0", "S2_32_0_1"]
