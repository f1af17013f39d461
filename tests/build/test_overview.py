"""A coarse overview: what it holds, that zoomed-out reads open no tile, and what it refuses."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.errors import RasterioError

import mosaic
from mosaic.errors import InputError, UsageError
from tests.support.file_server import serving
from tests.support.mosaics import CASES, Case, write_case
from tests.support.range_server import RangeServer
from tests.support.scenes import Scene, seam_scenes
from tests.support.truth import expected, verdict

SCENES = tuple(seam_scenes(300, 30.0, ("B04", "B03"), dates=2))
STACK = ("B04", "B03")
CRS = "EPSG:3035"


@pytest.fixture
def items(tmp_path: Path) -> Path:
    return write_case(tmp_path / "scenes", SCENES)


def shrunk(path: Path, factor: int) -> np.ndarray:
    """(bands, h, w) a read of the whole at 1/factor."""
    with rasterio.open(path) as dataset:
        height, width = (size // factor for size in dataset.shape)
        values: np.ndarray = dataset.read(out_shape=(dataset.count, height, width))
    return values


def shrunk_elsewhere(path: Path, factor: int) -> np.ndarray:
    """The same in a process that has fetched nothing yet."""
    code = (
        "import pathlib, sys\n"
        "from tests.build.test_overview import shrunk\n"
        "sys.stdout.buffer.write(shrunk(pathlib.Path(sys.argv[1]), int(sys.argv[2])).tobytes())\n"
    )
    command = [sys.executable, "-c", code, str(path), str(factor)]
    root = Path(__file__).parents[2]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True, cwd=root).stdout)


def transform(home: Path) -> Affine:
    found = mosaic.info(home)
    west, _, _, north = found["bounds"]
    return Affine(found["resolution"][0], 0, west, 0, -found["resolution"][1], north)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "average"])
def test_zoomed_out_reads_open_no_tile_and_do_not_shift(
    items: Path, tmp_path: Path, resampling: str
) -> None:
    options = {"dst_crs": CRS, "resampling": resampling, "slices": "day", "stacks": [STACK]}
    plain, coarse = tmp_path / "plain", tmp_path / "coarse"
    mosaic.build(items, plain, **options)
    report = mosaic.build(items, coarse, overview=130, **options)
    assert report.overviews == (("B04_overview.tif", 4), ("B03_overview.tif", 4))
    factors = [2, 4, 8]
    names = ("B04.gti.gpkg", "B04_B03.vrt", "B04_2025-06-06.gti")
    before = {(n, f): shrunk(plain / n, f) for n in names for f in factors}
    # a slice shows one day: never the overview of the whole
    for factor in factors:
        np.testing.assert_array_equal(shrunk(coarse / names[2], factor), before[names[2], factor])
    np.testing.assert_array_equal(shrunk(coarse / names[0], 2), before[names[0], 2])
    (tmp_path / "scenes").rename(tmp_path / "away")
    assert _blind(coarse / names[0], 2)  # all tiles are really gone
    for name in names[:2]:
        for factor in (4, 8):
            found = shrunk(coarse / name, factor)
            was = before[name, factor]
            if factor == 4:  # the same read, kept
                np.testing.assert_array_equal(found, was)
            for band in range(len(found)):
                affine = transform(coarse) @ Affine.scale(factor)
                want = expected(SCENES, CRS, affine, found.shape[1:])
                said = verdict(found[band], found[band] != 0, want, 0.03, band)
                assert said.pixels > 3_000
                assert said.missing == 0
                assert said.spurious == 0
                # nearest: half a pixel's diagonal; beyond the image's own size GDAL picks one of
                # its pixels, whose middle lies a quarter of the wanted pixel off in x and in y
                nearest = resampling == "nearest"
                assert said.shift <= (0.75 if nearest else 0.35), said
                assert abs(said.bias) <= (0.36 if nearest and factor > 4 else 0.02), said


def _blind(path: Path, factor: int) -> bool:
    """Whether a read fails: GDAL 3.10 answers zeros, later ones an error."""
    try:
        return not shrunk(path, factor).any()
    except RasterioError:
        return True


def test_is_a_cog_that_tells_what_it_is(tmp_path: Path) -> None:
    items = write_case(tmp_path / "scenes", tuple(seam_scenes(1000, 30.0, ("B04",), dates=1)))
    document = json.loads(items.read_text())
    for item in document["features"]:
        item["assets"]["B04"]["raster:bands"][0] |= {"scale": 1e-4, "offset": -0.1, "unit": "1"}
    items.write_text(json.dumps(document))
    home = tmp_path / "m"
    mosaic.build(items, home, overview=65, resampling="bilinear")
    with rasterio.open(home / "B04_overview.tif") as image:
        assert image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert image.overviews(1)
        assert (image.nodata, image.scales, image.offsets) == (0, (1e-4,), (-0.1,))
        assert (image.descriptions, image.units) == (("B04",), ("1",))
        assert image.res == (60, 60)
        found = mosaic.info(home)
        assert list(image.bounds) == found["bounds"]
        assert image.shape == tuple(size // 2 for size in found["shape"])
    collection = json.loads((home / "collection.json").read_text())
    assert "B04_overview.tif" in collection["mosaic:files"]
    asset = collection["assets"]["B04 overview"]
    assert asset["roles"] == ["overview"]
    assert asset["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert asset["proj:shape"] == list(image.shape)
    assert asset["proj:transform"] == list(image.transform)[:6]
    mosaic.build(items, home, overwrite=True)
    assert not (home / "B04_overview.tif").exists()


HARD = (
    "seam-EPSG3035 seam-EPSG4326 north180-EPSG4326 north180-EPSG3413 south180-EPSG3857 "
    "utm1-60-EPSG32660 arctic-EPSG3413 arctic-EPSG4326 antarctic-EPSG3031"
).split()


@pytest.mark.parametrize("case", [case for case in CASES if str(case) in HARD], ids=str)
def test_in_every_crs_and_across_every_edge(case: Case, tmp_path: Path) -> None:
    """No healthy mosaic is refused, and the image is what the index reads without it."""
    items = write_case(tmp_path / "scenes", case.scenes)
    plain, coarse = tmp_path / "plain", tmp_path / "coarse"
    found = mosaic.build(items, plain, dst_crs=case.crs, resampling="bilinear")
    size = found.resolution[0] * max(4, max(found.shape) / 4000)
    found = mosaic.build(items, coarse, dst_crs=case.crs, resampling="bilinear", overview=size)
    ((name, factor),) = found.overviews
    values = shrunk(coarse / name, 1)
    assert np.count_nonzero(values) > 10
    np.testing.assert_array_equal(values, shrunk(coarse / "B04.gti.gpkg", factor))
    if case.crs == "EPSG:4326" and "arctic" in case.name:
        # pixels of 0.1 degrees are wedges here, of which GDAL makes this or that
        affine = transform(coarse) @ Affine.scale(factor)
        want = expected(case.scenes, case.crs, affine, values.shape[1:])
        assert verdict(values[0], values[0] != 0, want, 0.2).missing == 0
    else:
        np.testing.assert_array_equal(values, shrunk(plain / "B04.gti.gpkg", factor))


def test_scenes_inside_the_folder_and_vrts(tmp_path: Path) -> None:
    """Locations that are relative to the final place, which isn't there while it is built."""
    home = tmp_path / "m"
    scenes = tuple(replace(scene, nodata=None) for scene in seam_scenes(256, 60.0, ("B04",)))
    items = write_case(home / "scenes", scenes)
    mosaic.build(items, home, dst_crs=CRS, overview=240, nodata=0)  # which no file declares
    assert list((home / "vrt").rglob("*.vrt"))
    assert not list(home.glob(".*"))
    moved = home.rename(tmp_path / "moved")
    shutil.rmtree(moved / "scenes")
    values = shrunk(moved / "B04.gti.gpkg", 4)[0]
    affine = transform(moved) @ Affine.scale(4)
    said = verdict(values, values != 0, expected(scenes, CRS, affine, values.shape), 0.06)
    assert said.missing == 0


def test_without_a_nodata_value_the_mask_is_kept(tmp_path: Path) -> None:
    """GDAL 3.10 can't read a mask through an overview: the image lies unlinked, which is said."""
    scenes = [replace(scene, nodata=None) for scene in seam_scenes(256, 60.0, ("B04",), dates=1)]
    items = write_case(tmp_path / "scenes", scenes)
    home = tmp_path / "m"
    report = mosaic.build(items, home, dst_crs=CRS, overview=240)
    assert report.notes == ("B04_overview.tif isn't linked: B04 has no nodata value",)
    for name in ("B04_overview.tif", "B04.gti.gpkg"):
        with rasterio.open(home / name) as image:
            factor = round(240 / image.res[0])
            shape = tuple(size // factor for size in image.shape)
            mask = image.dataset_mask(out_shape=shape) != 0
            values = image.read(1, out_shape=shape)
            affine = image.transform @ Affine.scale(factor)
        want = expected(scenes, CRS, affine, shape)
        assert mask[want.filled].all()
        assert not mask[want.empty].any()
        assert verdict(values, mask, want, 0.06).shift <= 0.75


def test_is_no_scene_when_the_folder_is_built_anew(tmp_path: Path) -> None:
    home = tmp_path / "m"
    scenes = seam_scenes(128, 60.0, ("B04",), dates=1)
    write_case(home / "scenes", scenes)
    (home / "scenes/items.json").unlink()
    for _ in range(2):
        report = mosaic.build(home, home, overview=120, overwrite=True)
        assert report.items == len(scenes)
        (name,) = (path.name for path in home.glob("*.tif"))
        assert name.endswith("_overview.tif")


def _gone(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _html(path: Path) -> None:
    path.write_text("<!doctype html><title>Sign in</title>" * 100)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])


def _rotten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:1000] + bytes(len(data) - 1000))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spoil", [_gone, _empty, _html, _cut, _rotten])
def test_a_tile_that_cannot_be_read_is_named(
    items: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Full metadata: without an overview the same build opens no tile, and succeeds."""
    home = tmp_path / "m"
    mosaic.build(items, home, dst_crs=CRS)
    was = contents(home)
    spoil(tmp_path / "scenes/S2_33_0_0/B04.tif")
    logging.disable(logging.CRITICAL)  # what an application may do must not make us deaf
    try:
        with pytest.raises(InputError) as caught:
            mosaic.build(items, home, dst_crs=CRS, overview=120, overwrite=True)
    finally:
        logging.disable(logging.NOTSET)
    (problem,) = caught.value.problems
    assert (problem.item, problem.asset, problem.kind) == ("S2_33_0_0", "B04", "unreadable")
    assert problem.href == str(tmp_path / "scenes/S2_33_0_0/B04.tif")
    assert "--overview" in caught.value.hint
    assert contents(home) == was
    assert {path.name for path in tmp_path.iterdir()} == {"scenes", "m"}


def test_remote_tiles(items: Path, tmp_path: Path) -> None:
    """One that is missing is named; else a zoomed-out read sends no request."""
    with serving(tmp_path / "scenes") as server:
        document = json.loads(items.read_text())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"{server.url}/{asset['href'].removeprefix('./')}?token=secret"
        home = tmp_path / "m"
        mosaic.build(document["features"], home, dst_crs=CRS, bands=["B04"], overview=120)
        server.log.clear()
        assert shrunk_elsewhere(home / "B04.gti.gpkg", 4).any()
        assert server.log == []
        assert shrunk_elsewhere(home / "B04.gti.gpkg", 2).any()
        assert server.log
        (tmp_path / "scenes/S2_32_1_1/B03.tif").unlink()
        with pytest.raises(InputError) as caught:
            mosaic.build(document["features"], tmp_path / "n", dst_crs=CRS, overview=120)
    (problem,) = caught.value.problems
    assert (problem.item, problem.asset) == ("S2_32_1_1", "B03")
    assert f"({server.url}/S2_32_1_1/B03.tif)" in str(problem)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("down", [False, True], ids=["busy", "down"])
def test_a_refusal_that_a_retry_heals_is_none(items: Path, tmp_path: Path, down: bool) -> None:
    """GDAL asks six times: a busy server is no error, one that is down is."""
    root = tmp_path / "scenes"
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.tif")}
    with RangeServer(files, flaky=0.25, seed=1, status=503 if down else 0) as server:
        document = json.loads(items.read_text())
        for item in document["features"][:2]:
            for asset in item["assets"].values():
                asset["href"] = server.url(asset["href"].removeprefix("./"))
        options = {"dst_crs": CRS, "bands": ["B04"], "overview": 120}
        some = document["features"][:2]
        if down:
            with pytest.raises(InputError) as caught:
                mosaic.build(some, tmp_path / "m", **options)
            assert {one.item for one in caught.value.problems} == {one["id"] for one in some}
            return
        mosaic.build(some, tmp_path / "m", **options)
        assert 503 in server.counts.statuses
    values = shrunk(tmp_path / "m/B04_overview.tif", 1)[0]
    affine = transform(tmp_path / "m") @ Affine.scale(4)
    there = [scene for scene in SCENES if scene.id in {one["id"] for one in some}]
    said = verdict(values, values != 0, expected(there, CRS, affine, values.shape), 0.03)
    assert said.pixels > 3000
    assert said.missing == 0


def test_sizes_that_cannot_be_meant(
    items: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    for size in (0, -5, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="--overview"):
            mosaic.build(items, tmp_path / "m", overview=size)
    with pytest.raises(UsageError, match="finer than the mosaic's own pixel, 30"):
        mosaic.build(items, tmp_path / "m", overview=29)
    # 35,000 pixels a side at 1/2: refused before a tile is opened
    for path in (tmp_path / "scenes").rglob("*.tif"):
        path.unlink()
    done = cli("build", items, "-o", tmp_path / "m", "--res", "0.5", "--overview", "1")
    assert done.exit_code == 1
    assert "16384 a side: give 2 or more" in done.stderr
    assert not (tmp_path / "m").exists()


def test_what_was_chosen_is_said(items: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    """The size is rounded to a factor of the index; far too coarse is the coarsest."""
    done = cli("build", items, "-o", tmp_path / "m", "--overview", "1e6")
    assert done.exit_code == 0, done.stderr
    assert "overview" in done.stderr
    small = [replace(scene, bands=("B04",)) for scene in seam_scenes(16, 60.0, ("B04",), dates=1)]
    report = mosaic.build(
        write_case(tmp_path / "small", small), tmp_path / "s", overview=120, dst_crs=CRS
    )
    assert report.overviews == ()
    assert any("overview" in note for note in report.notes)


def test_several_bands(tmp_path: Path) -> None:
    scene = Scene("a", "EPSG:32633", Affine(60, 0, 300_000, 0, -60, 5_300_000), (512, 512))
    rng = np.random.default_rng(1)
    data = rng.integers(1, 255, (4, 512, 512), dtype="uint8")
    path = tmp_path / "a.tif"
    profile = {"crs": scene.crs, "transform": scene.transform, "nodata": 0, "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", 512, 512, 4, **profile) as out:
        out.write(data)
    mosaic.build(path, tmp_path / "m", resampling="average", overview=240)
    (index,) = (tmp_path / "m").glob("*.gti.gpkg")
    path.unlink()
    means = data.reshape(4, 128, 4, 128, 4).mean((2, 4))
    found = shrunk(index, 4)[:, :128, :128].astype(float)
    assert np.abs(found - means).max() <= 0.51
