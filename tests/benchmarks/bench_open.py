"""Opening a mosaic of a hundred thousand items, or MOSAIC_BENCH_ITEMS:  make bench-open

CPU is that of the opening alone, in a process of its own that has imported what it takes, with all
assets: by columns, as ``mosaic.open`` with a layer for each instant, and with one, in dask.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import corpus

pytestmark = pytest.mark.bench

_OPEN = """
import sys, time
import mosaic
from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import open_mosaic
from mosaic.cube import opening
from mosaic.storage import Gate
began = time.process_time()
found = open_mosaic(Folder.at(sys.argv[1], Gate()))
print(time.process_time() - began, found.count, len(found.assets))
for told in ({}, {"groupby": "all", "chunks": {"x": 1 << 14, "y": 1 << 14}}):
    began = time.process_time()
    ds = mosaic.open(sys.argv[1], gate=Gate(), **told)
    print(time.process_time() - began, ds.sizes["time"], len(ds.data_vars))
"""


def test_open(tmp_path: Path) -> None:
    count = int(os.environ.get("MOSAIC_BENCH_ITEMS", "100000"))
    corpus.write(tmp_path / "items.ndjson", count)
    build = [sys.executable, "-m", "mosaic", "build", tmp_path / "items.ndjson", "-q"]
    subprocess.run([*build, "-o", tmp_path / "m", "--item-files", "0"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, tmp_path / "m"], check=True, capture_output=True, text=True
    )
    print(done.stdout)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0][1:] == [str(count), "3"]
    assert [int(row[2]) for row in rows] == [3, 3, 3]
    assert max(float(row[0]) for row in rows) <= (1.0 if count <= 100_000 else 3.0)
