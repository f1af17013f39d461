"""Pixels of real files through the index that a recipe builds: the file's own numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import rasterio
from rasterio.windows import Window

import mosaic
from mosaic.recipes.load import load

Json = dict[str, Any]
PDS = "cogeotiff+rio-tiler-pds/tests/fixtures"
SENTINEL = f"{PDS}/sentinel-cogs/sentinel-s2-l2a-cogs/29/R/KH/2020/2/S2A_29RKH_20200219_0_L2A"
LANDSAT = (
    f"{PDS}/usgs-landsat/collection02/level-2/standard/oli-tirs/2020/001/062/"
    "LC08_L2SP_001062_20201031_20201106_02_T2/LC08_L2SP_001062_20201031_20201106_02_T2"
)
DEM = (
    f"{PDS}/copernicus-dem-90m/Copernicus_DSM_COG_30_S90_00_W164_00_DEM/"
    "Copernicus_DSM_COG_30_S90_00_W164_00_DEM.tif"
)
COVER = (
    "stactools-packages+esa-worldcover/tests/data-files/ESA_WorldCover_10m_2020_v100_N66E177_Map/"
    "ESA_WorldCover_10m_2020_v100_N66E177_Map.tif"
)


@dataclass(frozen=True)
class Real:
    """A recipe, and files that it is for."""

    recipe: str
    collection: str
    properties: Json
    files: dict[str, str]
    """Band of the recipe to a file of the shared data."""
    scale: dict[str, tuple[float, float]]
    """Scale and offset that an index is to declare, from the provider's documentation."""


CASES = [
    Real(
        "sentinel-2-l2a-earth-search",
        "sentinel-2-l2a",
        # reprocessed before 04.00: nothing was added
        {"platform": "sentinel-2a", "s2:processing_baseline": "02.14"},
        {"nir08": f"{SENTINEL}/B8A.tif", "scl": f"{SENTINEL}/SCL.tif"},
        {"nir08": (0.0001, 0.0), "scl": (1.0, 0.0)},
    ),
    Real(
        "landsat-c2-l2-earth-search",
        "landsat-c2-l2",
        {"platform": "landsat-8"},
        {"red": f"{LANDSAT}_SR_B4.TIF", "qa_pixel": f"{LANDSAT}_QA_PIXEL.TIF"},
        {"red": (2.75e-5, -0.2), "qa_pixel": (1.0, 0.0)},
    ),
    Real("cop-dem-glo-30-planetary-computer", "cop-dem-glo-30", {}, {"data": DEM}, {}),
    Real("worldcover-planetary-computer", "esa-worldcover", {}, {"map": COVER}, {}),
]


def item(case: Real, shared: Path) -> Json:
    """An item with the files' own grids, and nothing of what a recipe knows."""
    assets = {}
    code = ""
    for band, name in case.files.items():
        with rasterio.open(shared / name) as file:
            code = f"EPSG:{file.crs.to_epsg()}"
            assets[band] = {
                "href": str(shared / name),
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "proj:shape": list(file.shape),
                "proj:transform": list(file.transform)[:6],
            }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": Path(next(iter(case.files.values()))).stem,
        "collection": case.collection,
        "geometry": None,
        "links": [],
        "properties": {"datetime": "2020-02-19T11:00:00Z", "proj:code": code, **case.properties},
        "assets": assets,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recipe)
def test_pixels_are_the_files_own(case: Real, shared: Path, tmp_path: Path) -> None:
    recipe = load(case.recipe)
    for band, name in case.files.items():
        with rasterio.open(shared / name) as file:
            mosaic.build(
                item(case, shared), tmp_path / band, recipe=case.recipe, bands=[band],
                resampling={"*": "nearest", band: "nearest"}, res=file.res,
            )  # fmt: skip
            rule = recipe.band(band)
            assert rule
            assert (rule.dtype, rule.undeclared) == (file.dtypes[0], False)
            if file.nodata is not None:
                assert rule.nodata == file.nodata, "what the recipe knows is what the file says"
            pixels = file.read(1)
            with rasterio.open(tmp_path / band / f"{band}.gti.gpkg") as index:
                assert index.crs == file.crs
                assert (index.scales[0], index.offsets[0]) == case.scale.get(band, (1.0, 0.0))
                corner = ~index.transform @ (file.transform.c, file.transform.f)
                column, row = (round(value) for value in corner)
                assert np.allclose(corner, (column, row), atol=1e-3)
                window = Window(column, row, file.width, file.height)
                np.testing.assert_array_equal(index.read(1, window=window), pixels)
            assert np.unique(pixels).size > 3
        told = orjson.loads((tmp_path / band / "collection.json").read_bytes())
        kept = told.get("mosaic:mask", {}).get("asset")
        assert kept == (band if recipe.mask and recipe.mask.band == band else None)
        # this copy of QA_PIXEL has lost its nodata tag, which the check sees
        assert mosaic.check(tmp_path / band, offline=True, all=True).ok == (band != "qa_pixel")
