"""A mosaic of a million items, updated, asked and opened over HTTP:  make bench-update

Building it takes ten minutes and more; MOSAIC_BENCH_MOSAIC names one that is there already.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pytest

import mosaic
from mosaic.storage import Gate
from tests.benchmarks import corpus
from tests.benchmarks.bench_index import cost
from tests.support.range_server import RangeServer

pytestmark = pytest.mark.bench
COUNT = int(os.environ.get("MOSAIC_BENCH_ITEMS", "1000000"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if told := os.environ.get("MOSAIC_BENCH_MOSAIC"):
        return Path(told)
    folder = tmp_path_factory.mktemp("million")
    corpus.write(folder / "items.ndjson", COUNT)
    words = ["-q", "--dst-crs", "EPSG:4326", "--item-files", "0"]
    command = [sys.executable, "-m", "mosaic", "build", folder / "items.ndjson", *words]
    subprocess.run([*command, "-o", folder / "m"], check=True)
    return folder / "m"


def test_asked_in_process(built: Path) -> None:
    began = time.process_time()
    finder = mosaic.finder(built)
    made = time.process_time() - began
    rng = np.random.default_rng(0)
    took, found = [], []
    for _ in range(200):
        west, south = rng.uniform(-180, 170), rng.uniform(-60, 60)
        month = f"{rng.integers(2016, 2026)}-{rng.integers(1, 13):02d}"
        began = time.perf_counter()
        ids = finder.find((west, south, west + 10, south + 10), month)
        took.append((time.perf_counter() - began) * 1e3)
        found.append(len(ids))
    median = statistics.median(took)
    print(f"\nfinder: {made:.1f} s CPU; a box and a month: {median:.2f} ms")
    assert np.mean(found) > 5
    assert median <= 2


ASKED = (
    ("20 x 15 degrees, a year", {"bbox": (5, 40, 25, 55), "datetime": "2024"}),
    (
        "75 x 70 degrees, a quarter",
        {"bbox": (-20, -35, 55, 35), "datetime": "2024-04-01/2024-06-30"},
    ),
    ("2 x 2 degrees, ten years", {"bbox": (11, 47, 13, 49), "datetime": "2016/2025"}),
    ("one place, ten years", {"bbox": (9.5, 48.0, 9.51, 48.01), "datetime": "2016/2025"}),
    ("20 x 14 degrees, ten years", {"bbox": (-8, 36, 12, 50), "datetime": "2016/2025"}),
    ("the world, ten days", {"bbox": (-180, -80, 180, 80), "datetime": "2020-05-01/2020-05-10"}),
    ("half of it, a month", {"bbox": (0, -80, 180, 80), "datetime": "2018-09"}),
    ("a tropical belt, two months", {"bbox": (-180, -5, 180, 5), "datetime": "2021-12/2022-01"}),
)


@pytest.mark.parametrize(("label", "asked"), ASKED)
def test_opened_over_http(built: Path, label: str, asked: dict[str, object]) -> None:
    names = ("collection.json", "items.parquet", "items.arrow")
    with RangeServer({f"m/{name}": (built / name).read_bytes() for name in names}) as server:
        os.environ["NO_PROXY"] = "127.0.0.1"
        how = {"crs": "EPSG:4326", "resolution": 0.05, "groupby": "all"}
        mosaic.open(server.url("m"), gate=Gate(), **how, **asked)
        count = len(mosaic.finder(built).find(asked["bbox"], asked["datetime"]))
        told = server.counts
    print(f"\n{label}: {count:,} items, {told.requests} requests, {told.bytes / 1e6:.1f} MB")
    assert count <= 10_000
    assert told.requests <= 20
    assert told.bytes <= 5_000_000


def test_updated(built: Path, tmp_path: Path) -> None:
    """Seven hundred scenes of three new days, two hundred of the last ones made anew."""
    copy = tmp_path / "m"
    subprocess.run(["cp", "-r", built, copy], check=True)
    late = mosaic.query(built, "select id from items order by datetime desc limit 200")
    known = set(late["id"].to_pylist())
    with (tmp_path / "new.ndjson").open("wb") as out:
        for number, item in enumerate(corpus.items(700, seed=99)):
            when = f"2026-01-{1 + number % 3:02d}T10:{number % 60:02d}:21.024Z"
            item["id"] = f"NEW_{item['id']}"
            item["properties"] |= {"datetime": when, "updated": when}
            out.write(orjson.dumps(item) + b"\n")
        for item in corpus.items(COUNT):
            if item["id"] in known:
                item["properties"]["updated"] = "2026-02-01T00:00:00Z"
                out.write(orjson.dumps(item) + b"\n")
    took = cost(sys.executable, "-m", "mosaic", "update", copy, tmp_path / "new.ndjson", "-q")
    print(f"\nupdate of 900 in {COUNT:,}: {took.cpu:.1f} s CPU, {took.memory:.0f} MB")
    assert took.cpu <= 20
    assert mosaic.info(copy)["items"] == mosaic.info(built)["items"] + 700
