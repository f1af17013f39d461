"""What can't be indexed: one clear line each, nothing written, the old catalog intact."""

from __future__ import annotations

import copy
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.control import GroundControlPoint

import mosaic
from mosaic.errors import NoItemsError
from tests.build.test_publish import snapshot
from tests.support.scenes import Scene, item_of, seam_scenes, utm_scene, write_scene

Cli = Callable[..., Result]
Json = dict[str, Any]

AFFINE = Affine(60, 0, 270000, 0, -60, 5260000)


@pytest.fixture
def items(small: Path) -> list[Json]:
    """Four sound items with absolute hrefs, to be spoilt; ``S2_32_1_0`` is the second."""
    found: list[Json] = orjson.loads(small.read_bytes())["features"]
    for item in found:
        item["assets"]["B04"]["href"] = str(small.parent / item["assets"]["B04"]["href"])
    return found


@pytest.fixture
def refused(tmp_path: Path, built: Path, cli: Cli) -> Callable[..., list[Json]]:
    """Builds over an old mosaic: it must fail in one line a problem and leave all as it was."""
    out = tmp_path / "out" / "m"
    shutil.copytree(built, out)
    before = snapshot(out.parent)

    def build(*args: object, hint: str = "", stdin: bytes | None = None) -> list[Json]:
        arguments = ("build", *args, "-o", out, "--overwrite")
        plain = cli(*arguments, stdin=stdin)
        assert plain.exit_code == 1
        assert plain.stdout == ""
        lines = plain.stderr.splitlines()
        as_json = cli(*arguments, "--json", stdin=stdin)
        assert as_json.exit_code == 1
        assert as_json.stderr == ""
        told = orjson.loads(as_json.stdout)
        assert told["hint"] == hint
        problems: list[Json] = told["problems"]
        assert len(lines) == len(problems) + bool(hint), plain.stderr
        for line, problem in zip(lines, problems, strict=False):
            assert line.startswith("mosaic: ")
            assert problem["what"] in line
            assert problem["item"] in line
        assert snapshot(out.parent) == before
        return problems

    return build


@pytest.fixture
def skipped(tmp_path: Path, cli: Cli) -> Callable[..., Json]:
    """Builds with ``--skip-bad``; the report."""

    def build(*args: object, stdin: bytes | None = None) -> Json:
        out = tmp_path / "skipped"
        result = cli("build", *args, "-o", out, "--skip-bad", "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        report: Json = orjson.loads(result.stdout)
        assert mosaic.info(out)["items"] == report["items"]
        return report

    return build


def put(folder: Path, items: list[Json]) -> Path:
    """A file of these items."""
    path = folder / "given.json"
    path.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": items}))
    return path


SKIP = "--skip-bad leaves these out and goes on"


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


def test_wrong_code(
    items: list[Json],
    tmp_path: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
) -> None:
    assert items[1]["properties"]["proj:epsg"] == 32632
    items[1]["properties"]["proj:epsg"] = 32633
    path = put(tmp_path, items)
    (problem,) = refused(path, hint=SKIP)
    assert problem["kind"] == "contradiction"
    assert problem["item"] == "S2_32_1_0"
    assert problem["asset"] == "B04"
    # six degrees further east than it says
    assert "(EPSG:32633) put it at [17.95, 47.47, 18, 47.5]" in problem["what"]
    assert "its bbox at [11.95, 47.47, 12, 47.5]" in problem["what"]
    assert "--verify" in problem["advice"]
    report = skipped(path)
    assert report["items"] == 3
    assert [p["item"] for p in report["left_out"]] == ["S2_32_1_0"]


def test_verify_believes_the_file(items: list[Json], tmp_path: Path) -> None:
    items[1]["properties"]["proj:epsg"] = 32633
    items[2]["assets"]["B04"]["proj:transform"][2] += 600
    report = mosaic.build(put(tmp_path, items), tmp_path / "m", verify=True)
    assert report.items == 4
    assert report.headers_read == 4
    found = {(p.item, p.kind): p.what for p in report.disagreements}
    assert found == {
        ("S2_32_1_0", "crs"): "proj:code says EPSG:32633, the file EPSG:32632",
        ("S2_33_0_0", "transform"): "proj:transform is 10 pixels off the file's",
    }


Spoil = Callable[[Json], object]
ITEMS: dict[str, tuple[Spoil, str]] = {
    "unknown code": (
        lambda i: i["properties"].update({"proj:epsg": 999999}),
        "'EPSG:999999' is no CRS",
    ),
    "code that is no code": (
        lambda i: i["properties"].update({"proj:code": "EPSG:two"}),
        "'EPSG:two' is no CRS",
    ),
    "transform of zeros": (
        lambda i: i["assets"]["B04"].update({"proj:transform": [0] * 9}),
        "is a transform without pixel area",
    ),
    "short transform": (
        lambda i: i["assets"]["B04"].update({"proj:transform": [60, 0]}),
        "is no affine transform",
    ),
    "no pixels": (
        lambda i: i["assets"]["B04"].update({"proj:shape": [0, 64]}),
        "proj:shape [0, 64] has no pixels",
    ),
    "no assets": (lambda i: i.update(assets={}), "has no asset that holds pixels"),
    "assets null": (lambda i: i.update(assets=None), "has no asset that holds pixels"),
    "picture only": (
        lambda i: i["assets"]["B04"].update(type="image/png"),
        "has no asset that holds pixels",
    ),
    "bbox elsewhere": (lambda i: i.update(bbox=[0, 0, 0, 0]), "its bbox at [0, 0, 0, 0]"),
    "bbox off the globe": (
        lambda i: i.update(bbox=[1e9, 1e9, 2e9, 2e9]),
        "its bbox at [1e+09, 1e+09, 2e+09, 2e+09]",
    ),
    "bbox of words": (
        lambda i: i.update(bbox=["a", "b", "c", "d"]),
        "isn't four or six finite numbers",
    ),
    "bbox of two": (lambda i: i.update(bbox=[1, 2]), "isn't four or six finite numbers"),
    "geometry of words": (
        lambda i: i.update(geometry={"type": "Polygon", "coordinates": "here"}),
        "is no GeoJSON",
    ),
    "time in words": (
        lambda i: i["properties"].update(datetime="yesterday"),
        "its datetime 'yesterday' is no time",
    ),
    "scheme": (
        lambda i: i["assets"]["B04"].update(href="ftp://host/B04.tif"),
        "GDAL can't read ftp://",
    ),
    "roles": (lambda i: i["assets"]["B04"].update(roles="data"), "asset B04 are no list"),
    "huge number": (lambda i: i["properties"].update(huge=1 << 70), "can't be written"),
}


@pytest.mark.parametrize("name", ITEMS)
def test_bad_item(
    name: str,
    items: list[Json],
    tmp_path: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
) -> None:
    spoil, what = ITEMS[name]
    spoil(items[1])
    if name == "huge number":  # JSON files can't bring it, Python can
        report = mosaic.build(items, tmp_path / "m", skip_bad=True)
        assert [p.item for p in report.left_out] == ["S2_32_1_0"]
        assert what in report.left_out[0].what
        return
    path = put(tmp_path, items)
    (problem,) = refused(path, hint=SKIP)
    assert problem["item"] == "S2_32_1_0"
    assert what in problem["what"]
    assert problem["advice"]
    report = skipped(path)
    assert report["items"] == 3
    assert report["left_out"] == [problem]


def test_item_without_id_is_counted(
    items: list[Json], tmp_path: Path, refused: Callable[..., list[Json]]
) -> None:
    del items[1]["id"], items[2]["id"]
    problems = refused(put(tmp_path, [*items, "no item"]), hint=SKIP)
    assert [p["item"] for p in problems] == ["number 2", "number 3", "number 5"]
    assert {p["what"] for p in problems} == {"has no id"}


def test_all_problems_are_listed(
    items: list[Json], tmp_path: Path, cli: Cli, refused: Callable[..., list[Json]]
) -> None:
    many = []
    for number in range(30):
        item = copy.deepcopy(items[0])
        item |= {"id": f"bad{number:02}", "assets": {}}
        many.append(item)
    path = put(tmp_path, many)
    out = tmp_path / "m"
    shown = cli("build", path, "-o", out).stderr.splitlines()
    assert len(shown) == 21
    assert shown[-1] == "mosaic: … and 10 more (-v or --json)"
    assert len(cli("build", path, "-o", out, "-v").stderr.splitlines()) == 30
    told = orjson.loads(cli("build", path, "-o", out, "--json").stdout)
    assert [p["item"] for p in told["problems"]] == [f"bad{n:02}" for n in range(30)]
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.json", b"<!DOCTYPE html><html>sign in</html>", "is HTML, not JSON"),
        ("a.json", b"  \n<html></html>", "is HTML, not JSON"),
        ("a.json", b"{broken", "is no JSON"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[1, 2", "is no JSON"),
        ("a.json", b'{"name": "something else"}', "holds no STAC item"),
        ("a.json", b'{"type": "FeatureCollection", "features": null}', "holds no STAC item"),
        ("a.json", b'"text"', "holds no STAC item"),
        ("a.json.gz", b"no gzip", "can't be read"),
        ("a.json.gz", gzip.compress(b'{"type": "Feature"}' * 99)[:-9], "can't be read"),
        ("a.parquet", b"PAR1 no parquet", "can't be read as stac-geoparquet"),
    ],
)
def test_document_that_is_no_stac(
    name: str,
    content: bytes,
    what: str,
    tmp_path: Path,
    small: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (problem,) = refused(path)
    assert problem["what"].startswith(f"{path} {what}")
    assert problem["advice"]
    report = skipped(path, small)
    assert report["items"] == 4
    assert report["left_out"] == [problem]


def test_parquet_without_stac(tmp_path: Path, refused: Callable[..., list[Json]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (problem,) = refused(tmp_path / "a.parquet")
    assert "lacks the columns id, assets and geometry" in problem["what"]


@pytest.mark.parametrize("name", ["a.ndjson", "a.json", "a.ndjson.gz", "-"])
def test_broken_line(
    name: str,
    items: list[Json],
    tmp_path: Path,
    refused: Callable[..., list[Json]],
    skipped: Callable[..., Json],
) -> None:
    lines = [orjson.dumps(item) for item in items]
    lines[2:2] = [b"", lines[0][:50], b'{"no": "item"}']
    content = b"\n".join(lines)
    path: object = tmp_path / name
    stdin = None
    if name == "-":
        path, stdin = "-", content
    else:
        (tmp_path / name).write_bytes(gzip.compress(content) if name[-1] == "z" else content)
    where = "standard input" if name == "-" else str(path)
    problems = refused(path, hint=SKIP, stdin=stdin)
    assert len(problems) == 2
    assert problems[0]["what"].startswith(f"{where} line 4 is no JSON")
    assert problems[1]["what"].startswith(f"{where} line 5 holds no STAC item")
    report = skipped(path, stdin=stdin)
    assert report["items"] == 4
    assert report["left_out"] == problems


@pytest.mark.parametrize(
    ("given", "kind", "what"),
    [
        ("nowhere.json", "missing", "nowhere.json: no such file or folder"),
        ("nowhere.tif", "missing", "nowhere.tif: no such file or folder"),
        ("no/*.tif", "no-match", "no/*.tif matches no file"),
    ],
)
def test_paths_that_lead_nowhere(
    given: str, kind: str, what: str, refused: Callable[..., list[Json]], small: Path
) -> None:
    (problem,) = refused(given)
    assert (problem["kind"], problem["what"]) == (kind, what)
    (problem,) = refused(given, small, hint=SKIP)
    assert problem["what"] == what


@pytest.mark.parametrize("what", ["folder", "collection", "file", "stdin"])
def test_nothing_to_index(what: str, tmp_path: Path, refused: Callable[..., list[Json]]) -> None:
    if what == "folder":
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "notes.txt").touch()
        problems = refused(tmp_path / "empty")
    elif what == "stdin":
        problems = refused("-", stdin=b"\n")
    elif what == "file":
        (tmp_path / "a.ndjson").write_bytes(b"\n")
        problems = refused(tmp_path / "a.ndjson")
    else:
        problems = refused(put(tmp_path, []))
    assert [p["what"] for p in problems] == ["no items and no rasters were found"]


def test_nothing_is_left_with_skip_bad(items: list[Json], tmp_path: Path) -> None:
    for item in items:
        item["assets"] = {}
    with pytest.raises(NoItemsError, match="nothing is left to index") as caught:
        mosaic.build(items, tmp_path / "m", skip_bad=True)
    assert len(caught.value.problems) == 4
    assert not list(tmp_path.iterdir())


def test_bands_that_no_item_has(small: Path, refused: Callable[..., list[Json]]) -> None:
    problems = refused(small, "--bands", "red,nir", hint="the items have: B04")
    assert len(problems) == 4
    assert {p["what"] for p in problems} == {"has none of the assets red, nir"}


def test_bbox_beside_the_items(small: Path, refused: Callable[..., list[Json]]) -> None:
    hint = "the items lie at [11.95, 47.47, 12.05, 47.53]"
    (problem,) = refused(small, "--bbox", "0,0,1,1", hint=hint)
    assert "no item lies inside --bbox" in problem["what"]


def test_scene_that_the_crs_cannot_show(
    items: list[Json], tmp_path: Path, refused: Callable[..., list[Json]]
) -> None:
    """An item that has no place in the mosaic's CRS isn't lost in silence."""
    items[1]["assets"]["B04"] |= {"proj:transform": [1e30, 0, 0, 0, -1e30, 0]}
    items[1] |= {"bbox": None, "geometry": None}
    (problem,) = refused(put(tmp_path, items), hint=SKIP)
    assert problem["item"] == "S2_32_1_0"


def test_scene_beyond_the_edge_of_the_map(
    tmp_path: Path, items: list[Json], refused: Callable[..., list[Json]]
) -> None:
    """Web Mercator ends at 85.06 degrees: a scene north of it isn't left out in silence."""
    arctic = Scene("arctic", "EPSG:3413", Affine(60, 0, 300000, 0, -60, -300000), (64, 64))
    path = put(tmp_path, [*items, item_of(arctic)])
    (problem,) = refused(path, "--dst-crs", "EPSG:3857", hint=SKIP)
    assert problem["item"] == "arctic"
    assert problem["what"] == "can't be shown in EPSG:3857"
    report = mosaic.build(path, tmp_path / "m", dst_crs="EPSG:3857", skip_bad=True)
    assert report.items == 4
    assert [p.item for p in report.left_out] == ["arctic"]


def test_unreadable_file_is_named_not_the_target(
    tmp_path: Path, small: Path, refused: Callable[..., list[Json]]
) -> None:
    (tmp_path / "a.json").mkdir()
    loop = tmp_path / "b.json"
    loop.symlink_to(loop)
    (problem,) = refused(loop)
    assert str(loop) in problem["what"]


def test_fields_of_mixed_kinds_become_text(items: list[Json], tmp_path: Path) -> None:
    """Valid STAC that no Parquet column can hold: still indexed, and said."""
    import pyarrow.parquet as pq
    import stac_geoparquet.arrow

    items[1]["properties"]["odd"] = {"deep": {}}
    items[2]["properties"]["odd"] = [1, "a"]
    report = mosaic.build(items, tmp_path / "m")
    assert report.items == 4
    (note,) = (note for note in report.notes if "kept as text" in note)
    assert "properties.odd" in note
    table = pq.read_table(tmp_path / "m" / "items.parquet")
    back = {item["id"]: item for item in stac_geoparquet.arrow.stac_table_to_items(table)}
    assert orjson.loads(back["S2_33_0_0"]["properties"]["odd"]) == [1, "a"]


def test_times_keep_all_their_digits(items: list[Json], tmp_path: Path) -> None:
    """Python's own text of a time is no RFC 3339: it is rewritten, and nothing of it is lost."""
    items[0]["properties"]["start_datetime"] = "2024-04-19 06:58:32.095674+02:00"
    mosaic.build(items, tmp_path / "m")
    item = orjson.loads((tmp_path / "m/items" / f"{items[0]['id']}.json").read_bytes())
    assert item["properties"]["start_datetime"] == "2024-04-19T04:58:32.095674Z"


def test_an_item_without_type_isnt_taken_for_a_catalog(
    items: list[Json], tmp_path: Path, refused: Callable[..., list[Json]]
) -> None:
    del items[1]["type"]
    path = tmp_path / "items.json"
    path.write_bytes(orjson.dumps(items))
    (problem,) = refused(path, hint=SKIP)
    assert problem["item"] == "S2_32_1_0"


def test_nodata_values_that_json_has_no_number_for(items: list[Json], tmp_path: Path) -> None:
    """ "nan" in one item, a number in the next: one column of numbers, and valid STAC."""
    import pyarrow.parquet as pq

    for item, nodata in zip(items, ["nan", 0, -9999.5, "-inf"], strict=True):
        (band,) = item["assets"]["B04"]["raster:bands"]
        band |= {"nodata": nodata, "data_type": "float32"}
    del items[0]["assets"]["B04"]["raster:bands"][0]["nodata"]
    items[0]["assets"]["B04"]["nodata"] = "nan"
    items[1]["assets"]["B04"]["nodata"] = 0
    report = mosaic.build(items, tmp_path / "m", bands=["B04"])
    assert not any("kept as text" in note for note in report.notes)
    (assets,) = pq.read_table(tmp_path / "m/items.parquet", columns=["assets"]).columns
    told = [asset["B04"]["bands"][0]["nodata"] for asset in assets.to_pylist()]
    assert told == [None, 0, -9999.5, float("-inf")]
    found = {one.check: one.level for one in mosaic.check(tmp_path / "m", offline=True).findings}
    assert found["STAC items"] == "ok"
    again = tmp_path / "again"
    mosaic.build(tmp_path / "m/items.parquet", again)
    last = orjson.loads((again / "items" / f"{items[3]['id']}.json").read_bytes())
    assert last["assets"]["B04"]["bands"][0]["nodata"] == "-inf"
    first = orjson.loads((again / "items" / f"{items[0]['id']}.json").read_bytes())
    assert first["assets"]["B04"]["nodata"] == "nan"


def test_python_arguments_that_are_no_items(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5: give paths, or items as dicts"):
        mosaic.build([5], tmp_path / "m")
    assert not list(tmp_path.iterdir())
