"""Indexes of a hundred thousand and a million items:  make bench-index

CPU and memory are those of the building process alone; reads alternate between a large and a
small index, and medians count. Nothing is downloaded: the scenes of the corpus exist by name only,
but for a few real ones that are read.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import rasterio
from rasterio.windows import from_bounds

from tests.benchmarks import corpus
from tests.interop import roots
from tests.support.mosaics import LIMIT
from tests.support.scenes import Json, Scene, seam_scenes, write_scene
from tests.support.truth import expected, verdict

pytestmark = pytest.mark.bench
MILLION = int(os.environ.get("MOSAIC_BENCH_ITEMS", "1000000"))
PLACE = (11.9, 47.4, 12.1, 47.6)
"""A window on the real scenes, in degrees."""
ROUNDS = 25


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    cpu: float
    """Seconds, user and system."""
    memory: float
    """Largest resident set, MB."""
    wall: float
    """Seconds."""


def cost(*command: str | Path) -> Cost:
    """Runs a command in a process of its own."""
    began = time.perf_counter()
    child = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    memory = done = 0
    while not done:
        # ru_maxrss would count what this process held when it forked
        with Path(f"/proc/{child.pid}/status").open() as about:
            peak = next((line for line in about if line.startswith("VmHWM")), "VmHWM 0").split()
        memory = max(memory, int(peak[1]))
        done, status, used = os.wait4(child.pid, os.WNOHANG)
        time.sleep(0.02)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    return Cost(used.ru_utime + used.ru_stime, memory / 1e3, time.perf_counter() - began)


def build(source: Path, out: Path, *options: str) -> Cost:
    return cost(sys.executable, "-m", "mosaic", "build", source, "-o", out, "-q", *options)


def say(label: str, items: int, one: Cost, *more: str) -> None:
    each = f"{one.cpu / items * 1e3:.3f} ms an item"
    print(f"{label:34} {one.cpu:8.1f} s CPU  {each}  {one.memory:6.0f} MB ", *more)


SCENES: list[Scene] = seam_scenes(400, 60.0, ("blue", "green", "red"), dates=1)
"""Real ones, on both sides of a zone boundary."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """Items of the real scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    items = [write_scene(folder, scene) for scene in SCENES]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = str(folder / asset["href"])
    return items


def with_real(path: Path, count: int, real: list[Json]) -> Path:
    """A corpus that has no scene near the real ones, and these."""
    with path.open("wb") as out:
        for item in real:
            out.write(orjson.dumps(item) + b"\n")
        for item in corpus.items(count - len(real)):
            west, south, east, north = item["bbox"]
            if not (west < 16 and east > 8 and south < 52 and north > 43):
                out.write(orjson.dumps(item) + b"\n")
    return path


@pytest.fixture(scope="module")
def built(
    real: list[Json], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, tuple[Path, Cost]]]:
    """Mosaics of a thousand, a hundred thousand and a million items."""
    folder = tmp_path_factory.mktemp("indexes")
    found = {}
    for count in (1000, 100_000, MILLION):
        source = with_real(folder / "items.ndjson", count, real)
        options = ("--dst-crs", "EPSG:4326", "--item-files", "0")
        found[count] = folder / str(count), build(source, folder / str(count), *options)
        source.unlink()
    yield found
    shutil.rmtree(folder)


def test_cost_of_a_build(built: dict[int, tuple[Path, Cost]]) -> None:
    print()
    for count, (folder, one) in built.items():
        size = sum(path.stat().st_size for path in folder.glob("*.gti.gpkg"))
        say(f"{count:,} items from NDJSON", count, one, f" {size / 1e6:.0f} MB in three indexes")
    hundred, million = built[100_000][1], built[MILLION][1]
    assert hundred.cpu <= 40
    assert hundred.memory <= 1000
    assert million.memory <= 4000
    assert million.cpu / MILLION <= 1.15 * hundred.cpu / 100_000
    size = sum(path.stat().st_size for path in built[MILLION][0].glob("*.gti.gpkg"))
    assert size <= 2000 * MILLION


def test_cost_from_geoparquet(built: dict[int, tuple[Path, Cost]], tmp_path: Path) -> None:
    source = built[100_000][0] / "items.parquet"
    one = build(source, tmp_path / "m", "--dst-crs", "EPSG:4326", "--item-files", "0")
    print()
    say("100,000 items from geoparquet", 100_000, one)
    assert one.cpu <= 40
    assert one.memory <= 1000


def read(path: Path, check: bool) -> tuple[float, float]:
    """Seconds to open an index and to read a window; ``check``: its every pixel is right."""
    began = time.perf_counter()
    with rasterio.open(path) as index:
        opened = time.perf_counter() - began
        window = from_bounds(*PLACE, index.transform).round_offsets().round_lengths()
        began = time.perf_counter()
        pixels = index.read(1, window=window)
        took = time.perf_counter() - began
        place = index.window_transform(window)
    if not check:
        return opened, took
    want = expected(SCENES, "EPSG:4326", place, pixels.shape)
    found = verdict(pixels, pixels != 0, want, 0.06)
    assert found.pixels > 1_000_000
    assert found.missing == found.spurious == 0, found
    assert found.shift <= LIMIT["nearest"], found
    return opened, took


def test_a_large_index_reads_as_fast_as_a_small_one(built: dict[int, tuple[Path, Cost]]) -> None:
    small, large = (built[count][0] / "blue.gti.gpkg" for count in (1000, MILLION))
    times: dict[Path, list[tuple[float, float]]] = {small: [], large: []}
    for number in range(ROUNDS):
        for path in (small, large):
            times[path].append(read(path, check=number == 0))
    middle = {
        path: [statistics.median(column) * 1e3 for column in zip(*found, strict=True)]
        for path, found in times.items()
    }
    print()
    for count, path in ((1000, small), (MILLION, large)):
        opened, took = middle[path]
        print(f"{count:,} items: opens in {opened:.1f} ms, reads a window in {took:.1f} ms")
    assert middle[large][0] <= 10
    assert middle[large][1] <= 1.5 * middle[small][1]


STAC_GEOPARQUET = """
import sys, stac_geoparquet.arrow as s
s.parse_stac_ndjson_to_parquet(sys.argv[1], sys.argv[2], compression="zstd")
"""


def test_beside_stac_geoparquet(tmp_path: Path) -> None:
    """Our whole build against stac-geoparquet's writing of items.parquet alone."""
    source = tmp_path / "items.ndjson"
    corpus.write(source, 10_000)
    theirs = cost(sys.executable, "-c", STAC_GEOPARQUET, source, tmp_path / "items.parquet")
    ours = build(source, tmp_path / "m", "--dst-crs", "EPSG:4326", "--item-files", "0")
    print()
    say("10,000 items, stac-geoparquet", 10_000, theirs, " items.parquet alone")
    say("10,000 items, mosaic build", 10_000, ours, " all of a mosaic")
    assert ours.cpu <= theirs.cpu


def test_beside_gdaltindex(tmp_path: Path) -> None:
    """Real files whose headers must be read: gdaltindex opens them one by one, for one CRS."""
    scenes = tmp_path / "scenes"
    for number in range(250):
        for scene in seam_scenes(32, 60.0, ("red",), dates=1):
            write_scene(scenes / str(number), scene)
    files = sorted(scenes.rglob("*.tif"))
    root = roots.get("trixie")
    if root.missing():
        pytest.skip("no Debian root with gdaltindex: make interop builds it")
    index = ("gdaltindex", "-q", "-t_srs", "EPSG:4326", "-f", "GPKG", str(tmp_path / "i.gpkg"))
    theirs = cost(*root.command([*index, *map(str, files)], binds=[tmp_path]))
    ours = build(scenes, tmp_path / "m", "--dst-crs", "EPSG:4326", "--item-files", "0")
    print()
    say(f"{len(files)} files, gdaltindex", len(files), theirs, " footprints alone")
    say(f"{len(files)} files, mosaic build", len(files), ours, " all of a mosaic")
