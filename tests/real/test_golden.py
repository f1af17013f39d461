"""Mosaics that other projects made of real scenes, made again.

A golden file has a grid of its own, while a mosaic's begins at its CRS's origin. So the tile index
is read on the golden's grid: a ``.gti`` beside it with the same declaration but for the
geotransform and the size, as GDAL offers for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject

import mosaic
from mosaic.catalog.gti import read_xml
from mosaic.storage import Gate
from tests.support.exact import shown
from tests.support.reference import Layer, compare, reference

RASTERIO = "rasterio+rasterio/tests/data"
LANDSAT = "locationtech+geotrellis/gdal/src/test/resources/vlm"
NLCD = "locationtech+geotrellis/raster-test/data/reproject"
GDAL = tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2])


def read_on(index: Path, grid: Any) -> tuple[np.ndarray, np.ndarray]:
    """(bands, h, w) values and mask of a tile index on the grid of an open raster."""
    root = ET.fromstring(read_xml(index))
    for overview in root.findall("Overview"):
        root.remove(overview)
    t = grid.transform
    for tag, text in (
        ("GeoTransform", ", ".join(map(repr, (t.c, t.a, t.b, t.f, t.d, t.e)))),
        ("XSize", str(grid.width)),
        ("YSize", str(grid.height)),
    ):
        found = root.find(tag)
        assert found is not None, tag
        found.text = text
    dataset = ET.Element("IndexDataset")
    dataset.text = str(index)
    root.insert(0, dataset)
    path = index.with_name("golden.gti")
    path.write_bytes(ET.tostring(root))
    with rasterio.open(path) as opened:
        assert opened.shape == grid.shape
        return opened.read(), opened.read_masks()


def box_of(grid: Any) -> GeoBox:
    """The grid of an open raster."""
    return GeoBox(grid.shape, grid.transform, grid.crs.to_wkt())


@pytest.mark.parametrize("crs", ["auto", "EPSG:32618"])
def test_rasterio_rgb(crs: str, shared: Path, tmp_path: Path) -> None:
    """Four overlapping parts are RGB.byte.tif again, to the last pixel."""
    parts = [shared / RASTERIO / f"rgb{number}.tif" for number in (1, 2, 3, 4)]
    mosaic.build(parts, tmp_path / "out", dst_crs=crs)
    with rasterio.open(shared / RASTERIO / "RGB.byte.tif") as golden:
        expected, mask = golden.read(), golden.read_masks()
        values, valid = read_on(tmp_path / "out" / "data.gti.gpkg", golden)
        own = mosaic.read(tmp_path / "out", geobox=box_of(golden), gate=Gate())
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(valid, mask)
    np.testing.assert_array_equal(own.values, expected)
    np.testing.assert_array_equal(own.valid, mask > 0)


def landsat_items(folder: Path) -> list[dict[str, Any]]:
    """The three scenes as items that say nothing but their order."""
    return [
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": f"lc8-utm-{number}",
            "geometry": None,
            "properties": {"datetime": "2018-01-01T00:00:00Z", "order": number},
            "links": [],
            "assets": {"B": {"href": str(folder / f"lc8-utm-{number}.tif"), "type": "image/tiff"}},
        }
        for number in (1, 2, 3)
    ]


def test_geotrellis_landsat(shared: Path, tmp_path: Path) -> None:
    """Three scenes, first wins, their zero collar is no data.

    GeoTrellis made the golden with GDAL's approximating warper over the whole grid, an index
    warps tile by tile: where a pixel's centre lies within 0.13 source pixels of the boundary of
    two (every second one here: the scenes are coarse) they may take different ones.
    """
    folder = shared / LANDSAT
    with rasterio.open(folder / "lc8-utm-re-mosaic-expected.tif") as golden:
        expected = golden.read()
        res = (golden.transform.a, -golden.transform.e)
        report = mosaic.build(
            landsat_items(folder),
            tmp_path / "out",
            dst_crs="EPSG:4326",
            res=res,
            sort="order",
            nodata=0,
        )
        values, valid = read_on(tmp_path / "out" / "B.gti.gpkg", golden)
        own = mosaic.read(tmp_path / "out", geobox=box_of(golden), gate=Gate())
        layers = [Layer(folder / f"lc8-utm-{number}.tif", nodata=0) for number in (1, 2, 3)]
        truth = reference(layers, golden.crs, golden.transform, golden.shape)
        peer = rasterio_mosaic(layers, golden)
    assert report.headers_read == 3
    assert compare(truth, values, valid).faults == (0, 0, 0)
    assert truth.certain.sum() > 32_000
    np.testing.assert_array_equal(own.valid, truth.valid)
    assert (own.values == truth.values)[truth.valid].mean() >= 0.9999
    np.testing.assert_array_equal(values[truth.certain], expected[truth.certain])
    data = expected > 0
    assert data.sum() == 61223
    # the MANIFEST's 99.87 % are those of rasterio, which warps the whole grid at once as well
    assert (peer == expected)[data].mean() > 0.9986
    assert (values == expected)[data].mean() > 0.971
    # what differs is the next source pixel, and PROJ sides with neither
    assert ((values > 0) != data).sum() <= 21
    exact = (truth.values == expected)[data].mean()
    assert 0.97 < exact < 0.98


def rasterio_mosaic(layers: list[Layer], golden: Any) -> np.ndarray:
    """(1, h, w) the scenes on a golden's grid, each warped by rasterio, first wins."""
    result = np.zeros((1, *golden.shape), "uint16")
    for layer in layers:
        with rasterio.open(layer.path) as scene:
            one = np.zeros_like(result)
            reproject(
                scene.read(),
                one,
                src_crs=scene.crs,
                src_transform=scene.transform,
                src_nodata=0,
                dst_crs=golden.crs,
                dst_transform=golden.transform,
                dst_nodata=0,
                resampling=Resampling.nearest,
            )
        result = np.where(result == 0, one, result)
    return result


@pytest.mark.parametrize(
    ("name", "method", "share", "worst"),
    [
        # golden; method; least share of equal pixels; largest difference
        ("webmercator-nearestneighbor", "nearest", 1.0, 0),
        ("webmercator-bilinear", "bilinear", 0.995, 1),
        ("utm-bilinear", "bilinear", 0.9935, 1),
        ("utm-mode", "mode", 0.9999, 255),
    ],
)
def test_geotrellis_land_cover(
    name: str, method: str, share: float, worst: int, shared: Path, tmp_path: Path
) -> None:
    """One 4326 scene in Web Mercator and UTM.

    Bilinear values differ by 1 at most: GTI's warper places source pixels within 0.125, as the
    golden's did, but over another stretch of the grid. GDAL 3.11 changed how ``mode`` weighs
    pixels: since then rasterio itself makes 93.6 % of that golden, so what it makes is what counts.
    """
    source = shared / NLCD / "nlcd_tile_wsg84.tif"
    with rasterio.open(shared / NLCD / f"nlcd_tile_{name}.tif") as golden:
        expected = golden.read().astype(int)
        res = (golden.transform.a, -golden.transform.e)
        mosaic.build(
            source,
            tmp_path / "out",
            dst_crs=golden.crs.to_string(),
            res=res,
            resampling=method,
        )
        values, valid = read_on(tmp_path / "out" / "data.gti.gpkg", golden)
        if method in ("nearest", "bilinear"):
            # PROJ at every pixel; the golden's own places are off by up to an eighth of a pixel
            own = mosaic.read(tmp_path / "out", geobox=box_of(golden), gate=Gate())
            crs = golden.crs.to_wkt()
            want = shown([source], crs, golden.transform, golden.shape, method)
            np.testing.assert_array_equal(own.valid[0], want.valid)
            assert (own.values[0] == want.values)[want.valid].mean() >= 0.9999
        inside = reference([source], golden.crs, golden.transform, golden.shape).inside
        with rasterio.open(source) as scene:
            peer = np.zeros_like(expected, golden.dtypes[0])
            reproject(
                scene.read().astype(peer.dtype),
                peer,
                src_crs=scene.crs,
                src_transform=scene.transform,
                dst_crs=golden.crs,
                dst_transform=golden.transform,
                resampling=Resampling[method],
            )
    assert inside.sum() > 240_000
    assert valid[inside].all()
    off = np.abs(values.astype(int) - peer)[inside]
    assert (off == 0).mean() >= share
    assert off.max() <= worst
    if method == "mode" and GDAL >= (3, 11):
        return
    off = np.abs(values.astype(int) - expected)[inside]
    assert (off == 0).mean() >= share
    assert off.max() <= worst
