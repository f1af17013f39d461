"""The persistent cache: whole blocks or none, within its bound, for many processes."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mosaic.settings import CacheSettings
from mosaic.storage import Gate
from mosaic.storage.answer import Meta
from mosaic.storage.disk import DiskCache
from mosaic.storage.ranges import Span
from tests.support.range_server import RangeServer

MakeGate = Callable[..., Gate]


def held(folder: Path) -> int:
    """Bytes of all files of a cache, counted while nobody writes."""
    with (folder / "size").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "size")


def test_the_next_process_asks_nobody(
    server: RangeServer, gate: MakeGate, data: bytes, tmp_path: Path
) -> None:
    href, kept = server.url("a.bin"), CacheSettings(disk=tmp_path)
    first = gate(cache=kept)
    want = [data[0:5000], data[100_000:100_100]]
    assert first.get_ranges(href, starts=[0, 100_000], lengths=[5000, 100]) == want
    first.flush()
    server.reset()
    second = gate(cache=kept)
    assert second.get_ranges(href, starts=[0, 100_000], lengths=[5000, 100]) == want
    assert server.counts.requests == 0
    assert second.stats().origins[0].disk_hits == 2
    # what isn't there is asked for
    assert second.get_ranges(href, starts=[0, 900_000], lengths=[5000, 10]) == [
        want[0],
        data[900_000:900_010],
    ]
    assert server.counts.requests == 1


def test_an_old_entry_is_verified_before_it_is_used(
    server: RangeServer, gate: MakeGate, data: bytes, tmp_path: Path
) -> None:
    href = server.url("a.bin")
    first = gate(cache=CacheSettings(disk=tmp_path))
    first.get_ranges(href, starts=[0, 500_000], lengths=[100, 100])
    first.flush()
    server.reset()
    doubtful = CacheSettings(disk=tmp_path, trust=0)
    second = gate(cache=doubtful)
    got = second.get_ranges(href, starts=[0, 500_000], lengths=[100, 100])
    assert got == [data[:100], data[500_000:500_100]]
    assert server.counts.statuses == {304: 1}
    second.flush()
    server.behaviour.etag = "v2"
    server.objects["a.bin"] = data[::-1]
    third = gate(cache=doubtful)
    got = third.get_ranges(href, starts=[0, 500_000], lengths=[100, 100])
    assert got == [data[::-1][:100], data[::-1][500_000:500_100]]


def test_a_gate_that_forgets_all_asks_again(
    server: RangeServer, gate: MakeGate, data: bytes, tmp_path: Path
) -> None:
    href, one = server.url("a.bin"), gate(cache=CacheSettings(disk=tmp_path))
    assert one.get_range(href, start=0, length=100) == data[:100]
    one.flush()
    server.reset()
    one.forget_all()
    assert one.get_range(href, start=0, length=100) == data[:100]
    assert server.counts.statuses == {304: 1}  # the block is that of the version on disk
    server.objects["a.bin"], server.behaviour.etag = data[::-1], "v2"
    one.forget_all()
    assert one.get_range(href, start=0, length=100) == data[:-101:-1]


def test_a_torn_block_is_no_block(tmp_path: Path) -> None:
    cache, span = DiskCache(tmp_path, 1 << 20), Span(0, 1000)
    body = memoryview(os.urandom(1000))
    for damage in (
        lambda raw: raw[:-1],
        lambda raw: raw[:10],
        lambda raw: b"",
        lambda raw: raw[:500] + bytes([raw[500] ^ 1]) + raw[501:],
        lambda raw: raw + b"x",
    ):
        cache.put("k", "v", span, body)
        assert cache.get("k", "v", span) == body
        path = cache._path("k", "v", span)
        path.write_bytes(damage(path.read_bytes()))
        assert cache.get("k", "v", span) is None
        assert not path.exists()


def test_versions_and_ranges_are_apart(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    cache.put("k", "v1", Span(0, 3), memoryview(b"one"))
    cache.put("k", "v2", Span(0, 3), memoryview(b"two"))
    assert cache.get("k", "v1", Span(0, 3)) == b"one"
    assert cache.get("k", "v2", Span(0, 3)) == b"two"
    assert cache.get("k", "v1", Span(0, 2)) is None
    assert cache.get("other", "v1", Span(0, 3)) is None
    cache.put_meta("k", Meta(9, '"e"', "then"), 5.0)
    assert cache.meta("k") == (Meta(9, '"e"', "then"), 5.0)
    cache._meta_path("k").write_bytes(b'{"size": 9, "et')
    assert cache.meta("k") is None


def test_the_bound_holds_and_the_least_used_goes_first(tmp_path: Path) -> None:
    bound = 100_000
    cache = DiskCache(tmp_path, bound)
    for number in range(60):
        cache.put("k", "v", Span(number, number + 5000), memoryview(bytes(5000)))
        path = cache._path("k", "v", Span(number, number + 5000))
        os.utime(path, (number, number))  # the order of use, without waiting
        if number == 10:
            os.utime(cache._path("k", "v", Span(3, 5003)))  # used again, just now
        assert held(tmp_path) <= bound
    assert cache.get("k", "v", Span(3, 5003)) is not None
    assert cache.get("k", "v", Span(4, 5004)) is None
    assert cache.get("k", "v", Span(59, 5059)) is not None


WRITER = """
    import os, sys
    from pathlib import Path
    from mosaic.storage.disk import DiskCache
    from mosaic.storage.ranges import Span
    cache = DiskCache(Path(sys.argv[1]), int(sys.argv[2]))
    print("go", flush=True)
    number = int(sys.argv[3])
    while True:
        number += 2
        data = number.to_bytes(8, "little") * 2500
        cache.put("k", "v", Span(number, number + 20000), memoryview(data))
"""


def writers(folder: Path, bound: int) -> list[subprocess.Popen[bytes]]:
    made = []
    for first in (0, 1):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(bound)]
        made.append(subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE))
    for one in made:
        assert one.stdout is not None
        one.stdout.readline()
    return made


def test_kill_9_of_writers_leaves_whole_blocks_within_the_bound(tmp_path: Path) -> None:
    bound, seen = 2_000_000, 0
    for _ in range(3):
        running = writers(tmp_path, bound)
        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            assert held(tmp_path) <= bound
        for one in running:
            one.send_signal(signal.SIGKILL)
            one.wait()
        assert held(tmp_path) <= bound
        cache = DiskCache(tmp_path, bound)
        assert not list(tmp_path.rglob("*.part"))
        assert cache.size == held(tmp_path)
        for number in range(60_000):
            span = Span(number, number + 20000)
            if cache._path("k", "v", span).exists():
                got = cache.get("k", "v", span)
                assert got == number.to_bytes(8, "little") * 2500
                seen += 1
    assert seen > 50


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, or where that isn't allowed a process limit instead."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(gate: MakeGate, server: RangeServer, data: bytes, folder: Path) -> None:
    one = gate(cache=CacheSettings(memory=0, disk=folder))
    for start in range(0, 2_000_000, 100_000):
        got = one.get_range(server.url("a.bin"), start=start, length=90_000)
        assert got == data[start : start + 90_000]
        one.flush()
    assert one.get_range(server.url("a.bin"), start=0, length=90_000) == data[:90_000]


def test_a_full_disk_costs_one_warning(
    server: RangeServer,
    gate: MakeGate,
    data: bytes,
    small_disk: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "mosaic.storage"):
        full_disk(gate, server, data, small_disk / "cache")
    (record,) = [r for r in caplog.records if r.name == "mosaic.storage"]
    assert "No space left" in record.getMessage()
    assert "MOSAIC_CACHE_DIR" in record.getMessage()


def test_a_write_that_fails_costs_one_warning(server: RangeServer, tmp_path: Path) -> None:
    # a real failure of write(2) that needs no root: no file of this process may exceed 50 kB
    script = """
        import resource, signal, sys
        from pathlib import Path
        from mosaic.settings import CacheSettings
        from mosaic.storage import Gate
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        gate = Gate(cache=CacheSettings(memory=0, disk=Path(sys.argv[1])))
        for start in range(0, 1_000_000, 100_000):
            assert len(gate.get_range(sys.argv[2], start=start, length=90_000)) == 90_000
            gate.flush()
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), server.url("a.bin")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stderr.count("going on without") == 1, ran.stderr
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_can_not_be_made_costs_one_warning(
    server: RangeServer,
    gate: MakeGate,
    data: bytes,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_bytes(b"")
    full_disk(gate, server, data, tmp_path / "file" / "cache")
    assert sum(r.name == "mosaic.storage" for r in caplog.records) == 1
