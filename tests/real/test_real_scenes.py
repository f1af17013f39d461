"""Real scenes of many projections, through a built index, against PROJ at every pixel.

No pixel may be missing or invented farther than one pixel from the end of data, and every pixel
whose nearest neighbour is beyond doubt must hold that value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

import mosaic
from tests.support.reference import Comparison, Layer, compare, reference

RASTERFRAMES = "locationtech+rasterframes/core/src/test/resources"
RIO_TILER = "cogeotiff+rio-tiler/tests/fixtures"
PDS = "cogeotiff+rio-tiler-pds/tests/fixtures"
VRTILITY = "Permian-Global-Research+vrtility/inst"
GEOTIFF = "GeoTIFF+test-data/files"
STACTOOLS = "stac-utils+stactools/tests/data-files"
WORLDCOVER = "stactools-packages+esa-worldcover/tests/data-files"

DEGREE = {"EPSG:4326": 1.0, "EPSG:3857": 111319.49079327357}
"""Units of a degree of longitude at the equator, in the mosaics that are read in strips."""

BY_ID = "no-such-property"
"""A sort order that leaves only ids: dates of files without a date in them are the disk's."""


@dataclass(frozen=True)
class Scene:
    """A mosaic to build and to compare."""

    name: str
    files: tuple[str, ...]
    """Below the shared data; the first lies on top."""
    crs: str
    least: int
    """Pixels, of all bands, of which at least so many must be compared."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the build."""
    strips: tuple[tuple[float, float], ...] = ()
    """Longitudes between which the mosaic is read; empty: all of it."""
    asset: str = "data"
    """Asset that is compared."""
    mask: bool = True
    """Whether GDAL draws the index's mask right (see ``test_mask_of_scenes_without_nodata``)."""

    def __str__(self) -> str:
        return f"{self.name} in {self.crs}"


NAIP = (
    f"{RASTERFRAMES}/m_3607717_sw_18_1_20160620_subset.tif",
    f"{RASTERFRAMES}/m_3607824_se_17_1_20160620_subset.tif",
)
EXETER = (
    f"{VRTILITY}/s2-data/exe_2024-08-01_12-21-19.tif",
    f"{VRTILITY}/s2-data/exe_2024-06-17_12-21-21_UTM.tif",
    f"{VRTILITY}/s2-data/exe_2024-06-02_12-21-19_EPSG27700.tif",
)
HLS = (f"{VRTILITY}/hls-data/hls_exe_2021-06-08_12-27-08.tif",)
COGS = tuple(f"{RIO_TILER}/mosaic_cog{number}.tif" for number in (1, 2, 3))
WEB = (f"{RIO_TILER}/web.tif",)
DATELINE = (f"{RIO_TILER}/cog_dateline.tif",)
MODIS = (f"{STACTOOLS}/raster_footprint/MCD15A2H.A2022025.h01v11.061.2022035062702_Fpar_500m.tif",)
HABITAT = (f"{GEOTIFF}/nz_habitat_anticross_4326_1deg.tif",)
SEA_ICE = (f"{GEOTIFF}/nt_20201024_f18_nrt_s.tif",)
_DEM = "Copernicus_DSM_COG_30_S90_00_W164_00_DEM"
POLE = (f"{PDS}/copernicus-dem-90m/{_DEM}/{_DEM}.tif",)
_SAFE = "sentinel2/S2B_MSIL2A_20191228T210519_N0212_R071_T01CCV_20201003T104658.SAFE"
T01CCV = (
    f"{STACTOOLS}/{_SAFE}/GRANULE/L2A_T01CCV_A014683_20191228T210521/IMG_DATA/R60m/"
    "T01CCV_20191228T210519_B04_60m.tif",
)
_SAFE = "sentinel2/esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE"
T22HBD = (
    f"{STACTOOLS}/{_SAFE}/GRANULE/L2A_T22HBD_A020270_20210122T133224/IMG_DATA/R60m/"
    "T22HBD_20210122T133229_B04_60m.jp2",
)
_MAP = "ESA_WorldCover_10m_2020_v100_N00E006"
LAND = (f"{WORLDCOVER}/{_MAP}/{_MAP}_Map.tif",)
_EAST = "ESA_WorldCover_10m_2020_v100_N66E177_Map/ESA_WorldCover_10m_2020_v100_N66E177"
LAST = (f"{WORLDCOVER}/{_EAST}_Map.tif",)

ACROSS = {"bbox": (179.6, 51.4, -179.6, 51.9)}
SIDES = ((-180.0, -179.6), (179.6, 180.0))
COLLAR: dict[str, Any] = {"nodata": 0}

SCENES = [
    # two UTM zones, four bands, no nodata
    *(
        Scene("naip", NAIP, crs, 600_000, mask=False)
        for crs in ("auto", "utm", "EPSG:4326", "EPSG:3857", "EPSG:5070")
    ),
    *(Scene("exeter", EXETER, crs, 500_000) for crs in ("auto", "EPSG:4326", "EPSG:3857")),
    *(Scene("hls", HLS, crs, 250_000) for crs in ("auto", "EPSG:27700", "EPSG:4326")),
    *(
        Scene("cogs", COGS, crs, 2_000_000, {"sort": BY_ID})
        for crs in ("auto", "EPSG:4326", "EPSG:3857")
    ),
    *(Scene("web", WEB, crs, 200_000) for crs in ("auto", "EPSG:32618", "EPSG:4326")),
    # across 180 degrees
    *(Scene("dateline", DATELINE, crs, 300_000, ACROSS) for crs in ("EPSG:32660", "EPSG:3571")),
    Scene("dateline", DATELINE, "EPSG:3832", 100_000, ACROSS),
    *(Scene("dateline", DATELINE, crs, 100_000, ACROSS, SIDES) for crs in DEGREE),
    *(
        Scene("s2 T01CCV", T01CCV, crs, 1_800, {**COLLAR, "res": 1000}, asset="B04")
        for crs in ("auto", "EPSG:3031")
    ),
    *(
        Scene("s2 T01CCV", T01CCV, crs, 1_700, COLLAR, ((-180, -179), (176, 180)), "B04")
        for crs in DEGREE
    ),
    Scene("modis", MODIS, "auto", 2_000_000),
    *(
        Scene("modis", MODIS, crs, 300_000, {"bbox": (-180, -24, -172, -20)}, ((-180, -172),))
        for crs in DEGREE
    ),
    # a raster as wide as the world, its data on both sides of 180
    *(
        Scene("habitat", HABITAT, crs, 190)
        for crs in ("auto", "EPSG:3857", "EPSG:3832", "EPSG:2193")
    ),
    # the poles
    *(Scene("sea ice", SEA_ICE, crs, 79_000) for crs in ("auto", "EPSG:3031")),
    Scene("sea ice", SEA_ICE, "EPSG:4326", 140_000),
    Scene("pole", POLE, "EPSG:3031", 9_000, {"res": 90}, mask=False),
    Scene("pole", POLE, "EPSG:4326", 140_000, {"res": (0.007, 0.0007)}),
    # JPEG 2000, whose zero collar only the user knows
    *(Scene("s2 T22HBD", T22HBD, crs, 8_000, COLLAR, asset="B04") for crs in ("auto", "EPSG:4326")),
    # 36000 x 36000 pixels with a palette, read in a corner
    *(
        Scene("worldcover", LAND, crs, 200_000, {"bbox": (6.6, 0.36, 6.65, 0.41)})
        for crs in ("auto", "EPSG:3857", "EPSG:32632")
    ),
    *(Scene("worldcover at 180", LAST, crs, 400_000, {}, ((177, 180),)) for crs in DEGREE),
]


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_every_pixel(scene: Scene, shared: Path, tmp_path: Path) -> None:
    files = [shared / name for name in scene.files]
    report = mosaic.build(files, tmp_path / "out", dst_crs=scene.crs, **scene.options)
    assert not report.left_out
    index = tmp_path / "out" / f"{scene.asset}.gti.gpkg"
    layers = [Layer(path, scene.options.get("nodata")) for path in files]
    found = compared(index, layers, scene.strips)
    assert found.inside >= scene.least
    assert found.certain >= scene.least * 0.3
    assert (found.missing, found.unequal) == (0, 0), found
    if scene.mask:
        assert found.invented == 0, found


def compared(
    index: Path, layers: list[Layer], strips: tuple[tuple[float, float], ...] = ()
) -> Comparison:
    """An index against its reference, in strips between longitudes or as a whole."""
    parts = []
    with rasterio.open(index) as dataset:
        windows = [Window(0, 0, dataset.width, dataset.height)]
        if strips:
            windows = [_strip(dataset, *strip) for strip in strips]
            nowhere = _strip(dataset, 0.0, 0.1)
            assert not dataset.read_masks(window=nowhere).any()
        for window in windows:
            values, valid = dataset.read(window=window), dataset.read_masks(window=window)
            expected = reference(
                layers, dataset.crs, dataset.window_transform(window), values.shape[1:]
            )
            parts.append(compare(expected, values, valid))
    return Comparison(**{name: sum(getattr(p, name) for p in parts) for name in vars(parts[0])})


def _strip(dataset: Any, west: float, east: float) -> Window:
    unit = DEGREE[dataset.crs.to_string()]
    left, right = (
        min(max(round((lon * unit - dataset.transform.c) / dataset.transform.a), 0), dataset.width)
        for lon in (west, east)
    )
    return Window(left, 0, right - left, dataset.height)


@pytest.mark.xfail(
    strict=True,
    reason="GDAL's GTI takes a warped tile's mask from its first band: wrong (a rectangle) unless "
    "the tile has 1 or 3 bands of uint8 or uint16",
)
@pytest.mark.parametrize(
    "scene", [scene for scene in SCENES if not scene.mask and "auto" not in scene.crs], ids=str
)
def test_mask_of_scenes_without_nodata(scene: Scene, shared: Path, tmp_path: Path) -> None:
    files = [shared / name for name in scene.files]
    mosaic.build(files, tmp_path / "out", dst_crs=scene.crs, **scene.options)
    found = compared(tmp_path / "out" / "data.gti.gpkg", [Layer(path) for path in files])
    assert found.invented == 0


@pytest.mark.parametrize("crs", ["auto", "EPSG:4326"])
def test_planet_disaster(crs: str, shared: Path, tmp_path: Path) -> None:
    """Items in 32615 and 3857: three say nothing of their CRS, one says the wrong one."""
    root = shared / STACTOOLS / "planet-disaster"
    res = 100 if crs == "auto" else 0.001
    report = mosaic.build(root / "collection.json", tmp_path / "out", dst_crs=crs, res=res)
    assert report.items == 5
    assert report.headers_read == 7
    assert dict(report.source_crs) == {"EPSG:32615": 3, "EPSG:3857": 2}
    (disagreement,) = report.disagreements
    assert disagreement.kind == "crs"
    assert disagreement.item == "Houston-East-20170831-103f-100d-0f4f-RGB"
    assert disagreement.what == "proj:code says EPSG:32615, the file EPSG:3857"
    # newest first
    visual = [
        "2017831_195552_SS02/SkySat_20170831T195552Z_RGB.tif",
        "20170831_195425_SS02/SkySat_PortArthur_s02_20170831T195425Z.tif",
        "20170831_172754_101c/20170831_172754_101c_3b_Visual.tif",
        "20170831_162740_ssc1d1/SkySat_Freeport_s03_20170831T162740Z.tif",
    ]
    east = "Houston-East-20170831-103f-100d-0f4f"
    assets = {
        "visual": (visual, 580_000),
        "mosaic": ([f"{east}-RGB/{east}-3-band.tif"], 1_000_000),
        "analytic": (["20170831_172754_101c/20170831_172754_101c_3B_AnalyticMS.tif"], 50_000),
        "udm": (["20170831_172754_101c/20170831_172754_101c_3B_AnalyticMS_DN_udm.tif"], 15_000),
    }
    folder = root / "hurricane-harvey/hurricane-harvey-0831"
    for asset, (names, least) in assets.items():
        layers = [Layer(folder / name) for name in names]
        found = compared(tmp_path / "out" / f"{asset}.gti.gpkg", layers)
        assert found.inside >= least, asset
        assert found.faults == (0, 0, 0), asset


def test_a_build_reads_no_pixels(shared: Path, tmp_path: Path) -> None:
    """Of 36000 x 36000 pixels only the header is there; what is built is the same."""
    whole = shared / LAND[0]
    head = tmp_path / "head" / whole.name
    head.parent.mkdir()
    with whole.open("rb") as stream:
        head.write_bytes(stream.read(1 << 16))
    with rasterio.open(head) as dataset, pytest.raises(rasterio.errors.RasterioIOError):
        dataset.read(window=Window(0, 0, 256, 256))
    full = mosaic.build(whole, tmp_path / "full")
    lazy = mosaic.build(head, tmp_path / "lazy", overwrite=True)
    assert (lazy.crs, lazy.shape, lazy.resolution) == (full.crs, full.shape, full.resolution)
    assert min(lazy.shape) >= 36000
    head.unlink()
    with rasterio.open(tmp_path / "lazy" / "data.gti.gpkg") as dataset:  # opens no tile either
        assert dataset.shape == lazy.shape
        assert dataset.dtypes == ("uint8",)
        assert dataset.nodata == 0


def test_one_band_beside_three(shared: Path, tmp_path: Path) -> None:
    """rio-tiler's web.tif has one band, the COGs of the same place three."""
    files = [shared / name for name in (*COGS, *WEB)]
    with pytest.raises(mosaic.errors.InputError, match=r"web.*has 1 band of uint16.*3 bands"):
        mosaic.build(files, tmp_path / "out", sort=BY_ID)
    report = mosaic.build(files, tmp_path / "out", sort=BY_ID, skip_bad=True)
    assert [problem.item for problem in report.left_out] == ["web"]
    found = compared(tmp_path / "out" / "data.gti.gpkg", [Layer(path) for path in files[:3]])
    assert found.faults == (0, 0, 0)


def test_the_reference_itself(tmp_path: Path) -> None:
    """A 4 x 4 raster with a hole, on its own grid and on one half a pixel off."""
    values = np.arange(1, 17, dtype="uint8").reshape(4, 4)
    values[0, 0] = 0
    transform = rasterio.transform.from_origin(179.0, 2.0, 1.0, 1.0)
    profile = {"driver": "GTiff", "width": 4, "height": 4, "count": 1, "dtype": "uint8"}
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", **profile, crs="EPSG:4326", transform=transform, nodata=0
    ) as dataset:
        dataset.write(values, 1)
    same = reference([path], "EPSG:4326", transform, (4, 4))
    np.testing.assert_array_equal(same.values[0, :, 0], values[:, 0])
    assert same.valid[0, 1:, 0].all()
    assert not same.valid[0, 0, 0]
    assert not same.valid[0, :, 1:].any()  # beyond 180 there is nothing
    west = rasterio.transform.from_origin(-181.0, 2.0, 1.0, 1.0)
    wrapped = reference([path], "EPSG:4326", west, (4, 4))
    np.testing.assert_array_equal(wrapped.values[0, :, 1:], values[:, 1:])
    assert wrapped.inside[0].sum() == 3  # away from the rim and the hole
    half = rasterio.transform.from_origin(-180.5, 1.5, 1.0, 1.0)
    assert not reference([path], "EPSG:4326", half, (3, 3)).certain.any()
    wrong = compare(wrapped, wrapped.values + 1, wrapped.valid)
    assert wrong.unequal == wrong.certain == 3
    assert compare(wrapped, wrapped.values, wrapped.valid & False).missing == 3
    assert compare(wrapped, wrapped.values, wrapped.valid).faults == (0, 0, 0)
