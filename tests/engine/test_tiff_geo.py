"""Where files lie: transforms as GDAL reads them, CRSs by PROJ at places of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import tifffile
from affine import Affine

from mosaic.engine.tiff import Tiff
from tests.engine.craft import PLAIN, craft
from tests.engine.support import Memory, header, open_tiff

CODES = (
    4326,
    3857,
    32632,
    32733,
    3035,
    27700,
    2193,
    5070,
    3413,
    3031,
    3995,
    6933,
    2056,
    4258,
    4269,
)

_LAEA = "+proj=laea +lat_0=50.72 +lon_0=-3.51 +ellps=WGS84 +units=m"
CUSTOM = {
    _LAEA: (0, 0),
    "+proj=sinu +R=6371007.181 +units=m": (1e6, 5e6),
    "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +datum=WGS84": (2e5, 1e6),
    "+proj=lcc +lat_0=46.5 +lon_0=3 +lat_1=49 +lat_2=44 +x_0=7e5 +y_0=6.6e6 +ellps=GRS80": (
        7e5,
        6.6e6,
    ),
    "+proj=lcc +lat_0=40 +lon_0=10 +lat_1=40 +k_0=0.999 +x_0=1e5 +datum=WGS84": (2e5, 1e5),
    "+proj=tmerc +lat_0=1 +lon_0=21 +k=0.9993 +x_0=500000 +y_0=30 +ellps=bessel": (5e5, 5e6),
    "+proj=tmerc +lat_0=31 +lon_0=-110 +k=0.9999 +x_0=213360 +datum=NAD83 +units=us-ft": (7e5, 4e5),
    "+proj=stere +lat_0=-90 +lat_ts=-70 +lon_0=15 +datum=WGS84": (1e6, 1e6),
    "+proj=stere +lat_0=90 +lon_0=-20 +k=0.99 +datum=WGS84": (1e6, 1e6),
    "+proj=merc +lon_0=10 +lat_ts=20 +datum=WGS84": (1e6, 1e6),
    "+proj=merc +lon_0=10 +k=0.9 +datum=WGS84": (1e6, 1e6),
    "+proj=eqc +lat_ts=30 +lon_0=5 +datum=WGS84": (1e6, 1e6),
    "+proj=cea +lat_ts=30 +lon_0=5 +datum=WGS84": (1e6, 1e6),
    "+proj=sterea +lat_0=52 +lon_0=5 +k=0.9999 +x_0=155000 +y_0=463000 +ellps=bessel": (1e5, 4e5),
    "+proj=cass +lat_0=10 +lon_0=-61 +ellps=clrk66": (1e5, 1e5),
    "+proj=poly +lat_0=0 +lon_0=-54 +x_0=5e6 +y_0=1e7 +ellps=GRS80": (5e6, 9e6),
    "+proj=longlat +a=6378000 +rf=300": (10, 50),
    "+proj=longlat +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7": (10, 50),
    "+proj=utm +zone=33 +ellps=intl +towgs84=-87,-98,-121,0,0,0,0": (5e5, 5e6),
}


def _tiff(path: Path, crs: Any, transform: Affine | None, **tags: str) -> Tiff:
    with rasterio.open(
        path, "w", driver="GTiff", width=20, height=10, count=1, dtype="uint8", crs=crs,
        transform=transform,
    ) as dataset:  # fmt: skip
        dataset.update_tags(**tags)
        dataset.write(np.ones((1, 10, 20), "uint8"))
    return open_tiff(path)[0]


@pytest.mark.parametrize("code", CODES)
def test_codes(tmp_path: Path, code: int) -> None:
    tiff = _tiff(tmp_path / "a.tif", f"EPSG:{code}", Affine(1, 0, 7, 0, -1, 50))
    assert tiff.geo.crs == f"EPSG:{code}"


@pytest.mark.parametrize(("name", "place"), CUSTOM.items())
def test_crss_without_a_code(tmp_path: Path, name: str, place: tuple[float, float]) -> None:
    path = tmp_path / "a.tif"
    tiff = _tiff(path, rasterio.crs.CRS.from_string(name), Affine(1, 0, place[0], 0, -1, place[1]))
    assert tiff.geo.crs is not None
    with rasterio.open(path) as dataset:
        theirs = dataset.crs.to_wkt()
    there = [
        pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*place)
        for crs in (tiff.geo.crs, theirs)
    ]
    np.testing.assert_allclose(*there, rtol=0, atol=1e-9)
    # and GDAL itself gives what was written
    given = pyproj.Transformer.from_crs(name, "EPSG:4326", always_xy=True).transform(*place)
    np.testing.assert_allclose(there[0], given, rtol=0, atol=2e-8)


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 500000, 0, -10, 5000000),
        Affine(10, 0, 500000, 0, 10, 5000000),
        Affine(10, 0, 500000.3, 0, -7, 5000000.1),
        Affine(3, 1.5, 500000, 2, -4, 5000000),
    ],
)
@pytest.mark.parametrize("kind", ["Area", "Point"])
def test_transforms(tmp_path: Path, transform: Affine, kind: str) -> None:
    path = tmp_path / "a.tif"
    tiff = _tiff(path, "EPSG:32632", transform, AREA_OR_POINT=kind)
    assert tiff.geo.is_point == (kind == "Point")
    assert tiff.geo.transform == pytest.approx(tuple(transform)[:6], rel=1e-15)


def test_no_place_at_all(tmp_path: Path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        tiff = _tiff(tmp_path / "a.tif", None, None)
    assert (tiff.geo.transform, tiff.geo.crs, tiff.geo.points) == (None, None, 0)


def test_control_points_are_counted(shared: Path) -> None:
    tiff, _ = open_tiff(shared / "opendatacube+odc-geo/tests/data/au-gcp.tif")
    assert tiff.geo.transform is None
    assert tiff.geo.points > 3
    assert tiff.geo.crs == "EPSG:4326"


def test_bands_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=8, height=8, count=2, dtype="int16", nodata=-9999,
        crs="EPSG:32632", transform=Affine(10, 0, 5, 0, -10, 5),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((2, 8, 8), "int16"))
        dataset.scales, dataset.offsets = (0.0001, 2), (-0.1, 0)
        dataset.descriptions = ("red & <blue>", None)
        dataset.units = ("1", "K")
        dataset.update_tags(TIME="2025", WHY="a & b")
    tiff, _ = open_tiff(path)
    assert tiff.nodata == -9999
    assert [band.scale for band in tiff.bands] == [0.0001, 2]
    assert [band.offset for band in tiff.bands] == [-0.1, 0]
    assert [band.description for band in tiff.bands] == ["red & <blue>", ""]
    assert [band.unit for band in tiff.bands] == ["1", "K"]
    assert dict(tiff.tags) == {"TIME": "2025", "WHY": "a & b"}


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 255),
        ("int64", -9223372036854775808),
        ("float32", -3.4028234663852886e38),
        ("float32", float("nan")),
        ("float32", -9999.9),
        ("float64", -1.7976931348623157e308),
    ],
)
def test_nodata_is_what_a_pixel_holds(tmp_path: Path, dtype: str, nodata: float) -> None:
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=8, height=8, count=1, dtype=dtype, nodata=nodata,
        crs="EPSG:32632", transform=Affine(10, 0, 5, 0, -10, 5),
    ) as dataset:  # fmt: skip
        dataset.write(np.full((1, 8, 8), nodata, dtype))
    tiff, _ = open_tiff(path)
    assert np.array_equal(tiff.fill, np.array(nodata, dtype), equal_nan=dtype[0] == "f")
    assert tiff.fill.dtype == dtype


def test_nodata_of_64_bits_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    text = "18446744073709551615"
    tifffile.imwrite(
        path, np.zeros((8, 8), "u8"), extratags=[(42113, 2, len(text) + 1, text, True)]
    )
    assert open_tiff(path)[0].nodata == 2**64 - 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("EPSG:7415", "EPSG:28992"),  # the heights of a compound CRS are nothing to us
        ("EPSG:4979", "EPSG:4326"),
        ("OGC:CRS84", "EPSG:4326"),
        ("EPSG:8857", "EPSG:8857"),
        ("ESRI:102100", "EPSG:3857"),
        ("ESRI:54009", "ESRI:54009"),  # Mollweide has no number in GeoTIFF: WKT in a citation
        ("EPSG:4978", None),  # geocentric
    ],
)
def test_names_that_geotiff_has_not(tmp_path: Path, written: str, read: str | None) -> None:
    crs = rasterio.crs.CRS.from_user_input(written)
    assert _tiff(tmp_path / "a.tif", crs, Affine(1, 0, 7, 0, -1, 50)).geo.crs == read


def test_a_citation_that_is_wkt() -> None:
    wkt = pyproj.CRS("ESRI:54009").to_wkt("WKT1_ESRI")
    text = f"ESRI PE String = {wkt}|"
    keys = [1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, 32767, 3073, 34737, len(text), 0]
    data = craft({**PLAIN, 34735: np.array(keys, "u2"), 34737: text})
    found = header(Memory(data), len(data)).geo.crs
    assert found is not None
    assert pyproj.CRS(found).equals(pyproj.CRS("ESRI:54009"), ignore_axis_order=True)
