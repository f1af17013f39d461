"""Reads from threads, notebooks and forked processes, and reads that are given up."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import mosaic
from mosaic import bridge
from mosaic.cube.scripts import Reading
from mosaic.errors import UsageError
from mosaic.storage import Gate
from tests.support.range_server import RangeServer
from tests.support.scenes import seam_scenes, write_scenes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("threads")
    items = write_scenes(home / "s", seam_scenes(512, 20.0, ("B04",), dates=2))
    mosaic.build(items, home / "m", dst_crs="EPSG:3035")
    return home


@pytest.fixture(scope="module")
def want(folder: Path) -> Reading:
    return mosaic.read(folder / "m", gate=Gate())


def same(got: Reading, want: Reading) -> bool:
    equal = np.array_equal(got.values, want.values) and np.array_equal(got.valid, want.valid)
    return bool(equal and want.valid.any())


def test_eight_threads_read_alike(folder: Path, want: Reading) -> None:
    """Some share a gate, others have their own."""
    shared = Gate()
    gates = [shared if number % 2 else Gate() for number in range(16)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda one: mosaic.read(folder / "m", gate=one), gates))
    assert all(same(got, want) for got in found)


def test_inside_a_running_loop(folder: Path, want: Reading) -> None:
    """As in Jupyter, whose cells run on a loop."""

    async def cell() -> Reading:
        return mosaic.read(folder / "m", gate=Gate())

    assert same(asyncio.run(cell()), want)


def test_after_a_fork(folder: Path, want: Reading) -> None:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if same(mosaic.read(folder / "m"), want) else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same(mosaic.read(folder / "m"), want)


def test_the_pools_own_threads_would_wait_for_themselves(folder: Path) -> None:
    """As many reads as the pool has threads: an error, where they would hang."""
    count = 2 * (os.cpu_count() or 1)
    work = [bridge.pool().submit(mosaic.read, folder / "m", gate=Gate()) for _ in range(count)]
    for one in work:
        with pytest.raises(UsageError, match="mosaic's own pool"):
            one.result(20)


@pytest.fixture
def slow(folder: Path, tmp_path: Path) -> Iterator[tuple[Path, RangeServer]]:
    scenes = folder / "s"
    files = {p.relative_to(scenes).as_posix(): p.read_bytes() for p in scenes.rglob("*.tif")}
    with RangeServer(files, latency=0.3) as server:
        document = orjson.loads((scenes / "items.json").read_bytes())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = server.url(asset["href"].removeprefix("./"))
        (tmp_path / "items.json").write_bytes(orjson.dumps(document))
        mosaic.build(tmp_path / "items.json", tmp_path / "m", dst_crs="EPSG:3035")
        yield tmp_path / "m", server


@pytest.mark.parametrize("kind", ["headers", "blocks"])
def test_an_interrupt_leaves_nothing_running(
    slow: tuple[Path, RangeServer], want: Reading, kind: str
) -> None:
    """While headers are read, and while blocks are."""
    remote, server = slow
    gate = Gate()
    over = threading.Event()

    def interrupt(*told: Any) -> None:
        raise KeyboardInterrupt

    def watch() -> None:
        # those for blocks come when those for headers are answered
        while not over.wait(0.001):
            answered = len(server.counts.log) if kind == "blocks" else 0
            if server.counts.requests > answered and (answered or kind == "headers"):
                os.kill(os.getpid(), signal.SIGALRM)
                return

    before = signal.signal(signal.SIGALRM, interrupt)
    watcher = threading.Thread(target=watch)
    try:
        watcher.start()
        with pytest.raises(KeyboardInterrupt):
            mosaic.read(remote, gate=gate)
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGALRM, before)
    bridge.run(asyncio.sleep(0.1))  # the loop has heard of it by then
    deadline = time.monotonic() + 5
    while server.counts.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    asked = server.counts.requests
    time.sleep(0.7)
    assert server.counts.requests == asked > 0
    assert same(mosaic.read(remote, gate=gate), want)
