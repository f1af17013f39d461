"""Rasters that can't be indexed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

import mosaic
from tests.build.bad.conftest import SKIP, put
from tests.support.scenes import item_of, seam_scenes, utm_scene, write_scene

Json = dict[str, Any]
AFFINE = Affine(60, 0, 270000, 0, -60, 5260000)


def raster(path: Path, bands: int = 1, dtype: str = "uint16", **kw: Any) -> None:
    """A small GeoTIFF."""
    profile = {"driver": "GTiff", "width": 32, "height": 32, "count": bands, "dtype": dtype}
    with rasterio.open(path, "w", **profile, **kw) as dataset:
        dataset.write(np.ones((bands, 32, 32), dtype))


def gcps() -> list[GroundControlPoint]:
    return [
        GroundControlPoint(row=r, col=c, x=12 + c / 1000, y=47 - r / 1000)
        for r in (0, 32)
        for c in (0, 32)
    ]


def ungeoreferenced(path: Path) -> None:
    raster(path)


def no_crs(path: Path) -> None:
    raster(path, transform=AFFINE)


def crs_only(path: Path) -> None:
    raster(path, crs="EPSG:32633")


def gcp_only(path: Path) -> None:
    raster(path, crs="EPSG:4326", gcps=gcps())  # no transform


def swath(path: Path) -> None:
    """As a NetCDF granule (TEMPO) shows itself: longitudes and latitudes in arrays."""
    raster(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(
            ns="GEOLOCATION",
            X_DATASET="lon.tif",
            Y_DATASET="lat.tif",
            PIXEL_OFFSET="0",
            LINE_OFFSET="0",
            PIXEL_STEP="1",
            LINE_STEP="1",
        )


def truncated(path: Path) -> None:
    raster(path, crs="EPSG:32633", transform=AFFINE)
    path.write_bytes(path.read_bytes()[:60])


def truncated_tags(path: Path) -> None:
    """GDAL opens it, and ignores the tags that place it."""
    raster(path, crs="EPSG:32633", transform=AFFINE)
    path.write_bytes(path.read_bytes()[:200])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(5000))


def tiff_noise(path: Path) -> None:
    path.write_bytes(b"II*\x00" + np.random.default_rng(1).bytes(5000))


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("this is no image")


def html(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html>404</html>")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.tif")


RASTERS: list[tuple[Callable[[Path], None], str, str]] = [
    (ungeoreferenced, "ungeoreferenced", "isn't georeferenced"),
    (no_crs, "no-crs", "has no CRS"),
    (crs_only, "ungeoreferenced", "isn't georeferenced"),
    (gcp_only, "ungeoreferenced", "4 ground control points only"),
    (swath, "ungeoreferenced", "a swath placed by geolocation arrays only"),
    (truncated, "unreadable", "can't be read"),
    (truncated_tags, "ungeoreferenced", "isn't georeferenced"),
    (noise, "format", "no raster format that GDAL knows"),
    (tiff_noise, "unreadable", "can't be read"),
    (empty, "format", "no raster format that GDAL knows"),
    (text, "format", "no raster format that GDAL knows"),
    (html, "format", "no raster format that GDAL knows"),
    (dangling, "missing", "no such file"),
]


@pytest.mark.parametrize(("make", "kind", "what"), RASTERS, ids=[r[0].__name__ for r in RASTERS])
def test_bad_raster(
    tmp_path: Path,
    small: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
    make: Callable[[Path], None],
    kind: str,
    what: str,
) -> None:
    folder = tmp_path / "rasters"
    folder.mkdir()
    bad = folder / "a_bad_scene.tif"
    make(bad)
    (problem,) = refused(folder)
    assert problem["kind"] == kind
    assert problem["item"] == "a_bad_scene"
    assert what in problem["what"]
    assert problem["href"] == str(bad)
    assert problem["advice"]
    good = small.parent / "S2_33_0_0" / "B04.tif"
    (problem,) = refused(folder, good, hint=SKIP)
    assert problem["kind"] == kind
    report = skipped(folder, good)
    assert report["items"] == 1
    assert report["left_out"] == [problem]


def test_gcps_of_a_real_file(shared: Path, refused: Callable[..., list[Json]]) -> None:
    path = shared / "cogeotiff+rio-tiler" / "tests" / "fixtures" / "cog_gcps_ovr.tif"
    (problem,) = refused(path)
    assert problem["kind"] == "ungeoreferenced"
    assert "ground control points only" in problem["what"]
    assert "gdalwarp" in problem["advice"]


def test_files_of_items_are_named_with_their_item(
    items: list[Json], tmp_path: Path, refused: Callable[..., list[Json]]
) -> None:
    """Items that tell nothing of their grid have their file read; the message names both."""
    bad = tmp_path / "bad.tif"
    gcp_only(bad)
    bare = item_of(seam_scenes(64, 60.0, ("B04",), 1)[0], full=False)
    bare["assets"]["B04"]["href"] = str(bad)
    (problem,) = refused(put(tmp_path, [bare, *items[1:]]), hint=SKIP)
    assert (problem["item"], problem["asset"]) == ("S2_32_0_0", "B04")
    assert problem["href"] == str(bad)


def test_bands_and_types_that_do_not_fit(
    tmp_path: Path, small: Path, refused: Callable[..., list[Json]], skipped: Callable[..., Json]
) -> None:
    place = {"crs": "EPSG:32633", "transform": AFFINE}
    raster(tmp_path / "three.tif", bands=3, **place)
    raster(tmp_path / "float.tif", dtype="float32", **place)
    for name in ("one", "other", "third"):
        raster(tmp_path / f"{name}.tif", **place)
    given = sorted(tmp_path.glob("*.tif"))
    problems = refused(*given, hint=SKIP)
    assert {p["item"]: p["what"] for p in problems} == {
        "three": "has 3 bands of uint16, most items have 1 band of uint16",
        "float": "has 1 band of float32, most items have 1 band of uint16",
    }
    assert {p["kind"] for p in problems} == {"bands"}
    report = skipped(*given)
    assert report["items"] == 3
    assert report["indexes"] == [{"file": "data.gti.gpkg", "tiles": 3}]
    assert {p["item"] for p in report["left_out"]} == {"three", "float"}


def test_unequal_shapes_are_fine(tmp_path: Path) -> None:
    scenes = [
        utm_scene(f"s{size}", 32633, 12.5, 47.5, size, res, bands=("B04",))
        for size, res in ((64, 60.0), (50, 100.0), (333, 10.0))
    ]
    items = [write_scene(tmp_path, scene) for scene in scenes]
    report = mosaic.build(put(tmp_path, items), tmp_path / "m")
    assert report.items == 3
    assert report.left_out == ()
    assert report.resolution == (10.0, 10.0)
