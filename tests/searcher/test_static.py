"""Static catalogs on the web: read link by link, selected here as an API would select."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import shapely
import shapely.geometry

import mosaic
from mosaic.errors import SearchError, UnknownCollectionError, UsageError
from tests.support.stac_api import Answer, Api, answer, free_port, proxy

Json = dict[str, Any]


def link(rel: str, href: str) -> Json:
    return {"rel": rel, "href": href}


@pytest.fixture
def documents(seam: Path) -> dict[str, Json]:
    """A catalog of two collections, one for each zone, whose links lead up and back as well."""
    items = orjson.loads(seam.read_bytes())["features"]
    found: dict[str, Json] = {}
    for item in items:
        zone = item["id"][3:5]
        path = f"/z{zone}/items/{item['id']}.json"
        for asset in item["assets"].values():
            asset["href"] = f"../../{asset['href']}"
        found[path] = {
            **item,
            "collection": f"z{zone}",
            "links": [link("parent", "../collection.json"), link("root", "/catalog.json")],
        }
    for zone in ("z32", "z33"):
        names = [path.rpartition("/")[2] for path in found if path.startswith(f"/{zone}/")]
        found[f"/{zone}/collection.json"] = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": zone,
            "description": "A zone",
            "license": "CC0-1.0",
            "extent": {},
            "links": [
                link("parent", "../catalog.json"),
                link("child", "../catalog.json"),
                *(link("item", f"./items/{name}") for name in names),
            ],
        }
    found["/catalog.json"] = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "static",
        "description": "Two zones",
        "links": [link("self", "/catalog.json"), link("child", "./z32/collection.json"),
                  link("child", "z33/collection.json")],
    }  # fmt: skip
    return found


@pytest.fixture
def web(documents: dict[str, Json]) -> Iterator[Api]:
    with proxy(free_port(), None) as api:
        api.fault = lambda number, asked, real: (
            answer(documents[asked.path]) if asked.path in documents else Answer(404, b"none")
        )
        yield api


def test_a_static_catalog_becomes_a_mosaic(
    web: Api, documents: dict[str, Json], tmp_path: Path
) -> None:
    report = mosaic.build(f"{web.url}/catalog.json", tmp_path / "m", bands=["B04"], item_files=9)
    assert report.items == 8
    assert sorted(one.path for one in web.asked) == sorted(documents), "each is read once"
    told = orjson.loads((tmp_path / "m/collection.json").read_bytes())
    assert told["license"] == "CC0-1.0"
    item = orjson.loads((tmp_path / "m/items/S2_32_0_0.json").read_bytes())
    assert item["assets"]["B04"]["href"] == f"{web.url}/S2_32_0_0/B04.tif"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_flags_select_what_an_api_would(web: Api, documents: dict[str, Json]) -> None:
    url = f"{web.url}/catalog.json"

    def ids(**flags: Any) -> set[str]:
        return {item["id"] for item in mosaic.search(url, **flags)}

    everything = ids()
    assert len(everything) == 8
    web.asked.clear()
    zone = {name for name in everything if name.startswith("S2_33")}
    assert ids(collections="z33") == zone
    assert not [one for one in web.asked if one.path.startswith("/z32/items")]
    assert ids(ids="S2_33_0_0,S2_32_0_0") == {"S2_33_0_0", "S2_32_0_0"}
    by_date = [ids(datetime=f"2025-06-0{day}") for day in range(1, 7)]
    assert set().union(*by_date) == everything
    assert sum(map(len, by_date)) == 8
    west, south, east, north = documents["/z32/items/S2_32_0_0.json"]["bbox"]
    box = (west, south, (west + east) / 2, (south + north) / 2)
    below = {
        one["id"]
        for one in documents.values()
        if one.get("geometry")
        and shapely.geometry.shape(one["geometry"]).intersects(shapely.box(*box))
    }
    assert 0 < len(below) < 8
    assert ids(bbox=box) == below
    assert ids(intersects=shapely.box(*box)) == below
    assert ids(bbox=(100, 0, 101, 1)) == set()
    assert len(ids(max_items=3)) == 3


def test_what_a_static_catalog_cannot_do_is_said(web: Api, documents: dict[str, Json]) -> None:
    url = f"{web.url}/catalog.json"
    with pytest.raises(UsageError, match=r"--query: .* is a static catalog"):
        list(mosaic.search(url, query="eo:cloud_cover<10"))
    with pytest.raises(UnknownCollectionError, match="no collection z3; nearest: z3"):
        list(mosaic.search(url, collections="z3"))
    documents["/z32/collection.json"]["links"].append(link("item", "gone.json"))
    with pytest.raises(SearchError, match=r"/z32/gone.json: not found"):
        list(mosaic.search(url))
    documents["/z32/gone.json"] = {"hello": "world"}
    with pytest.raises(SearchError, match="no STAC item, catalog or collection"):
        list(mosaic.search(url))


def test_an_item_collection_on_the_web(web: Api, documents: dict[str, Json]) -> None:
    features = [document for path, document in documents.items() if "/items/" in path]
    documents["/all.geojson"] = {"type": "FeatureCollection", "features": features}
    found = list(mosaic.search(f"{web.url}/all.geojson"))
    assert len(found) == 8
