"""Servers with limits that nobody told: the job ends, all bytes are right, few are refused."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mosaic.settings import CacheSettings, Limits
from mosaic.storage import Gate
from tests.support.range_server import RangeServer

pytestmark = pytest.mark.bench  # real seconds on a real server: `make bench-storage`

MakeGate = Callable[..., Gate]
SETTLED = 3.0  # seconds after which the limiter must have found the limit
LEAST = 1000  # requests counted after that


def share_refused(
    gate: Gate, server: RangeServer, data: bytes, seconds: float
) -> tuple[int, int, int]:
    """Ask from 32 threads until enough was counted: (counted, refused, wrong)."""
    href, chance = server.url("a.bin"), random.Random(3)
    starts = iter(chance.sample(range(0, len(data) - 64, 64), 60_000))
    began = time.monotonic()

    def one(start: int) -> bool:
        return gate.get_range(href, start=start, length=64) == data[start : start + 64]

    def counted() -> list[int]:
        return [status for at, _, _, status in list(server.counts.log) if at > began + SETTLED]

    wrong = 0
    with ThreadPoolExecutor(32) as pool:
        while len(counted()) < LEAST and time.monotonic() - began < seconds:
            batch = [next(starts) for _ in range(200)]
            wrong += sum(not right for right in pool.map(one, batch))
    statuses = counted()
    return len(statuses), sum(status == 503 for status in statuses), wrong


@pytest.mark.parametrize("most", [2, 4, 16])
def test_a_hidden_limit_of_requests_in_flight(
    server: RangeServer, gate: MakeGate, data: bytes, most: int
) -> None:
    server.behaviour.latency, server.behaviour.most = 0.01, most
    one = gate(limits=Limits(concurrency=32), cache=CacheSettings(memory=0))
    counted, refused, wrong = share_refused(one, server, data, 40)
    print(f"K={most}: {refused} of {counted} refused, limit {one.stats().origins[0].limit}")
    assert wrong == 0
    assert counted >= LEAST
    assert refused / counted < 0.05
    assert one.stats().origins[0].limit >= most // 2  # and it doesn't crawl either


@pytest.mark.parametrize("rps", [150, 300])
def test_a_hidden_limit_of_requests_a_second(
    server: RangeServer, gate: MakeGate, data: bytes, rps: int
) -> None:
    server.behaviour.latency, server.behaviour.rps = 0.01, rps
    one = gate(limits=Limits(concurrency=32), cache=CacheSettings(memory=0))
    began = time.monotonic()
    counted, refused, wrong = share_refused(one, server, data, 45)
    rate = counted / (time.monotonic() - began - SETTLED)
    print(f"R={rps}/s: {refused} of {counted} refused, {rate:.0f}/s asked")
    assert wrong == 0
    assert counted >= LEAST
    assert refused / counted < 0.05
    assert rate > rps * 0.4
