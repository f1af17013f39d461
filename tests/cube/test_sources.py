"""Items of every kind are read as they are, without a build; against PROJ at every pixel."""

from __future__ import annotations

import gzip
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pystac
import pytest
import rasterio
import stac_geoparquet.arrow
from odc.geo.geobox import GeoBox
from pystac_client import Client, ItemSearch

import mosaic
from mosaic.catalog.opened import NEVER
from mosaic.cube.sources import opened
from mosaic.errors import CatalogError, InputError, NoItemsError, NotACatalogError, UsageError
from mosaic.storage import Gate
from tests.benchmarks import corpus
from tests.support.exact import Shown, shown
from tests.support.mixed import MIXTURES, pair
from tests.support.mosaics import CASES
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes

BOX = GeoBox.from_bbox((4465000, 2700000, 4480000, 2715000), "EPSG:3035", resolution=50)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scenes of two dates in two zones, hrefs relative to ``items.json``."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), seam_scenes(256, 60.0, ("B04",)))


@pytest.fixture(scope="module")
def truth(scenes: Path) -> Shown:
    """What lies below ``BOX``."""
    top = sorted(seam_scenes(256, 60.0, ("B04",)), key=lambda s: s.id)
    top.sort(key=lambda s: s.datetime, reverse=True)
    files = [scenes.parent / scene.id / "B04.tif" for scene in top]
    found = shown(files, "EPSG:3035", BOX.affine, BOX.shape, "nearest")
    assert found.valid.any()
    return found


def features(scenes: Path) -> list[Json]:
    found: list[Json] = orjson.loads(scenes.read_bytes())["features"]
    return found


def absolute(scenes: Path) -> list[Json]:
    """The items with absolute hrefs."""
    found = features(scenes)
    for item in found:
        for asset in item["assets"].values():
            asset["href"] = str(scenes.parent / asset["href"])
    return found


class Search(ItemSearch):
    """A search whose server answers with what is at hand."""

    def __init__(self, items: list[Json]) -> None:
        super().__init__("https://example.org/search")
        self.found = items

    def items_as_dicts(self) -> Any:
        yield from self.found

    @lru_cache(1)  # noqa: B019 - as in pystac_client
    def item_collection_as_dict(self) -> Json:
        return {"type": "FeatureCollection", "features": self.found}


def _lines(scenes: Path, folder: Path) -> Path:
    path = folder / "items.ndjson"
    path.write_bytes(b"\n".join(map(orjson.dumps, absolute(scenes))))
    return path


def _foreign(scenes: Path, folder: Path) -> Path:
    path = folder / "foreign.parquet"
    table = stac_geoparquet.arrow.parse_stac_items_to_arrow(absolute(scenes))
    stac_geoparquet.arrow.to_parquet(table, path)
    return path


def _gzipped(scenes: Path, folder: Path) -> Path:
    path = folder / "items.json.gz"
    path.write_bytes(gzip.compress(orjson.dumps(absolute(scenes))))
    return path


def _built(scenes: Path, folder: Path) -> Path:
    mosaic.build(scenes, folder / "m", overwrite=True)
    return folder / "m"


def _catalog(scenes: Path, folder: Path) -> Path:
    """Somebody else's static catalog, hrefs relative to each item's own file."""
    (folder / "c/items").mkdir(parents=True)
    for item in features(scenes):
        shutil.copytree(scenes.parent / item["id"], folder / "c/items" / item["id"])
        (folder / f"c/items/{item['id']}.json").write_bytes(orjson.dumps(item))
    links = [{"rel": "item", "href": f"./items/{i['id']}.json"} for i in features(scenes)]
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "c"}
    (folder / "c/catalog.json").write_bytes(orjson.dumps(catalog | {"links": links}))
    return folder / "c/catalog.json"


KINDS: dict[str, Callable[[Path, Path], Any]] = {
    "mosaic": _built,
    "its collection": lambda s, f: _built(s, f) / "collection.json",
    "its parquet": lambda s, f: _built(s, f) / "items.parquet",
    "file": lambda s, f: s,
    "lines": _lines,
    "gzipped": _gzipped,
    "stac-geoparquet": _foreign,
    "catalog": _catalog,
    "pystac catalog": lambda s, f: pystac.Catalog.from_file(str(_catalog(s, f))),
    "dicts": lambda s, f: absolute(s),
    "collection dict": lambda s, f: {"type": "FeatureCollection", "features": absolute(s)},
    "items": lambda s, f: [pystac.Item.from_dict(i) for i in absolute(s)],
    "generator": lambda s, f: (pystac.Item.from_dict(i) for i in absolute(s)),
    "item collection": lambda s, f: pystac.ItemCollection(absolute(s)),
    "search": lambda s, f: Search(absolute(s)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_source_shows_the_same(
    kind: str, scenes: Path, truth: Shown, tmp_path: Path
) -> None:
    source = KINDS[kind](scenes, tmp_path)
    got = mosaic.read(source, geobox=BOX, gate=Gate())
    assert got.bands == ("B04",)
    same = (got.valid[0] == truth.valid) & (~truth.valid | (got.values[0] == truth.values))
    assert same.mean() >= 0.9999


def test_one_item_at_its_own_pixels(scenes: Path) -> None:
    """Relative hrefs are read against the place the item says it comes from."""
    item = features(scenes)[0]
    item["links"] = [{"rel": "self", "href": str(scenes.parent / "item.json")}]
    with rasterio.open(scenes.parent / item["id"] / "B04.tif") as dataset:
        want = dataset.read(1)
    for source in (item, pystac.Item.from_dict(item)):
        found = opened(source)
        assert found.crs == "EPSG:32632"
        values, _ = mosaic.read(source, gate=Gate())
        height, width = want.shape
        np.testing.assert_array_equal(values[0, :height, :width], want)


def test_rasters_without_items(scenes: Path) -> None:
    """A pattern of files; they tell no time, so those of one date are read."""
    files = sorted(scenes.parent.glob("S2_*_0/B04.tif"))
    got = mosaic.read(str(scenes.parent / "S2_*_0/B04.tif"), geobox=BOX, gate=Gate())
    want = [
        shown(one, "EPSG:3035", BOX.affine, BOX.shape, "nearest") for one in (files, files[::-1])
    ]
    same = [(got.valid[0] == o.valid) & (~o.valid | (got.values[0] == o.values)) for o in want]
    assert len(files) == 4
    assert (same[0] | same[1]).mean() > 0.99
    assert got.valid.mean() > 0.5


def test_documents_behind_urls(scenes: Path, truth: Shown, tmp_path: Path) -> None:
    """Relative hrefs are read against the URL; a mosaic's parquet alone is a mosaic."""
    mosaic.build(scenes, tmp_path / "m")
    files = {p.relative_to(scenes.parent).as_posix(): p for p in scenes.parent.rglob("*.*")}
    served = {f"s/{name}": path.read_bytes() for name, path in files.items()}
    served["s/lines.ndjson"] = b"\n".join(map(orjson.dumps, features(scenes)))
    served["s/zipped.json.gz"] = gzip.compress(scenes.read_bytes())
    table = stac_geoparquet.arrow.parse_stac_items_to_arrow(features(scenes))
    stac_geoparquet.arrow.to_parquet(table, tmp_path / "foreign.parquet")
    served["s/foreign.parquet"] = (tmp_path / "foreign.parquet").read_bytes()
    served["s/items.parquet"] = (tmp_path / "m/items.parquet").read_bytes()
    served["s/search"] = scenes.read_bytes()  # as an API's, without an ending
    names = ("items.json", "lines.ndjson", "zipped.json.gz", "foreign.parquet", "search?limit=9")
    with RangeServer(served) as server:
        for name in names:
            got = mosaic.read(server.url(f"s/{name}"), geobox=BOX, gate=Gate())
            same = (got.valid[0] == truth.valid) & (~truth.valid | (got.values[0] == truth.values))
            assert same.mean() >= 0.9999
        assert opened(server.url("s/items.parquet"), gate=Gate()).count == 8
        assert server.counts.heads == 0
        with pytest.raises(InputError, match=r"nothing\.json"):
            opened(server.url("s/nothing.json"), gate=Gate())
        with pytest.raises(NotACatalogError, match="s/nothing"):
            opened(server.url("s/nothing"), gate=Gate())
        with pytest.raises(CatalogError, match=r"nothing\.parquet"):
            opened(server.url("s/nothing.parquet"), gate=Gate())


def test_what_a_build_would_declare(tmp_path: Path) -> None:
    """Numbers of mixed encodings become the newest's, as a mosaic of them reads."""
    for case in (MIXTURES[0], MIXTURES[2]):  # what is declared; what Earth Search removed
        made = pair(case, tmp_path, "nearest")
        built = mosaic.read(made.twin.parent, gate=Gate())
        items = made.scenes / "items.json"
        got = mosaic.read(items, geobox=built.geobox, gate=Gate())
        np.testing.assert_array_equal(got.valid, built.valid)
        np.testing.assert_array_equal(got.values, built.values)
        own = opened(items, crs=case.crs)
        with rasterio.open(made.twin) as index:
            assert own.grid.shape == index.shape
            assert own.grid.affine == index.transform
            assert own.assets["B04"].bands[0].scale == index.scales[0]


def test_a_mosaic_built_raw_stays_raw(tmp_path: Path) -> None:
    """Even where one encoding could be brought to the other exactly."""
    given = write_scenes(tmp_path / "s", seam_scenes(64, 60.0, ("B04",), dates=1)[:2])
    document = orjson.loads(given.read_bytes())
    for number, item in enumerate(document["features"]):
        item["assets"]["B04"]["raster:bands"][0] |= {"scale": 1, "offset": 100 * number}
    given.write_bytes(orjson.dumps(document))
    mosaic.build(given, tmp_path / "raw", raw=True)
    mosaic.build(given, tmp_path / "m")
    wanted = [tmp_path / "s" / item["id"] / "B04.tif" for item in document["features"]]
    found = opened(tmp_path / "raw").grid
    own = [given, {"raw": True}]
    want = shown(wanted[::-1], str(found.crs), found.affine, found.shape, "nearest")
    for source, told in ((tmp_path / "raw", {}), (tmp_path / "m", {"raw": True}), own):
        got = mosaic.read(source, geobox=found, gate=Gate(), **told)
        np.testing.assert_array_equal(got.values[0], want.values)
    mixed = mosaic.read(tmp_path / "m", gate=Gate())
    assert not np.array_equal(mixed.values[0], want.values)


def test_only_what_is_asked_for(scenes: Path) -> None:
    items = absolute(scenes)
    for item in items:
        item["assets"]["B04"]["eo:bands"][0]["common_name"] = "red"
        item["assets"]["other"] = {"href": "/nowhere.tif", "type": "image/tiff"}
    for name in ("B04", "red"):
        found = opened(items, bands=[name])
        assert list(found.assets) == [name]
    box = (11.82, 47.4, 11.83, 47.5)
    found = opened(items, bands=["B04"], bbox=box)
    grids = found.assets["B04"].grids
    assert {grids.name(row) for row in range(len(grids))} == {"EPSG:32632"}
    assert found.crs == "EPSG:32632"
    assert opened(items, bands=["B04"], crs=3857, resolution=100).crs == "EPSG:3857"
    assert opened(items, bands=["B04"], geobox=BOX).grid == BOX


def test_items_across_180_degrees(tmp_path: Path) -> None:
    case = next(one for one in CASES if str(one) == "north180-EPSG32660")
    path = write_scenes(tmp_path, case.scenes)
    box = (179.9, 52.0, -179.9, 52.05)
    got = mosaic.read(path, bbox=box, crs="EPSG:3832", resolution=100, gate=Gate())
    files = [tmp_path / scene.id / "B04.tif" for scene in sorted(case.scenes, key=lambda s: s.id)]
    want = shown(files, "EPSG:3832", got.geobox.affine, got.geobox.shape, "nearest")
    same = (got.valid[0] == want.valid) & (~want.valid | (got.values[0] == want.values))
    assert same.mean() >= 0.9999
    assert want.valid.mean() > 0.9


def test_bands_of_one_file(tmp_path: Path) -> None:
    """A band of an asset with several is found by its own name."""
    path = tmp_path / "rgb.tif"
    with rasterio.open(
        path,
        "w",
        "GTiff",
        64,
        64,
        3,
        "EPSG:32632",
        rasterio.Affine(60, 0, 6e5, 0, -60, 5e6),
        "uint8",
    ) as dataset:
        want = np.random.default_rng(0).integers(1, 255, (3, 64, 64), np.uint8)
        dataset.write(want)
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "rgb",
        "geometry": None,
        "properties": {"datetime": "2025-01-01T00:00:00Z", "proj:code": "EPSG:32632"},
        "links": [],
        "assets": {
            "visual": {
                "href": str(path),
                "type": "image/tiff",
                "data_type": "uint8",
                "proj:shape": [64, 64],
                "proj:transform": [60, 0, 6e5, 0, -60, 5e6],
                "bands": [{"name": "red"}, {"eo:common_name": "green"}, {}],
            }
        },
    }
    names = ["visual.3", "red"]
    got = mosaic.read(item, bands=names, gate=Gate())
    assert got.bands == ("visual.3", "red")
    np.testing.assert_array_equal(got.values, want[[2, 0]])
    mosaic.build(item, tmp_path / "m")
    built = mosaic.read(tmp_path / "m", gate=Gate())
    assert built.bands == mosaic.read(item, gate=Gate()).bands == ("red", "visual.2", "visual.3")


def test_a_signature_stays_with_its_href(scenes: Path) -> None:
    """It isn't written anywhere, and the gate needs it."""
    files = {p.relative_to(scenes.parent).as_posix(): p for p in scenes.parent.rglob("*.tif")}
    with RangeServer({n: p.read_bytes() for n, p in files.items()}) as server:
        items = features(scenes)
        for item in items:
            asset = item["assets"]["B04"]
            asset["href"] = server.url(asset["href"][2:]) + "?sig=secret&se=2030"
        found = opened(items)
        (first, *_) = found.hrefs(found.assets["B04"], np.arange(8))
        assert first.endswith("?sig=secret&se=2030")
        assert "secret" not in repr(found)
        got = mosaic.read(items, geobox=BOX, gate=Gate())
        assert got.valid.any()
        del server.objects["S2_32_0_0/B04.tif"]
        with pytest.raises(mosaic.errors.ReadError) as e:  # type: ignore[attr-defined]
            mosaic.read(items, geobox=BOX, gate=Gate())
        assert "secret" not in str(e.value)


def test_bad_items_are_told_or_left_out(scenes: Path) -> None:
    items = absolute(scenes)
    items[0]["properties"]["proj:epsg"] = 32633
    del items[1]["assets"]["B04"]["proj:transform"]
    items[1]["assets"]["B04"]["href"] = "/nowhere/B04.tif"
    items.append({"type": "Feature", "id": "empty", "properties": {}, "assets": {}})
    with pytest.raises(InputError) as e:
        opened(items)
    assert {one.item for one in e.value.problems} == {items[0]["id"], items[1]["id"], "empty"}
    assert 'errors="ignore"' in str(e.value)
    assert "--skip-bad" not in str(e.value)
    got = mosaic.read(items, geobox=BOX, errors="ignore", gate=Gate())
    assert {one.item for one in got.problems} == {items[0]["id"], items[1]["id"], "empty"}
    assert got.valid.any()


def test_what_is_no_source(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(NotACatalogError):
        opened(tmp_path)
    with pytest.raises(NotACatalogError):
        opened(str(tmp_path / "nothing"))
    with pytest.raises(CatalogError, match=r"nothing\.parquet"):
        opened(tmp_path / "nothing.parquet")
    with pytest.raises(InputError, match=r"nothing\.json"):
        opened(tmp_path / "nothing.json")
    for nothing in ([], {"type": "FeatureCollection", "features": []}, Search([])):
        with pytest.raises(NoItemsError):
            opened(nothing)
    with pytest.raises(UsageError, match="give a search of it"):
        opened(Client("api", "an API"))
    with pytest.raises(UsageError, match="is no source"):
        opened(7)
    with pytest.raises(InputError, match="the items have: B04"):
        opened(absolute(scenes), bands=["B99"])
    with pytest.raises(NoItemsError, match="the items lie at"):
        opened(absolute(scenes), bbox=(0, 0, 1, 1))
    for told in (
        {"crs": "EPSG:99999"},
        {"resolution": 0},
        {"bbox": (1, 2, 3)},
        {"bbox": (11, 48, 12, 47)},
        {"errors": "maybe"},
        {"sort": "-"},
    ):
        with pytest.raises(UsageError):
            opened(absolute(scenes), **told)


_AGAIN = """
import pickle, sys, mosaic
from mosaic import read
from mosaic.storage import Gate
*found, box = pickle.load(sys.stdin.buffer)
values = [read(one, geobox=box, gate=Gate()).values for one in found]
pickle.dump((values, found[-1].digest), sys.stdout.buffer)
"""


def test_it_travels_to_another_process(scenes: Path, truth: Shown, tmp_path: Path) -> None:
    homes = [tmp_path / name for name in "abc"]  # a mosaic that is built anew is another one
    for home in homes:
        home.mkdir()
    kinds = ("mosaic", "its parquet", "dicts")
    found = [opened(KINDS[kind](scenes, home)) for kind, home in zip(kinds, homes, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", _AGAIN],
        input=pickle.dumps((*found, BOX)),
        capture_output=True,
        check=True,
    )
    again, digest = pickle.loads(done.stdout)
    assert digest == found[-1].digest == opened(KINDS["items"](scenes, tmp_path)).digest
    assert opened(found[-1]) is found[-1]
    assert opened(absolute(scenes)[1:]).digest != digest
    for got in again:
        assert (got[0][truth.valid] == truth.values[truth.valid]).mean() >= 0.9999


def test_properties_are_columns(scenes: Path, tmp_path: Path) -> None:
    """Of items in memory as of a mosaic's: for groups of items."""
    items = absolute(scenes)
    items[3]["properties"]["eo:cloud_cover"] = None
    here, there = opened(items), opened(KINDS["mosaic"](scenes, tmp_path))
    for name in ("datetime", "eo:cloud_cover"):
        assert here.columns.has(name)
        one = dict(zip(here.id.to_pylist(), here.columns.read(name).to_pylist(), strict=True))
        two = dict(zip(there.id.to_pylist(), there.columns.read(name).to_pylist(), strict=True))
        if name == "eo:cloud_cover":
            one[items[3]["id"]] = two[items[3]["id"]]
        assert one == two
    rows = np.array([2, 0])
    assert here.columns.take("id", rows).to_pylist() == [here.id[2].as_py(), here.id[0].as_py()]
    assert set(here.columns.names) <= set(there.columns.names) - {"assets", "geometry", "links"}
    assert {"id", "datetime", "eo:cloud_cover"} <= set(here.columns.names)
    assert not here.columns.has("nothing")
    with pytest.raises(KeyError):
        here.columns.read("nothing")
    del items[0]["properties"]["datetime"]
    timeless = opened(items)
    assert timeless.time[0] == NEVER
    assert timeless.z[0] == 0


def test_many_items_open_quickly() -> None:
    """2,000 items of three bands, each with a grid of its own; few are a matter of milliseconds."""
    items = list(corpus.items(2000, 0))
    opened(items[:1])
    began = time.process_time()
    found = opened(items)
    many = time.process_time()
    opened(items[:1])
    one = time.process_time() - many
    print(f"{(many - began) / 2:.3f} ms an item of 2,000, {one * 1e3:.1f} ms a single one")
    assert (found.count, len(found.assets)) == (2000, 3)
    assert many - began <= 2.0  # 0.7 where nothing else runs
    assert one <= 0.05
