"""STAC items as APIs and tools really write them, without a network and without a raster opened.

Where items tell all, nothing is opened; where they tell no data type, ``dtype`` stands in. Where
they tell no grid, the header would be read: here that fails, and has to be said for each item.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.errors import RasterioIOError

import mosaic
from mosaic.catalog.remote import read_governed
from mosaic.errors import InputError, UnreachableError
from mosaic.storage.retry import Failure, Kind
from mosaic.storage.transport import HTTPTransport

CLIENT = "stac-utils+pystac-client/cassette-bodies"
GEOPARQUET = "stac-utils+stac-geoparquet"
PC = f"{GEOPARQUET}/cassette-bodies"
RUSTAC = "stac-utils+rustac"
SENTINEL2 = "stactools-packages+sentinel2/tests/data-files"
LANDSAT = "stactools-packages+landsat"
ODC = "opendatacube+odc-stac/tests/data"
MODIS = "stactools-packages+modis/examples/modis-061"
BYTE: dict[str, Any] = {"dtype": "uint8"}
UINT16: dict[str, Any] = {"dtype": "uint16"}

BUILT: list[tuple[str, dict[str, Any], int, dict[str, int]]] = [
    # document; options; items; CRSs (a WKT stands under its name)
    # all is told
    (
        f"{CLIENT}/earth-search-mixed-collections-10.json",
        {"bands": ["red"], "skip_bad": True},
        7,
        {"EPSG:32724": 4, "EPSG:32720": 3},
    ),
    (
        f"{RUSTAC}/crates/server/data/sentinel-2/item-collection.json",
        {"bands": ["red", "scl"]},
        10,
        {"EPSG:32613": 10},
    ),
    (
        f"{SENTINEL2}/S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE/"
        "expected_output.json",
        {"bands": ["red"]},
        1,
        {"EPSG:32701": 1},
    ),
    (
        f"{SENTINEL2}/S2A_MSIL2A_20230625T234621_N0509_R073_T01WCP_20230626T022157.SAFE/"
        "expected_output.json",
        {"bands": ["red"]},
        1,
        {"EPSG:32601": 1},
    ),
    (
        f"{LANDSAT}/examples/landsat-c2-l2/LC08_L2SP_047027_20201204_02_T1/"
        "LC08_L2SP_047027_20201204_02_T1.json",
        {},
        1,
        {"EPSG:32610": 1},
    ),
    # no data type
    (
        f"{CLIENT}/pc-landsat-8-c2-l2-netherlands-250.json.gz",
        UINT16,
        250,
        {"EPSG:32632": 191, "EPSG:32631": 59},
    ),
    (
        f"{CLIENT}/pc-landsat-c2-l2-10-three-zones.json",
        {**UINT16, "bands": ["red"]},
        10,
        {"EPSG:32658": 7, "EPSG:32659": 2, "EPSG:32657": 1},
    ),
    (
        f"{CLIENT}/pc-naip-250-four-zones.json.gz",
        BYTE,
        250,
        {"EPSG:26919": 106, "EPSG:26912": 89, "EPSG:26911": 52, "EPSG:26918": 3},
    ),
    (
        f"{CLIENT}/pc-sentinel-2-l2a-33-three-zones.json.gz",
        UINT16,
        33,
        {"EPSG:32659": 25, "EPSG:32658": 6, "EPSG:32660": 2},
    ),
    (
        "stac-utils+pgstac/src/pgstac/tests/testdata/planetary-computer/data/naip/items.ndjson.gz",
        BYTE,
        1000,
        {"EPSG:26916": 1000},
    ),
    (
        f"{RUSTAC}/scripts/fixtures/1000-sentinel-2-items.parquet",
        {**UINT16, "bands": ["B04"]},
        1000,
        {"EPSG:32613": 701, "EPSG:32612": 198, "EPSG:32614": 101},
    ),
    (f"{RUSTAC}/crates/core/data/multi-polygons.json", UINT16, 2, {"EPSG:32617": 2}),
    (f"{GEOPARQUET}/tests/data/landsat-c2-l2-pc.json", UINT16, 4, {}),
    (f"{GEOPARQUET}/tests/data/sentinel-2-l2a-pc.json", UINT16, 4, {}),
    (f"{GEOPARQUET}/tests/data/sentinel-1-rtc-pc.json", {"dtype": "float32"}, 4, {}),
    (f"{GEOPARQUET}/tests/data/cop-dem-glo-30-pc.json", {"dtype": "float32"}, 4, {"EPSG:4326": 4}),
    (f"{GEOPARQUET}/tests/data/planet-nicfi-analytic-pc.json", UINT16, 4, {"EPSG:3857": 4}),
    (f"{GEOPARQUET}/tests/data/io-lulc-annual-v02-pc.json", BYTE, 4, {}),
    (f"{GEOPARQUET}/tests/data/naip.parquet", BYTE, 5, {}),
    # the CRS is PROJJSON (compound) or WKT2 alone
    (f"{PC}/pc-3dep-lidar-dsm.json", {"dtype": "float32"}, 1, {"NAD83 / UTM zone 11N": 1}),
    (f"{PC}/pc-mobi.json", UINT16, 1, {"Albers_Conic_Equal_Area": 1}),
    (f"{PC}/pc-modis-13Q1-061.json", {"dtype": "int16"}, 1, {"unnamed": 1}),
    (f"{PC}/pc-chloris-biomass.json", {}, 1, {"unnamed": 1}),
    (
        f"{MODIS}/modis-14A1-061/MYD14A1.A2022025.h01v07.061/MYD14A1.A2022025.h01v07.061.json",
        BYTE,
        1,
        {"unnamed": 1},
    ),
    (f"{PC}/pc-io-lulc.json", BYTE, 1, {"EPSG:32660": 1}),
    (f"{PC}/pc-alos-dem.json", {"dtype": "int16"}, 1, {"EPSG:4326": 1}),
    (f"{PC}/pc-mtbs.json", BYTE, 1, {"ESRI:102039": 1}),
    # STAC 1.0.0-beta.2, and a tall strip
    (
        f"{ODC}/ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item.json",
        UINT16,
        1,
        {"EPSG:32656": 1},
    ),
    (f"{ODC}/lidar_dem.json", {"dtype": "float32"}, 1, {"EPSG:28355": 1}),
    (f"{ODC}/site1-20200606-tall-strip-africa.geojson", UINT16, 9, {"EPSG:32735": 9}),
    ("stac-utils+stac-vrt/tests/response-fixed.json", BYTE, 2, {"EPSG:26917": 2}),
]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hrefs of rasters that were to be opened; none of them can be."""
    names: list[str] = []

    def refuse(name: Any, *args: Any, **options: Any) -> Any:
        names.append(str(name))
        raise RasterioIOError("there is no network here")

    async def unreachable(*args: Any, **options: Any) -> Any:
        raise Failure(Kind.FINAL, "there is no network here", error=UnreachableError)

    def read(hrefs: Sequence[str], *args: Any) -> Any:
        names.extend(hrefs)
        return read_governed(hrefs, *args)

    monkeypatch.setattr(rasterio, "open", refuse)
    monkeypatch.setattr(HTTPTransport, "send", unreachable)
    monkeypatch.setattr("mosaic.catalog.remote.read_governed", read)
    return names


def short(crs: str) -> str:
    return crs if ":" in crs and len(crs) < 32 else crs.split('"')[1].partition(" +")[0]


@pytest.mark.parametrize(
    ("document", "options", "items", "crs"), BUILT, ids=[case[0].split("/")[-1] for case in BUILT]
)
def test_built(
    document: str,
    options: dict[str, Any],
    items: int,
    crs: dict[str, int],
    shared: Path,
    tmp_path: Path,
    opened: list[str],
) -> None:
    report = mosaic.build(shared / document, tmp_path / "out", **options)
    assert opened == []
    assert report.headers_read == 0
    assert report.items == items
    assert report.disagreements == ()
    if crs:
        assert {short(name): count for name, count in report.source_crs} == crs
    assert sum(count for _, count in report.source_crs) == items
    assert len(report.indexes) >= 1
    assert all(tiles >= 1 for _, tiles in report.indexes)
    if not options.get("skip_bad"):
        assert report.left_out == ()


REFUSED: list[tuple[str, dict[str, Any], dict[str, int], str]] = [
    # document; options; kinds of problems; what one of them says
    # items that tell no grid, and files that can't be reached
    (
        "developmentseed+cogeo-mosaic/tests/fixtures/stac_p1.geojson",
        {"bands": ["B04"]},
        {"unreadable": 10},
        "there is no network here",
    ),
    (
        "stac-utils+stac-vrt/tests/response.json",
        BYTE,
        {"unreadable": 2},
        "there is no network here",
    ),
    (f"{ODC}/only_crs_proj.json", UINT16, {"unreadable": 9}, "there is no network here"),
    (f"{PC}/pc-sentinel-1-grd.json", UINT16, {"unreadable": 2}, "there is no network here"),
    # full metadata but for the data type, and none given
    (f"{PC}/pc-alos-dem.json", {}, {"unreadable": 1}, "tells no data type: give --dtype"),
    # the true-colour image of six of these ten tells none, though all other assets do
    (
        f"{RUSTAC}/crates/server/data/sentinel-2/item-collection.json",
        {"bands": ["visual"]},
        {"unreadable": 1, "incomplete": 5},
        "tells no data type: give --dtype",
    ),
    # items cut down by an API's fields extension
    (
        f"{CLIENT}/earth-search-s2-c1-fields-null-geometry-10.json",
        {},
        {"no-asset": 10},
        "has no asset that holds pixels",
    ),
    # tables and weather models
    (f"{GEOPARQUET}/tests/data/us-census-pc.json", {}, {"no-asset": 4}, "no asset that holds"),
    (f"{PC}/pc-era5-pds.json", {}, {"no-asset": 1}, "no asset that holds pixels"),
    # proj:shape of some of these is a part of the file's
    (
        f"{GEOPARQUET}/tests/data/io-lulc-pc.json",
        BYTE,
        {"contradiction": 2},
        "its proj:* fields (EPSG:32660) put it at [173.7, 0.05866, 174, 0.5955], its bbox at "
        "[172.8, -0.9781, 175.3, 1.803]",
    ),
    (
        "radiantearth+stac-spec/examples/extensions-collection/proj-example/proj-example.json",
        UINT16,
        {"contradiction": 1},
        "its proj:* fields (EPSG:32614) put it at [-104.1, 58.9, -99.45, 61.25]",
    ),
    # broken on purpose
    (f"{RUSTAC}/crates/core/data/invalid-item.json", {}, {"item": 1}, "no id"),
]


@pytest.mark.parametrize(
    ("document", "options", "kinds", "words"),
    REFUSED,
    ids=[case[0].split("/")[-1] for case in REFUSED],
)
def test_refused(
    document: str,
    options: dict[str, Any],
    kinds: dict[str, int],
    words: str,
    shared: Path,
    tmp_path: Path,
    opened: list[str],
) -> None:
    with pytest.raises(InputError) as caught:
        mosaic.build(shared / document, tmp_path / "out", **options)
    found: dict[str, int] = {}
    for problem in caught.value.problems:
        found[problem.kind] = found.get(problem.kind, 0) + 1
        assert problem.item or problem.href
    assert found == kinds
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert len(opened) == kinds.get("unreadable", 0)
