"""Items by box and time, beside shapely and Python over the items one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

import mosaic
from mosaic.catalog import finder as module
from mosaic.errors import NotACatalogError, UsageError
from tests.benchmarks import corpus

Json = dict[str, Any]


@pytest.fixture(scope="module")
def items() -> list[Json]:
    """Two thousand items all over the world, some of them across 180 degrees."""
    found = list(corpus.items(2000))
    assert sum(item["bbox"][0] > item["bbox"][2] for item in found) > 2
    return found


@pytest.fixture(scope="module")
def built(items: list[Json], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finder")
    path = folder / "items.ndjson"
    path.write_bytes(b"\n".join(map(orjson.dumps, items)))
    mosaic.build(path, folder / "m", dst_crs="EPSG:4326", bands=["red"], item_files=0)
    return folder / "m"


def halves(box: list[float]) -> shapely.Geometry:
    west, south, east, north = box
    if west <= east:
        return shapely.box(*box)
    parts = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    return shapely.union_all(parts)


@pytest.mark.parametrize("few", [0, 10_000], ids=["tree", "scan"])
def test_beside_one_by_one(
    few: int, items: list[Json], built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEW", few)
    finder = mosaic.finder(built)
    rng = np.random.default_rng(3)
    seen = 0
    for number in range(60):
        west, south = rng.uniform(-180, 180), rng.uniform(-80, 60)
        east = (west + rng.uniform(1, 60) + 180) % 360 - 180
        box = [west, south, east, south + rng.uniform(1, 40)]
        year = str(rng.integers(2016, 2026))
        when = None if number % 3 == 0 else year
        shape = halves(box)
        want = [
            item["id"]
            for item in items
            if halves(item["bbox"]).intersects(shape)
            and (when is None or item["properties"]["datetime"].startswith(when))
        ]
        assert sorted(finder.find(box, when).to_pylist()) == sorted(want)
        seen += len(want)
    assert seen > 500


def test_without_box_or_time(items: list[Json], built: Path) -> None:
    finder = mosaic.finder(built)
    assert len(finder.find()) == len(items)
    first = items[0]["properties"]["datetime"]
    assert items[0]["id"] in finder.find(datetime=first).to_pylist()
    with pytest.raises(UsageError, match="west, south, east, north"):
        finder.find((1, 2, 3))
    with pytest.raises(NotACatalogError):
        mosaic.finder(built.parent)
