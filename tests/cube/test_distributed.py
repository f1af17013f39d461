"""``chunks=`` on dask.distributed: a cluster of two processes on this machine, and foreign workers.

One cluster serves all tests here. Workers come from ``dask worker`` too where they must lack the
package, or have another version of it.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import orjson
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.errors import ReadError, WorkerError
from mosaic.settings import Limits, Retry
from mosaic.storage import Gate
from mosaic.version import __version__
from tests.cube.conftest import Made, made
from tests.cube.test_processes import ROOT, served
from tests.support.range_server import RangeServer
from tests.support.scenes import item_of, seam_scenes, utm_scene

distributed = pytest.importorskip("distributed", reason="dask.distributed isn't installed")
CHUNKS = {"x": 200, "y": 150}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two processes with two threads each."""
    told = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    with (
        distributed.LocalCluster(**told, silence_logs=50) as cluster,
        distributed.Client(cluster, set_as_default=True) as found,
    ):
        yield found


@pytest.fixture
def want(seamed: Made) -> xr.Dataset:
    return mosaic.open(seamed.path, gate=Gate()).load()


def pids(client: Any) -> list[int]:
    return list(client.run(os.getpid).values())


def test_results_are_those_of_one_process(client: Any, seamed: Made, want: xr.Dataset) -> None:
    lazy = mosaic.open(seamed.path, gate=Gate(), chunks=CHUNKS)
    xr.testing.assert_identical(lazy.compute(), want)
    mean = lazy.where(lazy > 0).mean("time").compute()
    np.testing.assert_allclose(mean.B04, want.B04.where(want.B04 > 0).mean("time"))
    told: dict[str, Any] = {"method": "median", "groupby": "all", "gate": Gate()}
    median = mosaic.open(seamed.path, chunks=CHUNKS, **told).compute()
    xr.testing.assert_identical(median, mosaic.open(seamed.path, **told).load())
    kept = client.persist(lazy)
    xr.testing.assert_identical(kept.isel(time=[1]).compute(), want.isel(time=[1]))


def test_odc_stac_by_workers(client: Any, seamed: Made) -> None:
    from tests.cube.test_like_odc import items_of

    box = mosaic.open(seamed.path, gate=Gate()).odc.geobox
    told: dict[str, Any] = {"geobox": box, "groupby": "solar_day"}
    driver = mosaic.odc_driver(gate=Gate())
    whole = odc.stac.load(items_of(seamed), driver=driver, **told)
    parts = odc.stac.load(items_of(seamed), driver=driver, chunks=CHUNKS, **told)
    # both drivers' tasks may meet on one cluster: their keys differ
    theirs = odc.stac.load(items_of(seamed), chunks=CHUNKS, **told)
    assert not set(dict(parts.__dask_graph__())) & {
        key for key in dict(theirs.__dask_graph__()) if str(key).startswith(("('B04", "('open"))
    }
    xr.testing.assert_identical(parts.compute(), whole)


def test_workers_share_one_budget(client: Any, tmp_path: Path) -> None:
    """A server that refuses more than three at a time never has to."""
    large = made(tmp_path / "large", list(seam_scenes(384, 60.0, ("B03", "B04"), dates=2)))
    with served(large, tmp_path) as (server, folder):
        want = mosaic.open(folder, gate=Gate()).load()
        server.reset()
        server.behaviour.latency = 0.03
        server.behaviour.most = 3
        limits = Limits(concurrency=3, start=3)
        gate = Gate(limits=limits, shared_limits=tmp_path / "budget")
        found = mosaic.open(folder, gate=gate, chunks=CHUNKS).compute()
        xr.testing.assert_identical(found, want)
        assert server.counts.requests > 50
        assert server.counts.refused == 0
        assert 1 < server.counts.peak <= 3
        # without the folder each process has a budget of its own, and the server says no
        server.reset()
        alone = Gate(limits=limits, retry=Retry(base=0.01))
        found = mosaic.open(folder, gate=alone, chunks=CHUNKS).compute()
        xr.testing.assert_identical(found, want)
        assert server.counts.peak > 3
        assert server.counts.refused > 0


def test_all_tasks_of_a_process_have_one_gate(client: Any, native: Made, tmp_path: Path) -> None:
    """Of two bands, and of two computations: one cap, one cache."""
    with served(native, tmp_path) as (server, folder):
        server.behaviour.latency = 0.02
        gate = Gate(limits=Limits(concurrency=2, start=2))
        lazy = mosaic.open(folder, gate=gate, chunks=CHUNKS)
        lazy.compute()
        assert server.counts.peak <= 4  # two processes
        server.reset()
        again = pickle.loads(pickle.dumps(lazy.encoding["mosaic"].choice.gate))
        assert again is gate


@contextmanager
def slow(server: RangeServer, seconds: float) -> Iterator[None]:
    server.behaviour.latency = seconds
    try:
        yield
    finally:
        server.behaviour.latency = 0.0


def test_a_killed_workers_chunks_are_done_again(client: Any, seamed: Made, tmp_path: Path) -> None:
    with served(seamed, tmp_path) as (server, folder), slow(server, 0.0):
        want = mosaic.open(folder, gate=Gate()).load()
        server.reset()
        server.behaviour.latency = 0.15
        gate = Gate(limits=Limits(concurrency=2, start=2), shared_limits=tmp_path / "budget")
        lazy = mosaic.open(folder, gate=gate, chunks={"x": 100, "y": 100})
        before = pids(client)
        future = client.compute(lazy)
        deadline = time.monotonic() + 60
        while server.counts.requests < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not future.done()
        os.kill(before[0], signal.SIGKILL)
        server.behaviour.latency = 0.0
        xr.testing.assert_identical(future.result(timeout=120), want)
        client.wait_for_workers(2, timeout=60)
        after = pids(client)
        assert before[0] not in after
        assert before[1] in after


def test_errors_of_workers_are_ours(client: Any, seamed: Made, tmp_path: Path) -> None:
    with served(seamed, tmp_path) as (server, folder):
        lost = next(name for name in server.objects if name.endswith("B04.tif"))
        del server.objects[lost]
        lazy = mosaic.open(folder, gate=Gate(), chunks=CHUNKS)
        with pytest.raises(ReadError, match=re.escape(lost)) as caught:
            lazy.compute()
        assert caught.value.problems[0].item == Path(lost).parent.name


def test_graphs_do_not_grow_with_the_items(tmp_path: Path) -> None:
    """Ten items or ten thousand: as many tasks, and no more bytes."""
    tasks, sizes = [], []
    box = GeoBox.from_bbox((6.0, 44.9, 6.2, 45.0), "EPSG:4326", resolution=0.001)
    one = item_of(utm_scene("s", 32632, 6.1, 44.95, 100, 60.0))
    for count in (10, 10_000):
        items = [{**one, "id": f"i{number}"} for number in range(count)]
        given = tmp_path / f"{count}.json"
        given.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": items}))
        mosaic.build(given, tmp_path / f"m{count}", item_files=0)
        lazy = mosaic.open(
            tmp_path / f"m{count}", geobox=box, gate=Gate(), groupby="all", chunks={"x": 64}
        )
        graph = dict(lazy.__dask_graph__())
        tasks.append(len(graph))
        sizes.append(len(pickle.dumps(graph)))
    assert tasks[0] == tasks[1]
    assert sizes[1] < 1.05 * sizes[0]
    print(f"{tasks} tasks, {sizes} bytes")


@contextmanager
def foreign(client: Any, package: Path) -> Iterator[None]:
    """A worker that finds this package before the one that is tested."""
    here = Path.cwd()
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_spec", client.scheduler.address, "--spec",
         '{"cls": "distributed.Worker", "opts": {"nthreads": 1, "resources": {"foreign": 1}}}'],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])},
        cwd=package, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client.wait_for_workers(3, timeout=60)
        yield
    finally:
        worker.kill()
        worker.wait()
        deadline = time.monotonic() + 30
        while len(client.scheduler_info()["workers"]) > 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert Path.cwd() == here


def lacking(folder: Path) -> Path:
    """No package."""
    (folder / "mosaic").mkdir()
    text = 'raise ModuleNotFoundError("No module named \'mosaic\'", name="mosaic")\n'
    (folder / "mosaic/__init__.py").write_text(text)
    return folder


def other(folder: Path) -> Path:
    """Another version of the package."""
    (folder / "mosaic").mkdir()
    for entry in (ROOT / "mosaic").iterdir():
        if entry.name != "version.py":
            (folder / "mosaic" / entry.name).symlink_to(entry)
    (folder / "mosaic/version.py").write_text('__version__ = "99.0"\n')
    return folder


def test_workers_without_the_package(
    client: Any, seamed: Made, want: xr.Dataset, tmp_path: Path
) -> None:
    lazy = mosaic.open(seamed.path, gate=Gate(), chunks=CHUNKS)
    with foreign(client, lacking(tmp_path)):
        with pytest.raises(WorkerError, match=r"worker tcp://\S+ has no mosaic; give workers"):
            mosaic.open(seamed.path, gate=Gate(), chunks=CHUNKS)
        # what was opened before it came: it drops out, and the others do its work
        xr.testing.assert_identical(lazy.compute(), want)


def test_workers_of_another_version(client: Any, seamed: Made, tmp_path: Path) -> None:
    lazy = mosaic.open(seamed.path, gate=Gate(), chunks=CHUNKS)
    with foreign(client, other(tmp_path)):
        told = rf"worker tcp://\S+ has mosaic 99\.0, here is {re.escape(__version__)}"
        with pytest.raises(WorkerError, match=told):
            mosaic.open(seamed.path, gate=Gate(), chunks=CHUNKS)
        with pytest.raises(WorkerError, match=r"this process has mosaic 99\.0"):
            lazy.B04.data[0, :10, :10].compute(resources={"foreign": 1})
        from tests.cube.test_like_odc import items_of

        box = lazy.odc.geobox
        with pytest.raises(WorkerError, match=told):
            odc.stac.load(
                items_of(seamed), geobox=box, chunks={}, driver=mosaic.odc_driver(gate=Gate())
            )


def test_no_client_no_question(seamed: Made) -> None:
    """Without a cluster nothing of dask.distributed is imported, or asked."""
    code = (
        "import sys, mosaic\n"
        f"ds = mosaic.open({str(seamed.path)!r}, chunks={{}})\n"
        "assert ds.B04.data.nbytes and 'distributed' not in sys.modules\n"
    )
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=there)
