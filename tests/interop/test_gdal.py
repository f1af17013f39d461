"""The real gdal_translate, gdalinfo and gdalwarp on generated indexes, in GDAL 3.10 and 3.13."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import mosaic
from tests.interop.roots import Root
from tests.support.file_server import serving
from tests.support.mosaics import (
    CASES,
    Built,
    Case,
    build,
    check_every_pixel,
    check_overview,
    write_case,
)
from tests.support.scenes import read, seam_scenes
from tests.support.truth import expected

pytestmark = pytest.mark.interop

_BUILT: dict[tuple[str, str], Built] = {}


def made(case: Case, resampling: str, folder: Path) -> Built:
    """A mosaic of the set, built once for both GDALs."""
    key = (str(case), resampling)
    if key not in _BUILT:
        items = write_case(folder / case.name, case.scenes)
        _BUILT[key] = build(case, items, folder / f"{case}-{resampling}", resampling)
    return _BUILT[key]


def translate(root: Root, index: Path | str, out: Path, *options: object, bind: Path) -> str:
    """Runs gdal_translate and returns what it said on stderr."""
    done = root.run(
        ["gdal_translate", "-q", *map(str, options), str(index), str(out)], binds=[bind]
    )
    return done.stderr


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gdal_translate_reads_every_pixel(
    gdal: Root, case: Case, resampling: str, folder: Path, tmp_path: Path
) -> None:
    built = made(case, resampling, folder)

    def window_of(window: tuple[int, int, int, int]) -> np.ndarray:
        out = folder / f"{gdal.name}.tif"
        said = translate(gdal, built.index, out, "-srcwin", *window, bind=folder)
        assert "rror" not in said, said
        values: np.ndarray = read(out)[0]
        return values

    check_every_pixel(built, window_of)


@pytest.mark.parametrize("resampling", ["near", "bilinear"])
def test_equals_each_tile_warped_exactly(
    gdal: Root, resampling: str, folder: Path, tmp_path: Path
) -> None:
    """Tiles warped one by one with ``-et 0`` and laid over each other in drawing order."""
    name = {"near": "nearest"}.get(resampling, resampling)
    case = next(case for case in CASES if str(case) == "seam-EPSG3035")
    built = made(case, name, folder)
    out = folder / f"{gdal.name}.tif"
    translate(gdal, built.index, out, bind=folder)
    mosaic_values = read(out)[0]
    height, width = built.shape
    t = built.transform
    bounds = (t.c, t.f + t.e * height, t.c + t.a * width, t.f)
    exact = np.zeros((height, width), np.uint16)
    top_first = sorted(case.scenes, key=lambda scene: scene.id)
    top_first.sort(key=lambda scene: scene.datetime, reverse=True)
    for scene in reversed(top_first):
        tile = folder / case.name / scene.id / "B04.tif"
        warped = folder / f"{gdal.name}-tile.tif"
        command = ["gdalwarp", "-q", "-overwrite", "-et", 0, "-r", resampling, "-t_srs", case.crs]
        command += ["-te", *bounds, "-ts", width, height, tile, warped]
        gdal.run([str(word) for word in command], binds=[folder])
        values = read(warped)[0]
        exact = np.where(values != 0, values, exact)
    want = expected(case.scenes, case.crs, built.transform, built.shape)
    inside = want.filled & ~want.edge
    assert (exact[inside] != 0).all()
    off = np.abs(mosaic_values.astype(int) - exact.astype(int))[inside]
    # GTI warps with GDAL's default error of an eighth of a pixel: 45 DN a pixel here
    assert np.median(off) <= 4, np.percentile(off, [50, 90, 99, 100])
    same = (off == 0).mean()
    assert same >= (0.9 if resampling == "near" else 0.05), same


@pytest.fixture(scope="module")
def large(folder: Path) -> Built:
    scenes = tuple(seam_scenes(2048, 20.0, ("B04",), dates=1))
    return made(Case("large", scenes, "EPSG:3035"), "bilinear", folder)


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_overviews_do_not_shift(gdal: Root, factor: int, large: Built, folder: Path) -> None:
    height, width = large.shape
    out = folder / f"{gdal.name}.tif"
    translate(gdal, large.index, out, "-outsize", width // factor, height // factor, bind=folder)
    values = read(out)[0]
    check_overview(large, factor, values)


def test_opening_reads_no_tile(gdal: Root, folder: Path) -> None:
    """gdalinfo on an index of remote tiles sends no request, reading sends few and no HEAD."""
    case = CASES[0]
    items = write_case(folder / case.name, case.scenes)
    with serving(folder / case.name) as server:
        document = json.loads(items.read_text())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"{server.url}/{asset['href'].removeprefix('./')}"
        remote = folder / f"remote-{gdal.name}.json"
        remote.write_text(json.dumps(document))
        out = folder / f"remote-{gdal.name}"
        mosaic.build(remote, out, dst_crs=case.crs)
        assert server.log == []
        text = gdal.run(["gdalinfo", str(out / "B04.gti.gpkg")], binds=[folder]).stdout
        assert "Driver: GTI" in text
        assert server.log == []
        translate(gdal, out / "B04.gti.gpkg", folder / "r.tif", bind=folder)
        here = read(folder / "r.tif")
        methods = {method for method, _ in server.log}
        assert methods == {"GET"}
        assert {path.rpartition(".")[2] for _, path in server.log} == {"tif"}
    local = made(case, "nearest", folder)
    np.testing.assert_array_equal(here, read(local.index))


def test_declares_what_the_bands_are(gdal: Root, folder: Path) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",), dates=1)
    items = json.loads(write_case(folder / "declared", scenes).read_text())["features"]
    for item in items:
        item["assets"]["B04"]["raster:bands"][0] |= {"scale": 1e-4, "offset": -0.1, "unit": "1"}
        item["assets"]["B04"]["href"] = str(
            folder / "declared" / item["assets"]["B04"]["href"].removeprefix("./")
        )
    out = folder / f"declared-{gdal.name}"
    mosaic.build(items, out)
    text = gdal.run(["gdalinfo", "-json", str(out / "B04.gti.gpkg")], binds=[folder]).stdout
    band = json.loads(text)["bands"][0]
    assert band["type"] == "UInt16"
    assert band["noDataValue"] == 0
    assert band["scale"] == pytest.approx(1e-4)
    assert band["offset"] == pytest.approx(-0.1)
    assert band["unit"] == "1"
    assert band["description"] == "B04"


def test_opens_from_anywhere_after_a_move_and_over_http(
    gdal: Root, folder: Path, tmp_path: Path
) -> None:
    """Scenes inside the mosaic's folder: index, stack and slices go where the folder goes."""
    home = folder / f"home-{gdal.name}"
    scenes = seam_scenes(128, 60.0, ("B04", "B03", "B02"), dates=2)
    items = write_case(home / "scenes", scenes)
    stack = ("B04", "B03", "B02")
    mosaic.build(items, home, stacks=[stack], slices="day", overwrite=True)
    moved = folder / f"moved-{gdal.name}"
    before = _all_of(gdal, home, folder)
    home.rename(moved)
    assert mosaic.relocate(moved)
    after = _all_of(gdal, moved, folder)
    with serving(moved) as server:
        served = folder / f"http-{gdal.name}"
        served.mkdir()
        for name in ("B04.gti.gpkg", "B04_B03_B02.vrt"):
            out = served / f"{name}.tif"
            translate(gdal, f"/vsicurl/{server.url}/{name}", out, bind=folder)
            np.testing.assert_array_equal(read(out), before[name])
        assert mosaic.relocate(moved, base=server.url)
        name = "B04_2025-06-06.gti"
        out = served / "slice.tif"
        translate(gdal, f"/vsicurl/{server.url}/{name}", out, bind=folder)
        np.testing.assert_array_equal(read(out), before[name])
    for name, values in before.items():
        assert np.count_nonzero(values) > 0
        np.testing.assert_array_equal(values, after[name], err_msg=name)


def _all_of(root: Root, home: Path, folder: Path) -> dict[str, np.ndarray]:
    """Pixels of the index, the stack and a slice, read from a folder elsewhere."""
    found = {}
    for name in ("B04.gti.gpkg", "B04_B03_B02.vrt", "B04_2025-06-06.gti"):
        out = folder / f"{root.name}-all.tif"
        translate(root, home / name, out, bind=folder)  # runs in /tmp, which is another folder
        found[name] = read(out)
    return found


def test_stack_equals_its_members(gdal: Root, folder: Path) -> None:
    home = folder / "stack"
    items = write_case(home, seam_scenes(128, 60.0, ("B04", "B03", "B02"), dates=1))
    out = folder / f"stack-{gdal.name}"
    mosaic.build(items, out, stacks=[("B04", "B03", "B02")])
    tif = folder / f"{gdal.name}.tif"
    translate(gdal, out / "B04_B03_B02.vrt", tif, bind=folder)
    values = read(tif)
    with rasterio.open(tif) as dataset:
        assert dataset.descriptions == ("B04", "B03", "B02")
        assert [c.name for c in dataset.colorinterp] == ["red", "green", "blue"]
    for position, name in enumerate(("B04", "B03", "B02")):
        translate(gdal, out / f"{name}.gti.gpkg", tif, bind=folder)
        np.testing.assert_array_equal(values[position], read(tif)[0])
