"""A good mosaic passes its check; broken in one way each, it is told in which."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import mosaic
from mosaic.errors import BrokenCatalogError
from tests.check.conftest import Json, edit_xml, errors, only, opened, rewritten, sub
from tests.support.scenes import seam_scenes, write_scenes

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
