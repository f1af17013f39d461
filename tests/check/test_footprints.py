"""Footprints and small VRTs that would make GDAL show something else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.affinity import scale

import mosaic
from tests.check.conftest import TURNED, geometries, only, opened, rasters, sub
from tests.support.scenes import utm_scene, write_scenes

INDEX = "B03.gti.gpkg"


def moved(geometry: np.ndarray, east: float) -> np.ndarray:
    """Geometries further east."""
    return np.asarray(shapely.transform(geometry, lambda xy: xy + np.array([east, 0.0])))


def smaller(geometry: np.ndarray, pixels: float) -> np.ndarray:
    """Geometries whose bounds end earlier on all sides."""
    size = shapely.bounds(geometry)[:, 2:] - shapely.bounds(geometry)[:, :2]
    factors = 1 - 2 * 60 * pixels / size
    return np.array([scale(one, *by) for one, by in zip(geometry, factors, strict=True)])


def bitten(geometry: np.ndarray) -> np.ndarray:
    """Geometries that lack something at an edge."""
    at = shapely.line_interpolate_point(shapely.boundary(geometry), 0.1, normalized=True)
    return np.asarray(shapely.difference(geometry, shapely.buffer(at, 300.0)))


FOOTPRINTS = [
    ("small", lambda g: smaller(g, 0.8), "before those that GDAL gives its scene"),
    ("to the end", lambda g: smaller(g, -0.26), "0.01 pixels beyond those that GDAL gives"),
    ("5 km", lambda g: shapely.buffer(g, 5000.0, join_style="mitre"), "reads zeros in GDAL 3.10"),
    (
        "moved",
        lambda g: shapely.transform(g, lambda xy: xy + np.array([30000.0, 0])),
        "lies elsewhere",
    ),
    (
        "moved a little",
        lambda g: shapely.transform(g, lambda xy: xy + np.array([90.0, 0])),
        "beyond those",
    ),
    ("a bite", bitten, "leaves out up to"),
    ("box", lambda g: shapely.envelope(g), "exceeds its scene by"),
]


@pytest.mark.parametrize(("name", "change", "words"), FOOTPRINTS, ids=[f[0] for f in FOOTPRINTS])
def test_footprints(
    broken: Path, empty: Path, name: str, change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    geometries(broken / INDEX, change, "S2_32_1_0")
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    (problem,) = found.problems
    assert (problem.item, problem.asset) == ("S2_32_1_0", "B03")
    assert words in problem.what, problem


@pytest.fixture(scope="module")
def dateline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dateline")
    scenes = [
        utm_scene("west", 32660, 179.5, 52.0, 64, 600.0),
        utm_scene("across", 32660, 179.9, 52.1, 64, 600.0),
        utm_scene("east", 32601, -179.6, 52.0, 64, 600.0),
    ]
    mosaic.build(write_scenes(folder / "in", scenes), folder / "m", dst_crs="EPSG:4326")
    return folder / "m"


def test_a_footprint_across_180(dateline: Path, tmp_path: Path, empty: Path) -> None:
    out = Path(shutil.copytree(dateline, tmp_path / "m"))
    assert mosaic.check(out, schemas=empty).ok
    around = shapely.box(-179.7, 51.8, 179.7, 52.3)
    geometries(out / "B04.gti.gpkg", lambda g: np.array([around] * len(g)), "west")
    found = only(mosaic.check(out, schemas=empty), "B04.gti.gpkg")
    assert [(one.kind, one.item) for one in found.problems] == [("across-180", "west")]


def test_a_footprint_beyond_the_map(dateline: Path, tmp_path: Path, empty: Path) -> None:
    out = Path(shutil.copytree(dateline, tmp_path / "m"))
    geometries(
        out / "B04.gti.gpkg",
        lambda g: moved(g, 0.6),
        "west",
    )
    found = only(mosaic.check(out, schemas=empty), "B04.gti.gpkg")
    assert found.problems[0].kind == "across-180"


def test_a_piece_that_is_lost(dateline: Path, tmp_path: Path, empty: Path) -> None:
    out = Path(shutil.copytree(dateline, tmp_path / "m"))
    with opened(out / "B04.gti.gpkg") as database:
        fids = [row[0] for row in database.execute("SELECT fid FROM tiles WHERE item = 'across'")]
        assert len(fids) == 2
        database.execute("DELETE FROM tiles WHERE fid = ?", (fids[0],))
        database.execute("DELETE FROM rtree_tiles_geom WHERE id = ?", (fids[0],))
    found = only(mosaic.check(out, schemas=empty), "B04.gti.gpkg")
    assert {problem.item for problem in found.problems} == {"across"}


@pytest.mark.parametrize("by", [-0.05, 0.1], ids=["small", "large"])
def test_a_piece_that_is_off(dateline: Path, tmp_path: Path, empty: Path, by: float) -> None:
    out = Path(shutil.copytree(dateline, tmp_path / "m"))
    geometries(out / "B04.gti.gpkg", lambda g: shapely.buffer(g, by, join_style="mitre"), "across")
    found = only(mosaic.check(out, schemas=empty), "B04.gti.gpkg")
    assert {problem.item for problem in found.problems} == {"across"}


VRTS = [
    (sub(r"<SRS>[^<]*", "<SRS>EPSG:3857"), "its VRT is in EPSG:3857"),
    (sub(r"<GeoTransform>-?\d+\.\d\d", "<GeoTransform>177.77"), "on the mosaic's pixels"),
    (sub(r"<GeoTransform>.*?</GeoTransform>", ""), "no SRS and GeoTransform"),
    (sub(r'dataType="UInt16"', 'dataType="Byte"'), "has bands of Byte"),
    (sub(r"</VRTDataset>", ""), "its VRT is broken"),
]


@pytest.mark.parametrize(("change", "words"), VRTS, ids=[one[1] for one in VRTS])
def test_vrts(
    dateline: Path, tmp_path: Path, empty: Path, change: Callable[[str], str], words: str
) -> None:
    out = Path(shutil.copytree(dateline, tmp_path / "m"))
    with opened(out / "B04.gti.gpkg") as database:
        fid, text = database.execute(
            "SELECT fid, location FROM tiles WHERE item = 'across'"
        ).fetchone()
        database.execute("UPDATE tiles SET location = ? WHERE fid = ?", (change(text), fid))
    found = only(mosaic.check(out, schemas=empty), "B04.gti.gpkg")
    assert any(words in problem.what for problem in found.problems), found.problems


def test_a_vrt_whose_scene_is_elsewhere(tmp_path: Path, empty: Path) -> None:
    out = tmp_path / "m"
    mosaic.build(rasters(out / "in", [TURNED], nodata=0), out)
    (path,) = out.glob("vrt/**/*.vrt")
    path.write_text(path.read_text().replace("in/t0.tif", "in/t1.tif"))
    found = only(mosaic.check(out, schemas=empty), "data.gti.gpkg")
    assert "in/t1.tif, which isn't there" in str(found.problems[0])
