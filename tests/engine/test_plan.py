"""The plan of a read, held against what a server counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy

import mosaic
from mosaic import bridge
from mosaic.cube.sources import opened
from mosaic.engine.pipeline import draw_all
from mosaic.engine.plan import Plan
from mosaic.engine.reading import chosen, requested, target_of
from mosaic.engine.scene import Request
from mosaic.engine.survey import survey
from mosaic.errors import ReadError, SourceMismatchError, UsageError
from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage import Gate
from mosaic.storage.local import MemoryTransport
from tests.support.range_server import RangeServer, travelled
from tests.support.scenes import seam_scenes, write_scenes

Json = dict[str, Any]
PLACE = (11.95, 47.45, 12.05, 47.55)
SMALL = (11.99, 47.50, 11.994, 47.502)


@dataclass
class Served:
    """Scenes behind a server, and their items."""

    server: RangeServer
    items: list[Json]


def served(folder: Path, items: list[Json]) -> Served:
    server = RangeServer(
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.tif")}
    )
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = server.url(asset["href"].removeprefix("./"))
    return Served(server, items)


@pytest.fixture(scope="module")
def seam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Four scenes of one date without a gap, two bands."""
    folder = tmp_path_factory.mktemp("plan")
    scenes = seam_scenes(1024, 20.0, ("B03", "B04"), dates=1)
    path = write_scenes(folder, [replace(scene, nodata=None) for scene in scenes])
    found = served(folder, orjson.loads(path.read_bytes())["features"])
    with found.server:
        yield found


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three bands of one file, pixel by pixel and band by band, on four dates."""
    folder = tmp_path_factory.mktemp("stacked")
    items = []
    for number in range(4):
        (scene,) = seam_scenes(512, 20.0, ("B04",), dates=1)[:1]
        scene = replace(scene, id=f"s{number}", datetime=f"2025-06-0{number + 1}T10:00:00Z")
        (item,) = orjson.loads(write_scenes(folder, [scene]).read_bytes())["features"]
        path = folder / scene.id / "B04.tif"
        with rasterio.open(path) as one:
            profile = one.profile | {"driver": "GTiff", "count": 3}
            pixels = np.stack([one.read(1) + shift for shift in (0, 7, 99)])
        with rasterio.MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(pixels)
            with memory.open() as dataset:
                if number % 2 == 0:
                    copy(dataset, path, driver="COG", BLOCKSIZE="128")
                else:
                    tiled = {"TILED": True, "BLOCKXSIZE": 128, "BLOCKYSIZE": 128}
                    copy(dataset, path, driver="GTiff", INTERLEAVE="BAND", **tiled)
        names = ("blue", "green", "red")
        item["assets"]["B04"]["raster:bands"] *= 3
        item["assets"]["B04"]["eo:bands"] = [{"name": name} for name in names]
        items.append(item)
    found = served(folder, items)
    with found.server:
        yield found


def gate(**more: Any) -> Gate:
    return Gate(limits=Limits(concurrency=16, start=16), retry=Retry(base=0.01), **more)


WINDOWS: list[Json] = [
    {"bbox": PLACE, "crs": "EPSG:3035", "resolution": 20},
    {"bbox": SMALL, "bands": "B04"},
    {"bbox": PLACE, "crs": "EPSG:4326", "resolution": 0.0004},
    {"bbox": PLACE, "resolution": 160},
    {"crs": "EPSG:32632", "resolution": 20, "bbox": (11.8, 47.5, 11.95, 47.6)},
    {"bbox": PLACE, "resampling": "cubic", "bands": ["B04", "B03"]},
    {"bbox": PLACE, "resampling": "average", "resolution": 50},
]


@pytest.mark.parametrize("told", WINDOWS, ids=str)
def test_a_plan_is_what_the_server_counts(seam: Served, told: Json) -> None:
    seam.server.reset()
    own = gate()
    plan = mosaic.plan(seam.items, gate=own, **told)
    assert plan.exact
    before = seam.server.reset()
    assert before.requests == plan.least.files  # a header each
    mosaic.read(seam.items, gate=own, **told)
    rest = seam.server.counts.requests, travelled(seam.server)
    assert rest == (plan.least.rest, plan.least.rest_bytes)
    seam.server.reset()
    got = mosaic.read(seam.items, gate=gate(), **told)
    assert got.valid.any()
    counts = seam.server.counts
    assert (counts.requests, travelled(seam.server)) == (plan.least.requests, plan.least.bytes)
    assert counts.heads == before.heads == 0
    assert got.tally.blocks == plan.least.blocks
    assert plan.least.used <= plan.least.bytes


@pytest.mark.parametrize(
    "told",
    [
        {"bands": "green"},
        {"bands": ["red", "blue"]},
        {"bbox": SMALL, "resolution": 20},
        {"resolution": 80},
    ],
    ids=str,
)
def test_bands_of_one_file(stacked: Served, told: Json) -> None:
    for number, item in enumerate(stacked.items[:2]):
        plan = mosaic.plan(item, gate=gate(), **told)
        stacked.server.reset()
        mosaic.read(item, gate=gate(), **told)
        counts = stacked.server.counts.requests, travelled(stacked.server)
        assert counts == (plan.least.requests, plan.least.bytes), number
        bands = 3 if "bands" not in told or number == 0 else len(np.atleast_1d(told["bands"]))
        planes = bands if number else 1
        (row,) = plan.rows
        assert row.cost.blocks == planes * len(row.footprint.place)


@pytest.mark.parametrize("block", [64, 256])
def test_large_files_masks_and_holes(block: int, tmp_path: Path) -> None:
    """Runs of blocks longer than a request, the first in the header's; a mask; blocks left out."""
    pixels = np.random.default_rng(1).integers(1, 9999, (1536, 1536), np.uint16)
    pixels[512:1024, 512:1024] = 0
    profile = {
        "driver": "GTiff",
        "width": 1536,
        "height": 1536,
        "count": 1,
        "dtype": "uint16",
        "crs": "EPSG:32632",
        "transform": rasterio.Affine(20, 0, 7e5, 0, -20, 5.3e6),
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "SPARSE_OK": True,
    }
    item: Json = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "large",
        "geometry": None,
        "properties": {"datetime": "2025-01-01T00:00:00Z", "proj:code": "EPSG:32632"},
        "links": [],
        "assets": {},
    }
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        for name in ("plain", "masked"):
            with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as dataset:
                dataset.write(pixels, 1)
                if name == "masked":
                    dataset.write_mask(pixels > 0)
            item["assets"][name] = {
                "href": f"{name}.tif",
                "type": "image/tiff",
                "data_type": "uint16",
                "proj:shape": [1536, 1536],
                "proj:transform": list(profile["transform"])[:6],
            }
    given = served(tmp_path, [item])
    with given.server:
        for name in item["assets"]:
            for told in (
                {},
                {"resolution": 20, "crs": "EPSG:3035", "bbox": (11.7, 47.6, 11.9, 47.7)},
            ):
                given.server.reset()
                plan = mosaic.plan(item, bands=name, gate=gate(), **told)
                given.server.reset()
                got = mosaic.read(item, bands=name, gate=gate(), **told)
                assert got.valid.any()
                counts = given.server.counts.requests, travelled(given.server)
                assert counts == (plan.least.requests, plan.least.bytes)
                assert got.tally.blocks == plan.least.blocks >= plan.least.ranges - 3


def churro(given: Served, own: Gate) -> Request:
    """A small window of every date apart, as an array over time asks for it."""
    found = opened(given.items, gate=own, bands=["red"], bbox=SMALL)
    target = target_of(found, SMALL, None, None, None)
    layers = []
    for number in range(4):
        bands = chosen(found, ["red"])
        request, *_ = requested(found, target, bands, f"2025-06-0{number + 1}", None, False)
        layers += request.layers
    return replace(request, layers=tuple(layers))


def test_a_pancake_and_a_churro(stacked: Served, seam: Served) -> None:
    """A map uses nearly all that it fetches; a time series of a small window doesn't."""
    own = gate()
    request = churro(stacked, own)
    series = bridge.run(survey(request, own))
    stacked.server.reset()
    bridge.run(draw_all(request, gate()))
    counts = stacked.server.counts.requests, travelled(stacked.server)
    assert counts == (series.least.requests, series.least.bytes)
    assert (series.items, series.depth, series.shape) == ((4, 4), 4, "time series")
    apart = [
        mosaic.plan(stacked.items, bbox=SMALL, bands="red", datetime=f"2025-06-0{day}", gate=own)
        for day in range(1, 5)
    ]
    total = sum(apart)
    assert isinstance(total, Plan)
    assert (total.least, total.depth) == (series.least, 4)
    assert (total.items, total.pixels, total.shape) == ((4, 4), series.pixels, "time series")
    assert sorted({row.layer for row in total.rows}) == [0, 1, 2, 3]
    assert apart[0].shape == "map"
    pancake = mosaic.plan(seam.items, bands="B04", gate=gate())
    assert (pancake.shape, pancake.depth) == ("map", 1)
    assert series.waste > 5 > 1.5 > pancake.waste
    assert "time series: " in str(series)
    assert "of 4 times" in str(series)


def test_what_is_at_hand(seam: Served, tmp_path: Path) -> None:
    """After a read all of it; half of it after half; on disk too, in a new process's gate."""
    told: Json = {"bbox": PLACE, "resolution": 20, "crs": "EPSG:3035", "bands": "B04"}
    disk = CacheSettings(disk=tmp_path)
    own = gate(cache=disk)
    first = mosaic.plan(seam.items, gate=own, **told)
    assert first.least.held == first.least.files  # the headers, that the plan read
    half = (PLACE[0], PLACE[1], 12.0, PLACE[3])
    mosaic.read(seam.items, gate=own, **{**told, "bbox": half})
    some = mosaic.plan(seam.items, gate=own, **told)
    assert first.least.held < some.least.held < some.least.ranges
    seam.server.reset()
    mosaic.read(seam.items, gate=own, **told)
    counts = seam.server.counts.requests, travelled(seam.server)
    assert counts == (some.least.rest, some.least.rest_bytes)
    own.flush()
    for again in (own, gate(cache=disk)):
        seam.server.reset()
        plan = mosaic.plan(seam.items, gate=again, **told)
        assert plan.least.held == plan.least.ranges
        assert (plan.least.rest, plan.least.rest_bytes) == (0, 0)
        assert plan.least.requests == first.least.requests
        mosaic.read(seam.items, gate=again, **told)
        assert seam.server.counts.requests == 0
    old = gate(cache=replace(disk, trust=0.0))  # what must be verified isn't a hit
    href = seam.items[0]["assets"]["B04"]["href"]
    assert old.holds(href, starts=[0], lengths=[16 << 10]) == [False]
    assert own.holds(href, starts=[0, 5, 1 << 40], ends=[16 << 10, 9, (1 << 40) + 1]) == [
        True,
        True,
        False,
    ]


def test_looking_for_ranges_is_no_use_of_them() -> None:
    """What is least recently used falls out first, however often somebody asks for it."""
    names = [f"memory://a/{n}" for n in range(3)]
    store = MemoryTransport()
    store.objects.update({name: bytes(1000) for name in names})
    own = Gate(cache=CacheSettings(memory=3200), transports={"memory": store})
    for name in names[:2]:
        own.get_range(name, start=0, length=1000)
    for _ in range(5):
        assert own.holds(names[0], starts=[0, 10], lengths=[1000, 500]) == [True, True]
    own.get_range(names[2], start=0, length=1000)
    held = [own.holds(name, starts=[0], lengths=[1000])[0] for name in names]
    assert held == [False, True, True]


def test_least_time(seam: Served) -> None:
    own = Gate(limits=Limits(concurrency=2))
    told: Json = {"bbox": PLACE, "gate": own, "resolution": 20, "crs": "EPSG:3035"}
    seam.server.behaviour.latency = 0.1
    try:
        plan = mosaic.plan(seam.items, **told)
    finally:
        seam.server.behaviour.latency = 0.0
    quickest = own.quota(seam.items[0]["assets"]["B04"]["href"]).quickest
    assert quickest >= 0.1
    assert plan.seconds == pytest.approx(-(-plan.least.requests // 2) * quickest)
    assert f"at least {plan.seconds:.1f} s" in str(plan)
    # headers are at hand now: only blocks remain
    assert plan.rest_seconds == pytest.approx(-(-plan.least.rest // 2) * quickest)
    assert 0 < plan.rest_seconds < plan.seconds
    assert f"; {plan.rest_seconds:.1f} s for what remains" in str(plan)
    assert own.stats().origins[0].quickest == quickest
    mosaic.read(seam.items, **told)
    assert mosaic.plan(seam.items, **told).rest_seconds == 0


def test_least_time_under_a_rate(seam: Served) -> None:
    """Requests a minute and bytes a second bound what remains, too."""
    told: Json = {"bbox": PLACE, "resolution": 20, "crs": "EPSG:3035"}
    for limits in (Limits(requests_per_minute=600), Limits(bytes_per_second=1e6)):
        own = Gate(limits=limits)
        plan = mosaic.plan(seam.items, gate=own, **told)
        least = plan.least
        for seconds, requests, size in (
            (plan.seconds, least.requests, least.bytes),
            (plan.rest_seconds, least.rest, least.rest_bytes),
        ):
            wanted = requests / 10 if limits.requests_per_minute else size / 1e6
            assert seconds == pytest.approx(wanted)
        own.close()


def test_numbers_as_stored_have_no_holes(tmp_path: Path) -> None:
    """Harmonised, 0 of an old Sentinel-2 scene is no data; as the file has it, it is a number."""
    scenes = [
        replace(seam_scenes(256, 20.0, ("B04",), dates=1)[0], id=f"s{n}", datetime=when)
        for n, when in enumerate(("2024-06-01T10:00:00Z", "2021-06-01T10:00:00Z"))
    ]
    path = write_scenes(tmp_path / "s", [replace(scene, nodata=None) for scene in scenes])
    document = orjson.loads(path.read_bytes())
    for item, baseline in zip(document["features"], ("05.11", "02.12"), strict=True):
        item["properties"] |= {"s2:processing_baseline": baseline, "platform": "Sentinel-2A"}
    document["features"][0]["assets"]["B04"]["raster:bands"][0]["nodata"] = 0
    path.write_bytes(orjson.dumps(document))
    mosaic.build(path, tmp_path / "m", sort="datetime")  # the old scene lies on top
    told: Json = {"resampling": "nearest", "gate": gate()}
    mixed = mosaic.plan(tmp_path / "m", **told)
    assert mixed.items == (1, 2)
    assert not mixed.exact
    raw = mosaic.plan(tmp_path / "m", raw=True, **told)
    assert raw.items == (1, 1)
    assert raw.exact
    assert mosaic.read(tmp_path / "m", raw=True, **told).tally.blocks == raw.least.blocks


def test_rows_make_up_the_plan(seam: Served, stacked: Served) -> None:
    plan = mosaic.plan(stacked.items, bands="red", gate=gate())
    table = plan.to_dataframe()
    sure = table[table.sure]
    for name in ("blocks", "requests", "bytes", "used", "ranges", "held"):
        assert sure[name].sum() == getattr(plan.least, name)
        assert table[name].sum() == getattr(plan.most, name)
    assert plan.items == (1, 4) == (sure.item.nunique(), table.item.nunique())
    assert not plan.exact  # the uppermost has a nodata value
    assert set(table.asset) == {"B04"}
    coarse = mosaic.plan(seam.items, resolution=85, bands="B04", gate=gate()).to_dataframe()
    assert set(coarse.level) == {2}
    assert set(coarse.factor) == {4.0}
    assert len(coarse) == 4


def test_a_header_that_cant_be_had(seam: Served) -> None:
    items = orjson.loads(orjson.dumps(seam.items))
    items[0]["assets"]["B04"]["href"] = seam.server.url("nothing.tif")
    items[1]["assets"]["B04"]["proj:transform"][2] += 100
    told: Json = {"bbox": PLACE, "bands": "B04"}
    with pytest.raises((ReadError, SourceMismatchError), match=r"item S2_32_._0 asset B04"):
        mosaic.plan(items, gate=gate(), **told)
    plan = mosaic.plan(items, gate=gate(), errors="ignore", **told)
    assert {one.item for one in plan.problems} == {"S2_32_0_0", "S2_32_1_0"}
    assert {row.item for row in plan.rows} == {"S2_33_0_0", "S2_33_1_0"}
    assert "problems 2, not counted" in str(plan)
    got = mosaic.read(items, gate=gate(), errors="ignore", **told)
    assert {one.item for one in got.problems} == {one.item for one in plan.problems}


def test_how_it_is_told(seam: Served) -> None:
    items = orjson.loads(orjson.dumps(seam.items))
    for item in items:
        for asset in item["assets"].values():
            asset["href"] += "?sig=secret"
    plan = mosaic.plan(items, bbox=PLACE, bands="B04", gate=gate())
    told = {line[:9].strip(): line[9:] for line in str(plan).splitlines()}
    assert told["requests"] == f"{plan.least.requests}"
    assert told["items"] == "4"
    assert f"{plan.least.held} of {plan.least.ranges} ranges" in told["at hand"]
    assert plan._repr_html_().count("<tr>") == len(told)
    for text in (str(plan), repr(plan), plan._repr_html_(), plan.to_dataframe().to_string()):
        assert "secret" not in text


def test_the_figure_shows_each_block(seam: Served, tmp_path: Path) -> None:
    plan = mosaic.plan(seam.items, bbox=PLACE, bands="B04", gate=gate())
    blocks = sum(len(row.footprint.place) for row in plan.rows)
    for color in ("waste", "level", "held"):
        drawn = plan.plot(color)
        (shown, *_) = drawn.axes[0].collections
        assert len(shown.get_paths()) == blocks
        drawn.savefig(tmp_path / "plan.png")
        assert (tmp_path / "plan.png").stat().st_size > 5000
    grid = opened(seam.items, bbox=PLACE, bands=["B04"])
    box: GeoBox = target_of(grid, PLACE, None, None, None)
    (west, south, east, north) = box.boundingbox.bbox
    window = drawn.axes[0].patches[0].get_xy()
    np.testing.assert_allclose(window.min(0), [west, south])
    np.testing.assert_allclose(window.max(0), [east, north])
    with pytest.raises(UsageError, match="waste, level, held"):
        plan.plot("rainbow")
