"""An index that declares bands which its items, its VRTs or its collection don't have is told."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import rasterio

import mosaic
from tests.check.conftest import Json, edit_xml, errors, only, opened, rewritten, sub
from tests.support.scenes import item_of, seam_scenes, write_scenes

RED = "red.gti.gpkg"
OLD, NEW = (1e-4, 0.0), (1e-4, -0.1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight scenes, every second in another encoding, with a stack and slices."""
    folder = tmp_path_factory.mktemp("bands")
    scenes = seam_scenes(64, 60.0)
    write_scenes(folder / "scenes", scenes)
    given = []
    for number, scene in enumerate(scenes):
        item = item_of(scene, folder / "scenes")
        scale, offset = NEW if number % 2 else OLD
        for key, asset in item["assets"].items():
            asset.pop("raster:bands")
            band = {"data_type": "uint16", "nodata": 0, "name": key}
            asset["bands"] = [{**band, "raster:scale": scale, "raster:offset": offset}]
        asset = item["assets"].pop("B04")
        item["assets"] = {"red": asset, "green": item["assets"]["B03"]}
        given.append(item)
    items = folder / "scenes/mixed.json"
    items.write_bytes(orjson.dumps(given))
    mosaic.build(items, folder / "m", stacks=[["red", "green"]], slices="day")
    return folder / "m"


@pytest.fixture
def broken(mixed: Path, tmp_path: Path) -> Path:
    shutil.copytree(mixed, tmp_path / "m")
    mosaic.relocate(tmp_path / "m")
    return tmp_path / "m"


def test_a_mixture_is_sound(mixed: Path, empty: Path) -> None:
    report = mosaic.check(mixed, schemas=empty, offline=True, all=True)
    assert errors(report) == []
    assert "<ScaleOffset>" in _locations(mixed)  # or the tests below break nothing


def _locations(folder: Path) -> str:
    with sqlite3.connect(folder / RED) as database:
        return "".join(row[0] for row in database.execute("SELECT location FROM tiles"))


def in_collection(folder: Path, **fields: Any) -> None:
    """Writes other fields of the first index's band into the collection."""
    path = folder / "collection.json"
    document = orjson.loads(path.read_bytes())
    document["assets"]["red"]["bands"][0] |= fields
    path.write_bytes(orjson.dumps(document))


XML = [
    # change of the XML; the same of the collection, so that it doesn't tell; words
    (sub("UInt16", "Byte"), {"data_type": "uint8"}, "declares 1 x Byte, the item 1 x UInt16"),
    (sub("<Scale>0.0001", "<Scale>0.001"), {"raster:scale": 1e-3}, "declares scale 0.001"),
    (sub("<Offset>-0.1", "<Offset>0.1"), {"raster:offset": 0.1}, "and offset 0.1"),
    (
        sub("<Offset>-0.1</Offset><Scale>0.0001</Scale>", ""),
        {"raster:offset": 0, "raster:scale": 1},
        "its VRT changes the item's numbers",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "fields", "words"), XML, ids=[one[2] for one in XML])
def test_an_index_that_lies_to_its_items(
    broken: Path, empty: Path, change: Callable[[str], str], fields: Json, words: str
) -> None:
    edit_xml(broken / RED, change)
    found = {one.check: one for one in errors(mosaic.check(broken, schemas=empty, offline=True))}
    assert {problem.kind for problem in found[RED].problems} <= {"bands", "vrt"}
    assert "collection.json" in str(found[RED].problems[0])
    in_collection(broken, **fields)
    found = {one.check: one for one in errors(mosaic.check(broken, schemas=empty, offline=True))}
    problem = next(one for one in found[RED].problems if one.kind == "bands")
    assert words in str(problem)
    assert problem.item
    assert problem.href.endswith("B04.tif")
    # what leans on the index tells another thing now
    assert "slices" in found
    assert "red_green.vrt" in found


def test_an_index_of_more_bands_than_its_items(broken: Path, empty: Path) -> None:
    def change(text: str) -> str:
        band = text[text.index("<Band band") : text.index("</Band>") + 7]
        text = text.replace(band, band + band.replace('band="1"', 'band="2"'))
        return text.replace("<BandCount>1", "<BandCount>2")

    edit_xml(broken / RED, change)
    (told, *of_items) = {
        one.check: one for one in errors(mosaic.check(broken, schemas=empty, offline=True))
    }[RED].problems
    assert "declares 2 x UInt16" in str(told)
    assert any("declares 2 x UInt16, the item 1 x UInt16" in str(one) for one in of_items)


def test_a_nodata_value_that_the_collection_contradicts(broken: Path, empty: Path) -> None:
    in_collection(broken, nodata=255)
    (problem,) = only(mosaic.check(broken, schemas=empty, offline=True), RED).problems
    assert "nodata 0, collection.json 1 x UInt16" in str(problem)
    assert "nodata 255" in str(problem)


def test_a_vrt_that_changes_numbers_otherwise(broken: Path, empty: Path) -> None:
    with opened(broken / RED) as database:
        query = "UPDATE tiles SET location = replace(location, '<ScaleOffset>1000', ?)"
        database.execute(query, ("<ScaleOffset>100",))
    found = only(mosaic.check(broken, schemas=empty, offline=True, all=True), RED)
    assert len(found.problems) == 4
    assert "its VRT x 1 +100, the item 0.0001 and 0" in str(found.problems[0])


def test_items_that_changed_their_mind(broken: Path, empty: Path) -> None:
    def change(item: Json) -> Json:
        item["assets"]["green"]["bands"][0]["raster:scale"] = 2e-4
        return item

    rewritten(broken, change)
    found = {
        one.check: one
        for one in errors(mosaic.check(broken, schemas=empty, offline=True, all=True))
    }
    assert len(found["green.gti.gpkg"].problems) == 8


def test_raw_numbers_are_sound(mixed: Path, tmp_path: Path, empty: Path) -> None:
    mosaic.build(mixed / "items.parquet", tmp_path / "m", raw=True)
    assert errors(mosaic.check(tmp_path / "m", schemas=empty, offline=True, all=True)) == []


def test_an_asset_that_was_left_out_is_no_fault(mixed: Path, tmp_path: Path, empty: Path) -> None:
    """``--skip-bad`` keeps an item without its odd asset; the mosaic says so, or it isn't sound."""
    given = orjson.loads((mixed.parent / "scenes/mixed.json").read_bytes())
    given[3]["assets"]["green"]["bands"][0]["data_type"] = "float32"
    given[3]["assets"]["green"]["href"] = "./odd.tif"
    with rasterio.open(mixed.parent / "scenes" / given[3]["id"] / "B03.tif") as scene:
        profile = {**scene.profile, "dtype": "float32"}
        with rasterio.open(mixed.parent / "scenes/odd.tif", "w", **profile) as odd:
            odd.write(scene.read().astype("float32"))
    items = mixed.parent / "scenes/odd.json"
    items.write_bytes(orjson.dumps(given))
    report = mosaic.build(items, tmp_path / "m", skip_bad=True)
    (left,) = report.left_out
    path = tmp_path / "m/collection.json"
    document = orjson.loads(path.read_bytes())
    assert document["mosaic:left_out"] == {"green": [left.item]}
    assert errors(mosaic.check(tmp_path / "m", schemas=empty, offline=True, all=True)) == []
    del document["mosaic:left_out"]
    path.write_bytes(orjson.dumps(document))
    report = mosaic.check(tmp_path / "m", schemas=empty, offline=True)
    found = {one.check: one for one in errors(report)}
    (problem,) = found["green.gti.gpkg"].problems
    assert (problem.item, problem.asset) == (left.item, "green")
