"""Zoomed-out reads of a mosaic with a coarse overview, its tiles out of reach."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

import mosaic
from tests.interop.roots import Root
from tests.interop.test_gdal import translate
from tests.interop.test_qgis import qgis
from tests.support.file_server import serving
from tests.support.mosaics import write_case
from tests.support.scenes import read, seam_scenes
from tests.support.truth import expected, verdict

pytestmark = pytest.mark.interop

STACK = ("B04", "B03", "B02")
SCENES = tuple(seam_scenes(512, 60.0, STACK, dates=2))
FACTOR = 4
WHOLE = ("B04.gti.gpkg", "B04_B03_B02.vrt")
SLICE = "B04_2025-06-06.gti"


@pytest.fixture(scope="module")
def home(folder: Path) -> Path:
    """A mosaic whose scenes were moved away when it was built."""
    place = Path(tempfile.mkdtemp(dir=folder, prefix="overview"))
    items = write_case(place / "scenes", SCENES)
    options = {"dst_crs": "EPSG:3035", "resampling": "bilinear", "stacks": [STACK]}
    mosaic.build(items, place / "mosaic", overview=60 * FACTOR, slices="day", **options)
    mosaic.build(items, place / "plain", slices="day", **options)
    return place / "mosaic"


def zoomed_out(root: Root, name: Path | str, out: Path, home: Path, factor: int) -> np.ndarray:
    """(bands, h, w) of gdal_translate, run in a folder that isn't the mosaic's."""
    height, width = (size // factor for size in mosaic.info(home)["shape"])
    said = translate(root, name, out, "-outsize", width, height, bind=home.parent)
    assert "rror" not in said, said
    assert "Unable" not in said, said
    return read(out)


def test_open_no_tile(gdal: Root, home: Path) -> None:
    place, out = home.parent, home.parent / f"{gdal.name}.tif"
    # finer reads open tiles, and slices have nothing else: the same as without an overview
    for name, factor in ((WHOLE[0], 2), (SLICE, 2), (SLICE, FACTOR)):
        found = zoomed_out(gdal, home / name, out, home, factor)
        want = zoomed_out(gdal, place / "plain" / name, out, home, factor)
        np.testing.assert_array_equal(found, want)
    moved = place / f"moved-{gdal.name}"
    (place / "scenes").rename(place / "away")
    home.rename(moved)
    try:
        for name in WHOLE:
            for factor in (FACTOR, 2 * FACTOR):
                found = zoomed_out(gdal, moved / name, out, moved, factor)
                _right(found, moved)
        with serving(moved) as server:
            for name in WHOLE:
                url = f"/vsicurl/{server.url}/{name}"
                found = zoomed_out(gdal, url, out, moved, FACTOR)
                _right(found, moved)
            asked = {path for _, path in server.log if path.endswith(".tif")}
            assert asked == {f"/{band}_overview.tif" for band in STACK}
    finally:
        moved.rename(home)
        (place / "away").rename(place / "scenes")


def _right(found: np.ndarray, home: Path) -> None:
    """No shift against the truth, and nothing is missing."""
    grid = mosaic.info(home)
    (west, _, _, north), factor = grid["bounds"], grid["shape"][1] // found.shape[2]
    affine = Affine(60 * factor, 0, west, 0, -60 * factor, north)
    want = expected(SCENES, grid["crs"], affine, found.shape[1:])
    for number, band in enumerate(found):
        said = verdict(band, band != 0, want, 0.06, number)
        assert said.pixels > 10_000
        assert (said.missing, said.spurious) == (0, 0), said
        assert said.shift <= 0.35, said
        assert abs(said.bias) <= 0.02, said


def test_desktops_open_no_tile(desktop: Root, home: Path) -> None:
    place = home.parent
    found = mosaic.info(home)
    (height, width), extent = found["shape"], found["bounds"]
    size = [width // FACTOR, height // FACTOR]
    image = read(home / "B04_overview.tif")
    (place / "scenes").rename(place / "away")
    try:
        jobs = [{"layer": str(home / name), "extent": extent, "size": size} for name in WHOLE]
        for said in qgis(desktop, place, *jobs):
            np.testing.assert_array_equal(np.where(said["valid"], said["raw"], 0)[:1], image)
            np.testing.assert_array_equal(said["image"][..., 3] == 255, said["valid"].all(axis=0))
        script = (
            f'r <- terra::rast("{home / WHOLE[0]}")\n'
            # what plot() shows
            f"s <- terra:::sampleRaster(r, {size[0] * size[1]}, 'regular', FALSE, "
            "NULL, FALSE, overview = TRUE)\n"
            f"writeBin(as.double(terra::values(s)), '{place / 'terra'}')\n"
            f's <- stars::read_stars("{home / WHOLE[0]}", RasterIO = list('
            f"nBufXSize = {size[0]}, nBufYSize = {size[1]}))\n"
            f"writeBin(as.double(s[[1]]), '{place / 'stars'}')\n"
        )
        desktop.run(["Rscript", "-e", script], binds=[place])
    finally:
        (place / "away").rename(place / "scenes")
    for name in ("terra", "stars"):
        values = np.nan_to_num(np.fromfile(place / name)).reshape(image.shape)
        np.testing.assert_array_equal(values, image, err_msg=name)
