"""What an update writes: as if all were built at once, and little."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

import mosaic
from tests.build.update.conftest import (
    NEW,
    OLD,
    State,
    drawn,
    items,
    shows,
    traces,
)
from tests.support.scenes import read, seam_scenes, write_scene

Json = dict[str, Any]


def test_files_of_the_users_stay(out: Path, was: dict[str, State]) -> None:
    (out / "mine").mkdir()
    (out / "mine" / "notes.txt").write_text("the user's")
    inode = (out / "mine" / "notes.txt").stat().st_ino
    mosaic.update(out, [was["e"].item], drop=["a"])
    assert (out / "mine" / "notes.txt").stat().st_ino == inode
    shutil.rmtree(out / "mine")
    shows(out, [was[name] for name in "bcde"])


def test_as_built_at_once(tmp_path: Path) -> None:
    """Scenes of two zones, warped: other pixels than a build's would show."""
    scenes = seam_scenes(64, 60.0, ("B04", "B03"), dates=2)
    given = [write_scene(tmp_path / "in", one) for one in scenes]
    again = replace(scenes[2], hole=(0.5, 0.9))
    later = write_scene(tmp_path / "later", again)
    for item, folder in (*((item, "in") for item in given), (later, "later")):
        for asset in item["assets"].values():
            asset["href"] = str(tmp_path / folder / asset["href"])
    for item in given:
        item["properties"]["updated"] = OLD
    later["properties"]["updated"] = NEW
    updated, once = tmp_path / "updated" / "m", tmp_path / "once" / "m"
    how: Json = {"dst_crs": "EPSG:32633", "slices": "day", "resampling": "bilinear"}
    mosaic.build([*given[:3], *given[4:6], given[7]], updated, **how)
    mosaic.update(updated, [given[3], given[6]])
    mosaic.update(updated, [later], drop=[given[0]["id"]])
    mosaic.build([given[1], later, *given[3:]], once, **how)
    names = sorted(path.name for path in once.rglob("*"))
    assert sorted(path.name for path in updated.rglob("*")) == names
    mosaic.check(updated, all=True, offline=True).raise_for_errors()
    assert items(updated) == items(once)
    bounds = mosaic.info(once)["bbox"]
    for day in (None, "2025-06-01"):
        found, want = (mosaic.read(one, bbox=bounds, datetime=day) for one in (updated, once))
        np.testing.assert_array_equal(found.values, want.values)
        np.testing.assert_array_equal(found.valid, want.valid)
    for band in ("B03", "B04"):
        assert drawn(updated, band) == drawn(once, band)
        for day in ("", "_2025-06-01", "_2025-06-06"):
            end = ".gti" if day else ".gti.gpkg"
            one, other = (read(at / f"{band}{day}{end}") for at in (updated, once))
            np.testing.assert_array_equal(one, other)
    documents = [orjson.loads((one / "collection.json").read_bytes()) for one in (updated, once)]
    for name in ("mosaic:items", "mosaic:source_crs", "mosaic:grid"):
        assert documents[0][name] == documents[1][name]
    temporal = [one["extent"]["temporal"] for one in documents]
    assert temporal[0] == temporal[1]


def test_only_what_changes_is_written(out: Path, was: dict[str, State]) -> None:
    """An item without B03: its index, and the files of the other items, are the same inodes."""
    item = was["e"].item
    item = {**item, "assets": {"B04": item["assets"]["B04"]}}
    before = traces(out)
    mosaic.update(out, [item])
    after = traces(out)
    same = {name for name in before if before[name] == after.get(name)}
    assert {f"items/{name}.json" for name in "abcd"} | {"B03.gti.gpkg"} <= same
    assert {"B04.gti.gpkg", "items.parquet", "collection.json"}.isdisjoint(same)


def test_row_groups_that_stay_are_copied(
    was: dict[str, State], later: dict[str, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, as they are in the old file."""
    from mosaic.builder import arrange

    monkeypatch.setattr(arrange, "GROUP", 2)
    monkeypatch.setattr(arrange, "MANY", 2)
    out = tmp_path / "m"
    mosaic.build([was[name].item for name in "abcd"], out)
    old = chunks(out / "items.parquet")
    group = next(ids for ids in old if "d" in ids)
    mosaic.update(out, [later["d"].item])
    new = chunks(out / "items.parquet")
    (kept,) = (ids for ids in old if ids != group)
    assert new[kept] == old[kept]
    assert group not in new
    shows(out, [was["a"], was["b"], was["c"], later["d"]])


def chunks(path: Path) -> dict[tuple[str, ...], bytes]:
    """Compressed bytes of each row group of a Parquet file, by the ids in it."""
    file, whole = pq.ParquetFile(path), path.read_bytes()
    found = {}
    for number in range(file.num_row_groups):
        meta = file.metadata.row_group(number)
        raw = b""
        for at in range(meta.num_columns):
            one = meta.column(at)
            start = one.dictionary_page_offset or one.data_page_offset
            raw += whole[start : start + one.total_compressed_size]
        ids = file.read_row_group(number, ["id"])["id"].to_pylist()
        found[tuple(sorted(ids))] = raw
    return found
