"""Only the row groups of a window and a time are opened, and nothing is missed for that."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

import mosaic
from mosaic.builder import arrange
from mosaic.cube.sources import opened
from tests.support.mosaics import NORTH
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes


def built(folder: Path, scenes: Any, **how: Any) -> tuple[Path, Path]:
    """A mosaic whose row groups hold two items or so, and one with a single group."""
    given = write_scenes(folder / "in", scenes)
    mosaic.build(given, folder / "one", **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrange, "MANY", 2)
        patch.setattr(arrange, "GROUP", 2)
        mosaic.build(given, folder / "many", **how)
    assert pq.read_metadata(folder / "one/items.parquet").num_row_groups == 1
    assert pq.read_metadata(folder / "many/items.parquet").num_row_groups >= len(scenes) // 4
    return folder / "many", folder / "one"


@pytest.fixture(scope="module")
def seam(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    scenes = seam_scenes(64, 60.0, ("B04", "B03"), dates=4)
    return built(tmp_path_factory.mktemp("seam"), scenes, dst_crs="EPSG:32632")


@pytest.fixture(scope="module")
def across(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("across"), NORTH, dst_crs="EPSG:32660")


def test_the_same_items_and_index(seam: tuple[Path, Path]) -> None:
    many, _ = seam
    mosaic.check(many, all=True, offline=True).raise_for_errors()
    tables = [pq.read_table(folder / "items.parquet").sort_by("id") for folder in seam]
    assert tables[0].drop_columns("collection").equals(tables[1].drop_columns("collection"))
    groups = orjson.loads((many / "collection.json").read_bytes())["mosaic:groups"]
    assert len(groups) == pq.read_metadata(many / "items.parquet").num_row_groups
    assert len({tuple(group) for group in groups}) > 2


@pytest.mark.parametrize(
    "asked",
    [
        {"datetime": "2025-06-06"},
        {"datetime": "2025-06-02/2025-06-30"},
        {"bbox": (11.96, 47.47, 11.98, 47.48)},
        {"bbox": (12.02, 47.5, 12.04, 47.52), "datetime": "2025-06-11"},
        {"bbox": (11.96, 47.47, 11.98, 47.48), "crs": "EPSG:3857", "resolution": 90.0},
        {"bbox": (11.96, 47.47, 11.98, 47.48), "where": "day(datetime) < 10"},
    ],
    ids=str,
)
def test_reads_are_the_same(seam: tuple[Path, Path], asked: dict[str, Any]) -> None:
    found, want = (mosaic.read(folder, **asked) for folder in seam)
    np.testing.assert_array_equal(found.values, want.values)
    np.testing.assert_array_equal(found.valid, want.valid)
    assert found.valid.any()
    lazy, whole = (mosaic.open(folder, chunks={}, **asked) for folder in seam)
    np.testing.assert_array_equal(lazy.time, whole.time)
    for one in (lazy, pickle.loads(pickle.dumps(lazy))):
        np.testing.assert_array_equal(one["B04"].compute(), whole["B04"].compute())


@pytest.mark.parametrize("west", [179.9, -180.0, -179.97, 179.98])
def test_across_180_degrees(across: tuple[Path, Path], west: float) -> None:
    east = west + 0.06 if west + 0.06 < 180 else west - 359.94
    found, want = (mosaic.read(folder, bbox=(west, 51.95, east, 52.08)) for folder in across)
    np.testing.assert_array_equal(found.values, want.values)
    assert want.valid.any()


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_layers_of_another_longitude_dont_appear(
    crs: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of scenes in CRSs whose x goes round the world, also across 180 degrees; none is opened."""
    monkeypatch.setattr(arrange, "MANY", 2)
    monkeypatch.setattr(arrange, "GROUP", size)
    unit = 1.0 if crs == "EPSG:4326" else 20037508.342789244 / 180

    def item(day: int, west: float) -> dict[str, Any]:
        transform = [0.01 * unit, 0, west * unit, 0, -0.01 * unit, 1 * unit]
        asset = {"href": f"/nowhere/{day}.tif", "type": "image/tiff; application=geotiff"}
        asset |= {"proj:code": crs, "proj:transform": transform, "proj:shape": [100, 100]}
        asset["bands"] = [{"data_type": "uint16", "nodata": 0}]
        base = {"type": "Feature", "stac_version": "1.1.0", "geometry": None, "links": []}
        properties = {"datetime": f"2025-01-{day:02d}T00:00:00Z"}
        return {**base, "id": str(day), "properties": properties, "assets": {"B": asset}}

    given = [item(1, 10.0), item(2, 100.0), item(3, 179.5), item(4, -180.0)]
    mosaic.build(given, tmp_path / "m", dst_crs=crs)
    for west, east, days in (
        (10.2, 10.4, [1]),
        (99.9, 100.1, [2]),
        (179.6, 179.9, [3]),
        (-179.4, -179.3, [4]),
        (179.9, -179.2, [3, 4]),
        (-179.9, -179.8, [3, 4]),
        (9, 120, [1, 2]),
        (-180, 180, [1, 2, 3, 4]),
    ):
        for name in (None, "EPSG:6933", "EPSG:32660"):
            if name == "EPSG:32660" and 180 - abs(west) > 3:
                continue
            choice = {"crs": name, "resolution": 5000} if name else {}
            found = mosaic.open(tmp_path / "m", bbox=(west, 0.3, east, 0.6), **choice)
            assert found.time.dt.day.values.tolist() == days, (west, name)


def test_fewer_items_are_opened(seam: tuple[Path, Path]) -> None:
    many, one = seam
    asked: dict[str, Any] = {"bbox": (11.96, 47.47, 11.98, 47.48), "span": (0, 1748800000000)}
    assert opened(many, **asked).count < opened(one, **asked).count == 16
    assert opened(many).count == 16


@pytest.fixture
def server(seam: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names = ("collection.json", "items.parquet", "items.arrow")
    objects = {f"m/{name}": (seam[0] / name).read_bytes() for name in names}
    with RangeServer(objects) as found:
        yield found


def test_behind_a_url(seam: tuple[Path, Path], server: RangeServer) -> None:
    asked: dict[str, Any] = {"datetime": "2025-06-06", "chunks": {}}
    found = mosaic.open(server.url("m"), **asked)
    want = mosaic.open(seam[0], **asked)
    np.testing.assert_array_equal(found.time, want.time)
    assert found.odc.geobox == want.odc.geobox
    assert server.counts.requests <= 10
