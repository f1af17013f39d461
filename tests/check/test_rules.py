"""A good mosaic passes its check; broken in one way each, it is told in which."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from shapely.affinity import scale

import mosaic
from mosaic.errors import BrokenCatalogError
from tests.check.conftest import Json, edit_xml, errors, only, opened, rewritten, sub
from tests.support.mosaics import CASES, write_case
from tests.support.scenes import item_of, seam_scenes, utm_scene, write_scenes

INDEX = "B03.gti.gpkg"


def test_a_good_mosaic_is_sound(good: Path, empty: Path) -> None:
    report = mosaic.check(good, schemas=empty, all=True)
    assert errors(report) == []
    assert report.ok
    found = {one.check: one for one in report.findings}
    assert found[INDEX].count == 8
    assert found["slices"].count == 6
    assert found["STAC items"].count == 8
    assert found["headers"].count == found["local files"].count == 24
    assert found["schemas"].level == "unknown"
    report.raise_for_errors()


# ---- what an index declares

DECLARED = [
    # change of the XML; kind; words
    (sub(r"<SRS>[^<]*", "<SRS>EPSG:32634"), "grid", "SRS EPSG:32634"),
    (sub(r"<SRS>.*?</SRS>", ""), "grid", "declares no SRS"),
    (sub(r"<GeoTransform>\d", "<GeoTransform>9"), "grid", "declares the transform"),
    (sub(r"<XSize>\d+", "<XSize>1024"), "grid", "declares 1024 x"),
    (sub(r"<YSize>.*?</YSize>", ""), "grid", "no XSize and YSize"),
    (sub("</GDALTile", "<Overview><Factor>7</Factor></Overview></GDALTile"), "factor", "factor 7"),
    (sub(r"<BandCount>1</BandCount>", ""), "bands", "declares no bands"),
    (sub(r"<BandCount>1", "<BandCount>2"), "bands", "declares 2 bands, describes 1"),
    (sub(r' dataType="UInt16"', ""), "bands", "no data type: GDAL would take Byte"),
    (sub(r"<SortField>z", "<SortField>height"), "sort-field", "sorts by height"),
    (sub(r"<SortField>.*?</SortField>", ""), "sort-field", "sorts by nothing"),
    (sub(r"<LocationField>location", "<LocationField>where"), "location-field", "column where"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "words"), DECLARED, ids=[one[2] for one in DECLARED])
def test_declarations(
    broken: Path, empty: Path, change: Callable[[str], str], kind: str, words: str
) -> None:
    edit_xml(broken / INDEX, change)
    report = mosaic.check(broken, schemas=empty)
    found = next(one for one in errors(report) if one.check == INDEX)
    assert kind in {problem.kind for problem in found.problems}
    assert any(words in str(problem) for problem in found.problems), found.problems
    # whatever leans on the index may be told too; other indexes are sound
    assert {one.check for one in errors(report)} <= {INDEX, "B04_B03_B02.vrt", "slices", "headers"}
    with pytest.raises(BrokenCatalogError, match=INDEX):
        report.raise_for_errors()


def test_footprints_in_another_crs(broken: Path, empty: Path) -> None:
    with opened(broken / INDEX) as database:
        database.execute("UPDATE gpkg_geometry_columns SET srs_id = 4326")
        database.execute("UPDATE gpkg_contents SET srs_id = 4326")
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    assert "its footprints are in EPSG:4326, not in EPSG:32633" in str(found.problems[0])


def test_a_spatial_index_that_lost_rows(broken: Path, empty: Path) -> None:
    with opened(broken / INDEX) as database:
        database.execute("DELETE FROM rtree_tiles_geom WHERE id = 3")
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    assert "has 8 rows, 7 of them in its spatial index" in str(found.problems[0])


# ---- locations

LOCATIONS = [
    ("https://host.org/a.tif", "location", "bare https://"),
    ("http://host.org/a.tif", "location", "bare http://"),
    ("s3://bucket/a.tif", "location", "bare s3://"),
    ("gs://bucket/a.tif", "location", "bare gs://"),
    ("az://bucket/a.tif", "location", "bare az://"),
    ("/vsicurl/https://host.org/a.tif", "location", "/vsicurl/"),
    ("GTI:/data/other.gti.gpkg", "location", "GTI:"),
    ("/elsewhere/B03.tif", "location", "another file than the item's"),
    ("", "location", "has no location"),
    (
        "/vsicurl?empty_dir=yes&url=https%3A%2F%2Fhost.org%2Fa.tif%3Fsig%3DSECRET",
        "secret",
        "a password, token or signature",
    ),
    (
        "/vsicurl?empty_dir=yes&url=https%3A%2F%2Fhost.org%2Fa.tif%3Fv%3D1%26X-Amz-Signature%3DSECRET",
        "secret",
        "a password, token or signature",
    ),
    ("/vsicurl?url=https%3A%2F%2Fme%3ASECRET%40host.org%2Fa.tif", "secret", "a password"),
    (
        '<VRTDataset rasterXSize="64"><SRS>EPSG:32632</SRS><X>/vsicurl?url=https%3A%2F%2Fh%2Fa.tif'
        "%3Fa%3Db%26amp%3Btoken%3DSECRET</X></VRTDataset>",
        "secret",
        "a password",
    ),
]


@pytest.mark.parametrize(("location", "kind", "words"), LOCATIONS)
def test_locations(broken: Path, empty: Path, location: str, kind: str, words: str) -> None:
    with opened(broken / INDEX) as database:
        database.execute("UPDATE tiles SET location = ? WHERE item = ?", (location, "S2_33_0_0"))
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    said = [problem for problem in found.problems if problem.kind == kind]
    assert any(words in problem.what for problem in said), found.problems
    assert {problem.item for problem in found.problems} == {"S2_33_0_0"}
    assert all(problem.asset == "B03" for problem in found.problems)
    assert "SECRET" not in str(mosaic.check(broken, schemas=empty).as_dict())


# ---- footprints


def geometries(path: Path, change: Callable[[np.ndarray], np.ndarray], item: str = "") -> None:
    """Changes footprints, and the spatial index with them, as GeoPackage keeps both."""
    _, fids, wkb, _ = pyogrio.raw.read(path, columns=["item"], return_fids=True)
    items = pyogrio.raw.read(path, columns=["item"])[3][0]
    with opened(path) as database:
        for fid, one, name in zip(fids, change(shapely.from_wkb(wkb)), items, strict=True):
            if item and name != item:
                continue
            west, south, east, north = shapely.bounds(one)
            head = database.execute("SELECT geom FROM tiles WHERE fid = ?", (int(fid),)).fetchone()
            # "GP", version, flags without an envelope, the same SRS
            data = b"GP\x00\x01" + head[0][4:8] + shapely.to_wkb(one, byte_order=1)
            database.execute("UPDATE tiles SET geom = ? WHERE fid = ?", (data, int(fid)))
            database.execute(
                "UPDATE rtree_tiles_geom SET minx = ?, maxx = ?, miny = ?, maxy = ? WHERE id = ?",
                (west, east, south, north, int(fid)),
            )


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


# ---- coarse images


def coarse(folder: Path, **changed: object) -> None:
    """A coarse image of the whole, named as the overview of an index."""
    found = mosaic.info(folder)
    west, south, east, north = found["bounds"]
    profile = {
        "driver": "GTiff",
        "width": 40,
        "height": 30,
        "count": 1,
        "dtype": "uint16",
        "crs": found["crs"],
        "transform": rasterio.transform.from_bounds(west, south, east, north, 40, 30),
    } | changed
    with rasterio.open(folder / "coarse.tif", "w", **profile) as dataset:
        dataset.write(np.ones((profile["count"], 30, 40), "uint16"))
    edit_xml(
        folder / INDEX,
        sub(
            "</GDALTileIndexDataset>",
            "<Overview><Dataset>coarse.tif</Dataset></Overview></GDALTileIndexDataset>",
        ),
    )


def test_overviews(broken: Path, empty: Path) -> None:
    coarse(broken)
    assert mosaic.check(broken, schemas=empty).ok
    for changed, words in (
        ({"transform": Affine(900, 0, 3e5, 0, -900, 5.2e6)}, "doesn't cover the mosaic"),
        ({"count": 2}, "has 2 bands"),
    ):
        coarse(broken, **changed)
        found = only(mosaic.check(broken, schemas=empty), INDEX)
        assert words in found.problems[0].what
    (broken / "coarse.tif").unlink()
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    assert "its overview coarse.tif no such file" in found.problems[0].what


# ---- rows and items


def test_a_row_that_is_lost(broken: Path, empty: Path) -> None:
    with opened(broken / INDEX) as database:
        (fid,) = database.execute("SELECT fid FROM tiles WHERE item = 'S2_33_1_1'").fetchone()
        database.execute("DELETE FROM tiles WHERE fid = ?", (fid,))
        database.execute("DELETE FROM rtree_tiles_geom WHERE id = ?", (fid,))
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    assert "item S2_33_1_1 asset B03" in str(found.problems[0])
    assert "has no row for it" in str(found.problems[0])


def test_a_row_of_an_unknown_item(broken: Path, empty: Path) -> None:
    with opened(broken / INDEX) as database:
        database.execute("UPDATE tiles SET item = 'stranger' WHERE item = 'S2_33_1_1'")
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    said = [str(problem) for problem in found.problems]
    assert any("item stranger" in text and "isn't in items.parquet" in text for text in said)
    assert any("item S2_33_1_1" in text and "has no row" in text for text in said)


@pytest.mark.parametrize(
    ("z", "words"),
    [("z + 1", "pieces and bands would mix"), ("-z", "pieces and bands would mix")],
)
def test_an_index_with_an_order_of_its_own(broken: Path, empty: Path, z: str, words: str) -> None:
    with opened(broken / INDEX) as database:
        database.execute(f"UPDATE tiles SET z = {z}")
    found = only(mosaic.check(broken, schemas=empty), INDEX)
    assert any(words in problem.what for problem in found.problems)


def test_an_order_that_isnt_that_of_the_items(broken: Path, empty: Path) -> None:
    for name in ("B02", "B03", "B04"):
        with opened(broken / f"{name}.gti.gpkg") as database:
            database.execute("UPDATE tiles SET z = 7 - z")
    report = mosaic.check(broken, schemas=empty)
    assert {one.check for one in errors(report)} == {f"B0{n}.gti.gpkg" for n in (2, 3, 4)}
    assert "what should lie on it" in errors(report)[0].problems[0].what


def test_items_that_share_a_z(broken: Path, empty: Path) -> None:
    for name in ("B02", "B03", "B04"):
        with opened(broken / f"{name}.gti.gpkg") as database:
            database.execute("UPDATE tiles SET z = 0")
    report = mosaic.check(broken, schemas=empty)
    assert "left to chance" in errors(report)[0].problems[0].what


def test_orders_by_other_properties_pass(tmp_path: Path, empty: Path) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",))
    items = [item_of(scene) for scene in scenes]
    for number, item in enumerate(items):
        item["properties"]["rank"] = [3, "10", None, 2.5][number % 4]
        item["assets"]["B04"]["href"] = f"https://host.example/{item['id']}.tif"
    for sort in ("rank", "-rank", "-eo:cloud_cover", "+datetime", "-no-such-property"):
        mosaic.build(items, tmp_path / "m", sort=sort, overwrite=True)
        report = mosaic.check(tmp_path / "m", schemas=empty, offline=True)
        assert errors(report) == [], sort


# ---- other files


def test_slices_that_point_elsewhere(broken: Path, empty: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    broken.rename(moved)
    found = only(mosaic.check(moved, schemas=empty), "slices")
    assert len(found.problems) == 6
    assert f"run: mosaic relocate {moved}" in str(found.problems[0])
    assert "which isn't there" in str(found.problems[0])
    mosaic.relocate(moved)
    assert mosaic.check(moved, schemas=empty).ok
    mosaic.relocate(moved, "https://host.example/m")
    report = mosaic.check(moved, schemas=empty)
    assert report.ok
    assert "6 of them to be read from elsewhere" in str(report.as_dict())


SLICES = [
    (sub(r"<XSize>\d+", "<XSize>32"), "declares 32 x"),
    (sub("UInt16", "Int16"), "declares bands of Int16"),
    (sub(r"<Filter>.*?</Filter>", ""), "has no filter"),
    (sub(r"<Filter>.*?</Filter>", "<Filter>nonsense = 1</Filter>"), "can't be run"),
    (sub(r"B03\.gti\.gpkg</Index", "B99.gti.gpkg</Index"), "no index of this mosaic"),
    (sub(r"<SortField>z", "<SortField>fid"), "sorts by fid"),
    (sub("</GDALTileIndexDataset>", ""), "is broken"),
]


@pytest.mark.parametrize(("change", "words"), SLICES, ids=[one[1] for one in SLICES])
def test_slices(broken: Path, empty: Path, change: Callable[[str], str], words: str) -> None:
    path = broken / "B03_2025-06-06.gti"
    text = path.read_text()
    path.write_text(change(text))
    found = only(mosaic.check(broken, schemas=empty), "slices")
    assert words in str(found.problems[0])
    assert path.name in str(found.problems[0])


STACKS = [
    (sub(r'rasterXSize="\d+"', 'rasterXSize="77"'), "declares 77 x"),
    (sub(r">B03\.gti\.gpkg", ">B99.gti.gpkg"), "stacks B99.gti.gpkg, which isn't beside it"),
    (sub("UInt16", "Float32"), "takes B04.gti.gpkg for Float32"),
    (sub(r"<SourceProperties[^>]*/>", ""), "tells no size and type"),
    (sub(r"<SRS>[^<]*", "<SRS>EPSG:4326"), "declares the SRS EPSG:4326"),
]


@pytest.mark.parametrize(("change", "words"), STACKS, ids=[one[1] for one in STACKS])
def test_stacks(broken: Path, empty: Path, change: Callable[[str], str], words: str) -> None:
    path = broken / "B04_B03_B02.vrt"
    path.write_text(change(path.read_text()))
    found = only(mosaic.check(broken, schemas=empty), path.name)
    assert any(words in problem.what for problem in found.problems), found.problems


def test_a_side_file_is_a_warning(broken: Path, empty: Path) -> None:
    (broken / f"{INDEX}.aux.xml").write_text("<PAMDataset/>")
    report = mosaic.check(broken, schemas=empty)
    assert report.ok
    (found,) = (one for one in report.findings if one.level == "warning")
    assert f"{INDEX}.aux.xml" in str(found.problems[0])


def test_a_grid_in_the_collection_that_isnt_the_indexes(broken: Path, empty: Path) -> None:
    path = broken / "collection.json"
    path.write_text(path.read_text().replace("EPSG:32633", "EPSG:32632"))
    report = mosaic.check(broken, schemas=empty)
    checks = {one.check for one in errors(report)}
    assert {"B02.gti.gpkg", "slices", "B04_B03_B02.vrt"} <= checks


# ---- what is right passes


def test_every_case_passes(tmp_path: Path, empty: Path) -> None:
    built: dict[str, Path] = {}
    for case in CASES:
        items = built.setdefault(case.name, write_case(_folder(tmp_path / case.name), case.scenes))
        out = tmp_path / f"{case}"
        mosaic.build(items, out, dst_crs=case.crs)
        report = mosaic.check(out, schemas=empty)
        assert errors(report) == [], case


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def rasters(folder: Path, transforms: list[Affine], count: int = 1, **options: object) -> Path:
    folder.mkdir(parents=True)
    for number, transform in enumerate(transforms):
        profile = {"driver": "GTiff", "width": 60, "height": 40, "count": count, "dtype": "uint16"}
        with rasterio.open(
            folder / f"t{number}.tif", "w", **{**profile, "crs": "EPSG:32632", **options},
            transform=transform,
        ) as dataset:  # fmt: skip
            dataset.write(np.full((count, 40, 60), 100 + number, profile["dtype"]))
    return folder


TURNED = Affine.translation(500_000, 5_000_000) @ Affine.rotation(20) @ Affine.scale(10, -10)
SOUTH_UP = Affine(10, 0, 501_000, 0, 10, 5_000_000)
NORTH_UP = Affine(10, 0, 502_000, 0, -10, 5_000_000)
ODD = [
    ("rotated", [TURNED, NORTH_UP], {"nodata": 0}, {}),
    ("rotated, in degrees", [TURNED, NORTH_UP], {"nodata": 0}, {"dst_crs": "EPSG:4326"}),
    ("south up", [SOUTH_UP, NORTH_UP], {"nodata": 0}, {}),
    ("no nodata", [TURNED, SOUTH_UP, NORTH_UP], {}, {"dst_crs": "EPSG:3035"}),
    ("no nodata, two bands", [TURNED, NORTH_UP], {"count": 2}, {"dst_crs": "EPSG:3035"}),
    ("nodata by hand", [NORTH_UP, SOUTH_UP], {}, {"nodata": 0}),
    ("oblong pixels", [Affine(10, 0, 5e5, 0, -30, 5e6), NORTH_UP], {}, {"res": (10, 30)}),
]


@pytest.mark.parametrize(
    ("transforms", "written", "options"), [one[1:] for one in ODD], ids=[one[0] for one in ODD]
)
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_odd_rasters_pass(
    tmp_path: Path, empty: Path, transforms: list[Affine], written: dict[str, object],
    options: dict[str, object], inside: bool,
) -> None:  # fmt: skip
    out = tmp_path / "m"
    files = rasters(out / "in" if inside else tmp_path / "in", transforms, **written)  # type: ignore[arg-type]
    mosaic.build(files, out, **options)  # type: ignore[arg-type]
    report = mosaic.check(out, schemas=empty, all=True)
    assert errors(report) == []


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3832"])
def test_the_whole_world_passes(tmp_path: Path, empty: Path, crs: str) -> None:
    for name, left in (("a", -180), ("b", 0)):
        rasters(tmp_path / name, [Affine(6, 0, left, 0, -4.5, 90)], crs="EPSG:4326", nodata=0)
    mosaic.build([tmp_path / "a", tmp_path / "b"], tmp_path / "m", dst_crs=crs)
    assert errors(mosaic.check(tmp_path / "m", schemas=empty)) == []


def test_one_id_in_two_collections_passes(tmp_path: Path, empty: Path) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",), dates=1)
    items = [item_of(scene) for scene in scenes] + [item_of(scenes[0])]
    items[-1]["collection"] = "others"
    for item in items:
        item["assets"]["B04"]["href"] = f"https://host.example/{item['id']}.tif"
    mosaic.build(items, tmp_path / "m")
    assert errors(mosaic.check(tmp_path / "m", schemas=empty, offline=True)) == []


def test_a_bbox_and_names_of_bands_pass(seam: Path, tmp_path: Path, empty: Path) -> None:
    mosaic.build(seam, tmp_path / "m", bbox=(11.8, 47.53, 11.9, 47.56), dst_crs="EPSG:3857")
    assert errors(mosaic.check(tmp_path / "m", schemas=empty)) == []


def test_items_named_by_band_are_found(tmp_path: Path, empty: Path) -> None:
    items = [item_of(scene) for scene in seam_scenes(64, 60.0, ("B04",), dates=1)]
    for item in items:
        asset = item["assets"].pop("B04")
        asset["eo:bands"] = [{"name": "B04", "common_name": "red"}]
        item["assets"]["file"] = {**asset, "href": f"https://host.example/{item['id']}.tif"}
    mosaic.build(items, tmp_path / "m", bands=["red"])
    report = mosaic.check(tmp_path / "m", schemas=empty, offline=True)
    assert errors(report) == []
    geometries(tmp_path / "m/red.gti.gpkg", lambda g: shapely.buffer(g, 500.0))
    found = only(mosaic.check(tmp_path / "m", schemas=empty, offline=True), "red.gti.gpkg")
    assert len(found.problems) == len(items)


def test_items_parquet_of_another_build(broken: Path, tmp_path: Path, empty: Path) -> None:
    scenes = write_scenes(tmp_path / "in", seam_scenes(64, 60.0, ("B04",), dates=1)[:3])
    mosaic.build(scenes, tmp_path / "other")
    shutil.copy(tmp_path / "other/items.parquet", broken / "items.parquet")
    report = mosaic.check(broken, schemas=empty)
    assert not report.ok
    found = next(one for one in errors(report) if one.check == "items.parquet")
    said = " ".join(map(str, found.problems))
    assert "holds 3 items, collection.json says 8" in said
    assert "of the collection other, not of m" in said


def test_items_that_moved_to_another_zone(broken: Path, empty: Path) -> None:
    def change(item: Json) -> Json:
        if item["id"].startswith("S2_32"):
            for fields in (item["properties"], *item["assets"].values()):
                fields["proj:code"] = "EPSG:32633"
        return item

    rewritten(broken, change)
    report = mosaic.check(broken, schemas=empty)
    checks = {one.check for one in errors(report)}
    assert checks == {"B02.gti.gpkg", "B03.gti.gpkg", "B04.gti.gpkg", "headers"}
    for found in errors(report):
        assert all(problem.item.startswith("S2_32") for problem in found.problems)
