"""A large mosaic opens by ``items.arrow``: alike, few bytes, never by that of another build."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pyogrio
import pytest

import mosaic
from mosaic.builder import arrange
from mosaic.builder.parquet import group_sizes
from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import open_mosaic
from mosaic.errors import CatalogError
from mosaic.storage import Gate
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes

HOW: dict[str, Any] = {"dst_crs": "EPSG:32632"}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Items, one a file."""
    folder = tmp_path_factory.mktemp("given")
    whole = write_scenes(folder / "in", seam_scenes(64, 60.0, ("B04", "B03"), dates=4))
    items = orjson.loads(Path(whole).read_bytes())["features"]
    files = []
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str(Path(whole).parent / asset["href"])
        files.append(folder / f"{item['id']}.json")
        files[-1].write_bytes(orjson.dumps(item))
    return files


@pytest.fixture(autouse=True)
def groups_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrange, "MANY", 2)
    monkeypatch.setattr(arrange, "GROUP", 2)


def as_parquet(folder: Path, into: Path) -> Path:
    """The same mosaic as it was before there was such a file."""
    shutil.copytree(folder, into)
    document = orjson.loads((into / "collection.json").read_bytes())
    del document["mosaic:brief"]
    (into / "collection.json").write_bytes(orjson.dumps(document))
    (into / "items.arrow").unlink()
    return into


def same(one: Path, other: Path, **asked: Any) -> None:
    found, want = (mosaic.read(folder, **asked) for folder in (one, other))
    np.testing.assert_array_equal(found.values, want.values)
    np.testing.assert_array_equal(found.valid, want.valid)
    times = [mosaic.open(folder, **asked).time.values for folder in (one, other)]
    np.testing.assert_array_equal(*times)


def test_after_updates_as_built_at_once(given: list[Path], tmp_path: Path) -> None:
    mosaic.build(given[:12], tmp_path / "m", **HOW)
    mosaic.update(tmp_path / "m", given[12:])
    gone = orjson.loads(given[3].read_bytes())["id"]
    mosaic.update(tmp_path / "m", drop=[gone])
    mosaic.check(tmp_path / "m", all=True, offline=True).raise_for_errors()
    mosaic.build([*given[:3], *given[4:]], tmp_path / "once", **HOW)
    tables = [pq.read_table(tmp_path / one / "items.parquet") for one in ("m", "once")]
    ids = [sorted(table["id"].to_pylist()) for table in tables]
    assert ids[0] == ids[1]
    same(tmp_path / "m", tmp_path / "once")
    same(tmp_path / "m", as_parquet(tmp_path / "once", tmp_path / "old"), datetime="2025-06-06")


def updated(item: Path, into: Path, without: str = "") -> Path:
    """The same item in a later state; ``without``: an asset that it lacks then."""
    told = orjson.loads(item.read_bytes())
    told["properties"]["updated"] = "2026-02-01T00:00:00Z"
    told["assets"].pop(without, None)
    into.write_bytes(orjson.dumps(told))
    return into


def test_after_an_update_as_written_anew(given: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "m"
    mosaic.build(given[:12], folder, **HOW)
    later = [updated(given[number], tmp_path / f"{number}.json") for number in (2, 9)]
    gone = orjson.loads(given[3].read_bytes())["id"]
    mosaic.update(folder, [*later, *given[12:]], drop=[gone])
    document = orjson.loads((folder / "collection.json").read_bytes())
    place = Folder.at(folder, Gate())
    whole = open_mosaic(place, None, document, place.columns("items.parquet"))
    sizes = group_sizes(folder / "items.parquet")
    shutil.copy(folder / "items.parquet", tmp_path)
    anew = arrange.write_brief(tmp_path, document, sizes, whole.columns, whole.z, whole.assets)
    assert anew["mosaic:brief"] == document["mosaic:brief"]
    assert (tmp_path / "items.arrow").read_bytes() == (folder / "items.arrow").read_bytes()


def drawing(folder: Path) -> list[dict[str, int]]:
    """z of the items, by index."""
    found = []
    for asset in ("B04", "B03"):
        _, table = pyogrio.read_arrow(folder / f"{asset}.gti.gpkg", columns=["item", "z"])
        found.append(dict(zip(table["item"].to_pylist(), table["z"].to_pylist(), strict=True)))
    return found


def test_items_that_lack_an_asset_keep_their_place(given: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "m"
    lacking = [
        updated(given[4], tmp_path / "4.json", "B04"),
        updated(given[10], tmp_path / "10.json", "B03"),
    ]
    rest = [one for one in given[::2] if one not in (given[4], given[10])]
    mosaic.build([*lacking, *rest], folder, **HOW)
    before = drawing(folder)
    mosaic.update(folder, given[1::2])  # they lie between
    after = drawing(folder)
    assert len(before[0]) == len(before[1]) == len(given[::2]) - 1
    whole = after[0] | after[1]
    for old, new in zip(before, after, strict=True):
        assert old.items() <= new.items()  # there was room
        assert all(whole[item] == z for item, z in new.items())
    assert len(set(whole.values())) == len(whole) == len(given)
    mosaic.check(folder, all=True, offline=True).raise_for_errors()


def test_behind_a_url_only_what_is_asked(
    given: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mosaic.build(given, tmp_path / "m", **HOW)
    files = {f"m/{path.name}": path.read_bytes() for path in (tmp_path / "m").glob("*.*")}
    with RangeServer(files) as server:
        ds = mosaic.open(server.url("m"), gate=Gate(), datetime="2025-06-06", groupby="solar_day")
        assert server.counts.requests <= 3
        assert server.counts.bytes < sum(map(len, files.values()))
        want = mosaic.open(tmp_path / "m", datetime="2025-06-06", groupby="solar_day")
        np.testing.assert_array_equal(ds.time, want.time)
        assert ds.odc.geobox == want.odc.geobox


def test_another_build_is_told(given: list[Path], tmp_path: Path) -> None:
    mosaic.build(given, tmp_path / "m", **HOW)
    mosaic.build(given[1:], tmp_path / "other", **HOW)
    (tmp_path / "m/items.arrow").write_bytes((tmp_path / "other/items.arrow").read_bytes())
    with pytest.raises(CatalogError, match=r"items\.arrow"):
        mosaic.open(tmp_path / "m")
    report = mosaic.check(tmp_path / "m", offline=True)
    assert [one.check for one in report.findings if one.level == "error"] == ["items.arrow"]


def test_a_build_that_comes_before_the_first_read_is_told(
    given: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many items, of the same grids and times, in another order."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mosaic.build(given, tmp_path / "m", **HOW)

    def files() -> dict[str, bytes]:
        return {f"m/{path.name}": path.read_bytes() for path in (tmp_path / "m").glob("*.*")}

    with RangeServer(files()) as server:
        ds = mosaic.open(server.url("m"), gate=Gate(), groupby="all")
        mosaic.update(tmp_path / "m", [updated(given[2], tmp_path / "2.json")])
        server.objects.update(files())
        with pytest.raises(CatalogError, match="other items than those that were opened"):
            ds.load()
        again = mosaic.open(server.url("m"), gate=Gate(), groupby="all").load()
    want = mosaic.open(tmp_path / "m", groupby="all").load()
    np.testing.assert_array_equal(again.B04, want.B04)


def test_a_torn_file_is_told(given: list[Path], tmp_path: Path) -> None:
    """However much is left: what isn't needed isn't missed, and all else is an error of ours."""
    mosaic.build(given, tmp_path / "m", **HOW)
    path = tmp_path / "m/items.arrow"
    data = path.read_bytes()
    for size in np.linspace(0, 0.8, 25):
        path.write_bytes(data[: int(size * len(data))])
        with pytest.raises(CatalogError, match=r"items\.arrow"):
            mosaic.open(tmp_path / "m")
        with suppress(CatalogError):
            mosaic.open(tmp_path / "m", datetime="2025-06-06")
    path.unlink()
    with pytest.raises(CatalogError, match=r"items\.arrow isn't there.*copy it, too"):
        mosaic.open(tmp_path / "m")


def test_what_contradicts_items_parquet_is_found(given: list[Path], tmp_path: Path) -> None:
    mosaic.build(given, tmp_path / "m", **HOW)
    mosaic.build(given[1:], tmp_path / "other", **HOW)
    names = [one / "collection.json" for one in (tmp_path / "m", tmp_path / "other")]
    document, other = (orjson.loads(name.read_bytes()) for name in names)
    document["mosaic:brief"] = other["mosaic:brief"]
    names[0].write_bytes(orjson.dumps(document))
    shutil.copy(tmp_path / "other/items.arrow", tmp_path / "m")
    report = mosaic.check(tmp_path / "m", offline=True)
    assert "items.arrow" in [one.check for one in report.findings if one.level == "error"]
    with pytest.raises(CatalogError, match="other items"):
        mosaic.open(tmp_path / "m")
