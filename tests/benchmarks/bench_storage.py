"""The gate beside bare clients at 30 ms and 32 in flight:  make bench-storage

The server is a process of its own; rounds are interleaved, medians count, and only ratios are
held against a bound.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from mosaic import bridge
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate
from mosaic.storage.loopback import Loopback

pytestmark = pytest.mark.bench
IN_FLIGHT = 32
LATENCY = 0.03
ROUNDS = 5
SIZES = {16 << 10: 1500, 2 << 20: 160}
"""Bytes of a range, and how many of them make a round."""
Read = Callable[[int, int], Awaitable[object]]


@pytest.fixture(scope="module")
def href(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("objects")
    (folder / "big.bin").write_bytes(os.urandom(64 << 20))
    command = [sys.executable, "-m", "tests.support.range_server", str(folder)]
    server = subprocess.Popen(
        [*command, "--set", f"latency={LATENCY}"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/big.bin"
    finally:
        server.kill()
        server.wait()


def reset(href: str) -> None:
    # the server keeps a log; a long one costs it time
    urllib.request.urlopen(href.replace("big.bin", "_reset"), timeout=10).read()


async def round_of(read: Read, size: int, count: int) -> float:
    """Seconds for ``count`` ranges, 32 at a time."""
    turns = iter(range(count))

    async def work() -> None:
        for turn in turns:
            await read(turn * 4097 % ((64 << 20) - size), size)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began


def aiohttp_round(href: str, size: int, count: int) -> float:
    async def go() -> float:
        connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def read(start: int, size: int) -> bytes:
                wanted = {"Range": f"bytes={start}-{start + size - 1}"}
                async with session.get(href, headers=wanted) as answer:
                    return await answer.read()

            await round_of(read, size, IN_FLIGHT)
            return await round_of(read, size, count)

    return asyncio.run(go())


def new_gate() -> Gate:
    return Gate(Limits(IN_FLIGHT, IN_FLIGHT), CacheSettings(memory=0), Retry())


def gate_round(href: str, size: int, count: int, *, own_loop: bool) -> float:
    gate = new_gate()

    async def go() -> float:
        async def read(start: int, size: int) -> memoryview:
            return await gate.get_range_async(href, start=start, length=size)

        await round_of(read, size, IN_FLIGHT)
        return await round_of(read, size, count)

    try:
        return asyncio.run(go()) if own_loop else bridge.run(go())
    finally:
        gate.close()


def obstore_round(href: str, size: int, count: int) -> float:
    obstore = pytest.importorskip("obstore")
    from obstore.store import HTTPStore

    async def go() -> float:
        store = HTTPStore.from_url(
            href.rpartition("/")[0],
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

        async def read(start: int, size: int) -> object:
            return await obstore.get_range_async(store, "big.bin", start=start, length=size)

        await round_of(read, size, IN_FLIGHT)
        return await round_of(read, size, count)

    return asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_at_30_ms_the_gate_is_nearly_as_fast_as_bare_aiohttp(href: str, size: int) -> None:
    count = SIZES[size]
    clients: dict[str, Callable[[], float]] = {
        "bare aiohttp": lambda: aiohttp_round(href, size, count),
        "gate, its own loop": lambda: gate_round(href, size, count, own_loop=False),
        "gate, caller's loop": lambda: gate_round(href, size, count, own_loop=True),
        "obstore": lambda: obstore_round(href, size, count),
    }
    took: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(ROUNDS):
        names = list(clients) if turn % 2 == 0 else list(clients)[::-1]
        for name in names:
            reset(href)
            took[name].append(clients[name]())
    bare = statistics.median(took["bare aiohttp"])
    # a ratio of each round, because the machine's other load drifts between rounds
    ratios = {
        name: statistics.median(b / t for b, t in zip(took["bare aiohttp"], times, strict=True))
        for name, times in took.items()
    }
    print(f"\n{size >> 10} KiB x {count}, {IN_FLIGHT} in flight, {LATENCY * 1e3:.0f} ms")
    print(f"{'client':22}{'s':>8}{'req/s':>9}{'MB/s':>8}{'of bare':>9}")
    for name, times in took.items():
        median = statistics.median(times)
        print(
            f"{name:22}{median:8.2f}{count / median:9.0f}{count * size / median / 1e6:8.0f}"
            f"{ratios[name]:9.0%}"
        )
    assert bare > 0
    assert ratios["gate, its own loop"] >= 0.85
    assert ratios["gate, caller's loop"] >= 0.85


def test_an_awaited_memory_hit(href: str) -> None:
    gate = Gate(cache=CacheSettings())

    async def hits(count: int) -> float:
        await gate.get_range_async(href, start=0, length=16384)
        began = time.perf_counter()
        for _ in range(count):
            await gate.get_range_async(href, start=0, length=16384)
        return (time.perf_counter() - began) / count

    async def in_loop() -> float:
        return await hits(5000)

    single = statistics.median(asyncio.run(hits(5000)) for _ in range(ROUNDS))
    own = statistics.median(bridge.run(in_loop()) for _ in range(ROUNDS))
    began = time.perf_counter()
    for _ in range(5000):
        gate.get_range(href, start=0, length=16384)
    sync = (time.perf_counter() - began) / 5000
    print(
        f"\nmemory hit: {single * 1e6:.1f} us awaited, {own * 1e6:.1f} us on the gate's own loop, "
        f"{sync * 1e6:.1f} us from a thread"
    )
    gate.close()
    assert single <= 50e-6
    assert own <= 50e-6


def test_a_disk_hit_and_a_loopback_read(href: str, tmp_path: Path) -> None:
    kept = CacheSettings(memory=0, disk=tmp_path)
    first = Gate(Limits(IN_FLIGHT, IN_FLIGHT), kept)
    starts = [i * 100_000 for i in range(300)]
    first.get_ranges(href, starts=starts, lengths=[16384] * 300)
    first.flush()
    began = time.perf_counter()
    for start in starts:
        first.get_range(href, start=start, length=16384)
    disk = (time.perf_counter() - began) / 300
    first.close()
    gate = Gate(Limits(IN_FLIGHT, IN_FLIGHT))
    server = Loopback(gate)
    url = server.url(href)

    def whole() -> float:
        began = time.perf_counter()
        length = len(urllib.request.urlopen(url, timeout=60).read())
        return length / (time.perf_counter() - began) / 1e6

    cold, warm = whole(), statistics.median(whole() for _ in range(3))
    print(
        f"\ndisk hit: {disk * 1e6:.0f} us; loopback: {cold:.0f} MB/s cold, {warm:.0f} MB/s cached"
    )
    server.close()
    gate.close()
