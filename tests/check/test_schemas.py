"""STAC documents against schemas: from pystac, a folder, the cache, a server of this machine."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pystac
import pytest
import stac_geoparquet.arrow

import mosaic
from mosaic.checker.schemas import Schemas, below, bundled, fetcher
from mosaic.checker.validate import Validator
from mosaic.errors import UsageError
from tests.check.conftest import errors, only, rewritten
from tests.support.file_server import serving
from tests.support.scenes import item_of, seam_scenes

Json = dict[str, Any]

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


def edit(path: Path, **fields: Any) -> None:
    """Sets fields of a JSON file; None takes one away."""
    document = orjson.loads(path.read_bytes()) | fields
    kept = {key: value for key, value in document.items() if value is not None}
    path.write_bytes(orjson.dumps(kept))


BROKEN = [
    ("catalog.json", {"description": None}, "'description' is a required property"),
    ("catalog.json", {"stac_version": "1.1"}, "schemas.stacspec.org/v1.1/catalog-spec"),
    ("catalog.json", {"links": [{"rel": "root"}]}, "'href' is a required property"),
    ("collection.json", {"license": None}, "'license' is a required property"),
    ("collection.json", {"extent": {"spatial": {"bbox": []}}}, "extent"),
    ("collection.json", {"type": "Catalogue"}, "has the type 'Catalogue'"),
]


@pytest.mark.parametrize(("name", "fields", "words"), BROKEN)
def test_documents(broken: Path, empty: Path, name: str, fields: Json, words: str) -> None:
    edit(broken / name, **fields)
    report = mosaic.check(broken, schemas=empty)
    said = " ".join(str(p) for found in report.findings for p in found.problems)
    assert words in said, said
    if fields.get("stac_version") != "1.1":  # a version that nobody knows is unknown, not wrong
        only(report, "STAC documents")


def test_an_item_that_is_not_valid(broken: Path, empty: Path) -> None:
    def change(item: Json) -> Json:
        if item["id"] == "S2_33_0_0":
            item["properties"]["gsd"] = -10.0
        return item

    rewritten(broken, change)
    found = only(mosaic.check(broken, schemas=empty), "STAC items")
    assert [problem.item for problem in found.problems] == ["S2_33_0_0"]
    assert "properties.gsd" in str(found.problems[0])
    assert "item v1.1.0" in str(found.problems[0])


def test_an_extension_that_is_broken(broken: Path, shared: Path) -> None:
    def change(item: Json) -> Json:
        if item["id"] == "S2_33_0_0":
            item["properties"]["proj:code"] = "the usual one"
            item["properties"]["eo:cloud_cover"] = 170.0
        return item

    rewritten(broken, change)
    report = mosaic.check(broken, schemas=shared / "stac-extensions+eo", all=True)
    found = next(one for one in errors(report) if one.check == "STAC items")
    assert [problem.item for problem in found.problems] == ["S2_33_0_0"]
    assert "eo:cloud_cover" in str(found.problems[0])
    assert "eo v2.0.0" in str(found.problems[0])


def test_a_secret_in_an_item(broken: Path, empty: Path) -> None:
    def change(item: Json) -> Json:
        if item["id"] == "S2_33_0_0":
            item["links"] = [{"rel": "via", "href": "https://host.example/a?v=1&sig=SECRET"}]
        return item

    rewritten(broken, change)
    report = mosaic.check(broken, schemas=empty)
    (problem,) = only(report, "STAC items").problems
    assert (problem.kind, problem.item) == ("secret", "S2_33_0_0")
    assert "SECRET" not in str(report.as_dict())


# ---- items as JSON


def with_json(folder: Path) -> list[Path]:
    """Items as JSON beside ``items.parquet``, linked from the collection."""
    table = pq.read_table(folder / "items.parquet")
    links = orjson.loads((folder / "collection.json").read_bytes())["links"]
    links = [link for link in links if link["rel"] != "item"]
    (folder / "items").mkdir(exist_ok=True)
    paths = []
    for item in stac_geoparquet.arrow.stac_table_to_items(table):
        item["links"] = [{"rel": "collection", "href": "../collection.json"}]
        path = folder / "items" / f"{item['id']}.json"
        path.write_bytes(orjson.dumps(item))
        links.append({"rel": "item", "href": f"./items/{path.name}"})
        paths.append(path)
    edit(folder / "collection.json", links=links)
    return paths


def test_items_as_json(broken: Path, empty: Path) -> None:
    first, *_ = with_json(broken)
    report = mosaic.check(broken, schemas=empty)
    assert errors(report) == []
    assert {one.check: one.count for one in report.findings}["JSON items"] == 8
    for fields, words in (
        ({"properties": {}}, "properties: {} is not valid"),
        ({"links": []}, "collection"),
        ({"id": "stranger"}, "is no item of items.parquet"),
    ):
        text = first.read_bytes()
        edit(first, **fields)
        found = only(mosaic.check(broken, schemas=empty), "JSON items")
        assert words in str(found.problems[0])
        first.write_bytes(text)
    first.write_bytes(b"[]")
    found = only(mosaic.check(broken, schemas=empty), "JSON items")
    assert "is no JSON object" in str(found.problems[0])
    first.write_bytes(b"<!doctype html>")
    found = only(mosaic.check(broken, schemas=empty), "JSON items")
    assert f"items/{first.name} can't be read" in str(found.problems[0])
    first.unlink()
    report = mosaic.check(broken, schemas=empty)
    assert {one.check for one in errors(report)} == {"files", "JSON items"}


def test_items_as_json_that_arent_all(broken: Path, empty: Path) -> None:
    with_json(broken)
    links = orjson.loads((broken / "collection.json").read_bytes())["links"]
    edit(broken / "collection.json", links=links[:-1])
    found = only(mosaic.check(broken, schemas=empty), "JSON items")
    assert "links to 7 items, items.parquet holds 8" in str(found.problems[0])


def test_every_item_is_looked_at_with_all(tmp_path: Path, empty: Path) -> None:
    items = [item_of(scene) for scene in seam_scenes(64, 60.0, ("B04",))] * 10
    for number, item in enumerate(items):
        items[number] = item = orjson.loads(orjson.dumps(item))
        item["id"] = f"i{number:03}"
        item["assets"]["B04"]["href"] = f"https://host.example/{number}.tif"
        if number == 33:
            item["properties"]["gsd"] = -10.0
    mosaic.build(items, tmp_path / "m")
    assert mosaic.check(tmp_path / "m", schemas=empty, offline=True, sample=2).ok
    report = mosaic.check(tmp_path / "m", schemas=empty, offline=True, all=True)
    found = next(one for one in errors(report) if one.check == "STAC items")
    assert (found.count, [problem.item for problem in found.problems]) == (80, ["i033"])


@pytest.mark.parametrize(
    "folder",
    [".", "stac-extensions+projection", "stac-utils+pystac/schemas-from-cassettes"],
)
def test_schemas_of_a_folder(good: Path, shared: Path, folder: str) -> None:
    """By their $id, by the host they came from, by name and version."""
    files = below(shared / folder)
    assert PROJECTION in files
    report = mosaic.check(good, schemas=shared / folder)
    assert report.ok
    unknown = [str(p) for f in report.findings for p in f.problems if f.level == "unknown"]
    assert not any("projection" in text for text in unknown)
    assert any("/eo/" in text for text in unknown) == (folder != ".")


def test_schemas_by_name_and_version(tmp_path: Path) -> None:
    path = tmp_path / "stac-extensions+moon" / "v1.2.3" / "schema.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"$schema": "http://json-schema.org/draft-07/schema#"}')
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "broken.json").write_text('{"$schema": ')
    address = "https://stac-extensions.github.io/moon/v1.2.3/schema.json"
    assert below(tmp_path) == {address: path}


def test_the_bundled_schemas_need_no_others() -> None:
    validator = Validator(Schemas(None, None))
    catalog = pystac.Catalog("a", "b").to_dict()
    assert validator.problems(catalog, "catalog.json") == []
    assert not validator.unknown
    assert len(bundled()) >= 13


def test_a_folder_of_schemas_that_isnt_there(good: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--schemas .*nowhere: no such folder"):
        mosaic.check(good, schemas=tmp_path / "nowhere")


def test_offline_nothing_is_asked(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("offline, and asked")

    monkeypatch.setattr("mosaic.storage.Gate.get_range", refuse)
    monkeypatch.setattr("mosaic.checker.run.fetcher", refuse)
    report = mosaic.check(good, offline=True)
    assert report.ok
    (found,) = (one for one in report.findings if one.check == "schemas")
    assert found.level == "unknown"
    assert found.count == 2
    assert PROJECTION in str(found.problems)


# ---- from the network, once


@pytest.fixture
def moon(tmp_path: Path) -> Iterator[Any]:
    """A server with one schema, which wants ``moon:phase`` to be a number."""
    root = tmp_path / "served"
    (root / "moon" / "v1.0.0").mkdir(parents=True)
    with serving(root) as served:
        uri = f"{served.url}/moon/v1.0.0/schema.json"
        schema = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$id": uri,
            "properties": {"properties": {"properties": {"moon:phase": {"type": "number"}}}},
        }
        (root / "moon/v1.0.0/schema.json").write_bytes(orjson.dumps(schema))
        yield served


def lunar(broken: Path, url: str, phase: Any) -> None:
    def change(item: Json) -> Json:
        item["stac_extensions"] = [f"{url}/moon/v1.0.0/schema.json"]
        item["properties"]["moon:phase"] = phase
        return item

    rewritten(broken, change)
    edit(broken / "collection.json", stac_extensions=[])


def test_schemas_are_fetched_once(broken: Path, moon: Any, tmp_path: Path) -> None:
    lunar(broken, moon.url, "full")
    found = only(mosaic.check(broken), "STAC items")
    assert len(found.problems) == 8
    assert "moon v1.0.0" in str(found.problems[0])
    assert len(moon.log) == 1
    (kept,) = (tmp_path / "cache/mosaic/schemas").rglob("schema.json")
    assert kept.parts[-3:] == ("moon", "v1.0.0", "schema.json")
    only(mosaic.check(broken), "STAC items")  # now from the cache
    assert len(moon.log) == 1
    kept.unlink()
    report = mosaic.check(broken, offline=True)
    assert report.ok
    assert "moon" in str(report.as_dict())
    assert len(moon.log) == 1


@pytest.mark.parametrize("text", [b"<!doctype html><p>gone", b"[]", b"{", b'{"a": 1}', b""])
def test_what_is_no_schema_is_unknown(broken: Path, moon: Any, tmp_path: Path, text: bytes) -> None:
    lunar(broken, moon.url, 0.5)
    (tmp_path / "served/moon/v1.0.0/schema.json").write_bytes(text)
    report = mosaic.check(broken)
    assert report.ok
    assert {one.level for one in report.findings if one.check == "schemas"} == {"unknown"}
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_a_schema_that_is_broken_or_leans_on_another_is_unknown(
    broken: Path, moon: Any, tmp_path: Path
) -> None:
    lunar(broken, moon.url, 0.5)
    path = tmp_path / "served/moon/v1.0.0/schema.json"
    for body in ({"type": 7}, {"$ref": "https://gone.example/schema.json"}, {"$ref": "#/lost"}):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        path.write_bytes(
            orjson.dumps({"$schema": "http://json-schema.org/draft-07/schema#"} | body)
        )
        schemas = Schemas(None, None, lambda uri: orjson.loads(path.read_bytes())
                          if "moon" in uri else None)  # fmt: skip
        validator = Validator(schemas)
        item = item_of(seam_scenes(64, 60.0, ("B04",))[0]) | {
            "stac_version": "1.1.0",
            "stac_extensions": [f"{moon.url}/moon/v1.0.0/schema.json"],
            "links": [{"rel": "collection", "href": "./collection.json"}],
        }
        assert validator.problems(item, "an item") == []
        assert len(validator.unknown) == 1, body


def test_a_host_that_is_gone_is_asked_once(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        pass
    fetch = fetcher()
    asked = [fetch(f"{served.url}/{number}/schema.json") for number in range(20)]
    assert asked == [None] * 20


def test_addresses_that_are_no_addresses(tmp_path: Path) -> None:
    asked: list[str] = []

    def fetch(uri: str) -> None:
        asked.append(uri)

    schemas = Schemas(None, tmp_path, fetch)
    for uri in ("view", "file:///etc/passwd", "../../x.json", "s3://b/schema.json", ""):
        assert schemas.get(uri) is None
    assert asked == []
    for number in range(500):
        schemas.get(f"https://host.example/{number}/schema.json")
    assert len(asked) == 100


def test_fetched_schemas_stay_in_the_cache(tmp_path: Path) -> None:
    schemas = Schemas(None, tmp_path / "kept", lambda uri: {"$schema": "x", "$id": uri})
    for uri in ("https://h.example/../../../evil.json", "https://h.example/a/b.json?x=1"):
        assert schemas.get(uri) is not None
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(path.is_relative_to(tmp_path / "kept") for path in files)


def test_a_slow_server_doesnt_hold_a_check_up(tmp_path: Path) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(503)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        fetch = fetcher()
        assert fetch(f"http://127.0.0.1:{server.server_address[1]}/v1.0.0/schema.json") is None
    finally:
        server.shutdown()
        server.server_close()
