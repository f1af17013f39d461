"""Real JPEG 2000 files, through ``mosaic.read``, against PROJ at every pixel and rasterio."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

import mosaic
from mosaic.storage import Gate
from tests.support.exact import shown
from tests.support.range_server import RangeServer

SENTINEL2 = (
    "stactools-packages+sentinel2/tests/data-files/"
    "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE/GRANULE/"
    "L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R60m/T29UNU_20221005T115411_{}_60m.jp2"
)
MODIS = "e-sensing+sits/inst/extdata/raster/mod13q1/TERRA_MODIS_012010_NDVI_2013-12-19.jp2"


@pytest.mark.parametrize("name", [SENTINEL2.format("B04"), SENTINEL2.format("SCL"), MODIS])
def test_whole_files_are_as_rasterio_reads_them(name: str, shared: Path, tmp_path: Path) -> None:
    with rasterio.open(shared / name) as dataset:
        pixels, transform, crs = dataset.read(), dataset.transform, dataset.crs.to_wkt()
    mosaic.build(shared / name, tmp_path / "m", dst_crs=crs)
    box = GeoBox(pixels.shape[1:], transform, crs)
    got = mosaic.read(tmp_path / "m", geobox=box, gate=Gate())
    np.testing.assert_array_equal(got.values, pixels)
    assert got.valid.all()


def test_a_window_of_a_sentinel2_tile_elsewhere(shared: Path, tmp_path: Path) -> None:
    """From a server, in another CRS, its own overview, no byte fetched twice."""
    path = shared / SENTINEL2.format("B04")
    mosaic.build(path, tmp_path / "m", dst_crs="EPSG:3035")
    own = mosaic.read(tmp_path / "m", gate=Gate()).geobox
    place = own.affine @ Affine.translation(700, 900)
    box = GeoBox((300, 400), place, "EPSG:3035")
    got = mosaic.read(tmp_path / "m", geobox=box, gate=Gate())
    want = shown([path], "EPSG:3035", place, (300, 400), "nearest")
    assert want.valid.all()
    assert (got.values[0] == want.values).mean() > 0.9999
    with RangeServer({path.name: path.read_bytes()}) as server:
        [told] = (tmp_path / "m" / "items").rglob("*.json")
        item = json.loads(told.read_bytes())
        for asset in item["assets"].values():
            asset["href"] = server.url(path.name)
        mosaic.build(item, tmp_path / "far", dst_crs="EPSG:3035")
        server.reset()
        far = mosaic.read(tmp_path / "far", geobox=box, gate=Gate())
        np.testing.assert_array_equal(far.values, got.values)
        assert server.counts.heads == 0
        assert {status for *_, status in server.counts.log} == {206}
        spans = [span for _, _, span, _ in server.counts.log]
        assert len(set(spans)) == len(spans)
