"""Opening a mosaic of a hundred thousand items, or MOSAIC_BENCH_ITEMS:  make bench-open

CPU is that of the opening alone, in a process of its own, with all assets.
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
from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import open_mosaic
from mosaic.storage import Gate
began = time.process_time()
found = open_mosaic(Folder.at(sys.argv[1], Gate()))
print(time.process_time() - began, len(found.id), len(found.assets))
"""


def test_open(tmp_path: Path) -> None:
    count = int(os.environ.get("MOSAIC_BENCH_ITEMS", "100000"))
    corpus.write(tmp_path / "items.ndjson", count)
    build = [sys.executable, "-m", "mosaic", "build", tmp_path / "items.ndjson", "-q"]
    subprocess.run([*build, "-o", tmp_path / "m", "--item-files", "0"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, tmp_path / "m"], check=True, capture_output=True, text=True
    )
    cpu, items, assets = done.stdout.split()
    print(f"\n{int(items):,} items, {assets} assets: opened in {float(cpu):.2f} s of CPU")
    assert (int(items), int(assets)) == (count, 3)
    assert float(cpu) <= (1.0 if count <= 100_000 else 3.0)
