"""What was done is counted, and shown so that it reads well."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mosaic
from mosaic.errors import CatalogError
from mosaic.storage import Gate, Header, Limits, Meta, Stats, default_gate
from mosaic.storage.headers import load, store
from mosaic.storage.metrics import size_text
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]


def test_every_counter_counts(server: RangeServer, gate: MakeGate) -> None:
    one, href = gate(), server.url("a.bin")
    assert "nothing was read" in repr(one.stats())
    one.get_ranges(href, starts=[0, 200, 1_000_000], lengths=[100, 100, 100])
    one.get_range(href, start=0, length=100)
    server.behaviour.flaky, server.behaviour.seed = 0.5, 1
    for start in range(2_000_000, 2_010_000, 1000):
        one.get_range(href, start=start, length=10)
    (row,) = one.stats().origins
    assert row.origin == href.removesuffix("/a.bin")
    assert row.provider == "default"
    assert row.requests == server.counts.requests
    assert row.throttled == row.retries == server.counts.statuses[503] > 0
    assert row.bytes == server.counts.bytes
    assert (row.hits, row.coalesced, row.joined, row.failed) == (1, 1, 0, 0)
    assert row.in_flight == 0
    assert 1 <= row.peak <= 2
    assert row.limit == row.limits[-1][1]
    assert len(row.limits) >= 2  # it was cut
    assert [at for at, _ in row.limits] == sorted(at for at, _ in row.limits)
    assert one.stats().requests == row.requests


def test_the_shown_table(server: RangeServer, gate: MakeGate) -> None:
    one = gate()
    one.get_range(server.url("a.bin"), start=0, length=3000)
    told = one.stats()
    head, row, caches = repr(told).splitlines()
    assert head.split() == [
        "origin",
        "requests",
        "bytes",
        "memory",
        "disk",
        "joined",
        "coalesced",
        "throttled",
        "retries",
        "failed",
        "now",
        "most",
        "limit",
    ]
    assert len(head) == len(row)
    assert "2.9 KiB" in row
    assert caches.startswith("cached: 3.4 KiB in memory")
    shown = told._repr_html_()
    assert shown.startswith("<table>")
    assert shown.count("<td>") == 13
    assert "<" not in shown.replace("<", "", shown.count("<"))


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_mosaic_stats_is_that_of_the_process() -> None:
    assert isinstance(mosaic.stats(), Stats)
    assert mosaic.Gate is Gate
    with pytest.raises(AttributeError):
        _ = mosaic.no_such_thing


def test_a_gate_travels_to_workers_without_what_it_read(
    server: RangeServer, gate: MakeGate, data: bytes
) -> None:
    one = gate(limits=Limits(3))
    one.get_range(server.url("a.bin"), start=0, length=9)
    script = (
        "import pickle, sys; from mosaic.storage import Limits, Stats; "
        "sent = sys.stdin.buffer.read(); one, again = pickle.loads(sent), pickle.loads(sent); "
        "assert one is again; assert one.stats() == Stats(); "
        "assert one._settings.limits == Limits(3); "
        "sys.stdout.buffer.write(one.get_range(sys.argv[1], start=0, length=9)); one.close()"
    )
    words = [sys.executable, "-c", script, server.url("a.bin")]
    ran = subprocess.run(words, input=pickle.dumps(one), capture_output=True, check=True)
    assert ran.stdout == data[:9]
    assert pickle.loads(pickle.dumps(one)) is one  # where it is already, it stays one
    assert pickle.loads(pickle.dumps(default_gate())) is default_gate()


def test_importing_mosaic_stays_light() -> None:
    script = "import sys, mosaic; print([m for m in ('aiohttp', 'pyarrow') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_script_ends_quietly(server: RangeServer) -> None:
    script = (
        "import sys; from mosaic.storage import Gate; "
        "print(len(Gate().get_range(sys.argv[1], start=0, length=9)))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, server.url("a.bin")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert (ran.stdout, ran.stderr) == ("9\n", "")


def test_headers_round_trip(tmp_path: Path) -> None:
    kept = [
        Header("https://a.b/x.tif", Meta(10, '"e"', "Mon"), b"II*\0"),
        Header("s3://b/y.tif", Meta(None, "", ""), b""),
    ]
    path = tmp_path / "headers.parquet"
    store(path, kept)
    assert list(load(path)) == kept
    path.write_bytes(b"PAR1 no")
    with pytest.raises(CatalogError):
        list(load(path))
    with pytest.raises(CatalogError):
        list(load(tmp_path / "missing"))
