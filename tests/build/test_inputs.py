"""Everything that can be given: STAC in every shape, rasters, folders, patterns, standard input."""

from __future__ import annotations

import gzip
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import stac_geoparquet.arrow
from affine import Affine
from click.testing import Result

import mosaic
from mosaic.builder.scan import scene_and_band
from tests.build.conftest import read_rows
from tests.support.scenes import seam_scenes, write_scene

Cli = Callable[..., Result]
Json = dict[str, Any]
IDS = ["S2_32_0_0", "S2_32_1_0", "S2_33_0_0", "S2_33_1_0"]


def ids(out: Path) -> list[str]:
    """Ids in ``items.parquet``."""
    return sorted(pq.read_table(out / "items.parquet", columns=["id"])["id"].to_pylist())


def items_of(path: Path) -> list[Json]:
    found: list[Json] = orjson.loads(path.read_bytes())["features"]
    return found


def as_item(folder: Path, items: list[Json]) -> object:
    for item in items:
        (folder / f"{item['id']}.json").write_bytes(orjson.dumps(item))
    return sorted(folder.glob("S2*.json"))


def as_collection(folder: Path, items: list[Json]) -> object:
    (folder / "all.json").write_bytes(
        orjson.dumps({"type": "FeatureCollection", "features": items})
    )
    return folder / "all.json"


def as_typeless_collection(folder: Path, items: list[Json]) -> object:
    (folder / "all.geojson").write_bytes(orjson.dumps({"features": items}))
    return str(folder / "all.geojson")


def as_list(folder: Path, items: list[Json]) -> object:
    (folder / "all.json").write_bytes(orjson.dumps(items))
    return folder / "all.json"


def as_lines(folder: Path, items: list[Json]) -> object:
    (folder / "all.ndjson").write_bytes(b"\n".join(map(orjson.dumps, items)) + b"\n\n")
    return folder / "all.ndjson"


def as_lines_called_json(folder: Path, items: list[Json]) -> object:
    (folder / "all.json").write_bytes(b"\n".join(map(orjson.dumps, items)))
    return folder / "all.json"


def as_gzipped_lines(folder: Path, items: list[Json]) -> object:
    (folder / "all.jsonl.gz").write_bytes(gzip.compress(b"\n".join(map(orjson.dumps, items))))
    return folder / "all.jsonl.gz"


def as_gzipped_collection(folder: Path, items: list[Json]) -> object:
    (folder / "all.json.gz").write_bytes(
        gzip.compress(orjson.dumps({"type": "FeatureCollection", "features": items}))
    )
    return folder / "all.json.gz"


def as_catalog(folder: Path, items: list[Json]) -> object:
    """catalog.json → child collection.json → items, and back, as pystac writes it."""
    links: list[Json] = [{"rel": "root", "href": "./catalog.json"}]
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "c"}
    for number, part in enumerate((items[:2], items[2:])):
        below = folder / f"part{number}"
        below.mkdir()
        links.append({"rel": "child", "href": f"./part{number}/collection.json"})
        inner: list[Json] = [{"rel": "parent", "href": "../catalog.json"}]
        for item in part:
            assets = {"B04": item["assets"]["B04"] | {"href": f"../{item['id']}/B04.tif"}}
            (below / f"{item['id']}.json").write_bytes(orjson.dumps({**item, "assets": assets}))
            inner.append({"rel": "item", "href": f"{item['id']}.json"})
        document = {**catalog, "type": "Collection", "id": f"part{number}", "links": inner}
        # a circle must not go round for ever
        document["links"] = [*inner, {"rel": "child", "href": "../catalog.json"}]
        (below / "collection.json").write_bytes(orjson.dumps(document))
    (folder / "catalog.json").write_bytes(orjson.dumps({**catalog, "links": links}))
    return folder / "catalog.json"


def as_catalog_folder(folder: Path, items: list[Json]) -> object:
    as_catalog(folder, items)
    return folder


def as_parquet(folder: Path, items: list[Json]) -> object:
    table = stac_geoparquet.arrow.parse_stac_items_to_arrow(items)
    stac_geoparquet.arrow.to_parquet(table, folder / "all.parquet")
    return folder / "all.parquet"


def as_dicts(folder: Path, items: list[Json]) -> object:
    return [
        {
            **item,
            "assets": {"B04": {**item["assets"]["B04"], "href": f"{folder}/{item['id']}/B04.tif"}},
        }
        for item in items
    ]


def as_rasters(folder: Path, items: list[Json]) -> object:
    return [str(folder / item["id"] / "B04.tif") for item in items]


def as_folder(folder: Path, items: list[Json]) -> object:
    return folder


def as_pattern(folder: Path, items: list[Json]) -> object:
    return str(folder / "**" / "*.tif")


def as_pattern_of_items(folder: Path, items: list[Json]) -> object:
    as_item(folder, items)
    return str(folder / "S2_*.json")


FORMS = [
    as_item, as_collection, as_typeless_collection, as_list, as_lines, as_lines_called_json,
    as_gzipped_lines, as_gzipped_collection, as_catalog, as_catalog_folder, as_parquet, as_dicts,
    as_rasters, as_folder, as_pattern, as_pattern_of_items,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=[form.__name__ for form in FORMS])
def test_every_form(
    form: Callable[[Path, list[Json]], object], small: Path, built: Path, tmp_path: Path
) -> None:
    """Whatever shape the same scenes are given in, the index is the same."""
    given = tmp_path / "given"
    shutil.copytree(small.parent, given)
    items = items_of(small)
    (given / "items.json").unlink()
    out = tmp_path / "m"
    report = mosaic.build(form(given, items), out)
    assert report.items == 4
    assert report.left_out == ()
    assert ids(out) == IDS
    opened = form in (as_rasters, as_folder, as_pattern)
    assert report.headers_read == 0
    assert mosaic.info(out)["bounds"] == mosaic.info(built)["bounds"]
    if not opened:
        assert mosaic.info(out)["interval"] == mosaic.info(built)["interval"]
    index = "data" if not (out / "B04.gti.gpkg").exists() else "B04"
    assert sorted(read_rows(out / f"{index}.gti.gpkg")) == [str(given / i / "B04.tif") for i in IDS]


def test_several_at_once(small: Path, tmp_path: Path) -> None:
    items = items_of(small)
    for item in items[:2]:
        item["assets"]["B04"]["href"] = str(small.parent / item["assets"]["B04"]["href"])
    rest = [small.parent / item["id"] / "B04.tif" for item in items[2:]]
    report = mosaic.build([*items[:2], *rest], tmp_path / "m")
    assert report.items == 4
    assert ids(tmp_path / "m") == IDS


def test_duplicates_are_told(small: Path, tmp_path: Path) -> None:
    items = items_of(small)
    for item in items:
        item["assets"]["B04"]["href"] = str(small.parent / item["assets"]["B04"]["href"])
    other = {**items[3], "collection": "another"}
    report = mosaic.build([*items, items[0], {**items[1]}, other], tmp_path / "m")
    assert report.items == 5  # the same id in another collection is another item
    (note,) = (note for note in report.notes if "twice" in note)
    assert note == "2 items were given twice, the first is kept: S2_32_0_0, S2_32_1_0"


def test_a_file_reached_twice_counts_once(small: Path, tmp_path: Path) -> None:
    tif = small.parent / "S2_32_0_0" / "B04.tif"
    report = mosaic.build([tif, str(tif), tif.parent, f"{tif.parent}/*.tif"], tmp_path / "m")
    assert report.items == 1
    assert not [note for note in report.notes if "twice" in note]
    report = mosaic.build([small, small, f"{small.parent}/*.json"], tmp_path / "n")
    assert report.items == 4
    assert not [note for note in report.notes if "twice" in note]


@pytest.mark.parametrize("kind", ["paths", "lines", "document", "list"])
def test_standard_input(kind: str, small: Path, tmp_path: Path, cli: Cli) -> None:
    items = items_of(small)
    for item in items:
        item["assets"]["B04"]["href"] = str(small.parent / item["assets"]["B04"]["href"])
    stdin = {
        "paths": "\n\n  ".join(str(small.parent / name / "B04.tif") for name in IDS[:2])
        + f"\n{small.parent}/S2_33*/*.tif\n",
        "lines": b"\n".join(map(orjson.dumps, items)),
        "document": orjson.dumps({"type": "FeatureCollection", "features": items}),
        "list": orjson.dumps(items, option=orjson.OPT_INDENT_2),
    }[kind]
    result = cli("build", "-", "-o", tmp_path / "m", "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    assert ids(tmp_path / "m") == IDS


@pytest.mark.parametrize(
    ("path", "scene", "band"),
    [
        ("/d/S2B_32TQT_20250601_B8A.tif", "S2B_32TQT_20250601", "B8A"),
        ("/d/T32TQT_20250601T101559_SCL_20m.jp2", "T32TQT_20250601T101559", "SCL"),
        ("/d/LC08_L2SP_193027_20250601_T1_SR_B4.TIF", "LC08_L2SP_193027_20250601_T1", "SR_B4"),
        ("/d/LC08_193027_20250601_02_T1_QA_PIXEL.TIF", "LC08_193027_20250601_02_T1", "QA_PIXEL"),
        ("/d/LE07_20000101_ST_B6.TIF", "LE07_20000101", "ST_B6"),
        ("/scenes/S2A_1/B02.tif", "S2A_1", "B02"),
        ("/scenes/S2A_1/B02_10m.tif", "S2A_1", "B02"),
        ("/d/S1A_IW_vv.tif", "S1A_IW", "vv"),
        ("/d/planet.nir.tif", "planet", "nir"),
        ("/d/naip_37122_2020.tif", "naip_37122_2020", "data"),
        ("/d/dem.tif", "dem", "data"),
        ("/d/SUBB02.tif", "SUBB02", "data"),
        ("https://a.b/c/S2_B04.tif?v=1", "S2", "B04"),
    ],
)  # fmt: skip
def test_names_of_rasters(path: str, scene: str, band: str) -> None:
    assert scene_and_band(path) == (scene, band)


def tif(path: Path, left: float = 300000, **kw: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    where = Affine(60, 0, left, 0, -60, 5260000)
    with rasterio.open(
        path, "w", driver="GTiff", width=32, height=32, count=1, dtype="uint16",
        crs="EPSG:32633", transform=where, nodata=0, **kw,
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 32, 32), 7, "uint16"))


def test_folder_with_a_file_a_band(tmp_path: Path) -> None:
    """Files of one scene make one item; a scene may lack bands; equal names stay apart."""
    root = tmp_path / "rasters"
    for band in ("B04", "B8A", "SCL_20m"):
        tif(root / "one" / f"S2A_20250601_{band}.tif")
    for band in ("B04", "B8A"):
        tif(root / "one" / f"S2A_20250606_{band}.tif", 301920)
    tif(root / "two" / "S2A_20250601_B04.tif", 303840)
    tif(root / "two" / "S2A_20250601_SR_B4.TIF", 303840)
    tif(root / "two" / ".hidden" / "S2A_20250701_B04.tif", 303840)
    tif(root / "odd.tif", 305760)
    (root / "odd.tif.aux.xml").touch()
    (root / "odd.png").touch()
    report = mosaic.build(root, tmp_path / "m")
    assert report.items == 4
    counts = dict(report.indexes)
    assert counts == {
        "data.gti.gpkg": 1, "B04.gti.gpkg": 3, "B8A.gti.gpkg": 2, "SCL.gti.gpkg": 1,
        "SR_B4.gti.gpkg": 1,
    }  # fmt: skip
    assert ids(tmp_path / "m") == ["S2A_20250606", "odd", "one_S2A_20250601", "two_S2A_20250601"]
    assert "SCL: 1 of 4 items have it" in report.notes
    table = pq.read_table(tmp_path / "m" / "items.parquet", columns=["id", "datetime"])
    times = dict(zip(table["id"].to_pylist(), table["datetime"].to_pylist(), strict=True))
    assert times["S2A_20250606"].isoformat() == "2025-06-06T00:00:00+00:00"


def test_items_inside_a_mosaic_are_not_scenes_of_another(small: Path, tmp_path: Path) -> None:
    """A folder in which other mosaics lie: their files are no scenes."""
    folder = tmp_path / "scenes"
    shutil.copytree(small.parent, folder)
    mosaic.build(small, folder / "older")
    assert mosaic.build(folder, tmp_path / "m").items == 4


def test_sound_items_are_indexed_without_a_raster_or_pystac(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    shutil.copy(small, given)  # the items alone: there are no rasters

    def never(*args: object, **kw: object) -> None:
        raise AssertionError("a raster was opened, or pystac was used")

    monkeypatch.setattr(rasterio, "open", never)
    monkeypatch.setattr(pystac.Item, "from_dict", never)
    monkeypatch.setattr(pystac.ItemCollection, "from_dict", never)
    report = mosaic.build(given / "items.json", tmp_path / "m", slices="month")
    assert report.items == 4
    assert report.headers_read == 0
    assert ids(tmp_path / "m") == IDS


def test_items_that_tell_little_have_their_headers_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = seam_scenes(64, 60.0, ("B04",), dates=1)
    items = [write_scene(tmp_path / "given", scene) for scene in scenes]
    for item in items[:2]:
        del item["properties"]["proj:epsg"]
    (tmp_path / "given" / "items.json").write_bytes(orjson.dumps(items))
    opened: list[str] = []
    real = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda p, *a, **k: opened.append(p) or real(p, *a, **k))
    report = mosaic.build(tmp_path / "given" / "items.json", tmp_path / "m")
    assert report.headers_read == 2
    assert sorted(opened) == [str(tmp_path / "given" / i / "B04.tif") for i in IDS[:2]]


def test_old_stac_is_migrated(small: Path, tmp_path: Path) -> None:
    """STAC 0.9 goes through pystac, and becomes 1.1 like all else."""
    items = items_of(small)
    for item in items:
        item["stac_version"] = "0.9.0"
        item["stac_extensions"] = ["projection"]
        item["assets"]["B04"]["href"] = str(small.parent / item["assets"]["B04"]["href"])
    report = mosaic.build(items, tmp_path / "m")
    assert report.items == 4
    versions = pq.read_table(tmp_path / "m" / "items.parquet")["stac_version"].to_pylist()
    assert versions == ["1.1.0"] * 4


def test_pystac_is_not_needed_to_import_the_package() -> None:
    import subprocess

    code = "import sys, mosaic, mosaic.cli; assert not {'pystac', 'rasterio'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
