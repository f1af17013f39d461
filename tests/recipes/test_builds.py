"""Every recipe builds a mosaic that passes `mosaic check`, with the pixels of its files."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.windows import Window

import mosaic
from mosaic.catalog.gti import GDAL_RESAMPLING
from mosaic.cli import main
from mosaic.recipes.load import load, load_all, names
from tests.recipes.items import RECORDED, WRITTEN, items_of
from tests.support.stac_api import rustac

Json = dict[str, Any]

NAIP = "locationtech+rasterframes/core/src/test/resources"
COVER = "stactools-packages+esa-worldcover/tests/data-files/ESA_WorldCover_10m_2020_v100_N00E006"


@pytest.fixture(autouse=True)
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No header is read: recipe and items tell all that an index needs."""

    def refuse(hrefs: Any, **_: Any) -> Any:
        assert not list(hrefs), f"a header would be read: {list(hrefs)[:3]}"
        return iter(())

    monkeypatch.setattr("mosaic.builder.gather.read_headers", refuse)


def gti(path: Path) -> str:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT metadata FROM gpkg_metadata").fetchall()
    database.close()
    return next(text for (text,) in rows if "<GDALTileIndexDataset" in text)


def test_every_recipe_has_items() -> None:
    assert set(names()) == set(RECORDED) | set(WRITTEN)


@pytest.mark.parametrize("name", names())
def test_a_recipe_builds_and_passes_the_check(name: str, shared: Path, tmp_path: Path) -> None:
    recipe = load(name)
    items = items_of(shared, name, recipe.collections)[::7][:12]
    assert items
    (tmp_path / "items.json").write_bytes(
        orjson.dumps({"type": "FeatureCollection", "features": items})
    )
    report = mosaic.build(tmp_path / "items.json", tmp_path / "m", recipe=name, skip_bad=True)
    assert report.items == len(items), report.left_out
    wanted = [rule for rule in recipe.bands if rule.default]
    told = orjson.loads((tmp_path / "m/collection.json").read_bytes())
    assert told["mosaic:assets"] == [rule.name for rule in wanted]
    for rule in wanted:
        text = gti(tmp_path / f"m/{rule.name}.gti.gpkg")
        assert f"<Resampling>{GDAL_RESAMPLING[rule.resampling]}</Resampling>" in text, rule.name
        band = told["assets"][rule.name]["bands"][0]
        assert band["data_type"] == rule.dtype
        if rule.nodata is not None:
            assert band.get("nodata") == rule.nodata, rule.name
        if rule.encoding == "fixed":
            assert (band["raster:scale"], band.get("raster:offset", 0)) == (
                rule.scale,
                rule.offset,
            ), rule.name
    assert list(report.stacks) == ["_".join(s) + ".vrt" for s in recipe.stacks]
    assert told["mosaic:sort"] == recipe.sort
    assert told["mosaic:signing"] == recipe.signing
    assert told["mosaic:recipe"]["name"] == name
    assert all(one["hosts"] and one["source"] for one in told["mosaic:limits"])
    if recipe.mask:
        assert told["mosaic:mask"]["asset"] in told["mosaic:assets"]
    done = mosaic.check(tmp_path / "m", offline=True)
    assert done.ok, [str(problem) for one in done.findings for problem in one.problems]


def test_one_name_for_a_band_of_two_collections(shared: Path, tmp_path: Path) -> None:
    """HLS: nir08 is B05 of Landsat and B8A of Sentinel-2."""
    mosaic.build(items_of(shared, "hls-2-lpcloud", ()), tmp_path / "m", recipe="hls-2-lpcloud")
    with sqlite3.connect(tmp_path / "m/nir08.gti.gpkg") as database:
        found = [row[0] for row in database.execute("SELECT location FROM tiles")]
    database.close()
    assert sorted(re.findall(r"\.(B\w\w)\.tif", " ".join(found))) == ["B05", "B8A"]


def test_a_common_name_means_what_the_recipe_says(shared: Path, tmp_path: Path) -> None:
    """The items of Planetary Computer call B8A rededge."""
    name = "sentinel-2-l2a-planetary-computer"
    items = items_of(shared, name, ("sentinel-2-l2a",))[:2]
    assert items[0]["assets"]["B8A"]["eo:bands"][0]["common_name"] == "rededge"
    mosaic.build(items, tmp_path / "m", recipe=name, bands=["nir08"])
    with sqlite3.connect(tmp_path / "m/nir08.gti.gpkg") as database:
        found = [row[0] for row in database.execute("SELECT location FROM tiles")]
    database.close()
    texts = [(tmp_path / "m" / one).read_text() if one.endswith(".vrt") else one for one in found]
    assert all("_B8A_20m.tif" in text for text in texts)


def test_what_a_user_says_goes_before_the_recipe(shared: Path, tmp_path: Path) -> None:
    items = items_of(shared, "sentinel-2-l2a-planetary-computer", ("sentinel-2-l2a",))
    mosaic.build(
        items,
        tmp_path / "m",
        recipe="sentinel-2-l2a-planetary-computer",
        bands=["red", "SCL", "B02"],
        resampling={"*": "cubic", "B02": "average"},
        sort="eo:cloud_cover",
    )
    told = orjson.loads((tmp_path / "m/collection.json").read_bytes())
    methods = {name: told["assets"][name]["mosaic:resampling"] for name in told["mosaic:assets"]}
    # classes stay classes
    assert methods == {"red": "cubic", "SCL": "nearest", "B02": "average"}
    assert told["mosaic:sort"] == "+eo:cloud_cover"
    assert not [one for one in told["assets"].values() if "stack" in one.get("roles", ())]


def test_undeclared_nodata_is_declared_for_each_tile(shared: Path, tmp_path: Path) -> None:
    name = "sentinel-2-l2a-planetary-computer"
    items = items_of(shared, name, ("sentinel-2-l2a",))[:2]
    mosaic.build(items, tmp_path / "m", recipe=name, bands=["B04"])
    with sqlite3.connect(tmp_path / "m/B04.gti.gpkg") as database:
        found = [row[0] for row in database.execute("SELECT location FROM tiles")]
    database.close()
    assert all("<NODATA>0</NODATA>" in one or one.endswith(".vrt") for one in found), found


def test_pixels_of_naip_across_a_zone_seam(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two real files: the nearer one's numbers, at places that its own grid tells."""
    items = []
    for path in sorted((shared / NAIP).glob("m_3607*_subset.tif")):
        with rasterio.open(path) as file:
            items.append(
                {
                    "type": "Feature", "stac_version": "1.0.0", "id": path.stem,
                    "collection": "naip", "geometry": None, "links": [],
                    "properties": {"datetime": "2016-06-20T00:00:00Z", "proj:epsg":
                                   file.crs.to_epsg(), "proj:shape": list(file.shape),
                                   "proj:transform": list(file.transform)[:6]},
                    "assets": {"image": {"href": str(path), "type": "image/tiff"}},
                }
            )  # fmt: skip
    assert len(items) == 2
    mosaic.build(items, tmp_path / "m", recipe="naip-planetary-computer", resampling="nearest",
                 dst_crs="EPSG:26918", res=1.0)  # fmt: skip
    with (
        rasterio.open(tmp_path / "m/image.gti.gpkg") as index,
        rasterio.open(items[0]["assets"]["image"]["href"]) as file,
    ):
        assert file.crs == index.crs
        assert index.dtypes == ("uint8",) * 4
        column, row = (round(v) for v in ~index.transform @ (file.bounds.left, file.bounds.top))
        np.testing.assert_array_equal(
            index.read(window=Window(column + 40, row, 200, 300)),
            file.read(window=Window(40, 0, 200, 300)),
        )


def test_pixels_of_worldcover(shared: Path, tmp_path: Path) -> None:
    items = WRITTEN["worldcover-planetary-computer"]()
    path = next((shared / COVER).glob("*_Map.tif"))
    items[0]["assets"]["map"]["href"] = str(path)
    mosaic.build(items, tmp_path / "m", recipe="worldcover-planetary-computer")
    with rasterio.open(tmp_path / "m/map.gti.gpkg") as index, rasterio.open(path) as file:
        assert index.nodata == 0
        coarse = file.read(1, out_shape=(360, 360))  # mostly sea: look where land is
        rows, columns = np.nonzero(coarse)
        for row, column in ((rows[0], columns[0]), (rows[-1], columns[-1])):
            window = Window(int(column) * 100, int(row) * 100, 100, 100)
            expected = file.read(1, window=window)
            assert expected.any()
            np.testing.assert_array_equal(index.read(1, window=window), expected)


def test_a_recipe_searches_from_any_folder(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe of one's own: the one for NAIP, at a server on loopback."""
    items = items_of(shared, "naip-planetary-computer", ("naip",))
    naip = Path(__file__).parents[2] / "catalogs/naip-planetary-computer.toml"
    monkeypatch.chdir(tmp_path)
    west, south, east, north = items[0]["bbox"]
    with rustac(tmp_path / "api", [], items) as api:
        text = re.sub(r'endpoint = ".*"', f'endpoint = "{api.url}"', naip.read_text())
        Path("mine.toml").write_text(text)
        words = ["build", "mine.toml", f"--bbox={west},{south},{east},{north}", "-o", "m"]
        done = CliRunner().invoke(main, [*words, "--datetime", "2010/.."])
        search = mosaic.search("mine.toml", bbox=items[0]["bbox"])
        assert items[0]["id"] in [item["id"] for item in search]
    assert done.exit_code == 0, done.output
    assert [one.body["collections"] for one in api.searches] == [["naip"]] * len(api.searches)
    told = orjson.loads(Path("m/collection.json").read_bytes())
    assert told["mosaic:recipe"]["name"] == "mine"
    assert told["mosaic:search"][0]["collections"] == ["naip"]
    assert mosaic.check("m", offline=True).ok


def test_recipes_are_listed() -> None:
    lines = CliRunner().invoke(main, ["recipes"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(names())
    told = orjson.loads(CliRunner().invoke(main, ["recipes", "--json"]).output)
    assert [one["endpoint"] for one in told] == [recipe.endpoint for recipe in load_all()]


def test_no_catalog_file_holds_a_token() -> None:
    catalogs = Path(__file__).parents[2] / "catalogs"
    secret = re.compile(
        rb"[?&](sig|se|sp|token|api_key|subscription-key|X-Amz-\w+|AWSAccessKeyId)=|"
        rb"\bAKIA[0-9A-Z]{16}\b|\beyJ[\w-]{20,}\.|Bearer |password|secret",
        re.IGNORECASE,
    )
    files = [path for path in catalogs.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 30
    for path in files:
        assert not secret.search(path.read_bytes()), path
