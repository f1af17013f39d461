"""Servers that refuse, break and lie: the bytes are right, or the error is of its own type."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mosaic.errors import (
    AccessError,
    BodyError,
    ContentEncodingError,
    ContentRangeError,
    DeadlineError,
    MissingError,
    NoRangesError,
    OutOfRangeError,
    ProtocolError,
    RedirectError,
    ServerError,
    StorageError,
    ThrottledError,
    UnknownSchemeError,
    UnreachableError,
)
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate
from tests.storage.conftest import QUICK
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]
FEW = Retry(attempts=3, base=0.01, longest=0.05, deadline=10, attempt=3, connect=1, stall=0.3)


def job(gate: Gate, href: str, data: bytes, count: int, *, size: int = 512) -> int:
    """Read ``count`` ranges from 32 threads; how many of them were right."""
    starts = random.Random(2).sample(range(len(data) - size), count)

    def one(start: int) -> bool:
        return gate.get_range(href, start=start, length=size) == data[start : start + size]

    with ThreadPoolExecutor(32) as pool:
        return sum(pool.map(one, starts))


@pytest.mark.parametrize(
    "faults",
    [
        {"flaky": 0.2},
        {"resets": 0.2},
        {"truncated": 0.2},
        {"stalls": 0.2},
        {"flaky": 0.06, "resets": 0.06, "truncated": 0.06, "stalls": 0.03},
    ],
    ids=lambda faults: "+".join(faults),
)
def test_one_fault_in_five_and_all_bytes_right(
    server: RangeServer, gate: MakeGate, data: bytes, faults: dict[str, float]
) -> None:
    one = gate(retry=Retry(attempts=20, base=0.01, longest=0.2, deadline=60, stall=0.3))
    vars(server.behaviour).update(faults, latency=0.002)
    assert job(one, server.url("a.bin"), data, 300) == 300
    assert sum(n for status, n in server.counts.statuses.items() if status != 206) >= 30


REFUSALS = [
    (401, AccessError, 1),
    (403, AccessError, 1),
    (404, MissingError, 1),
    (410, MissingError, 1),
    (416, OutOfRangeError, 1),
    (400, ServerError, 1),
    (429, ThrottledError, 3),
    (500, ServerError, 3),
    (502, ServerError, 3),
    (503, ThrottledError, 3),
    (204, ProtocolError, 1),
]


@pytest.mark.parametrize(("status", "kind", "attempts"), REFUSALS)
def test_each_status_has_its_error(
    server: RangeServer, gate: MakeGate, status: int, kind: type[StorageError], attempts: int
) -> None:
    server.behaviour.status = status
    href = server.url("a.bin")
    with pytest.raises(kind) as caught:
        gate(retry=FEW).get_range(f"{href}?sig=SECRET", start=0, length=9)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.attempts) == (status, attempts)
    assert server.counts.requests == attempts
    assert href in str(error)
    assert f"status {status}" in str(error)
    assert "SECRET" not in repr(error) + str(error)


@pytest.mark.parametrize("lie", ["shifted", "longer", "none", "garbage", "size", "shorter"])
def test_a_lying_content_range_is_found_out(server: RangeServer, gate: MakeGate, lie: str) -> None:
    server.behaviour.lie = lie
    with pytest.raises(ContentRangeError):
        gate().get_range(server.url("a.bin"), start=10, length=100)


def test_a_length_against_its_content_range(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.lie = "length"
    with pytest.raises(ContentRangeError):
        gate().get_range(server.url("a.bin"), start=10, length=100)


def test_an_endless_body_is_cut(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.endless = True
    with pytest.raises(BodyError):
        gate().get_range(server.url("a.bin"), start=0, length=1000)
    server.behaviour.ranges = False
    with pytest.raises(NoRangesError):
        gate(cache=CacheSettings(whole=1 << 20)).get_range(server.url("a.bin"), start=0, length=9)


def test_a_body_that_ends_early_every_time(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.truncated = 1
    with pytest.raises(BodyError) as caught:
        gate(retry=FEW).get_range(server.url("a.bin"), start=0, length=1000)
    assert caught.value.attempts == 3


def test_bytes_encoded_on_the_way(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.encoding = "gzip"
    with pytest.raises(ContentEncodingError):
        gate().get_range(server.url("a.bin"), start=0, length=1000)


@pytest.mark.parametrize("announce", [True, False])
def test_a_server_without_ranges_is_read_once(
    server: RangeServer, gate: MakeGate, data: bytes, announce: bool
) -> None:
    server.behaviour.ranges = False
    server.behaviour.announce = announce
    one, href = gate(), server.url("a.bin")
    assert one.get_range(href, start=1000, length=10) == data[1000:1010]
    assert one.get_range(href, start=3_000_000, length=10) == data[3_000_000:3_000_010]
    assert server.counts.requests == 1
    meta = one.meta(href)
    assert meta is not None
    assert meta.size == len(data)


def test_many_readers_of_a_server_without_ranges_share_one_body(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    server.behaviour.ranges = False
    server.behaviour.latency = 0.1
    assert job(gate(), server.url("a.bin"), data, 32) == 32
    # those that asked before it was known are answered 200 too, but their bodies are not read
    assert server.counts.requests <= 32


def test_a_whole_body_that_ends_early_is_read_again(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    server.behaviour.ranges, server.behaviour.truncated = False, 0.6
    one = gate(cache=CacheSettings(memory=0))
    for start in range(0, 1000, 100):
        assert one.get_range(server.url("a.bin"), start=start, length=9) == data[start : start + 9]


def test_too_large_to_be_read_whole(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.ranges = False
    one = gate(cache=CacheSettings(whole=1 << 20))
    with pytest.raises(NoRangesError) as caught:
        one.get_range(server.url("a.bin"), start=0, length=10)
    assert "CacheSettings.whole" in str(caught.value)


def test_redirects_are_followed_but_not_for_ever(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    with RangeServer({}, redirect=server.url("a.bin")) as first:
        assert gate().get_range(first.url("x"), start=7, length=9) == data[7:16]
        first.behaviour.redirect = "self"
        with pytest.raises(RedirectError):
            gate().get_range(first.url("x"), start=7, length=9)
        first.behaviour.redirect = first.url("x") + "/{path}"
        with pytest.raises(RedirectError):
            gate().get_range(first.url("x"), start=7, length=9)
        for target in ("file:///etc/passwd", "http://", "gopher://x/", "http://[x/"):
            first.behaviour.redirect = target
            with pytest.raises(RedirectError):
                gate().get_range(first.url("x"), start=7, length=9)


@pytest.mark.parametrize(
    ("href", "kind"),
    [
        ("ftp://example.org/x", UnknownSchemeError),
        ("javascript://x", UnknownSchemeError),
        ("http:///x", UnreachableError),
        ("http://[::1/x", UnreachableError),
        ("http://ex ample/x", UnreachableError),
        ("http://127.0.0.1:99999/x", UnreachableError),
        ("https://no-such-host.invalid/x", UnreachableError),
        ("s3://bucket", UnreachableError),
        ("/no/such/file", MissingError),
        ("memory://nothing", MissingError),
    ],
)
def test_bad_hrefs(gate: MakeGate, href: str, kind: type[StorageError]) -> None:
    started = time.monotonic()
    with pytest.raises(kind):
        gate().get_range(href, start=0, length=1)
    assert time.monotonic() - started < 5


def test_files(gate: MakeGate, tmp_path, data: bytes) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "with space é.bin"
    path.write_bytes(data)
    one = gate()
    assert one.get_range(str(path), start=5, length=9) == data[5:14]
    assert one.get_range(path.as_uri(), start=50, length=9) == data[50:59]
    with pytest.raises(UnreachableError, match="not a regular file"):
        one.get_range(str(tmp_path), start=0, length=1)
    with pytest.raises(OutOfRangeError):
        one.get_range(str(path), start=len(data), length=1)


def test_the_deadline_ends_a_slow_drain(server: RangeServer, gate: MakeGate) -> None:
    server.behaviour.drip = 0.05
    patience = Retry(deadline=0.5, attempt=10, stall=5, base=0.01)
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        gate(retry=patience).get_range(server.url("a.bin"), start=0, length=1000)
    assert time.monotonic() - started < 2


@pytest.fixture
def dead_port() -> Iterator[int]:
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        yield bound.getsockname()[1]


def test_a_dead_origin_fails_fast(gate: MakeGate, dead_port: int) -> None:
    budget = 20
    one = gate(retry=Retry(budget=budget, base=0.01, longest=0.1))
    href = f"http://127.0.0.1:{dead_port}/x"

    def ask(start: int) -> str:
        with pytest.raises(UnreachableError) as caught:
            one.get_range(href, start=start, length=1)
        return str(caught.value)

    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(ask, range(200)))
    assert time.monotonic() - started < 10
    assert any("retry budget is spent" in text for text in told)
    # one attempt each, and no more retries than the budget
    assert one.stats().requests <= 200 + budget


def test_retry_after_is_a_floor_for_the_whole_origin(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one, href = gate(limits=Limits(concurrency=8, start=8)), server.url("a.bin")
    server.behaviour.status, server.behaviour.retry_after = 0, "1"
    server.behaviour.flaky = 1.0

    def calm() -> None:
        time.sleep(0.3)
        server.behaviour.flaky = 0.0

    with ThreadPoolExecutor(20) as pool:
        pool.submit(calm)
        got = list(pool.map(lambda i: one.get_range(href, start=i * 100_000, length=9), range(16)))
    assert got == [data[i * 100_000 : i * 100_000 + 9] for i in range(16)]
    refused = [at for at, _, _, status in server.counts.log if status == 503]
    after = [at for at, _, _, status in server.counts.log if at > max(refused)]
    assert after
    assert min(after) - max(refused) >= 0.95


def test_a_pause_longer_than_the_deadline_fails_at_once(
    server: RangeServer, gate: MakeGate
) -> None:
    server.behaviour.flaky, server.behaviour.retry_after = 1.0, "100"
    one = gate(retry=QUICK)
    started = time.monotonic()
    for start in (0, 1_000_000):
        with pytest.raises(ThrottledError):
            one.get_range(server.url("a.bin"), start=start, length=9)
    assert time.monotonic() - started < 2
    assert server.counts.requests == 1
