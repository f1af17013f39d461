"""Forks, threads, cancellation and several processes: never more in flight than the cap."""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaic import bridge
from mosaic.settings import CacheSettings, Limits
from mosaic.storage import Gate
from tests.storage.conftest import QUICK
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]


def test_a_fork_rebuilds_loop_pool_and_gate(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(), server.url("a.bin")
    server.behaviour.latency = 0.02
    assert one.get_range(href, start=0, length=9) == data[:9]
    busy = threading.Thread(  # the parent's loop is in the middle of something when it forks
        target=lambda: [one.get_range(href, start=i * 70_000, length=9) for i in range(40)]
    )
    busy.start()
    loop, pool = bridge.loop(), bridge.pool()

    def child(pipe: multiprocessing.connection.Connection) -> None:
        got = one.get_range(href, start=100, length=9)
        pipe.send((bytes(got), bridge.loop() is loop, bridge.pool() is pool, one.stats().requests))

    context = multiprocessing.get_context("fork")
    for _ in range(3):
        here, there = context.Pipe()
        process = context.Process(target=child, args=(there,))
        process.start()
        assert here.poll(20), "the child hangs"
        assert here.recv() == (data[100:109], False, False, 1)
        process.join(20)
        assert process.exitcode == 0
    busy.join()
    assert bridge.loop() is loop
    assert one.get_range(href, start=200, length=9) == data[200:209]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cap=st.integers(1, 6),
    threads=st.integers(1, 6),
    tasks=st.integers(1, 20),
    cancelled=st.floats(0, 0.7),
    faults=st.sampled_from([{}, {"flaky": 0.2}, {"resets": 0.2}, {"stalls": 0.1}]),
    seed=st.integers(0, 1000),
)
def test_never_above_the_cap_under_threads_and_cancellation(
    cap: int, threads: int, tasks: int, cancelled: float, faults: dict[str, float], seed: int
) -> None:
    data = bytes(range(256)) * 400
    with RangeServer({"a.bin": data}, latency=0.003, seed=seed, **faults) as server:
        one = Gate(
            limits=Limits(concurrency=cap, start=cap),
            cache=CacheSettings(memory=0, gap=0),
            retry=replace(QUICK, stall=0.5),
        )
        href = server.url("a.bin")

        async def work(chance: random.Random) -> int:
            async def ask() -> bool:
                start = chance.randrange(0, 100_000)
                return (
                    await one.get_range_async(href, start=start, length=50)
                    == (data[start : start + 50])
                )

            running = [asyncio.create_task(ask()) for _ in range(tasks)]
            for task in running:
                if chance.random() < cancelled:
                    await asyncio.sleep(chance.random() * 0.004)
                    task.cancel()
            done = await asyncio.gather(*running, return_exceptions=True)
            return sum(got is True or isinstance(got, asyncio.CancelledError) for got in done)

        with ThreadPoolExecutor(threads) as pool:
            right = list(
                pool.map(lambda i: asyncio.run(work(random.Random(seed + i))), range(threads))
            )
        assert right == [tasks] * threads
        assert server.counts.peak <= cap  # as the server saw it
        assert one.stats().origins[0].peak <= cap
        one.close()


def test_a_cancelled_attempt_keeps_its_permit_until_its_server_has_heard_of_it(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(limits=Limits(1, 1)), server.url("a.bin")
    server.behaviour.latency, server.behaviour.deaf = 0.05, 0.02

    async def ask() -> None:
        for number in range(5):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await one.get_range_async(href, start=number * 500_000, length=9)
            await one.get_range_async(href, start=number * 500_000 + 250_000, length=9)

    asyncio.run(ask())
    assert server.counts.requests == 10
    assert server.counts.peak == 1


READER = """
    import random, sys
    from concurrent.futures import ThreadPoolExecutor
    from mosaic.settings import CacheSettings, Limits, Retry
    from mosaic.storage import Gate
    href, cap, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    gate = Gate(limits=Limits(concurrency=cap, start=cap), cache=CacheSettings(memory=0))
    chance = random.Random(count)
    starts = [chance.randrange(4_000_000) for _ in range(count)]
    with ThreadPoolExecutor(16) as pool:
        for got in pool.map(lambda s: gate.get_range(href, start=s, length=50), starts):
            sys.stdout.buffer.write(bytes(got))
    sys.stdout.buffer.flush()
"""


def reader(href: str, cap: int, count: int, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(READER), href, str(cap), str(count)],
        env={**os.environ, "MOSAIC_SHARED_LIMITS": str(folder)},
        stdout=subprocess.PIPE,
    )


def expected(data: bytes, count: int) -> bytes:
    chance = random.Random(count)
    starts = [chance.randrange(4_000_000) for _ in range(count)]
    return b"".join(data[start : start + 50] for start in starts)


def test_two_processes_share_one_budget(server: RangeServer, data: bytes, tmp_path: Path) -> None:
    cap = 4
    server.behaviour.latency = 0.01
    running = [reader(server.url("a.bin"), cap, count, tmp_path) for count in (300, 301)]
    told = [one.communicate(timeout=60)[0] for one in running]
    assert told == [expected(data, 300), expected(data, 301)]
    assert server.counts.peak == cap  # reached, never exceeded
    # each alone would have been as fast as both: the budget was one
    span = server.counts.log[-1][0] - server.counts.log[0][0]
    assert span >= 601 / cap * 0.01 * 0.9


def test_a_killed_process_gives_its_share_back(
    server: RangeServer, data: bytes, tmp_path: Path
) -> None:
    cap = 4
    server.behaviour.latency = 0.02
    victim = reader(server.url("a.bin"), cap, 100_000, tmp_path)
    while server.counts.requests < 50:
        time.sleep(0.01)
        assert victim.poll() is None
    survivor = reader(server.url("a.bin"), cap, 250, tmp_path)
    time.sleep(1.5)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    killed = server.counts.requests
    assert survivor.communicate(timeout=60)[0] == expected(data, 250)
    assert server.counts.requests > killed
    assert server.counts.peak == cap
    # nobody is left to hold anything: a third process has the whole budget at once
    server.reset()
    third = reader(server.url("a.bin"), cap, 100, tmp_path)
    assert third.communicate(timeout=60)[0] == expected(data, 100)
    assert server.counts.peak == cap


def test_the_rate_is_shared_too(server: RangeServer, tmp_path: Path) -> None:
    limits = Limits(concurrency=8, start=8, requests_per_minute=60 * 50)
    gates = [Gate(limits, CacheSettings(memory=0), QUICK, shared_limits=tmp_path) for _ in range(2)]
    href, began = server.url("a.bin"), time.monotonic()

    def ask(number: int) -> None:
        gates[number % 2].get_range(href, start=number * 1000, length=9)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(100)))
    assert time.monotonic() - began >= 100 / 50 * 0.9
    for one in gates:
        one.close()


def test_retry_after_reaches_the_other_process(server: RangeServer, tmp_path: Path) -> None:
    gates = [
        Gate(Limits(), CacheSettings(memory=0), QUICK, shared_limits=tmp_path) for _ in range(2)
    ]
    href = server.url("a.bin")
    gates[1].get_range(href, start=0, length=9)
    server.behaviour.flaky, server.behaviour.retry_after = 1.0, "1"
    waiter = threading.Thread(target=lambda: gates[0].get_range(href, start=9, length=9))
    waiter.start()
    while not gates[0].stats().origins or not gates[0].stats().origins[0].throttled:
        time.sleep(0.001)
    time.sleep(0.05)  # the refusal is counted just before its Retry-After is shared
    server.behaviour.flaky = 0
    gates[1].get_range(href, start=99, length=9)
    refused = [at for at, _, _, status in server.counts.log if status == 503]
    later = [at for at, _, _, status in server.counts.log if at > refused[0]]
    assert min(later) - refused[0] >= 0.95
    waiter.join()
    for one in gates:
        one.close()


def test_a_torn_state_file_is_begun_anew(server: RangeServer, data: bytes, tmp_path: Path) -> None:
    for garbage in (b"", b"x", os.urandom(400)):
        for state in tmp_path.rglob("state"):
            state.write_bytes(garbage)
        one = Gate(Limits(), CacheSettings(memory=0), QUICK, shared_limits=tmp_path)
        assert one.get_range(server.url("a.bin"), start=0, length=9) == data[:9]
        one.close()
