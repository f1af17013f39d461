"""Exports as real GDALs see them: its own judge of COGs, and its reader of sharded Zarr."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

import mosaic
from tests.interop.roots import Root
from tests.interop.test_gdal import translate
from tests.support.mosaics import write_case
from tests.support.scenes import read, seam_scenes

pytestmark = pytest.mark.interop

_JUDGE = """
import sys
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate
warnings, errors, details = validate(sys.argv[1], full_check=True)
print(*warnings, *errors)
"""
GRID = {"bbox": (11.9, 47.4, 12.1, 47.6), "crs": "EPSG:3035", "resolution": 12}


@pytest.fixture(scope="module")
def home(folder: Path) -> Path:
    """A mosaic across a seam."""
    # made anew for each root: pytest runs the set once for all roots, and so this module twice
    place = Path(tempfile.mkdtemp(prefix="export", dir=folder))
    items = write_case(place / "scenes", tuple(seam_scenes(256, 60.0, ("B04", "B03"))))
    mosaic.build(items, place / "mosaic")
    return place


@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_gdal_finds_no_fault_in_a_cog(gdal: Root, home: Path, compress: str) -> None:
    out = home / f"{gdal.name}-{compress}.tif"
    mosaic.export(home / "mosaic", out, compress=compress, **GRID)
    said = gdal.run(["python3", "-c", _JUDGE, out], binds=[home])
    assert said.stdout.strip() == ""
    told = json.loads(gdal.run(["gdalinfo", "-json", out], binds=[home]).stdout)
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert [band["description"] for band in told["bands"]] == ["B04", "B03"]
    assert len(told["bands"][0]["overviews"]) > 1
    plain = home / f"{gdal.name}-plain.tif"
    assert translate(gdal, out, plain, bind=home) == ""
    np.testing.assert_array_equal(read(plain), mosaic.read(home / "mosaic", **GRID).values)


@pytest.mark.parametrize("gdal", ["forky"], indirect=True)
def test_gdal_reads_a_sharded_store(gdal: Root, home: Path) -> None:
    """GDAL reads shards since 3.13."""
    store, plain = home / "out.zarr", home / "zarr.tif"
    mosaic.export(home / "mosaic", store, **GRID)
    want = mosaic.read(home / "mosaic", **GRID)
    for place, name in enumerate(want.bands):
        source = f'ZARR:"{store}":/{name}'
        told = json.loads(gdal.run(["gdalinfo", "-json", source], binds=[home]).stdout)
        assert told["stac"]["proj:epsg"] == 3035
        a, b, c, d, e, f = tuple(want.geobox.affine)[:6]
        assert told["geoTransform"] == [c, a, b, f, d, e]
        assert told["bands"][0]["noDataValue"] == 0
        translate(gdal, source, plain, bind=home)
        np.testing.assert_array_equal(read(plain)[0], want.values[place])
