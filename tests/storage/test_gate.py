"""The gate against a real server: right bytes, one request where one is enough."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mosaic import bridge
from mosaic.errors import (
    MissingError,
    OutOfRangeError,
    SourceChanged,
    StorageError,
    UnreachableError,
    UsageError,
)
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate, Header
from mosaic.storage.headers import load, store
from mosaic.storage.local import MemoryTransport
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]


def test_both_spellings_and_both_faces(server: RangeServer, gate: MakeGate, data: bytes) -> None:
    one, href = gate(), server.url("a.bin")
    assert one.get_range(href, start=10, end=20) == data[10:20]
    assert one.get_range(href, start=30, length=5) == data[30:35]
    assert one.get_ranges(href, starts=[50, 90], lengths=[5, 9]) == [data[50:55], data[90:99]]
    assert one.get_ranges(href, starts=[70, 60], ends=[75, 66]) == [data[70:75], data[60:66]]

    async def ask() -> list[memoryview]:
        single = await one.get_range_async(href, start=1000, length=7)
        return [single, *await one.get_ranges_async(href, starts=[2000], ends=[2009])]

    assert asyncio.run(ask()) == [data[1000:1007], data[2000:2009]]
    assert server.counts.heads == 0
    assert one.get_ranges(href, starts=[], ends=[]) == []


def test_the_loop_itself_may_ask(server: RangeServer, gate: MakeGate, data: bytes) -> None:
    one, href = gate(), server.url("a.bin")

    async def ask() -> memoryview:
        with pytest.raises(UsageError):
            one.get_range(href, start=0, length=4)
        return await one.get_range_async(href, start=0, length=4)

    assert bridge.run(ask()) == data[:4]


def test_nonsense_ranges_are_usage_errors(gate: MakeGate) -> None:
    for given in ({"end": 5, "length": 5}, {}, {"end": 1}, {"length": 0}):
        with pytest.raises(UsageError):
            gate().get_range("memory://x", start=1, **given)
    with pytest.raises(UsageError):
        gate().get_ranges("memory://x", starts=[1, 2], ends=[3])


def test_a_range_beyond_the_end_is_shorter_then_an_error(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href, size = gate(), server.url("a.bin"), len(data)
    assert one.get_range(href, start=size - 3, length=100) == data[-3:]
    assert (meta := one.meta(href)) is not None
    assert meta.size == size
    for _ in range(2):
        with pytest.raises(OutOfRangeError):
            one.get_range(href, start=size, length=1)
    # merged with a good one, the bad one is still told apart
    with pytest.raises(OutOfRangeError):
        one.get_ranges(href, starts=[size - 9, size + 5], lengths=[5, 5])


def test_a_thousand_ask_once(server: RangeServer, gate: MakeGate, data: bytes) -> None:
    one, href = gate(), server.url("a.bin")
    server.behaviour.latency = 0.3

    async def ask() -> list[memoryview]:
        return await asyncio.gather(
            *(one.get_range_async(href, start=5, length=1000) for _ in range(1000))
        )

    got = asyncio.run(ask())
    assert all(block == data[5:1005] for block in got)
    assert server.counts.requests == 1
    (row,) = one.stats().origins
    assert row.joined + row.hits == 999
    assert row.joined > 500  # most of them while it was under way
    assert one.get_range(href, start=5, length=1000) == data[5:1005]
    assert server.counts.requests == 1
    assert one.stats().origins[0].hits == row.hits + 1


def test_a_cancelled_waiter_takes_nothing_from_the_others(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(), server.url("a.bin")
    server.behaviour.latency = 0.2

    async def ask() -> memoryview:
        first = asyncio.create_task(one.get_range_async(href, start=0, length=100))
        others = [
            asyncio.create_task(one.get_range_async(href, start=0, length=100)) for _ in range(5)
        ]
        await asyncio.sleep(0.05)
        first.cancel()
        for other in others[1:]:
            other.cancel()
        got = await others[0]
        with pytest.raises(asyncio.CancelledError):
            await first
        return got

    assert asyncio.run(ask()) == data[:100]
    assert server.counts.requests == 1


def test_when_all_have_left_the_fetch_ends_and_frees_its_permit(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(limits=Limits(concurrency=1, start=1)), server.url("a.bin")
    server.behaviour.latency = 30

    async def ask() -> memoryview:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await one.get_range_async(href, start=0, length=100)
        server.behaviour.latency = 0
        return await asyncio.wait_for(one.get_range_async(href, start=0, length=100), 5)

    assert asyncio.run(ask()) == data[:100]
    assert one.stats().origins[0].in_flight == 0


def test_a_gate_that_is_closed_forgets_no_waiter(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.latency = 30

    async def ask(one: Gate, steps: int) -> BaseException:
        waiter = asyncio.create_task(one.get_range_async(server.url("a.bin"), start=0, length=9))
        for _ in range(steps):  # also before the request's own task has begun
            await asyncio.sleep(0)
        core = one._inner.core  # type: ignore[union-attr]
        await core.cancel()
        (got,) = await asyncio.wait_for(asyncio.gather(waiter, return_exceptions=True), 5)
        return got

    for steps in range(1, 8):
        assert isinstance(bridge.run(ask(gate(), steps)), StorageError)


def test_near_ranges_are_one_request_and_views_of_it(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(cache=CacheSettings(gap=64, span=4096)), server.url("a.bin")
    near = one.get_ranges(href, starts=[0, 150, 300], lengths=[100, 100, 100])
    assert near == [data[0:100], data[150:250], data[300:400]]
    assert server.counts.requests == 1
    assert near[0].obj is near[2].obj  # slices without copies
    one.get_ranges(href, starts=[10_000, 12_000, 14_000], lengths=[100, 100, 100])
    assert server.counts.requests == 4
    assert one.stats().origins[0].coalesced == 2


def test_a_read_of_which_a_part_is_at_hand_asks_for_the_rest_only(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(), server.url("a.bin")
    one.get_range(href, start=0, length=1000)
    got = one.get_ranges(href, starts=[0, 100, 5000], lengths=[1000, 50, 10])
    assert got == [data[:1000], data[100:150], data[5000:5010]]
    assert [entry[2] for entry in server.counts.log] == ["bytes=0-999", "bytes=5000-5009"]


def test_neither_a_hit_nor_a_sleeping_retry_takes_a_permit(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one = gate(limits=Limits(1, 1), retry=Retry(base=30, longest=30, deadline=100))
    href = server.url("a.bin")
    one.get_range(href, start=0, length=9)
    server.behaviour.flaky = 1.0

    async def ask() -> None:
        sleeper = asyncio.create_task(one.get_range_async(href, start=1_000_000, length=9))
        while not one.stats().origins[0].throttled:
            await asyncio.sleep(0.01)
        server.behaviour.flaky = 0.0
        async with asyncio.timeout(3):  # the only permit is free
            assert await one.get_range_async(href, start=2_000_000, length=9) == data[2000000:][:9]
        server.behaviour.latency = 5
        slow = asyncio.create_task(one.get_range_async(href, start=3_000_000, length=9))
        while not server.counts.in_flight:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(1):  # the only permit is taken
            assert await one.get_range_async(href, start=0, length=9) == data[:9]
        for task in (sleeper, slow):
            task.cancel()

    asyncio.run(ask())


def test_memory_is_bounded_and_the_least_used_goes_first(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(cache=CacheSettings(memory=100_000)), server.url("a.bin")
    for number in range(40):
        start = number * 100_000
        assert one.get_range(href, start=start, length=9_000) == data[start : start + 9_000]
        assert one.get_range(href, start=0, length=9_000) == data[:9_000]  # always in use
        assert one.stats().memory_bytes <= 100_000
    assert server.counts.requests == 40
    one.get_range(href, start=39 * 100_000, length=9_000)
    assert server.counts.requests == 40
    one.get_range(href, start=100_000, length=9_000)
    assert server.counts.requests == 41


def test_the_proxy_of_the_environment(
    server: RangeServer, gate: MakeGate, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "direct.invalid")
    href = "http://somewhere.invalid/a.bin"
    assert gate().get_range(href, start=0, length=9) == data[:9]
    assert server.counts.targets[0] == href  # asked of the proxy, in full
    with pytest.raises(UnreachableError):
        gate().get_range("http://direct.invalid/a.bin", start=0, length=9)
    assert server.counts.requests == 1


def test_objects_in_memory(gate: MakeGate, data: bytes) -> None:
    made = MemoryTransport()
    made.objects["memory://made/x"] = data
    one = gate(transports={"memory": made})
    assert one.get_ranges("memory://made/x", starts=[5, 70_000], lengths=[9, 9]) == [
        data[5:14],
        data[70_000:70_009],
    ]
    made.objects["memory://made/x"] = data[::-1]
    with pytest.raises(SourceChanged):
        one.get_range("memory://made/x", start=1_000_000, length=9)


def test_a_changed_version_is_never_mixed(server: RangeServer, gate: MakeGate, data: bytes) -> None:
    one, href = gate(), server.url("a.bin")
    one.get_range(href, start=0, length=100)
    old = one.meta(href)
    server.behaviour.etag = "v2"
    server.objects["a.bin"] = data[::-1]
    with pytest.raises(SourceChanged) as caught:
        one.get_ranges(href, starts=[0, 1000_000], lengths=[100, 100])
    assert href in str(caught.value)
    # the next read sees the new version only
    assert one.get_ranges(href, starts=[0, 500], lengths=[9, 9]) == [
        data[::-1][:9],
        data[::-1][500:509],
    ]
    # a reader that holds a header of the old one is told, without a request
    asked = server.counts.requests
    with pytest.raises(SourceChanged):
        one.get_range(href, start=0, length=9, expect=old)
    assert server.counts.requests == asked


def test_no_failure_is_cached(server: RangeServer, gate: MakeGate) -> None:
    one, href = gate(), server.url("late.bin")
    with pytest.raises(MissingError):
        one.get_range(href, start=0, length=4)
    server.objects["late.bin"] = b"here"
    assert one.get_range(href, start=0, length=4) == b"here"


def test_headers_kept_with_the_catalog_spare_the_round_trip(
    server: RangeServer, gate: MakeGate, data: bytes, tmp_path: Path
) -> None:
    href = server.url("a.bin")
    first = gate()
    head = bytes(first.get_range(href, start=0, length=16384))
    path = tmp_path / "headers.parquet"
    store(path, [Header(href, first.meta(href), head)])  # type: ignore[arg-type]
    server.reset()
    cold = gate()
    cold.preload(load(path))
    assert cold.get_range(href, start=0, length=4096) == data[:4096]
    assert server.counts.requests == 0
    assert cold.get_range(href, start=100_000, length=10) == data[100_000:100_010]
    assert server.counts.requests == 1
    stale = gate()
    stale.preload(load(path))
    server.behaviour.etag = "v2"
    assert stale.get_range(href, start=0, length=4096) == data[:4096]
    with pytest.raises(SourceChanged):
        stale.get_range(href, start=100_000, length=10)
