"""Items that can't be indexed, and odd ones that can."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from affine import Affine
from click.testing import Result

import mosaic
from tests.build.bad.conftest import SKIP, put
from tests.support.scenes import Scene, item_of

Cli = Callable[..., Result]
Json = dict[str, Any]


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
