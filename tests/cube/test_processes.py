"""Lazy datasets in threads, forks, other processes, event loops and dask; memory; the plug-in."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dask
import numpy as np
import orjson
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives datasets their .rio
import xarray as xr
from affine import Affine

import mosaic
from mosaic.catalog.folder import Folder
from mosaic.errors import (
    CatalogError,
    NotACatalogError,
    ReadError,
    SourceMismatchError,
    UsageError,
)
from mosaic.settings import CacheSettings, Limits
from mosaic.storage import Gate
from tests.cube.conftest import Made, made
from tests.support.range_server import RangeServer
from tests.support.scenes import item_of, utm_scene

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *given: str | Path, path: Path | None = None) -> str:
    """A script in a new process; what it prints."""
    places = [str(ROOT), *([str(path)] if path else [])]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, given)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def want(native: Made) -> xr.Dataset:
    return mosaic.open(native.path, gate=Gate()).load()


@contextmanager
def served(one: Made, folder: Path) -> Iterator[tuple[RangeServer, Path]]:
    """A mosaic of the same scenes behind a server."""
    home = one.items.parent
    files = {p.relative_to(home).as_posix(): p.read_bytes() for p in home.rglob("*.tif")}
    with RangeServer(files) as server:
        document = orjson.loads(one.items.read_bytes())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = server.url(asset["href"].removeprefix("./"))
        (folder / "items.json").write_bytes(orjson.dumps(document))
        mosaic.build(folder / "items.json", folder / "m")
        yield server, folder / "m"


def test_nothing_is_read_until_it_is_asked_for(native: Made, tmp_path: Path) -> None:
    with served(native, tmp_path) as (server, folder):
        ds = mosaic.open(folder, gate=Gate())
        str(ds), ds._repr_html_(), ds.isel(time=0).nbytes, ds.rio.bounds()
        assert server.counts.requests == 0
        part = ds.isel(time=0, y=slice(100, 140), x=slice(30, 60))
        _ = part.B02.values
        asked = {path for _, path, _, _ in server.counts.log}
        assert len(asked) == 1
        assert asked.pop().endswith("/B02.tif")


def test_bands_are_read_together(native: Made, tmp_path: Path) -> None:
    """``load``, ``compute`` and ``load_async``: requests of all bands are in flight at once."""
    with served(native, tmp_path) as (server, folder):
        server.behaviour.latency = 0.1

        def part() -> xr.Dataset:
            server.reset()
            own = Gate(limits=Limits(concurrency=16, start=16))
            return mosaic.open(folder, gate=own).isel(y=slice(100, 140), x=slice(30, 60))

        plan = part().mosaic.plan()
        one = part()
        one.B02.load()
        one.B03.load()
        alone = server.counts.peak
        assert server.counts.requests == plan.least.requests
        for read in (
            lambda: part().load(),
            lambda: part().compute(),
            lambda: part().mosaic.load(),
            lambda: asyncio.run(part().load_async()),
        ):
            got = read()
            assert server.counts.requests == plan.least.requests
            assert server.counts.peak > alone
            xr.testing.assert_identical(one, got)
            assert not got.encoding["mosaic"]._early


def test_dask_is_the_same(native: Made, want: xr.Dataset) -> None:
    chunks = {"x": 130, "y": 100}
    ds = mosaic.open(native.path, gate=Gate(), chunks=chunks)
    assert ds.B02.chunks[0] == (1,) * 5
    xr.testing.assert_equal(ds.compute(), want)
    assert len(dict(ds.B02.data.__dask_graph__())) <= np.prod(ds.B02.data.numblocks) + 2
    again = mosaic.open(native.path, gate=Gate(), chunks=chunks)
    assert dask.base.tokenize(ds) == dask.base.tokenize(again)
    other = mosaic.open(native.path, gate=Gate(), chunks=chunks, method="last")
    assert dask.base.tokenize(ds.B02.data) != dask.base.tokenize(other.B02.data)
    assert mosaic.open(native.path, chunks={}).B02.chunks == ((1,) * 5, (312,), (712,))
    assert mosaic.open(native.path, chunks="auto").B02.chunks is not None
    mean = ds.where(ds > 0).mean("time").B03.compute()
    np.testing.assert_allclose(mean, want.where(want > 0).mean("time").B03)
    with pytest.raises(UsageError, match="no dimension band: time, y, x"):
        mosaic.open(native.path, chunks={"band": 1})


_ELSEWHERE = """
import pickle, sys
ds = pickle.load(open(sys.argv[1], "rb"))
out = ds.mosaic.load() if ds.B02.chunks is None else ds.compute(scheduler="sync")
pickle.dump({name: band.values for name, band in out.data_vars.items()}, open(sys.argv[2], "wb"))
"""


@pytest.mark.parametrize("chunks", [None, {"x": 400}])
def test_pickled_to_another_process(
    native: Made, want: xr.Dataset, tmp_path: Path, chunks: dict[str, int] | None
) -> None:
    """Little travels; a slice stays one; what a function grouped stays so."""
    ds = mosaic.open(
        native.path, gate=Gate(), chunks=chunks, groupby=lambda item: str(item["datetime"])
    )
    part = ds.isel(y=slice(20, 200, 2), time=[0, 3])
    data = pickle.dumps(part)
    assert len(data) < 40_000
    (tmp_path / "in").write_bytes(data)
    run(_ELSEWHERE, tmp_path / "in", tmp_path / "out")
    got = pickle.loads((tmp_path / "out").read_bytes())
    for name in ("B02", "B03"):
        np.testing.assert_array_equal(got[name], want[name].values[[0, 3], 20:200:2])


def test_a_mosaic_built_anew_isnt_mixed_with_the_old(tmp_path: Path) -> None:
    scenes = [utm_scene("s", 32632, 9, 47, 64, 60.0)]
    one = made(tmp_path, scenes)
    data = pickle.dumps(mosaic.open(one.path, gate=Gate()))
    mosaic.build(one.items, one.path, overwrite=True)
    with pytest.raises(CatalogError, match="built anew since"):
        pickle.loads(data).load()


def test_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mosaic that hasn't changed is read once; one that was built anew shows what it holds now.

    Opened by another gate it is read again: nothing is kept past the gate that read it.
    """
    one = made(tmp_path, [utm_scene("s", 32632, 9, 47, 64, 60.0)])
    gate, read = Gate(), []
    plain = Folder.columns
    monkeypatch.setattr(Folder, "columns", lambda *args: read.append(args) or plain(*args))
    first = mosaic.open(one.path, gate=gate)
    xr.testing.assert_identical(mosaic.open(one.path, gate=gate).load(), first.load())
    assert len(read) == 1
    mosaic.open(one.path, gate=Gate())
    assert len(read) == 2
    later = utm_scene("t", 32632, 9, 47, 64, 60.0, datetime="2025-07-09T10:00:00Z")
    mosaic.build(made(tmp_path / "more", [later]).items, one.path, overwrite=True)
    times = mosaic.open(one.path, gate=gate).time.values.astype("datetime64[D]")
    assert times.tolist() == [date(2025, 7, 9)]


def test_threads(native: Made, want: xr.Dataset) -> None:
    ds = mosaic.open(native.path, gate=Gate(), chunks=None)

    def read(place: int) -> np.ndarray:
        found: np.ndarray = ds["B02" if place % 2 else "B03"][:, place * 7 :, ::3].values
        return found

    with ThreadPoolExecutor(8) as pool:
        for place, got in enumerate(pool.map(read, range(16))):
            band = want["B02" if place % 2 else "B03"]
            np.testing.assert_array_equal(got, band.values[:, place * 7 :, ::3])


def test_a_mosaic_behind_a_url(native: Made, want: xr.Dataset, tmp_path: Path) -> None:
    """With a cache on disk, by more threads than the pool has; and again from a pickle."""
    with served(native, tmp_path) as (server, folder):
        for file in folder.rglob("*"):
            if file.is_file():
                server.objects[f"m/{file.relative_to(folder)}"] = file.read_bytes()
        gate = Gate(cache=CacheSettings(disk=tmp_path / "cache"))
        ds = mosaic.open(server.url("m"), gate=gate)
        assert server.counts.heads == 0

        def read(place: int) -> np.ndarray:
            again = pickle.loads(pickle.dumps(ds)) if place % 3 == 0 else ds
            found: np.ndarray = again.B02[:, place * 9 : place * 9 + 60].values
            return found

        with ThreadPoolExecutor(12) as pool:
            for place, got in enumerate(pool.map(read, range(24))):
                np.testing.assert_array_equal(got, want.B02[:, place * 9 : place * 9 + 60])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_reads_what_its_parent_opened(native: Made, want: xr.Dataset) -> None:
    ds = mosaic.open(native.path, gate=Gate())
    assert ds.B03[0, 0, 0].values.shape == ()  # the parent's loop and pool are running
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=lambda: answers.put(ds.B02.values))
    child.start()
    got = answers.get(timeout=60)
    child.join(60)
    np.testing.assert_array_equal(got, want.B02.values)


def test_a_loop_of_the_users_own(native: Made, want: xr.Dataset) -> None:
    async def read() -> xr.Dataset:
        ds = mosaic.open(native.path, gate=Gate())
        parts = await asyncio.gather(
            ds.isel(time=0).load_async(),
            ds.B02.isel(x=[5, 9], y=slice(None, None, -1)).load_async(),
        )
        _ = ds.B03.values  # a blocking read on it works too, as in a notebook
        np.testing.assert_array_equal(parts[1], want.B02.values[:, ::-1, [5, 9]])
        found: xr.Dataset = parts[0]
        return found

    xr.testing.assert_equal(asyncio.run(read()), want.isel(time=0))


_MEMORY = """
import resource, sys, threading
import numpy as np
import mosaic
from mosaic.storage import Gate

def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

ds = mosaic.open(sys.argv[1], gate=Gate(), groupby="all", crs="EPSG:32632", resolution=2)
ds.B04[0, :64, :64].values, ds.B03[0, :64, :64].values
base = peak = now()
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.005):
        peak = max(peak, now())
thread = threading.Thread(target=watch)
thread.start()
found = ds[sys.argv[2]].values
done.set(); thread.join()
assert (found > 0).mean() > 0.3
print(found.nbytes, max(peak, now()) - base)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is told by Linux' /proc")
@pytest.mark.parametrize("band", ["B04"])
def test_a_large_result_takes_bounded_memory(tmp_path: Path, band: str) -> None:
    """More than a portion: no more than three times the result, the cache, and 64 MB."""
    scenes = [
        utm_scene(f"s{n}", 32632, 9 + n * 0.1, 47, 512, 30.0, bands=("B03", "B04"))
        for n in range(2)
    ]
    one = made(tmp_path, scenes)
    size, more = map(int, run(_MEMORY, one.path, band).split())
    assert size > 150 << 20
    cache = sum(path.stat().st_size for path in one.items.parent.rglob(f"{band}.tif"))
    assert more <= 3 * size + cache + (64 << 20)
    assert more <= size + cache + (400 << 20)  # a portion's canvas and blocks, not the whole's


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's entry points as an installation would have them."""
    home = tmp_path_factory.mktemp("site")
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = home / "mosaic_entry_points-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mosaic-entry-points\nVersion: 1\n")
    lines = []
    for group, points in told.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return home


_ENGINE = """
import sys
import numpy as np, xarray as xr
assert "mosaic" in xr.backends.list_engines()
for told in ({"engine": "mosaic"}, {}):
    ds = xr.open_dataset(sys.argv[1], groupby="solar_day", bands="B02", **told)
    assert list(ds.data_vars) == ["B02"], ds
ds = xr.open_dataset(sys.argv[1], engine="mosaic", chunks={}, datetime="2025-06-02")
assert ds.B02.chunks is not None
print(ds.encoding["source"], int(ds.B02.sum()), ds.mosaic.plan().items[0])
lazy = xr.open_dataset(sys.argv[1], engine="mosaic", drop_variables="B03", cache=False)
assert list(lazy.data_vars) == ["B02"]
assert not lazy.B02.variable._in_memory
try:
    xr.open_dataset(sys.argv[1], engine="mosaic", band="B02")
except TypeError as error:
    assert "band" in str(error)
else:
    raise AssertionError("an unknown option was taken")
"""


def test_xarray_finds_the_engine(native: Made, want: xr.Dataset, installed: Path) -> None:
    out = run(_ENGINE, native.path, path=installed).split()
    second = want.sel(time="2025-06-02").B02
    assert out == [str(native.path), str(int(second.sum())), "2"]


def test_what_the_engine_guesses(native: Made, tmp_path: Path) -> None:
    from mosaic.cube.backend import MosaicBackend

    guess = MosaicBackend().guess_can_open
    assert guess(native.path)
    assert guess(str(native.path / "collection.json"))
    assert not guess(tmp_path)
    assert not guess("https://example.com/mosaic")
    assert not guess(b"x")
    with pytest.raises(NotACatalogError):
        MosaicBackend().open_dataset(tmp_path)


def test_importing_mosaic_doesnt_import_xarray() -> None:
    run("import sys, mosaic; assert not {'xarray', 'dask', 'pandas'} & set(sys.modules)")


def test_many_items_are_opened_by_columns(tmp_path: Path) -> None:
    """Twenty times the items take nowhere near ten times the time, and no larger a pickle."""
    sizes, times = [], []
    few = [item_of(utm_scene("s", 32632, 6 + n, 45, 100, 60.0)) for n in range(6)]
    for count in (200, 4000):
        items = []
        for number in range(count):
            when = f"2025-06-{1 + number % 28:02d}T10:00:{number % 60:02d}Z"
            properties = {**few[number % 6]["properties"], "datetime": when}
            items.append({**few[number % 6], "id": f"i{number}", "properties": properties})
        given = tmp_path / f"{count}.json"
        given.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": items}))
        mosaic.build(given, tmp_path / f"m{count}", item_files=0)
        mosaic.open(tmp_path / f"m{count}", gate=Gate())
        began = time.process_time()
        ds = mosaic.open(tmp_path / f"m{count}", gate=Gate(), groupby="all", chunks={})
        times.append(time.process_time() - began)
        sizes.append(len(pickle.dumps(ds.B04.data[:, :10, :10])))
    assert sizes[1] < sizes[0] * 3 + 10_000
    assert times[1] < times[0] * 4


def test_threads_that_read_the_same_write_to_arrays_of_their_own(native: Made) -> None:
    ds = mosaic.open(native.path, gate=Gate())
    want = mosaic.open(native.path, gate=Gate())["B02"].values
    start = threading.Barrier(4)

    def read(number: int) -> np.ndarray:
        start.wait()
        got: np.ndarray = ds["B02"].compute().values
        got += number
        return got

    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for number, got in enumerate(pool.map(read, range(4))):
                np.testing.assert_array_equal(got, want + number)


def test_a_file_that_is_rewritten_shows_what_it_holds(tmp_path: Path) -> None:
    """Opened again, or read again by what was opened before: never what it held."""
    path = tmp_path / "a.tif"
    gate, rng = Gate(), np.random.default_rng(1)

    def write(dtype: str, shape: tuple[int, int]) -> np.ndarray:
        pixels = rng.integers(1, 200, shape).astype(dtype)
        with rasterio.open(
            path, "w", driver="GTiff", crs="EPSG:32632", transform=Affine(10, 0, 6e5, 0, -10, 5e6),
            count=1, height=shape[0], width=shape[1], dtype=dtype, nodata=0,
        ) as file:  # fmt: skip
            file.write(pixels, 1)
        return pixels

    first = write("uint16", (200, 300))
    ds = mosaic.open(path, gate=gate, chunks={})
    np.testing.assert_array_equal(ds["data"].values[0], first)
    second = write("uint16", (200, 300))
    np.testing.assert_array_equal(ds["data"].values[0], second)
    third = write("float32", (150, 100))
    again = mosaic.open(path, gate=gate)
    assert again["data"].dtype == np.float32
    np.testing.assert_array_equal(again["data"].values[0], third)
    with pytest.raises(SourceMismatchError):  # another shape than what was opened
        ds["data"].values  # noqa: B018
    path.unlink()
    with pytest.raises(ReadError, match=r"a\.tif"):
        mosaic.open(again_of(path, third.shape), gate=gate)["data"].values  # noqa: B018


def again_of(path: Path, shape: tuple[int, int]) -> dict[str, Any]:
    """An item of a file that was there."""
    scene = utm_scene("a", 32632, 9, 45, 64, 10.0, bands=("data",), dtype="float32")
    item = item_of(replace(scene, shape=shape, transform=Affine(10, 0, 6e5, 0, -10, 5e6)))
    item["assets"]["data"]["href"] = str(path)
    return item


def test_a_mosaic_behind_a_url_that_is_built_anew(tmp_path: Path) -> None:
    """Opened again it shows what it holds now; one that hasn't changed takes one request."""
    gate = Gate()
    one = made(tmp_path / "1", [utm_scene("s", 32632, 9, 47, 64, 60.0)])
    later = utm_scene("t", 32632, 9, 47, 64, 60.0, datetime="2025-07-09T10:00:00Z")
    two = made(tmp_path / "2", [later])
    with RangeServer(_files(one.path)) as server:
        url = server.url("mosaic")
        mosaic.open(url, gate=gate)
        mosaic.open(url, gate=gate)
        server.reset()
        assert mosaic.open(url, gate=gate).time.dt.month.item() == 6
        assert server.counts.requests == 1
        server.objects.update(_files(two.path))
        server.behaviour.etag = "v2"
        assert mosaic.open(url, gate=gate).time.dt.month.item() == 7


def _files(folder: Path) -> dict[str, bytes]:
    return {
        f"mosaic/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_sparse_indices_are_read_side_by_side(native: Made, tmp_path: Path) -> None:
    """A few pixels of far rows and columns: what they need, and not one after the other."""
    with served(native, tmp_path) as (server, items):
        server.behaviour.latency = 0.02
        ds = mosaic.open(items, gate=Gate(limits=Limits(concurrency=16, start=16)), chunks=None)
        size = ds.sizes
        rows, columns = (np.arange(3, size[axis], 40) for axis in ("y", "x"))
        got = ds["B02"].isel(y=rows, x=columns).values
        whole = mosaic.open(native.path, gate=Gate())["B02"].values
        np.testing.assert_array_equal(got, whole[:, rows][:, :, columns])
        plan = ds.mosaic.plan()
        assert server.counts.requests <= plan.most.requests


def test_threads_share_what_is_opened(native: Made) -> None:
    """Columns of one file, read by many threads at once: Arrow's reader serves one at a time."""
    gate = Gate()
    columns = Folder.at(native.path, gate).columns("items.parquet")
    names = ["id", "datetime", "assets.B02.href", "assets.B03.href"]
    want = {name: columns.read(name).to_pylist() for name in names}
    rows = np.array([3, 1], np.int64)

    def look(number: int) -> bool:
        name = names[number % len(names)]
        taken = columns.take(name, rows).to_pylist()
        return columns.read(name).to_pylist() == want[name] and taken == [
            want[name][row] for row in rows.tolist()
        ]

    place = {"bbox": (9.0, 47.45, 9.06, 47.5), "bands": "B02"}
    shown = mosaic.read(native.path, gate=Gate(), **place).values
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))
        for got in pool.map(lambda _: mosaic.read(native.path, gate=gate, **place), range(24)):
            np.testing.assert_array_equal(got.values, shown)
