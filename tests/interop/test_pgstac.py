"""Searches of pgstac, the API that most archives run: the items asked for, each once, none lost."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import shapely
import shapely.geometry

import mosaic
from mosaic.errors import SearchError, UnknownCollectionError
from tests.benchmarks.corpus import items as generated
from tests.interop.conftest import made_root
from tests.interop.pgstac import environment, pgstac
from tests.interop.postgis import Server, serving
from tests.interop.roots import RootUnavailable
from tests.searcher.conftest import finished_after_kills
from tests.support.stac_api import Answer, Api, Asked

pytestmark = pytest.mark.interop

Json = dict[str, Any]
LANDSAT = "stac-utils+pystac-client/cassette-bodies/pc-landsat-8-c2-l2-netherlands-250.json.gz"
S2 = "sentinel-2-l2a"
PAGE = 20
METHODS = ["GET", "POST"]


@pytest.fixture(scope="module")
def given(shared: Path) -> list[Json]:
    """Real items of Landsat, and generated ones with what is hard for paging.

    Equal cloud covers, none at all, equal times, times in a year's last second.
    """
    many = list(generated(240))
    for number, item in enumerate(many):
        told = item["properties"]
        if number % 7 == 0:
            del told["eo:cloud_cover"]
        elif number % 3 == 0:
            told["eo:cloud_cover"] = 50
        if number % 5 == 0:
            told["datetime"] = "2018-07-01T00:00:00Z"
    many[1]["properties"]["datetime"] = "2018-12-31T23:59:59.500Z"
    real = orjson.loads(gzip.decompress((shared / LANDSAT).read_bytes()))["features"][:80]
    for item in real:  # they were signed once, and pgstac wants a box of each
        item.setdefault("bbox", list(shapely.geometry.shape(item["geometry"]).bounds))
    return [*many, *real]


@pytest.fixture(scope="module")
def both(
    given: list[Json], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, Server]]:
    folder = tmp_path_factory.mktemp("pgstac")
    root = made_root("trixie", "postgis")
    try:
        environment()
    except RootUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    with serving(root, folder) as database, pgstac(database, folder, given) as api:
        yield api, database


@pytest.fixture
def database(both: tuple[Api, Server]) -> Server:
    """The PostGIS below it, which has a database ``gis`` as well."""
    return both[1]


@pytest.fixture
def api(both: tuple[Api, Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The server, well and with nothing asked yet."""
    server = both[0]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.asked.clear()
    server.fault = lambda number, asked, real: None
    yield server
    server.fault = lambda number, asked, real: None


def found(api: Api, **flags: Any) -> list[str]:
    """Ids in the order in which they come, of every page."""
    return [item["id"] for item in mosaic.search(api.url, limit=PAGE, **flags)]


def busy(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
    """Every fifth answer a 503."""
    return Answer(503, b"busy", {"Retry-After": "0.05"}) if number % 5 == 0 else None


def cover(item: Json) -> float | None:
    found: float | None = item["properties"].get("eo:cloud_cover")
    return found


def when(item: Json) -> str:
    return str(item["properties"]["datetime"])


def touches(item: Json, box: tuple[float, ...]) -> bool:
    return bool(shapely.geometry.shape(item["geometry"]).intersects(shapely.box(*box)))


BOX = (0.0, 0.0, 60.0, 60.0)
WANTED: list[tuple[dict[str, Any], Callable[[Json], bool]]] = [
    ({}, lambda item: True),
    ({"collections": S2}, lambda item: item["collection"] == S2),
    ({"query": "eo:cloud_cover<40"}, lambda item: cover(item) is not None and cover(item) < 40),
    ({"query": ["eo:cloud_cover>=50", "platform=landsat-8"]},
     lambda item: (cover(item) or 0) >= 50 and item["properties"]["platform"] == "landsat-8"),
    ({"filter": "eo:cloud_cover = 50 OR platform = 'landsat-8'"},
     lambda item: cover(item) == 50 or item["properties"]["platform"] == "landsat-8"),
    ({"filter": {"op": "isNull", "args": [{"property": "eo:cloud_cover"}]}},
     lambda item: cover(item) is None),
    ({"datetime": "2018"}, lambda item: when(item).startswith("2018")),
    ({"datetime": "2018-12-31", "collections": S2},
     lambda item: when(item).startswith("2018-12-31") and item["collection"] == S2),
    ({"bbox": BOX}, lambda item: touches(item, BOX)),
    ({"intersects": shapely.box(*BOX)}, lambda item: touches(item, BOX)),
    ({"bbox": (170, -60, -170, 60), "collections": S2},
     lambda item: touches(item, (170, -60, 180, 60)) or touches(item, (-180, -60, -170, 60))),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("flags", "wanted"),
    WANTED,
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_the_items_asked_for(
    api: Api, given: list[Json], flags: dict[str, Any], wanted: Callable[[Json], bool], method: str
) -> None:
    """All of them, each once, under 20 % 503s, by tokens of either method."""
    want = sorted(item["id"] for item in given if wanted(item))
    assert want
    api.fault = busy
    got = found(api, method=method, **flags)
    assert sorted(got) == want
    assert {one.method for one in api.searches} == {method}
    pages = [one for one in api.searches if "token" in one.path or "token" in one.body]
    assert len(pages) >= len(want) // PAGE - 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("sortby", "key"),
    [
        ("-properties.datetime", lambda item: when(item)),
        ("+properties.eo:cloud_cover", lambda item: cover(item)),
        (["-eo:cloud_cover", "+id"], lambda item: cover(item)),
        (["collection", "-datetime"], lambda item: item["collection"]),
    ],
)
def test_sorted_and_complete(
    api: Api, given: list[Json], method: str, sortby: Any, key: Callable[[Json], Any]
) -> None:
    """Ties, and items that lack what is sorted by, lie across pages."""
    api.fault = busy
    got = found(api, sortby=sortby, method=method)
    assert sorted(got) == sorted(item["id"] for item in given)
    by_id = {item["id"]: item for item in given}
    keys = [value for value in (key(by_id[one]) for one in got) if value is not None]
    first = sortby if isinstance(sortby, str) else sortby[0]
    assert keys == sorted(keys, reverse=first.startswith("-"))
    assert len(set(keys)) > 1
    best = found(api, sortby=sortby, method=method, max_items=30)
    assert best == got[:30]


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_search_goes_on_by_its_token(
    api: Api, given: list[Json], tmp_path: Path, method: str
) -> None:
    """SIGKILL in the middle, twice, under 20 % 503s; pages that are there aren't asked again."""
    command = [sys.executable, "-m", "mosaic", "search", api.url, "--limit", "10"]
    command += ["--method", method, "--sortby", "-properties.datetime"]
    command += ["-o", str(tmp_path / "out.ndjson")]
    served: list[str] = []

    def fault(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
        if number % 5 == 0:
            return Answer(503, b"", {"Retry-After": "0.05"})
        if asked.path.startswith("/search"):
            served.append(f"{asked.path} {asked.body.get('token')}")
        return None

    api.fault = fault
    found = finished_after_kills(command, tmp_path / "out.ndjson", served)
    assert found == sorted(item["id"] for item in given)
    assert len(set(served)) == len(given) // 10 + (len(given) % 10 > 0)
    assert len(served) <= len(set(served)) + 2, "only what was under way is asked for again"


def test_straight_into_a_build(api: Api, given: list[Json], tmp_path: Path) -> None:
    api.fault = busy
    report = mosaic.build(
        f"stac+{api.url}",
        tmp_path / "m",
        collections=S2,
        query="eo:cloud_cover<40",
        sortby="-properties.datetime",
        bands=["red"],
        dst_crs="EPSG:4326",
        res=0.01,
    )
    want = [item for item in given if item["collection"] == S2 and (cover(item) or 99) < 40]
    assert report.items == len(want)
    kept = pq.read_table(tmp_path / "m/items.parquet").to_pylist()
    by_id = {item["id"]: item for item in want}
    assert {row["id"] for row in kept} == set(by_id)
    for row in kept:  # pgstac takes items apart, and puts them together again
        item = by_id[row["id"]]
        assert row["assets"]["red"]["href"] == item["assets"]["red"]["href"]
        assert row["eo:cloud_cover"] == cover(item)


def test_from_pgstac_into_postgis(
    api: Api,
    database: Server,
    given: list[Json],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A search that is interrupted goes on where it stopped, for a database as for a folder."""
    for name, value in database.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fault(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
        return Answer(400, b'{"description": "no more today"}') if len(api.searches) == 3 else None

    api.fault = fault
    flags: dict[str, Any] = {"collections": S2, "bands": ["red"], "dst_crs": "EPSG:4326"}
    url = database.url("found")
    with pytest.raises(SearchError, match="no more today"):
        mosaic.build(f"stac+{api.url}", url, res=0.01, **flags)
    api.fault = busy
    api.asked.clear()
    report = mosaic.build(f"stac+{api.url}", url, res=0.01, **flags)
    want = sorted(item["id"] for item in given if item["collection"] == S2)
    assert "the search went on after 200 items, where it had stopped" in report.notes
    assert {one.body.get("token", "") != "" for one in api.searches} == {True}
    assert mosaic.query(url, "select id from items order by id")["id"].to_pylist() == want
    assert not [path for path in (tmp_path / "mosaic").rglob("*") if path.is_file()]


def test_what_it_refuses_is_said(api: Api) -> None:
    with pytest.raises(UnknownCollectionError, match="nearest: sentinel-2-l2a"):
        found(api, collections="sentinel-2-l1c")
    with pytest.raises(SearchError) as caught:
        found(api, filter="no_such_thing(1) = 2")
    assert str(caught.value)
