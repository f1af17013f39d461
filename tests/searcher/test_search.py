"""Searches of a real server (`rustac serve`): the items asked for, each once, none lost."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import shapely
import shapely.geometry
from click.testing import CliRunner, Result

import mosaic
from mosaic.builder.search import waiting
from mosaic.cli import main
from mosaic.errors import CatalogError, SearchError, UnknownCollectionError, UsageError
from mosaic.searcher.kept import keeping
from tests.searcher.conftest import COUNT, finished_after_kills, ids
from tests.support.stac_api import Answer, Api, Asked

Json = dict[str, Any]
S2 = "sentinel-2-l2a"


def run(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def names(items: Any) -> list[str]:
    return sorted(item["id"] for item in items)


def test_all_items_come_once(api: Api, given: list[Json]) -> None:
    found = list(mosaic.search(api.url, collections=S2, limit=50))
    assert names(found) == names(given)
    by_id = {item["id"]: item for item in given}
    for item in found:
        assert item["assets"] == by_id[item["id"]]["assets"]
        assert item["properties"]["datetime"] == by_id[item["id"]]["properties"]["datetime"]
    assert [one.body["limit"] for one in api.searches] == [50] * 5
    assert [one.path for one in api.asked[:2]] == ["/", f"/collections/{S2}"]


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (170, -60, -170, 60), (-180, -80, 180, 80)])
def test_bbox_means_what_geometries_say(
    api: Api, given: list[Json], box: tuple[float, ...]
) -> None:
    west, south, east, north = box
    parts = [(west, east)] if west <= east else [(west, 180), (-180, east)]
    area = shapely.union_all([shapely.box(w, south, e, north) for w, e in parts])
    wanted = [one for one in given if shapely.geometry.shape(one["geometry"]).intersects(area)]
    found = names(mosaic.search(api.url, bbox=box, limit=20))
    assert wanted
    # the server compares boxes, which may touch where footprints don't: never fewer, each once
    assert set(names(wanted)) <= set(found)
    assert len(found) == len(set(found))
    assert {one.body["bbox"][0] <= one.body["bbox"][2] for one in api.searches} == {True}
    if west > east:
        crossing = [one for one in wanted if one["geometry"]["type"] == "MultiPolygon"]
        assert crossing, "no item lies on both sides: the test shows nothing"
        assert api.searches[0].body["bbox"][2] == -api.searches[-1].body["bbox"][0] == 180


def test_datetime_ids_and_max_items(api: Api, given: list[Json]) -> None:
    year = [one for one in given if one["properties"]["datetime"].startswith("2018")]
    assert names(mosaic.search(api.url, datetime="2018")) == names(year)
    some = [one["id"] for one in given[10:13]]
    assert names(mosaic.search(api.url, ids=some)) == sorted(some)
    most = list(mosaic.search(api.url, collections=S2, max_items=33, limit=20))
    assert len({item["id"] for item in most}) == 33
    assert len(api.searches) == 1 + 1 + 2


def test_search_on_the_command_line(api: Api, given: list[Json], tmp_path: Path) -> None:
    lines = run("search", api.url, "-c", S2, "--datetime", "2018").output.splitlines()
    assert names(map(orjson.loads, lines)) == names(
        one for one in given if one["properties"]["datetime"].startswith("2018")
    )
    saved = run("search", f"stac+{api.url}", "-c", S2, "-o", tmp_path / "all.ndjson")
    assert saved.output == f"{COUNT} items written to {tmp_path / 'all.ndjson'}\n"
    assert sorted(ids(tmp_path / "all.ndjson")) == names(given)
    run("search", api.url, "--max-items", 7, "-o", tmp_path / "few.json", "-q")
    document = orjson.loads((tmp_path / "few.json").read_bytes())
    assert document["type"] == "FeatureCollection"
    assert len(document["features"]) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.ndjson", "few.json"]


def test_search_straight_into_a_build(api: Api, given: list[Json], tmp_path: Path) -> None:
    """The CLI's and Python's mosaics hold the items that were asked for, and tell the search."""
    done = run(
        *("build", f"stac+{api.url}", "-c", S2, "--datetime", "2018/2019", "--max-items", 100),
        *("--bands", "red", "-o", tmp_path / "cli", "--dst-crs", "EPSG:4326", "--res", 0.01),
    )
    assert done.exit_code == 0, done.output
    wanted = names(one for one in given if one["properties"]["datetime"][:4] in ("2018", "2019"))
    assert sorted(pq.read_table(tmp_path / "cli/items.parquet")["id"].to_pylist()) == wanted
    told = orjson.loads((tmp_path / "cli/collection.json").read_bytes())
    assert told["license"] == "CC-BY-4.0"
    assert told["mosaic:search"] == [
        {"url": api.url, "collections": [S2], "datetime": "2018/2019", "max_items": 100}
    ]
    search = mosaic.search(api.url, collections=S2, datetime="2018/2019")
    report = mosaic.build(search, tmp_path / "py", bands=["red"], dst_crs="EPSG:4326", res=0.01)
    assert report.items == len(wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cli", "py"]


def test_a_build_across_180_degrees(api: Api, given: list[Json], tmp_path: Path) -> None:
    """Half the box is east of 180, half west: one mosaic, each item once."""
    report = mosaic.build(
        f"stac+{api.url}", tmp_path / "m", bbox=(170, -60, -170, 60), bands=["red"],
        dst_crs="EPSG:3832", res=5000.0,
    )  # fmt: skip
    west, east = (one.body["bbox"] for one in api.searches)
    assert (west, east) == ([170, -60, 180, 60], [-180, -60, -170, 60])
    found = pq.read_table(tmp_path / "m/items.parquet")["id"].to_pylist()
    area = shapely.union_all([shapely.box(170, -60, 180, 60), shapely.box(-180, -60, -170, 60)])
    wanted = [one for one in given if shapely.geometry.shape(one["geometry"]).intersects(area)]
    assert report.items == len(found) == len(set(found))
    assert set(found) == {one["id"] for one in wanted}
    assert any(one["geometry"]["type"] == "MultiPolygon" for one in wanted)


def flaky(seed: int) -> Callable[[int, Asked, Callable[[], Answer]], Answer | None]:
    """Every fifth answer a 503 that asks for 0.2 s, every seventh cut in the middle."""

    def fault(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
        if (number + seed) % 5 == 0:
            return Answer(503, b"busy", {"Retry-After": "0.2"})
        if (number + seed) % 7 == 0:
            whole = real()
            return Answer(whole.status, whole.body, whole.headers, cut=True)
        return None

    return fault


@pytest.mark.parametrize("seed", [0, 3])
def test_refusals_and_cut_answers_lose_nothing(api: Api, given: list[Json], seed: int) -> None:
    api.fault = flaky(seed)
    assert names(mosaic.search(api.url, collections=S2, limit=10)) == names(given)
    refused = [n for n in range(len(api.asked)) if (n + seed) % 5 == 0]
    assert len(refused) > 5
    for number in refused[:-1]:
        waited = api.asked[number + 1].at - api.asked[number].at
        assert waited >= 0.19, "Retry-After is a floor"
    repeated = Counter((one.method, orjson.dumps(one.body)) for one in api.searches)
    assert max(repeated.values()) > 1
    assert {one.method for one in api.searches} == {"POST"}


def test_one_request_at_a_time(api: Api) -> None:
    under_way, most = [0], [0]

    def fault(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        found = real()
        time.sleep(0.01)
        under_way[0] -= 1
        return found

    api.fault = fault
    list(mosaic.search(api.url, limit=40))
    assert most[0] == 1


def test_a_killed_search_goes_on_where_it_stopped(
    api: Api, given: list[Json], tmp_path: Path
) -> None:
    """SIGKILL in the middle, twice, under 20 % 503s; pages that are there aren't asked again."""
    command = [sys.executable, "-m", "mosaic", "search", api.url, "-c", S2, "--limit", "10"]
    command += ["-o", str(tmp_path / "out.ndjson")]
    served: list[int] = []

    def fault(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
        time.sleep(0.03)
        if number % 5 == 0:
            return Answer(503, b"", {"Retry-After": "0.05"})
        if asked.path.startswith("/search"):
            served.append(asked.body.get("skip", 0))
        return None

    api.fault = fault
    found = finished_after_kills(command, tmp_path / "out.ndjson", served)
    assert found == names(given)
    assert set(served) == set(range(0, COUNT, 10))
    assert len(served) <= COUNT // 10 + 2, "only what was under way is asked for again"
    assert [path.name for path in tmp_path.iterdir()] == ["out.ndjson"]


def test_a_build_goes_on_from_an_interrupted_search(api: Api, tmp_path: Path) -> None:
    def fault(number: int, asked: Asked, real: Callable[[], Answer]) -> Answer | None:
        return Answer(400, b'{"description": "no more today"}') if len(api.searches) == 3 else None

    api.fault = fault
    words = ("build", f"stac+{api.url}", "-c", S2, "--bands", "red", "-o", tmp_path / "m")
    failed = run(*words)
    assert failed.exit_code == 1
    assert "status 400): no more today" in failed.output
    assert not (tmp_path / "m").exists()
    api.fault = lambda number, asked, real: None
    api.asked.clear()
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "note     the search went on after 200 items" in done.output
    assert [one.body.get("skip") for one in api.searches] == [200]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_one_process_at_a_search(api: Api, tmp_path: Path) -> None:
    search = mosaic.search(api.url, collections=S2)
    with (
        keeping(waiting(tmp_path / "out.ndjson", search.request), search.request.digest()),
        pytest.raises(SearchError, match="another process is at this search"),
    ):
        search.save(tmp_path / "out.ndjson")
    # the same search twice among the sources is one
    report = mosaic.build([search, search], tmp_path / "[m]", bands=["red"], item_files=0)
    assert report.items == COUNT
    assert len(api.searches) == 3
    with pytest.raises(CatalogError, match="can't be written: Not a directory"):
        search.save("/dev/null/out.ndjson")


def test_flags_without_an_api_are_an_error(tmp_path: Path, seam: Path) -> None:
    with pytest.raises(UsageError, match=r"stac\+https"):
        mosaic.build(seam, tmp_path / "m", datetime="2018")


def test_an_unknown_collection_names_its_neighbours(api: Api) -> None:
    with pytest.raises(UnknownCollectionError, match="sentinel-2-l1c; nearest: sentinel-2-l2a"):
        list(mosaic.search(api.url, collections="sentinel-2-l1c"))
    assert not api.searches


@pytest.mark.parametrize("flag", ["query", "filter", "sortby"])
def test_what_an_api_does_not_know_is_an_error(api: Api, flag: str) -> None:
    value = {"query": "eo:cloud_cover<10", "filter": "eo:cloud_cover < 10", "sortby": "-datetime"}
    with pytest.raises(SearchError, match=f"knows no --{flag}"):
        list(mosaic.search(api.url, **{flag: value[flag]}))
    assert not api.searches


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"datetime": "yesterday"}, "yesterday"),
        ({"filter": "eo:cloud_cover <<< 10"}, "expected"),
        ({"filter": '{"op": '}, "no JSON"),
        ({"query": "cloudy"}, "such as 'eo:cloud_cover<10'"),
        ({"bbox": (0, 0, 1, 1), "intersects": "x"}, "one of them"),
        ({"bbox": (0, 0, 1)}, "west,south,east,north"),
        ({"intersects": "nowhere.geojson"}, "no GeoJSON"),
        ({"max_items": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anybody_is_asked(
    given_: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        mosaic.search("https://stac.example.com", **given_)
