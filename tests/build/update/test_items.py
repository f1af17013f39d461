"""What an update adds, replaces and drops; what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result

import mosaic
from mosaic.errors import CatalogError, InputError, UsageError
from tests.build.update.conftest import (
    NEW,
    OLD,
    State,
    alone,
    items,
    shows,
    traces,
)

Cli = Callable[..., Result]
Json = dict[str, Any]


def test_adds(out: Path, was: dict[str, State]) -> None:
    report = mosaic.update(out, [was["e"].item, was["far"].item])
    assert (report.added, report.replaced, report.dropped, report.items) == (2, 0, 0, 6)
    shows(out, was.values())
    assert alone(out)


def test_replaces_what_is_newer(
    out: Path, was: dict[str, State], later: dict[str, State], cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "items.json").write_bytes(
        orjson.dumps({"type": "FeatureCollection", "features": [later["b"].item, was["c"].item]})
    )
    result = cli("update", out, tmp_path / "items.json")
    assert result.exit_code == 0
    assert f"0 added, 1 replaced, 0 dropped: 4 items in {out}" in result.stderr
    shows(out, [was["a"], later["b"], was["c"], was["d"]])
    assert items(out)["b"]["updated"].isoformat()[:10] == NEW[:10]
    own = orjson.loads((out / "items" / "b.json").read_bytes())
    assert own["properties"]["updated"][:10] == NEW[:10]


def test_drops_by_id(out: Path, was: dict[str, State], cli: Cli) -> None:
    result = cli("update", out, "--drop", "d", "--drop", "a", "--json")
    assert result.exit_code == 0
    told = orjson.loads(result.stdout)
    assert [told[name] for name in ("added", "replaced", "dropped", "items")] == [0, 0, 2, 2]
    shows(out, [was["b"], was["c"]])


def test_drops_what_is_missing(out: Path, was: dict[str, State]) -> None:
    report = mosaic.update(out, [was[name].item for name in "bce"], drop_missing=True)
    assert (report.added, report.replaced, report.dropped, report.same) == (1, 0, 2, 2)
    shows(out, [was[name] for name in "bce"])


def test_all_at_once(out: Path, was: dict[str, State], later: dict[str, State]) -> None:
    report = mosaic.update(out, [later["c"].item, was["e"].item], drop=["a"])
    assert (report.added, report.replaced, report.dropped, report.items) == (1, 1, 1, 4)
    shows(out, [was["b"], later["c"], was["d"], was["e"]])


@pytest.mark.parametrize("tells", [True, False], ids=["updated", "no updated"])
def test_a_second_time_nothing_is_written(
    out: Path, was: dict[str, State], later: dict[str, State], tells: bool
) -> None:
    given = [later["b"], was["e"]]
    told = [one.item if tells else one.told(None) for one in given]
    first = mosaic.update(out, told)
    assert (first.added, first.replaced) == (1, 1)
    before = traces(out)
    again = mosaic.update(out, told)
    assert (again.added, again.replaced, again.dropped, again.same) == (0, 0, 0, 2)
    assert not again.changed
    assert traces(out) == before
    assert alone(out)
    shows(out, [was["a"], later["b"], was["c"], was["d"], was["e"]])


def test_an_older_state_is_not_taken(out: Path, was: dict[str, State], cli: Cli) -> None:
    before = traces(out)
    given = was["b"].told("2025-06-30T23:59:59Z")
    report = mosaic.update(out, [given])
    assert not report.changed
    assert report.notes == ("1 items were given in an earlier state: not taken",)
    assert traces(out) == before


def test_unknown_id(out: Path, cli: Cli) -> None:
    before = traces(out)
    result = cli("update", out, "--drop", "a", "--drop", "nobody")
    assert result.exit_code != 0
    assert "the mosaic has no item nobody" in result.stderr
    with pytest.raises(UsageError, match="no item nobody"):
        mosaic.update(out, drop=["a", "nobody"])
    assert traces(out) == before
    assert alone(out)


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "as it is"])
def test_what_is_dropped_by_id_goes_though_it_is_given(
    out: Path, was: dict[str, State], later: dict[str, State], newer: bool
) -> None:
    given = (later if newer else was)["a"].item
    report = mosaic.update(out, [given, was["e"].item], drop=["a"])
    assert (report.added, report.replaced, report.dropped) == (1, 0, 1)
    shows(out, [was[name] for name in "bcde"])


def test_missing_from_nothing(out: Path, tmp_path: Path) -> None:
    """A source that has nothing, for once, doesn't empty a mosaic."""
    before = traces(out)
    (tmp_path / "none.json").write_bytes(b'{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="--drop-missing would drop all"):
        mosaic.update(out, tmp_path / "none.json", drop_missing=True)
    assert traces(out) == before


def test_nothing_to_update_from(out: Path, tmp_path: Path) -> None:
    before = traces(out)
    with pytest.raises(UsageError, match="wasn't built from a search: name what to update it"):
        mosaic.update(out)
    with pytest.raises(CatalogError, match="nowhere"):
        mosaic.update(tmp_path / "nowhere", drop=["a"])
    assert traces(out) == before


def test_given_twice(out: Path, was: dict[str, State], later: dict[str, State]) -> None:
    """A newer and an older state of one item: an error or the newer, whatever their order."""
    for given in ([later["b"].item, was["b"].item], [was["b"].item, later["b"].item]):
        mosaic.update(out, given)
        shows(out, [was["a"], later["b"], was["c"], was["d"]])


def test_a_new_field_is_kept(out: Path, was: dict[str, State]) -> None:
    """One for which ``items.parquet`` has no column: the file is written anew."""
    item = was["e"].told(OLD)
    item["properties"]["eo:cloud_cover"] = 12.5
    mosaic.update(out, [item])
    shows(out, [was[name] for name in "abcde"])
    told = {name: row["eo:cloud_cover"] for name, row in items(out).items()}
    assert told == {"a": None, "b": None, "c": None, "d": None, "e": 12.5}


def test_nothing_would_be_left(out: Path) -> None:
    before = traces(out)
    with pytest.raises(UsageError, match="nothing would be left"):
        mosaic.update(out, drop=list("abcd"))
    assert traces(out) == before


def test_of_another_collection(out: Path, was: dict[str, State], later: dict[str, State]) -> None:
    before = traces(out)
    other = {**was["e"].item, "collection": "others"}
    with pytest.raises(InputError, match=r"e: is of the collection others.*are of scenes"):
        mosaic.update(out, [later["a"].item, other])
    assert traces(out) == before
    assert alone(out)
    report = mosaic.update(out, [later["a"].item, other], skip_bad=True)
    assert [one.item for one in report.left_out] == ["e"]
    shows(out, [later["a"], was["b"], was["c"], was["d"]])


@pytest.mark.parametrize("wrong", ["not.tif", "gone"])
def test_of_what_cannot_be_read(out: Path, was: dict[str, State], wrong: str) -> None:
    before = traces(out)
    item = orjson.loads(orjson.dumps(was["e"].item))
    for asset in item["assets"].values():
        for name in ("proj:shape", "proj:transform", "raster:bands"):
            del asset[name]
        asset["href"] = str(out.parent / wrong)
    if wrong == "not.tif":
        (out.parent / wrong).write_bytes(b"no TIFF")
    with pytest.raises(InputError, match=wrong):
        mosaic.update(out, [item])
    assert traces(out) == before
