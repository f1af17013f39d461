"""The STAC that a build writes: valid, linked, and true of the items; read by others' tools."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pystac
import pystac_client
import pytest
import shapely
import stac_geoparquet.arrow
from pystac.validation.local_validator import LocalValidator

import mosaic
from mosaic.builder import rows
from mosaic.errors import UsageError
from tests.support.scenes import item_of, seam_scenes

Json = dict[str, Any]
PROVIDERS = {
    "l2a": [{"name": "ESA", "roles": ["producer"]}, {"name": "E84", "roles": ["processor"]}],
    "landsat": [
        {"name": "USGS", "roles": ["producer", "licensor"]},
        {"name": "E84", "roles": ["host"]},
    ],
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kw: object) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def read(path: Path) -> Json:
    document: Json = orjson.loads(path.read_bytes())
    return document


def items_of(count: int, collection: str | None = "l2a", **properties: Any) -> list[Json]:
    items = [item_of(scene) for scene in seam_scenes(64, 60.0, ("B04",), dates=2)[:count]]
    for number, item in enumerate(items):
        item["properties"] |= {"eo:cloud_cover": 10.0 * number, **properties}
        if collection:
            item["collection"] = collection
            item["links"] = [
                {"rel": "collection", "href": f"https://api.org/collections/{collection}"},
                {"rel": "self", "href": f"https://api.org/{item['id']}?token=hush"},
                {"rel": "via", "href": f"https://archive.org/{item['id']}.xml"},
            ]
    return items


def parent(name: str, licence: str) -> Json:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": f"The {name} collection",
        "description": "…",
        "license": licence,
        "keywords": ["reflectance", name],
        "providers": PROVIDERS[name],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]},
        },
        "item_assets": {"B04": {"title": "Red", "type": "image/tiff", "roles": ["reflectance"]}},
        "links": [
            {"rel": "license", "href": f"https://licence.org/{name}"},
            {"rel": "items", "href": "https://api.org/items"},
        ],
    }


def static_catalog(folder: Path, collections: dict[str, list[Json]], licenses: Json) -> Path:
    """A static catalog of collections with items, as pystac saves it."""
    folder.mkdir()
    root = {"type": "Catalog", "stac_version": "1.0.0", "id": "root", "description": "…"}
    links = []
    for name, items in collections.items():
        (folder / name).mkdir()
        document = parent(name, licenses[name])
        for item in items:
            (folder / name / f"{item['id']}.json").write_bytes(orjson.dumps(item))
            document["links"].append({"rel": "item", "href": f"./{item['id']}.json"})
        (folder / name / "collection.json").write_bytes(orjson.dumps(document))
        links.append({"rel": "child", "href": f"./{name}/collection.json"})
    (folder / "catalog.json").write_bytes(orjson.dumps({**root, "links": links}))
    return folder / "catalog.json"


def errors(document: Json) -> list[str]:
    """What the core schema finds wrong."""
    validator = LocalValidator()
    kinds = {
        "Catalog": validator.catalog_validator,
        "Collection": validator.collection_validator,
        "Feature": validator.item_validator,
    }
    return [error.message for error in kinds[document["type"]]().iter_errors(document)]


def without_nulls(value: Any) -> Any:
    """A row of a table as JSON: a field that others have, and this one doesn't, is null there."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def test_items_are_files_too_and_every_link_holds(tmp_path: Path) -> None:
    items = items_of(4)
    items[2]["id"], items[3]["id"] = "a/b", "A_b"  # one file name, but for its case
    mosaic.build(items, tmp_path / "m")
    folder = tmp_path / "m"
    collection = read(folder / "collection.json")
    links = [link for link in collection["links"] if link["rel"] == "item"]
    assert [link["title"] for link in links] == [item["id"] for item in items]
    found = {}
    for link in links:
        path = folder / link["href"]
        item = read(path)
        assert errors(item) == []
        assert errors({**item, "links": []})  # a collection without its link: the schema is there
        for other in item["links"]:
            if other["href"].startswith("."):
                assert (path.parent / other["href"]).resolve().is_file(), other
        assert {other["rel"] for other in item["links"]} == {"root", "parent", "collection", "via"}
        assert item["collection"] == collection["id"] == "m"
        assert item["properties"]["mosaic:collection"] == "l2a"
        assert "hush" not in path.read_text()
        found[item["id"]] = item
    assert found.keys() == {item["id"] for item in items}
    for name in ("catalog.json", "collection.json"):
        assert errors(read(folder / name)) == []
    table = pq.read_table(folder / "items.parquet")
    for item in map(without_nulls, stac_geoparquet.arrow.stac_table_to_items(table)):
        assert errors(item) == []
        assert item["collection"] == "m"
        assert item["assets"]["B04"]["href"] == found[item["id"]]["assets"]["B04"]["href"]


def test_scenes_inside_the_folder_are_found_from_the_item_files(tmp_path: Path, seam: Path) -> None:
    folder = tmp_path / "m"
    scenes = folder / "scenes"
    scenes.mkdir(parents=True)
    for path in seam.parent.rglob("B04.tif"):
        target = scenes / path.parent.name / "B04.tif"
        target.parent.mkdir()
        target.write_bytes(path.read_bytes())
    mosaic.build(scenes, folder, overwrite=True)
    for path in (folder / "items").iterdir():
        (asset,) = read(path)["assets"].values()
        assert asset["href"].startswith("../scenes/")
        assert (path.parent / asset["href"]).is_file()
    # pystac and the builder itself read what was written
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    hrefs = {
        asset.get_absolute_href() for i in collection.get_items() for asset in i.assets.values()
    }
    assert hrefs == {str(path) for path in scenes.rglob("*.tif")}
    again = mosaic.build(folder / "collection.json", tmp_path / "again")
    assert again.items == len(hrefs)


@pytest.mark.parametrize(("most", "files"), [(4, 4), (3, 0), (0, 0)])
def test_many_items_are_no_files(tmp_path: Path, most: int, files: int) -> None:
    mosaic.build(items_of(4), tmp_path / "m", item_files=most)
    assert len(list((tmp_path / "m").glob("items/*.json"))) == files
    links = read(tmp_path / "m" / "collection.json")["links"]
    assert sum(link["rel"] == "item" for link in links) == files
    assert pq.read_metadata(tmp_path / "m" / "items.parquet").num_rows == 4


def test_summaries_tell_what_is_in_the_mosaic(tmp_path: Path) -> None:
    items = items_of(4, platform="sentinel-2a", instruments=["msi"], gsd=10)
    items[0]["properties"] |= {"platform": "sentinel-2b", "instruments": ["msi", "gps"]}
    items[3]["properties"] |= {"platform": "lost", "proj:epsg": 0, "eo:cloud_cover": 99.0}
    mosaic.build(items, tmp_path / "m", skip_bad=True)
    summaries = read(tmp_path / "m" / "collection.json")["summaries"]
    assert summaries == {
        "proj:code": sorted({f"EPSG:{i['properties']['proj:epsg']}" for i in items[:3]}),
        "platform": ["sentinel-2a", "sentinel-2b"],
        "instruments": ["gps", "msi"],
        "gsd": [10],
        "eo:cloud_cover": {"minimum": 0.0, "maximum": 20.0},
    }


def test_what_collections_say_is_carried_over(tmp_path: Path) -> None:
    both = {"l2a": items_of(4), "landsat": items_of(8, "landsat")[4:]}
    licenses = {"l2a": "CC-BY-4.0", "landsat": "CC0-1.0"}
    source = static_catalog(tmp_path / "source", both, licenses)
    report = mosaic.build(source, tmp_path / "m")
    assert "items of 2 collections: l2a (4), landsat (4)" in report.notes
    found = read(tmp_path / "m" / "collection.json")
    assert errors(found) == []
    assert found["license"] == "other"
    assert {p["name"]: p["roles"] for p in found["providers"]} == {
        "ESA": ["producer"],
        "E84": ["processor", "host"],
        "USGS": ["producer", "licensor"],
    }
    assert found["keywords"] == ["reflectance", "l2a", "landsat"]
    assert "The l2a collection, The landsat collection" in found["description"]
    kept = [link["href"] for link in found["links"] if link["href"].startswith("http")]
    assert kept == ["https://licence.org/l2a", "https://licence.org/landsat"]
    assert found["item_assets"]["B04"]["title"] == "Red"
    assert found["item_assets"]["B04"]["roles"] == ["reflectance"]
    assert found["item_assets"]["B04"]["bands"] == [
        {"data_type": "uint16", "name": "B04", "nodata": 0}
    ]


def test_one_licence_stays_also_through_parquet(tmp_path: Path) -> None:
    source = static_catalog(tmp_path / "s", {"l2a": items_of(4)}, {"l2a": "CC-BY-4.0"})
    mosaic.build(source, tmp_path / "one")
    mosaic.build(tmp_path / "one" / "items.parquet", tmp_path / "two")
    for name in ("one", "two"):
        found = read(tmp_path / name / "collection.json")
        assert found["license"] == "CC-BY-4.0"
        assert [p["name"] for p in found["providers"]] == ["ESA", "E84"]
    unused = static_catalog(
        tmp_path / "u", {"l2a": items_of(4), "landsat": []}, {"l2a": "CC0-1.0", "landsat": "MIT"}
    )
    mosaic.build(unused, tmp_path / "three")  # a collection none of whose items is here
    assert read(tmp_path / "three" / "collection.json")["license"] == "CC0-1.0"


def test_items_that_tell_their_licence(tmp_path: Path) -> None:
    mosaic.build(items_of(2, None, license="CC0-1.0"), tmp_path / "m")
    assert read(tmp_path / "m" / "collection.json")["license"] == "CC0-1.0"


def test_assets_tell_their_own_grid_and_bands(tmp_path: Path) -> None:
    """What items say once for all assets, or not at all, stands in each asset afterwards."""
    items = items_of(2)
    for item in items:
        (asset,) = item["assets"].values()
        for field in ("proj:shape", "proj:transform"):
            item["properties"][field] = asset.pop(field)
        asset.pop("raster:bands", None)
        asset.pop("bands", None)
    mosaic.build(items, tmp_path / "m", dtype="uint16", nodata=0)
    for item in items:
        found = read(tmp_path / "m" / "items" / f"{item['id']}.json")["assets"]["B04"]
        assert found["proj:code"] == f"EPSG:{item['properties']['proj:epsg']}"
        assert found["proj:shape"] == item["properties"]["proj:shape"]
        assert found["proj:transform"] == item["properties"]["proj:transform"][:6]
        assert found["bands"] == [{"data_type": "uint16", "name": "B04", "nodata": 0}]


def test_pystac_client_reads_the_catalog(tmp_path: Path) -> None:
    mosaic.build(items_of(4), tmp_path / "m")
    client = pystac_client.Client.open(str(tmp_path / "m" / "catalog.json"))
    (collection,) = client.get_children()
    assert len(list(collection.get_items())) == 4
    roles = {name: asset.roles for name, asset in collection.assets.items()}
    assert roles["B04"] == ["tile-index"]


def test_mixed_boxes_and_geometries(tmp_path: Path) -> None:
    """2D and 3D boxes, polygons and multi-polygons, a geometry of the grid, in one table."""
    items = items_of(4)
    west, south, east, north = items[0]["bbox"]
    items[0]["bbox"] = [west, south, 0, east, north, 900]
    items[1]["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [items[1]["geometry"]["coordinates"]],
    }
    items[2]["properties"]["proj:geometry"] = items[2]["geometry"]
    items[2]["assets"]["B04"]["proj:geometry"] = items[2]["geometry"]
    items[3]["properties"]["links"] = "a name that items have themselves"
    report = mosaic.build(items, tmp_path / "m")
    assert [note for note in report.notes if "links" in note]
    found = {row["id"]: row for row in pq.read_table(tmp_path / "m" / "items.parquet").to_pylist()}
    box = {"xmin": west, "ymin": south, "xmax": east, "ymax": north}
    assert found[items[0]["id"]]["bbox"] == box
    assert shapely.from_wkb(found[items[1]["id"]]["geometry"]).geom_type == "MultiPolygon"
    row = found[items[2]["id"]]
    assert row["proj:geometry"] == row["assets"]["B04"]["proj:geometry"] == row["geometry"]
    # what the table gives back is what the files say
    for item in rows.items(pq.read_table(tmp_path / "m" / "items.parquet").to_batches()[0]):
        path = tmp_path / "m" / "items" / f"{item['id']}.json"
        written = orjson.loads(path.read_bytes().replace(b'"../', b'"./'))
        if item["id"] == items[0]["id"]:
            written["bbox"] = [west, south, east, north]
        written["properties"].pop("links", None)
        assert item == written
    item = read(tmp_path / "m" / "items" / f"{items[2]['id']}.json")
    assert item["properties"]["proj:geometry"] == items[2]["geometry"]
    assert item["assets"]["B04"]["proj:geometry"] == items[2]["geometry"]


def test_item_files_below_zero_is_no_count(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="item-files"):
        mosaic.build(items_of(1), tmp_path / "m", item_files=-1)
