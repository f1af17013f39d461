"""SQL over items, and the mosaics that it makes, beside mosaics built of the same items."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

import mosaic
from mosaic.cli import main
from mosaic.errors import NotACatalogError, UsageError
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes

WHERE = "\"eo:cloud_cover\" < 30 and datetime >= '2025-06-06'"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``items.json`` of twelve scenes on three dates, with clouds of 0 to 55 percent."""
    path = write_scenes(
        tmp_path_factory.mktemp("scenes"), seam_scenes(64, 60.0, ("B04", "B03"), dates=3)
    )
    document = orjson.loads(path.read_bytes())
    for number, item in enumerate(document["features"]):
        item["properties"]["eo:cloud_cover"] = 5.0 * number
    path.write_bytes(orjson.dumps(document))
    return path


@pytest.fixture(scope="module")
def built(given: Path) -> Path:
    mosaic.build(given, given.parent / "m")
    return given.parent / "m"


@pytest.fixture(scope="module")
def some(given: Path) -> Path:
    """A mosaic of those for which the condition holds, chosen by Python."""
    document = orjson.loads(given.read_bytes())
    document["features"] = [
        item
        for item in document["features"]
        if item["properties"]["eo:cloud_cover"] < 30
        and item["properties"]["datetime"] >= "2025-06-06"
    ]
    assert len(document["features"]) == 2
    path = given.with_name("some.json")
    path.write_bytes(orjson.dumps(document))
    mosaic.build(path, given.parent / "some")
    return given.parent / "some"


def test_a_condition_makes_a_mosaic(built: Path, some: Path) -> None:
    geobox = mosaic.open(built, bands=["B04"]).odc.geobox
    want = mosaic.read(some, geobox=geobox)
    found = mosaic.read(built, geobox=geobox, where=WHERE)
    np.testing.assert_array_equal(found.values, want.values)
    np.testing.assert_array_equal(found.valid, want.valid)
    assert 0 < found.valid.mean() < mosaic.read(built, geobox=geobox).valid.mean()
    plans = [
        mosaic.plan(built, geobox=geobox, where=WHERE),
        mosaic.plan(some, geobox=geobox),
    ]
    assert plans[0].to_dataframe()["item"].equals(plans[1].to_dataframe()["item"])


def test_of_a_lazy_mosaic_too_and_in_another_process(built: Path, some: Path) -> None:
    lazy = mosaic.open(built, where=WHERE, chunks={})
    want = mosaic.open(some, geobox=lazy.odc.geobox).load()
    assert lazy.sizes["time"] == want.sizes["time"] == 2
    for found in (lazy, pickle.loads(pickle.dumps(lazy))):
        np.testing.assert_array_equal(found["B04"].compute(), want["B04"])
    other = mosaic.open(built, where="true", groupby="all", chunks={})["B04"]
    part = mosaic.open(built, where=WHERE, groupby="all", chunks={})["B04"]
    assert other.data.name != part.data.name


def test_items_that_nobody_built(given: Path, built: Path) -> None:
    geobox = mosaic.open(built, bands=["B04"]).odc.geobox
    found = mosaic.read(given, geobox=geobox, where=WHERE.replace(" and ", "\nAND "))
    want = mosaic.read(built, geobox=geobox, where=WHERE)
    np.testing.assert_array_equal(found.values, want.values)


@pytest.fixture
def url(built: Path) -> Iterator[str]:
    names = ("collection.json", "items.parquet")
    with RangeServer({f"m/{name}": (built / name).read_bytes() for name in names}) as server:
        yield server.url("m")


SQL = (
    "select id, xmin, bbox.ymax as top, assets.B04.href as href, year(datetime) as year "
    f"from items where {WHERE} order by id -- of June"
)


def test_what_is_asked_for(built: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    table = mosaic.query(built, SQL)
    assert table.column_names == ["id", "xmin", "top", "href", "year"]
    for row in table.to_pylist():
        item = orjson.loads((built / f"items/{row['id']}.json").read_bytes())
        assert (row["xmin"], row["top"]) == (item["bbox"][0], item["bbox"][3])
        assert row["href"] == item["assets"]["B04"]["href"].replace("../", "./")
        assert row["year"] == 2025
    assert mosaic.query(url, SQL).equals(table)
    assert mosaic.query(built, "select count(*) from items")[0][0].as_py() == 12
    every = mosaic.query(built, "select * from items")
    assert {"id", "datetime", "eo:cloud_cover", "xmin", "row"} <= set(every.column_names)


def test_on_the_command_line(built: Path) -> None:
    done = CliRunner().invoke(main, ["query", str(built), f"select id from items where {WHERE}"])
    assert done.output.split() == ["id", "S2_32_0_1", "S2_32_1_1"]
    done = CliRunner().invoke(main, ["query", str(built), SQL, "--json"])
    assert [row["id"] for row in orjson.loads(done.output)] == ["S2_32_0_1", "S2_32_1_1"]


@pytest.mark.parametrize(
    "sql",
    [
        "select nothing from items",
        "select id from elsewhere",
        "select * from read_text('/etc/hostname')",
        "install httpfs",
        "not sql",
    ],
)
def test_sql_that_cannot_be_meant(built: Path, sql: str) -> None:
    with pytest.raises(UsageError, match=r"can't be meant .*columns: .*eo:cloud_cover"):
        mosaic.query(built, sql)


def test_conditions_that_cannot_be_meant(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be meant"):
        mosaic.open(built, where="id = ")
    with pytest.raises(UsageError, match="no item lies"):
        mosaic.open(built, where="id = 'nobody'")
    with pytest.raises(NotACatalogError):
        mosaic.query(tmp_path, "select id from items")
