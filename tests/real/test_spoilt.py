"""Real items, spoilt at random: whatever an item holds, a build ends in a mosaic of the others, and
each item is in it or is said to be left out. The mosaic passes its own check.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.errors import RasterioIOError

import mosaic

Json = dict[str, Any]

DOCUMENTS = [
    "stac-utils+rustac/crates/server/data/sentinel-2/item-collection.json",
    "stac-utils+pystac-client/cassette-bodies/earth-search-mixed-collections-10.json",
    "stac-utils+stac-geoparquet/tests/data/landsat-c2-l2-pc.json",
    "stac-utils+stac-geoparquet/tests/data/planet-nicfi-analytic-pc.json",
    "stac-utils+stac-geoparquet/cassette-bodies/pc-chloris-biomass.json",
    "opendatacube+odc-stac/tests/data/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json",
]
FIELDS = (
    "proj:epsg proj:code proj:shape proj:transform proj:wkt2 proj:projjson proj:bbox proj:geometry "
    "nodata bands eo:bands raster:bands data_type eo:cloud_cover gsd providers license platform"
).split()
ODD: list[Any] = [
    None, True, False, 0, -1, -0.0, 95, 1e308, -1e308, 1e-320, 2**63, "", "nan", "12", "\0",
    "x" * 100_000, "😀\u202e", [], {}, [[]], [None], {"": {}}, {"a.b": {"c": []}}, "EPSG:99999",
    "EPSG:3857", "2020-13-45T00:00:00Z", "2020-01-01", [1, 2, 3], [1, 2, 3, 4], [1e308] * 6,
    [0] * 6, "http://[", "s3://", "file://", "/vsizip/", "../../etc/passwd", "<html>", [{}],
    [{"name": None}], [{"data_type": 5}], [{"data_type": "uint8"}] * 3,
    {"type": "Point", "coordinates": ["a", 1]},
    {"type": "Polygon", "coordinates": [[[1e308, 95], [1, 1], [2, 2], [1e308, 95]]]},
]  # fmt: skip


@pytest.fixture(scope="module")
def items(shared: Path) -> list[Json]:
    found: list[Json] = []
    for name in DOCUMENTS:
        document = orjson.loads((shared / name).read_bytes())
        found += document if isinstance(document, list) else document.get("features", [document])
    for item in found:
        item["assets"] = dict(list(item["assets"].items())[:4])
    return found


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inner:
        yield (*place, key)
        if isinstance(one, dict | list):
            yield from places(one, (*place, key))


def nested(luck: random.Random) -> Any:
    value: Any = []
    for _ in range(200):
        value = [value] if luck.random() < 0.5 else {"d": value}
    return value


def spoilt(item: Json, luck: random.Random) -> Json:
    item = copy.deepcopy(item)
    known = list(places(item))
    for _ in range(luck.choice([1, 1, 1, 2, 5])):
        *path, last = luck.choice(known)
        inner: Any = item
        try:
            for key in path:
                inner = inner[key]
            what = luck.random()
            if what < 0.2:
                del inner[last]
            elif what < 0.25:
                inner[last] = nested(luck)
            elif what < 0.3 and isinstance(inner, dict):
                inner[luck.choice(FIELDS)] = luck.choice(ODD)
            else:
                inner[last] = luck.choice(ODD)
        except (KeyError, IndexError, TypeError):
            pass  # an earlier change took it away
    return item


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("seed", range(24))
def test_spoilt_items(
    seed: int, items: list[Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise RasterioIOError("there is no network here")

    monkeypatch.setattr(rasterio, "open", refuse)
    luck = random.Random(seed)
    given = [spoilt(luck.choice(items), luck) for _ in range(12)]
    for number, item in enumerate(given):
        if isinstance(item.get("id"), str) and item["id"]:
            item["id"] = f"{item['id'][:50]}-{number}"
    given.append({**items[0], "id": "good"})
    path = tmp_path / "items.json"
    path.write_bytes(orjson.dumps(given))
    report = mosaic.build(
        path, tmp_path / "m", skip_bad=True, dtype="uint16", dst_crs="EPSG:4326", res=0.01
    )
    kept = pq.read_table(tmp_path / "m/items.parquet", columns=["id"])["id"].to_pylist()
    left = [problem.item for problem in report.left_out]
    named = [item["id"] for item in given if isinstance(item.get("id"), str) and item["id"]]
    assert "good" in kept
    assert set(named) <= {*kept, *left}
    # those without an id are told by their number
    assert len(given) - len(named) <= len([one for one in left if one not in named])
    for problem in report.left_out:
        assert len(str(problem)) < 1500
        assert "\n" not in str(problem)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checked = mosaic.check(tmp_path / "m", schemas=tmp_path, offline=True)
    wrong = {found.check: found.problems for found in checked.findings if found.level == "error"}
    # the schemas rightly find what spoils an item and not its index
    assert wrong.keys() <= {"STAC items", "JSON items", "local files"}, wrong
