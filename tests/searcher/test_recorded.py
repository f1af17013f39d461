"""Pages as real APIs sent them, verbatim but for the host: their links are followed as they say."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

import mosaic
from tests.support.stac_api import Answer, Asked, answer, free_port, landing, proxy

Json = dict[str, Any]
BODIES = "stac-utils+pystac-client/cassette-bodies"
PC = b"https://planetarycomputer.microsoft.com/api/stac/v1"
EARTH_SEARCH = b"https://earth-search.aws.element84.com/v1"
PAGES = [
    # file; its API; items; items without a bbox
    ("pc-landsat-8-c2-l2-netherlands-250.json.gz", PC, 250, 17),
    ("pc-naip-250-four-zones.json.gz", PC, 250, 0),
    ("pc-sentinel-2-l2a-33-three-zones.json.gz", PC, 33, 0),
    ("earth-search-landsat-and-s2-2.json", EARTH_SEARCH, 2, 0),
]


@pytest.mark.parametrize(("name", "host", "count", "boxless"), PAGES)
def test_a_recorded_page_and_the_next(
    shared: Path, tmp_path: Path, name: str, host: bytes, count: int, boxless: int
) -> None:
    text = (shared / BODIES / name).read_bytes()
    text = gzip.decompress(text) if name.endswith(".gz") else text
    with proxy(free_port(), None) as api:
        text = text.replace(host, api.url.encode())
        document = orjson.loads(text)
        following = [link for link in document["links"] if link["rel"] == "next"]

        def fault(number: int, asked: Asked, real: object) -> Answer:
            if not asked.path.startswith("/search"):
                return answer(landing(api.url)) if asked.path == "/" else answer({}, 404)
            if len(api.searches) > 1:  # the page behind the last one
                return answer({"type": "FeatureCollection", "features": [], "links": following})
            return Answer(200, text)

        api.fault = fault
        outcome = mosaic.search(api.url, datetime="2000/..").save(tmp_path / "found.ndjson")
        assert outcome.count == count
        assert [one.body for one in api.searches[1:2]] == [link["body"] for link in following]
    found = [orjson.loads(line) for line in (tmp_path / "found.ndjson").read_bytes().splitlines()]
    assert [one["id"] for one in found] == [one["id"] for one in document["features"]]
    assert sum("bbox" not in one for one in found) == boxless
    assert [one["assets"] for one in found] == [one["assets"] for one in document["features"]]


def test_a_recorded_search_becomes_a_mosaic(shared: Path, tmp_path: Path) -> None:
    text = gzip.decompress((shared / BODIES / PAGES[0][0]).read_bytes())
    with proxy(free_port(), None) as api:

        def fault(number: int, asked: Asked, real: object) -> Answer:
            if asked.path == "/":
                return answer(landing(api.url))
            is_first = len(api.searches) == 1
            return Answer(200, text) if is_first else answer({"features": [], "links": []})

        api.fault = fault
        report = mosaic.build(
            f"stac+{api.url}", tmp_path / "m", max_items=250, bands=["red"],
            recipe="landsat-c2-l2-planetary-computer", collections="landsat-8-c2-l2",
        )  # fmt: skip
    assert report.items == 250
    assert len(pq.read_table(tmp_path / "m/items.parquet")) == 250
    assert mosaic.check(tmp_path / "m", offline=True).ok
