"""What a read asks of storage, and what it does when storage, files or items are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import mosaic
from mosaic import bridge
from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import open_mosaic
from mosaic.engine.plan import Plan
from mosaic.engine.reading import chosen, requested, target_of
from mosaic.engine.survey import survey
from mosaic.errors import (
    MissingError,
    ReadError,
    SourceChanged,
    SourceMismatchError,
    TiffBlockError,
    TiffError,
)
from mosaic.settings import Limits, Retry
from mosaic.storage import Gate
from tests.engine.support import open_tiff
from tests.support.range_server import RangeServer, travelled
from tests.support.scenes import Scene, seam_scenes, write_scenes

SIZE, RES = 1024, 20.0
PLACE = (11.95, 47.45, 12.05, 47.55)


@dataclass
class Remote:
    """A mosaic whose scenes lie behind a server."""

    server: RangeServer
    folder: Path
    scenes: Path


Serve = Callable[..., Remote]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Scenes of one date, without a gap, and of two, the newer with gaps."""
    found = {}
    for dates in (1, 2):
        folder = tmp_path_factory.mktemp(f"dates{dates}")
        write_scenes(folder, seam_scenes(SIZE, RES, ("B04",), dates=dates))
        found[dates] = folder
    return found


@pytest.fixture
def serve(sets: dict[int, Path], tmp_path: Path) -> Iterator[Serve]:
    servers: list[RangeServer] = []

    def start(
        dates: int = 1,
        change: Callable[[dict[str, Any]], None] = lambda item: None,
        **options: Any,
    ) -> Remote:
        folder = sets[dates]
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.tif")}
        server = RangeServer(files)
        server.__enter__()
        servers.append(server)
        document = orjson.loads((folder / "items.json").read_bytes())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = server.url(asset["href"].removeprefix("./"))
            change(item)
        given = tmp_path / f"items{len(servers)}.json"
        given.write_bytes(orjson.dumps(document))
        out = tmp_path / f"m{len(servers)}"
        mosaic.build(given, out, dst_crs="EPSG:3035", **options)
        assert server.counts.requests == 0
        return Remote(server, out, folder)

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def gate(**more: Any) -> Gate:
    return Gate(limits=Limits(concurrency=16, start=16), retry=Retry(base=0.01), **more)


def planned(folder: Path, own: Gate, **told: Any) -> Plan:
    opened = open_mosaic(Folder.at(folder, own))
    target = target_of(
        opened, told.get("bbox"), told.get("geobox"), told.get("crs"), told.get("resolution")
    )
    request, *_ = requested(
        opened, target, chosen(opened, None), None, told.get("resampling"), False
    )
    return bridge.run(survey(request, own))


WINDOWS: list[dict[str, Any]] = [
    {"bbox": PLACE},
    {"bbox": (11.99, 47.50, 11.995, 47.503)},
    {"bbox": PLACE, "resolution": 80},
    {},
    {"bbox": PLACE, "resampling": "cubic"},
]


@pytest.mark.parametrize("told", WINDOWS, ids=str)
def test_requests_and_bytes_are_the_plans(serve: Serve, told: dict[str, Any]) -> None:
    remote = serve()
    plan = planned(remote.folder, gate(), **told)
    before = remote.server.reset()
    assert before.requests == plan.most.files  # a header each: the plan decodes nothing
    got = mosaic.read(remote.folder, gate=gate(), **told)
    counts = remote.server.counts
    assert got.valid.any()
    assert (counts.requests, counts.heads) == (plan.least.requests, 0)
    assert travelled(remote.server) == plan.least.bytes
    assert plan.waste >= 0.99
    assert f"requests {plan.least.requests:,}" in str(plan)


def test_holes_take_between_least_and_most(serve: Serve) -> None:
    remote = serve(dates=2)
    plan = planned(remote.folder, gate(), bbox=PLACE)
    assert not plan.exact
    remote.server.reset()
    got = mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    assert got.tally.waves > 1
    assert plan.least.requests < remote.server.counts.requests <= plan.most.requests
    assert plan.least.bytes < travelled(remote.server) <= plan.most.bytes
    assert plan.items[0] <= plan.items[1] == 8


def test_a_quota_sets_a_least_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = serve()
    monkeypatch.setenv("MOSAIC_REQUESTS_PER_MINUTE", "60")
    plan = planned(remote.folder, Gate(), bbox=PLACE)
    assert plan.seconds == pytest.approx(plan.least.requests)
    assert "at least" in str(plan)
    slow = Gate(limits={"127.0.0.1": Limits(requests_per_minute=30)})  # a gate's own come first
    plan = planned(remote.folder, slow, bbox=PLACE)
    assert plan.seconds == pytest.approx(2 * plan.least.requests)


def test_what_a_higher_scene_hides_isnt_fetched(serve: Serve) -> None:
    """Inside one scene of many dates only the topmost is asked for; a gap brings one more."""
    remote = serve(dates=2)
    inside = {"bbox": (11.90, 47.53, 11.905, 47.533)}
    got = mosaic.read(remote.folder, gate=gate(), **inside)
    assert got.valid.all()
    asked = {path for _, path, _, _ in remote.server.counts.log}
    assert len(asked) == 1
    assert "_1/" in asked.pop()


def test_an_overlapping_read_asks_for_what_is_new_only(serve: Serve) -> None:
    remote = serve()
    own = gate()
    first = mosaic.read(remote.folder, bbox=PLACE, gate=own)
    remote.server.reset()
    again = mosaic.read(remote.folder, bbox=PLACE, gate=own)
    assert remote.server.counts.requests == 0
    np.testing.assert_array_equal(first.values, again.values)
    wider = (PLACE[0], PLACE[1], PLACE[2] + 0.15, PLACE[3])
    mosaic.read(remote.folder, bbox=wider, gate=own)
    fresh = remote.server.reset().requests
    mosaic.read(remote.folder, bbox=wider, gate=gate())
    assert 0 < fresh < remote.server.counts.requests / 1.5


@pytest.mark.parametrize(
    "fault",
    [{"flaky": 0.3}, {"truncated": 0.3}, {"resets": 0.2}, {"most": 4}, {"latency": 0.02}],
    ids=str,
)
def test_faults_that_pass_change_no_pixel(serve: Serve, fault: dict[str, float]) -> None:
    remote = serve(dates=2)
    want = mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    for name, value in fault.items():
        setattr(remote.server.behaviour, name, value)
    got = mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(got.valid, want.valid)
    assert got.covered.all()


def test_local_and_remote_are_one(serve: Serve, sets: dict[int, Path], tmp_path: Path) -> None:
    remote = serve(dates=2)
    mosaic.build(sets[2] / "items.json", tmp_path / "local", dst_crs="EPSG:3035")
    for told in WINDOWS:
        here = mosaic.read(tmp_path / "local", gate=Gate(), **told)
        there = mosaic.read(remote.folder, gate=gate(), **told)
        np.testing.assert_array_equal(here.values, there.values)
        np.testing.assert_array_equal(here.valid, there.valid)


def test_a_missing_asset(serve: Serve) -> None:
    remote = serve()
    want = mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    name = "S2_32_0_0/B04.tif"
    del remote.server.objects[name]
    with pytest.raises(
        ReadError, match=r"item S2_32_0_0 asset B04 \(http.*S2_32_0_0/B04.tif\)"
    ) as e:
        mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    assert isinstance(e.value.__cause__, MissingError)
    got = mosaic.read(remote.folder, bbox=PLACE, gate=gate(), errors="ignore")
    assert [p.item for p in got.problems] == ["S2_32_0_0"]
    assert not got.covered.all()
    # nothing that is covered differs, and what differs isn't covered
    same = (got.values == want.values) & (got.valid == want.valid)
    assert same[got.covered].all()
    assert (~same).any()
    assert got.covered.mean() > 0.5


@pytest.mark.parametrize(
    ("kind", "method"), [("garbage", "nearest"), ("zeros", "nearest"), ("zeros", "lanczos")]
)
def test_a_corrupt_block(serve: Serve, kind: str, method: str) -> None:
    """Also what a filter makes of pixels beside the lost ones isn't covered."""
    remote = serve(resampling=method)
    want = mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    name = "S2_33_0_0/B04.tif"
    tiff, data = open_tiff(remote.scenes / name)
    where = tiff.image.locate(*np.meshgrid([1, 2], [0, 1]))
    spoilt = bytearray(data)
    for span in where.spans():  # type: ignore[union-attr]
        assert span is not None
        size = span.stop - span.start
        fill = np.random.default_rng(0).bytes(size) if kind == "garbage" else bytes(size)
        spoilt[span.start : span.stop] = fill
    remote.server.objects[name] = bytes(spoilt)
    with pytest.raises(ReadError, match=r"item S2_33_0_0 asset B04 .*block \(\d, \d\)") as e:
        mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    assert isinstance(e.value.__cause__, TiffBlockError)
    got = mosaic.read(remote.folder, bbox=PLACE, gate=gate(), errors="ignore")
    assert {p.item for p in got.problems} == {"S2_33_0_0"}
    same = (got.values == want.values) & (got.valid == want.valid)
    assert same[got.covered].all()
    assert (~same).any()
    assert 0.5 < got.covered.mean() < 1


@pytest.mark.parametrize("method", ["bilinear", "cubic", "lanczos", "average"])
def test_what_lies_beside_a_lost_block(serve: Serve, method: str) -> None:
    """One block is lost, and pieces end a fraction of a pixel before it: no filter reaches in."""
    remote = serve()
    name = "S2_33_0_0/B04.tif"
    tiff, data = open_tiff(remote.scenes / name)
    (span,) = tiff.image.locate([2], [1]).spans()  # type: ignore[union-attr]
    assert span is not None
    a, _, c, _, e, f = tiff.geo.transform or ()
    rows, columns = tiff.image.block
    # the last column of a piece of 128 pixels lies beside the block's first
    own = Affine(a, 0, c + a * columns, 0, e, f + e * 2 * rows)
    for off in (0.3, 0.5, 0.7):
        place = own @ Affine.translation(-128 + off, -128 + off)
        box = GeoBox((256, 256), place, "EPSG:32633")
        told: dict[str, Any] = {"geobox": box, "resampling": method}
        remote.server.objects[name] = data
        want = mosaic.read(remote.folder, gate=gate(), **told)
        remote.server.objects[name] = data[: span.start] + bytes(64) + data[span.start + 64 :]
        got = mosaic.read(remote.folder, gate=gate(), errors="ignore", **told)
        assert got.problems
        same = (got.values == want.values) & (got.valid == want.valid)
        assert same[got.covered].all()
        assert (~same).any()
        assert got.covered.any()


def test_blocks_at_hand_are_drawn_when_the_rest_is_lost(serve: Serve) -> None:
    """A window that was read before, and now a larger one, from a server that fails meanwhile."""
    remote = serve()
    want = mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    west, south, east, north = PLACE
    box = (west, south, (west + east) / 2, (south + north) / 2)
    same_gate = Gate(limits=Limits(concurrency=16), retry=Retry(attempts=1))
    before = mosaic.read(remote.folder, bbox=box, gate=same_gate)
    remote.server.behaviour.status = 500
    got = mosaic.read(remote.folder, bbox=PLACE, gate=same_gate, errors="ignore")
    assert got.problems
    assert 0 < got.covered.mean() < 1
    same = (got.values == want.values) & (got.valid == want.valid)
    assert same[got.covered].all()
    left, top = (round(v) for v in ~want.geobox.affine @ tuple(before.geobox.affine @ (0, 0)))
    height, width = before.geobox.shape
    inner = np.s_[top + 8 : top + height - 8, left + 8 : left + width - 8]
    assert got.covered[..., inner[0], inner[1]].mean() > 0.9


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_a_file_of_other_numbers(serve: Serve, dtype: str) -> None:
    """Items that call 16-bit numbers 8-bit ones, or signed: no number is cut without a word."""

    def called(item: dict[str, Any]) -> None:
        for asset in item["assets"].values():
            asset["raster:bands"] = [{"data_type": dtype, "nodata": 0}]

    remote = serve(change=called)
    with pytest.raises(SourceMismatchError, match=rf"B04 .*are uint16, its item says {dtype}"):
        mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    got = mosaic.read(remote.folder, bbox=PLACE, gate=gate(), errors="ignore")
    assert {problem.kind for problem in got.problems} == {"mismatch"}
    assert not got.valid.any()
    assert not got.covered.all()


def test_a_truncated_file(serve: Serve) -> None:
    remote = serve()
    name = "S2_33_0_0/B04.tif"
    data = remote.server.objects[name]
    remote.server.objects[name] = data[: len(data) // 2]
    with pytest.raises(ReadError, match="S2_33_0_0") as e:
        mosaic.read(remote.folder, bbox=PLACE, gate=gate())
    assert isinstance(e.value.__cause__, TiffError)


def test_a_file_that_changes_between_two_reads(serve: Serve) -> None:
    remote = serve()
    own = gate()
    mosaic.read(remote.folder, bbox=(11.99, 47.50, 11.995, 47.503), gate=own)
    remote.server.behaviour.etag = "v2"
    with pytest.raises(ReadError, match="changed while it was read") as e:
        mosaic.read(remote.folder, bbox=PLACE, gate=own)
    assert isinstance(e.value.__cause__, SourceChanged)


@pytest.mark.parametrize("shift", [0.4, 0.75, 5.0])
def test_a_file_that_lies_elsewhere(serve: Serve, shift: float) -> None:
    """Up to half a pixel the file is believed; beyond it nobody is."""

    def moved(item: dict[str, Any]) -> None:
        if item["id"] == "S2_33_0_0":
            for asset in item["assets"].values():
                asset["proj:transform"][2] += shift * RES

    right, off = serve(), serve(change=moved)
    box = GeoBox((500, 500), right_place(right.folder), "EPSG:3035")
    if shift < 0.5:
        want = mosaic.read(right.folder, geobox=box, gate=gate())
        got = mosaic.read(off.folder, geobox=box, gate=gate())
        both = want.valid & got.valid
        assert both.mean() > 0.9
        assert (want.values == got.values)[both].mean() > 0.999
        return
    with pytest.raises(SourceMismatchError, match=r"item S2_33_0_0 .*pixels from where") as e:
        mosaic.read(off.folder, geobox=box, gate=gate())
    assert f"{shift:g} pixels" in str(e.value)
    got = mosaic.read(off.folder, geobox=box, gate=gate(), errors="ignore")
    assert [p.kind for p in got.problems] == ["mismatch"]
    assert not got.covered.all()


def right_place(folder: Path) -> Any:
    found = mosaic.read(folder, bbox=PLACE, gate=gate())
    return found.geobox.affine


def test_a_file_of_another_shape(serve: Serve) -> None:
    remote = serve()
    small = Scene("x", "EPSG:32633", seam_scenes(SIZE, RES, ("B04",))[2].transform, (64, 64))
    folder = remote.folder.parent / "small"
    write_scenes(folder, [small])
    data = next(folder.rglob("*.tif")).read_bytes()
    remote.server.objects["S2_33_0_0/B04.tif"] = data
    with pytest.raises(SourceMismatchError, match="64 x 64 pixels, its item says 1024 x 1024"):
        mosaic.read(remote.folder, bbox=PLACE, gate=gate())


_MEASURED = """
import json, sys, resource, numpy as np, mosaic
from mosaic.storage import CacheSettings, Gate
def rss():
    return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) << 10
folder = sys.argv[1]
cache = 16 << 20
gate = Gate(cache=CacheSettings(memory=cache))
mosaic.read(folder, bbox=(11.99, 47.50, 11.995, 47.503), gate=gate)
before = rss()
got = mosaic.read(folder, resolution=float(sys.argv[2]), gate=gate)
result = got.values.nbytes + got.valid.nbytes + got.covered.nbytes
json.dump({"rss": rss() - before, "values": got.values.nbytes, "result": result, "cache": cache,
           "peak": got.tally.peak, "blocks": got.tally.blocks}, sys.stdout)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A result of 64 MB and more out of far more blocks, in a process of its own."""
    scenes = seam_scenes(3072, 20.0, ("B04",), dates=1)
    mosaic.build(write_scenes(tmp_path / "s", scenes), tmp_path / "m", dst_crs="EPSG:3035")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(tmp_path / "m"), "18"],
        capture_output=True,
        check=True,
        text=True,
    )
    found = json.loads(done.stdout)
    print(found)
    assert found["values"] >= 64e6
    assert found["rss"] <= 3 * found["values"] + found["cache"] + (64 << 20)
    assert found["peak"] <= max(96 << 20, 1.1 * found["values"])
