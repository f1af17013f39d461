"""QGIS 3.40, offscreen, shows and reads what the gdal_translate of the same root gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.gateway.app import Gateway
from mosaic.gateway.options import Options
from tests.interop.roots import Root
from tests.support.mosaics import write_case
from tests.support.scenes import Scene, ramp, read, seam_scenes, slope
from tests.support.truth import expected, verdict

pytestmark = pytest.mark.interop

JOB = Path(__file__).with_name("qgis_job.py")
STACK = ("B04", "B03", "B02")
DAY = "2025-06-06"
FILES = ("B04.gti.gpkg", f"B04_{DAY}.gti", "B04_B03_B02.vrt")
LOW, HIGH = 3000.0, 61000.0
"""DN that are shown black and white: nothing that a scene holds lies outside."""

VIEWS = {
    # name: window (column, row, width, height) and pixels of the picture for one of the mosaic;
    # windows count from a place on the seam of the zones, 12 E 47.5 N
    "out": (None, 1 / 4),
    "seam": ((-100, -80, 201, 161), 1),
    "in": ((-25, -20, 51, 41), 5),
}


@dataclass(frozen=True)
class Place:
    """A mosaic across a zone seam, its scenes inside its own folder."""

    home: Path
    """Its folder; all that a test writes lies beside it."""
    scenes: tuple[Scene, ...]
    """What it shows."""
    affine: Affine
    """Of its pixels."""
    shape: tuple[int, int]
    """Of its pixels."""

    @property
    def out(self) -> Path:
        """Where results go."""
        return self.home.parent

    def view(self, name: str) -> dict[str, Any]:
        """The extent and size of a view."""
        window, scale = VIEWS[name]
        if window is None:
            column, row, (height, width) = 0, 0, self.shape
        else:
            x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(12, 47.5)
            column, row = (round(value) for value in ~self.affine @ (x, y))
            column, row, width, height = column + window[0], row + window[1], *window[2:]
        left, top = self.affine @ (column, row)
        right, bottom = self.affine @ (column + width, row + height)
        size = [round(width * scale), round(height * scale)]
        return {"extent": [left, bottom, right, top], "size": size}


@pytest.fixture(scope="module")
def place(folder: Path) -> Place:
    home = folder / "qgis" / "mosaic"
    scenes = tuple(seam_scenes(512, 60.0, STACK, dates=2))
    items = write_case(home / "scenes", scenes)
    return _built(items, home, scenes)


def _built(items: Path, home: Path, scenes: tuple[Scene, ...]) -> Place:
    chosen: dict[str, Any] = {"slices": "day", "stacks": [STACK], "overwrite": True}
    built = mosaic.build(items, home, dst_crs="EPSG:32633", resampling="bilinear", **chosen)
    west, _, _, north = mosaic.info(home)["bounds"]
    return Place(home, scenes, Affine(60, 0, west, 0, -60, north), built.shape)


def qgis(root: Root, out: Path, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """What QGIS says of the layer of each job, with the arrays of the job; and its pictures."""
    whole = [
        {"out": str(out / f"job-{number}"), "crs": "", "stretch": [LOW, HIGH], **job}
        for number, job in enumerate(jobs)
    ]
    path = out / "jobs.json"
    path.write_text(json.dumps(whole))
    done = root.run(
        ["python3", str(JOB), str(path)],
        binds=[out, JOB.parent],
        env={"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": "/tmp"},
    )
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return [{**said, **np.load(f"{job['out']}.npz")} for said, job in zip(told, whole, strict=True)]


def translated(root: Root, out: Path, layer: Path, job: dict[str, Any]) -> np.ndarray:
    """(bands, h, w) what gdal_translate gives for a job's extent and size.

    Zoomed in, gdal_translate interpolates by the index's method; QGIS shows pixels.
    """
    left, bottom, right, top = job["extent"]
    width, height = job["size"]
    zoom = max(1, round(60.0 * width / (right - left)))
    words = ["-projwin", left, top, right, bottom, "-outsize", width // zoom, height // zoom]
    tif = out / "translated.tif"
    done = root.run(["gdal_translate", "-q", *map(str, words), str(layer), str(tif)], binds=[out])
    assert "rror" not in done.stderr, done.stderr
    return read(tif).repeat(zoom, axis=1).repeat(zoom, axis=2)


@pytest.mark.parametrize("file", FILES)
def test_shows_and_reads_what_gdal_translate_gives(desktop: Root, place: Place, file: str) -> None:
    layer = place.home / file
    jobs = [
        {"layer": str(layer), "out": str(place.out / f"{file}-{name}"), **place.view(name)}
        for name in VIEWS
    ]
    for job, said in zip(jobs, qgis(desktop, place.out, *jobs), strict=True):
        want = translated(desktop, place.out, layer, job)
        filled = want != 0
        assert filled.mean() > 0.5
        # raw values, and where there are none: the same, all of them
        np.testing.assert_array_equal(said["valid"], filled)
        np.testing.assert_array_equal(np.where(filled, said["raw"], 0), want)
        middle = want[:, job["size"][1] // 2, job["size"][0] // 2]
        if filled.all() and job["size"][0] % 2:
            np.testing.assert_array_equal(said["identified"], middle)
        # the picture: QGIS cuts off the decimals of a stretched value, and so does this
        shade = ((want - LOW) / (HIGH - LOW) * 255).astype(np.uint8)
        seen = np.moveaxis(said["image"], 2, 0)
        shown = filled.all(axis=0)
        np.testing.assert_array_equal(seen[3] == 255, shown)
        for channel in range(3):
            np.testing.assert_array_equal(seen[channel][shown], shade[channel % len(want)][shown])


def test_knows_the_grid_and_offers_both_image_and_footprints(desktop: Root, place: Place) -> None:
    height, width = place.shape
    right, bottom = place.affine @ (width, height)
    jobs = [{"layer": str(place.home / file), **place.view("in")} for file in FILES]
    for said in qgis(desktop, place.out, *jobs):
        assert said["crs"] == "EPSG:32633"
        assert said["extent"] == [place.affine.c, bottom, right, place.affine.f]
        assert said["size"] == [width, height]
        offered = [provider for provider, _ in said["offered"]]
        assert offered == (["gdal", "ogr"] if said["layer"].endswith(".gpkg") else ["gdal"])


def test_map_in_another_crs_has_no_shift(desktop: Root, place: Place) -> None:
    """The map of a web service, 3857, over the seam: against the truth of each map pixel."""
    size = 181
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(12.0, 47.5)
    pixel = 60.0 / np.cos(np.radians(47.5))
    half = size * pixel / 2
    affine = Affine(pixel, 0, x - half, 0, -pixel, y + half)
    want = expected(place.scenes, "EPSG:3857", affine, (size, size))
    layer = place.home / FILES[0]
    view = {"extent": [x - half, y - half, x + half, y + half], "size": [size, size]}
    low, high = 40_000.0, 56_000.0  # the DN of this window: a grey level is about a pixel
    job = {"layer": str(layer), "crs": "EPSG:3857", "stretch": [low, high], **view}
    copy = place.out / "copy.tif"  # which has no tiles that could lie wrongly
    desktop.run(["gdal_translate", "-q", str(layer), str(copy)], binds=[place.out])
    said, plain = qgis(desktop, place.out, job, {**job, "layer": str(copy)})
    np.testing.assert_array_equal(said["raw"], plain["raw"])
    # QGIS asks for a little less than all pixels: the copy's are picked, the index's interpolated
    aside = said["image"].astype(int) - plain["image"]
    assert np.abs(aside).max() <= 1
    assert abs(aside.mean()) <= 0.02
    values = said["raw"][0]
    assert low < values.min() < values.max() < high
    # the nearest pixel twice (QGIS warps what its provider resampled), half a diagonal each;
    # and the index's own bilinear warp, 0.3 of a pixel
    limit = 2 * 0.71 + 0.3
    found = verdict(values, said["valid"][0], want, 0.06)
    assert found.pixels == size * size
    assert found.missing == 0
    assert found.shift <= limit, found
    assert abs(found.bias) <= 0.05, found
    # and the picture, but for half a grey level
    level = (high - low) / 255
    gray = low + (said["image"][..., 0] + 0.5) * level
    off = np.abs(gray - ramp(want.lon, want.lat, 0))
    assert (off <= level / 2 + limit * slope(want.lon, want.lat, 0) * 0.06 + 1).all()
    assert (said["image"][..., 3] == 255).all()


def test_wmts_of_a_gateway(desktop: Root, place: Place) -> None:
    """QGIS's own client lays the tiles where the engine's read of that grid has them."""
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(12.0, 47.5)
    pixel = 40075016.68557849 / 256 / 2**11  # the first that is finer than 60 m at 47.5 N
    left, top = (round(value / pixel) * pixel for value in (x - 150 * pixel, y + 100 * pixel))
    grid = GeoBox((200, 300), Affine(pixel, 0, left, 0, -pixel, top), "EPSG:3857")
    low, high = 42_000, 48_000  # a pixel is a shade or more
    job = {"name": "alps", "extent": list(grid.boundingbox.bbox), "size": [300, 200]}
    with Gateway({"alps": place.home}, Options(port=0)) as gateway:
        root = f"{gateway.url}/tiles/alps/WMTSCapabilities.xml"
        url = f"{root}?bands={','.join(STACK)}&rescale={low},{high}"
        (said,) = qgis(desktop, place.out, {"tiles": url, **job})
    assert said["crs"] == "EPSG:3857"
    assert said["finest"] == pytest.approx(pixel)
    want = mosaic.read(place.home, geobox=grid, bands=list(STACK))
    assert want.valid.all()
    assert (said["image"][..., 3] == 255).all()
    shade = np.rint(np.clip((want.values - float(low)) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(said["image"][..., :3], np.moveaxis(shade, 0, -1))


def test_declared_scale_and_offset_are_applied(desktop: Root, folder: Path) -> None:
    out = folder / "qgis-scaled"
    scenes = tuple(seam_scenes(128, 60.0, ("B04",), dates=1))
    items = write_case(out / "scenes", scenes)
    document = json.loads(items.read_text())
    for item in document["features"]:
        item["assets"]["B04"]["raster:bands"][0] |= {"scale": 1e-4, "offset": -0.1}
    (out / "scenes/scaled.json").write_text(json.dumps(document))
    mosaic.build(out / "scenes/scaled.json", out / "mosaic")
    layer = out / "mosaic/B04.gti.gpkg"
    left, bottom, right, top = mosaic.info(out / "mosaic")["bounds"]
    height, width = mosaic.info(out / "mosaic")["shape"]
    job = {"extent": [left, bottom, right, top], "size": [width, height]}
    (said,) = qgis(desktop, out, {"layer": str(layer), "stretch": [0, 6], **job})
    want = translated(desktop, out, layer, job)[0]
    assert said["scale"] == [1e-4, -0.1]
    np.testing.assert_array_equal(said["valid"][0], want != 0)
    found = said["raw"][0][want != 0]
    np.testing.assert_allclose(found, want[want != 0] * 1e-4 - 0.1, rtol=1e-6)


def test_what_qgis_leaves_beside_an_index_goes_with_it(desktop: Root, folder: Path) -> None:
    """QGIS keeps an image's statistics in ``.aux.xml``: those of an old mosaic must not stay."""
    home = folder / "qgis-aux" / "mosaic"
    scenes = tuple(seam_scenes(128, 60.0, STACK, dates=2))
    items = write_case(home / "scenes", scenes)
    place = _built(items, home, scenes)
    jobs = [{"layer": str(home / file), **place.view("out")} for file in FILES]
    qgis(desktop, place.out, *jobs)
    left = {path.name for path in home.glob("*.aux.xml")}
    assert f"{FILES[0]}.aux.xml" in left, "QGIS left nothing: this test has no subject any more"
    assert "STATISTICS_MAXIMUM" in (home / f"{FILES[0]}.aux.xml").read_text()
    _built(items, home, scenes)
    assert not list(home.glob("*.aux.xml"))
    assert items.exists()
