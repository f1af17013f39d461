"""A built mosaic opened by columns, held against its GeoPackage and against the builder."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import Opened, open_mosaic
from mosaic.catalog.when import interval
from mosaic.catalog.window import near
from mosaic.errors import CatalogError, NotACatalogError, UsageError
from mosaic.storage import Gate
from tests.support.mixed import MIXTURES, pair
from tests.support.mosaics import CASES, Case, write_case
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes


def opened(folder: Path, *assets: str) -> Opened:
    return open_mosaic(Folder.at(folder, Gate()), assets or None)


def rows(index: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(index) as database:
        return database.execute("SELECT item, z, datetime, location FROM tiles").fetchall()


def stamp(text: str) -> int:
    return int(np.datetime64(text.rstrip("Z"), "ms").astype(np.int64))


@pytest.mark.parametrize("sort", ["-datetime", "+eo:cloud_cover", "-eo:cloud_cover", "+view:off"])
def test_order_time_and_place_are_those_of_the_index(tmp_path: Path, seam: Path, sort: str) -> None:
    document = orjson.loads(seam.read_bytes())
    for number, item in enumerate(document["features"]):
        for asset in item["assets"].values():
            asset["href"] = str(seam.parent / asset["href"])
        if number % 3:
            item["properties"]["eo:cloud_cover"] = number // 3  # ties
        else:
            del item["properties"]["eo:cloud_cover"]
    given = tmp_path / "items.json"
    given.write_bytes(orjson.dumps(document))
    mosaic.build(given, tmp_path / "m", sort=sort.removeprefix("+"), bands=["B04", "B02"])
    found = opened(tmp_path / "m")
    assert list(found.assets) == ["B04", "B02"]
    for name, asset in found.assets.items():
        want = {
            item: (z, when, href) for item, z, when, href in rows(tmp_path / f"m/{name}.gti.gpkg")
        }
        hrefs = found.hrefs(asset, np.arange(len(asset.item)))
        assert len(asset.item) == len(want) == 8
        for row, href in zip(asset.item.tolist(), hrefs, strict=True):
            z, when, location = want[found.id[row].as_py()]
            below = sum(other < z for other, _, _ in want.values())
            assert (found.z[row], found.time[row], href) == (below, stamp(when), location)


@pytest.mark.parametrize("case", MIXTURES, ids=str)
def test_numbers_change_as_the_index_changes_them(tmp_path: Path, case: Any) -> None:
    built = pair(case, tmp_path, "nearest")
    asset = opened(built.mixed.parent).assets["B04"]
    changed = {
        item
        for item, _, _, location in rows(built.mixed)
        if "ScaleOffset" in location
        or (
            location.startswith("vrt/")
            and any("ScaleOffset" in p.read_text() for p in _near(built.mixed.parent / location))
        )
    }
    own = opened(built.mixed.parent)
    shifts = {
        own.id[row].as_py(): asset.variants[which].recodings
        for row, which in zip(asset.item.tolist(), asset.variant.tolist(), strict=True)
    }
    assert {item for item, how in shifts.items() if how and how[0].changes} == changed
    assert changed
    assert {how[0].shift for how in shifts.values() if how and how[0].changes} == {1000.0}
    raw = opened(built.raw.parent).assets["B04"]
    assert not any(v.recodings and v.recodings[0].changes for v in raw.variants)


def _near(path: Path) -> list[Path]:
    return [path, *path.parent.glob(f"{path.stem}_stored.vrt")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_scene_below_a_window_is_left_out(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The footprints of the index, on random windows; and what is far away isn't taken."""
    folder = tmp_path_factory.getbasetemp() / "opened" / case.name
    out = folder / case.crs.replace(":", "")
    mosaic.build(write_case(folder, case.scenes), out, dst_crs=case.crs, overwrite=True)
    found = opened(out)
    asset = next(iter(found.assets.values()))
    _, _, geometry, (item,) = pyogrio.raw.read(next(out.glob("*.gti.gpkg")), columns=["item"])
    footprints = shapely.from_wkb(geometry)
    rng = np.random.default_rng(5)
    height, width = found.grid.shape
    seen = 0
    for _ in range(60):
        scene = footprints[rng.integers(len(footprints))]
        box = scene.bounds
        x = rng.uniform(box[0], box[2])
        y = rng.uniform(box[1], box[3])
        side = int(rng.choice([1, 16, 200]))
        column, row = ~found.grid.affine @ (x, y)
        window = found.grid[
            max(0, int(row) - side) : min(height, int(row) + side),
            max(0, int(column) - side) : min(width, int(column) + side),
        ]
        if not all(window.shape):
            continue
        below = shapely.intersects(footprints, shapely.box(*window.boundingbox.bbox))
        want = {str(name) for name in item[below]}
        rows_ = near(window, found.crs, asset.grids)
        got = {found.id[int(asset.item[r])].as_py() for r in rows_}
        # footprints are larger than the scenes by up to two pixels; nearly all else is the same
        touching = {name for name in want - got if not _touches(case, name, window)}
        assert want - got == touching
        seen += len(got)
    assert seen


def _touches(case: Case, name: str, window: GeoBox) -> bool:
    """Whether a pixel of the window lies in a scene, by PROJ at every pixel."""
    scene = next(scene for scene in case.scenes if scene.id == name)
    to = pyproj.Transformer.from_crs(str(window.crs), scene.crs, always_xy=True)
    height, width = window.shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = to.transform(*(window.affine @ (column.ravel(), row.ravel())))
    u, v = ~scene.transform @ (np.asarray(x), np.asarray(y))
    return bool(((u > 0) & (u < scene.shape[1]) & (v > 0) & (v < scene.shape[0])).any())


def test_a_scene_of_another_zone_far_away_is_not_near(tmp_path: Path, seam: Path) -> None:
    mosaic.build(seam, tmp_path / "m", dst_crs="EPSG:3035", res=60)
    found = opened(tmp_path / "m", "B04")
    asset = found.assets["B04"]
    a = found.grid.affine
    far = GeoBox((64, 64), Affine(60, 0, a.c - 3_000_000, 0, -60, a.f), found.crs)
    assert not len(near(far, found.crs, asset.grids))
    assert len(near(found.grid, found.crs, asset.grids)) == 8


def test_a_band_that_items_call_otherwise_is_found(tmp_path: Path) -> None:
    """Some items have it under its own key, others under one that names the band."""
    given = write_scenes(tmp_path / "s", seam_scenes(64, 60.0, ("B04",), dates=1))
    document = orjson.loads(given.read_bytes())
    for number, item in enumerate(document["features"]):
        asset = item["assets"].pop("B04")
        asset["href"] = str(given.parent / asset["href"])
        asset["eo:bands"] = [{"name": "B04", "common_name": "red"}]
        item["assets"]["B04" if number % 2 else "nominal.red"] = asset
        if number == 2:
            item["assets"]["nominal.red"]["raster:bands"][0]["nodata"] = 7
    given.write_bytes(orjson.dumps(document))
    mosaic.build(given, tmp_path / "m", bands=["B04"])
    found = opened(tmp_path / "m")
    asset = found.assets["B04"]
    assert set(asset.keys) == {"B04", "nominal.red"}
    hrefs = found.hrefs(asset, np.arange(4))
    names = [found.id[row].as_py() for row in asset.item.tolist()]
    assert all(Path(href).parent.name == name for href, name in zip(hrefs, names, strict=True))
    nodata = {
        name: asset.variants[which].bands[0].nodata
        for name, which in zip(names, asset.variant.tolist(), strict=True)
    }
    assert sorted(nodata.values()) == [0, 0, 0, 7]
    assert nodata[document["features"][2]["id"]] == 7


def test_a_mosaic_behind_a_url(tmp_path: Path, seam: Path) -> None:
    mosaic.build(seam, tmp_path / "m", bands=["B02"])
    files = {f"x/{p.name}": p.read_bytes() for p in (tmp_path / "m").iterdir() if p.is_file()}
    with RangeServer(files) as server:
        found = open_mosaic(Folder.at(server.url("x"), Gate()))
        assert server.counts.heads == 0
        with pytest.raises(NotACatalogError, match="isn't there"):
            open_mosaic(Folder.at(server.url("y"), Gate()))
    local = opened(tmp_path / "m")
    np.testing.assert_array_equal(found.z, local.z)
    assert found.grid == local.grid
    every = np.arange(8)
    assert found.hrefs(found.assets["B02"], every) == local.hrefs(local.assets["B02"], every)


def test_what_is_no_mosaic(tmp_path: Path, seam: Path) -> None:
    with pytest.raises(NotACatalogError):
        opened(tmp_path)
    mosaic.build(seam, tmp_path / "m", bands=["B02"])
    with pytest.raises(UsageError, match="no asset B99; it has B02"):
        opened(tmp_path / "m", "B99")
    parquet = tmp_path / "m/items.parquet"
    parquet.write_bytes(parquet.read_bytes()[:-100])
    with pytest.raises(CatalogError, match=r"items\.parquet"):
        opened(tmp_path / "m")


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("2025", "2025-01-01T00:00:00.000", "2025-12-31T23:59:59.999"),
        ("2024-02", "2024-02-01T00:00:00.000", "2024-02-29T23:59:59.999"),
        ("2025-12/2026-01-05", "2025-12-01T00:00:00.000", "2026-01-05T23:59:59.999"),
        (("2025-06-01", None), "2025-06-01T00:00:00.000", None),
        ("../2025-06-01T10:00:00+02:00", None, "2025-06-01T08:00:00.000"),
        (np.datetime64("2025-06-01T10:00:00.123"), *("2025-06-01T10:00:00.123",) * 2),
    ],
)
def test_times(value: Any, first: str | None, last: str | None) -> None:
    found = interval(value)
    assert found[0] == (stamp(first) if first else -(1 << 62))
    assert found[1] == (stamp(last) if last else 1 << 62)


@pytest.mark.parametrize("value", ["yesterday", "2025-13", "2026/2025", ("1", "2", "3"), 5])
def test_no_times(value: Any) -> None:
    with pytest.raises(UsageError, match="datetime"):
        interval(value)
