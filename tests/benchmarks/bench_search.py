"""A hundred thousand items from a STAC API into a mosaic:  make bench-search

A real server (`rustac serve`) on loopback, 1,000 pages by POST; CPU and memory are the client's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks import corpus
from tests.benchmarks.bench_index import cost
from tests.support.stac_api import rustac

pytestmark = pytest.mark.bench
COUNT = int(os.environ.get("MOSAIC_BENCH_ITEMS", "100000"))


def test_search_into_a_build(tmp_path: Path) -> None:
    with rustac(tmp_path / "api", [], corpus.items(COUNT)) as api:
        words = ["build", f"stac+{api.url}", "-c", "sentinel-2-l2a", "-o", tmp_path / "m", "-q"]
        took = cost(sys.executable, "-m", "mosaic", *words)
    ids = pq.read_table(tmp_path / "m/items.parquet", columns=["id"])["id"].to_pylist()
    assert len(ids) == len(set(ids)) == COUNT
    assert len(api.searches) == -(-COUNT // 100)
    print(f"\n{COUNT:,} items: {took.cpu:.0f} s CPU, {took.memory:.0f} MB, {took.wall:.0f} s")
    if COUNT <= 100_000:
        assert took.cpu <= 60
        assert took.memory <= 1500
