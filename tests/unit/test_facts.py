"""What an item says of its assets, in every dialect of STAC."""

from __future__ import annotations

from typing import Any

import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.catalog.facts import asset_for, data_assets, number, sources
from mosaic.catalog.source import Band, Source
from mosaic.catalog.stac import upgrade
from mosaic.errors import UsageError

Json = dict[str, Any]
TRANSFORM = [60.0, 0.0, 3e5, 0.0, -60.0, 5e6]


def item(asset: Json, **properties: Any) -> Json:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "i",
        "properties": properties,
        "assets": {"B04": {"href": "./a.tif", **asset}},
        "links": [],
    }


def told(asset: Json, **properties: Any) -> Source:
    """What is known of the one asset of an item."""
    (found,) = sources(upgrade(item(asset, **properties)), {"B04": "B04"}, "/base")
    return found


@pytest.mark.parametrize(
    ("fields", "crs"),
    [
        ({"proj:epsg": 32632}, "EPSG:32632"),
        ({"proj:code": "EPSG:32632"}, "EPSG:32632"),
        ({"proj:code": "ESRI:54008"}, "ESRI:54008"),
        ({"proj:code": None, "proj:epsg": 32632}, "EPSG:32632"),
        ({"proj:wkt2": pyproj.CRS(32632).to_wkt()}, "EPSG:32632"),
        ({"proj:epsg": None, "proj:projjson": pyproj.CRS(32632).to_json_dict()}, "EPSG:32632"),
        ({"proj:epsg": None}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("place", ["asset", "properties"])
def test_crs(fields: Json, crs: str | None, place: str) -> None:
    found = told(fields) if place == "asset" else told({}, **fields)
    assert found.crs == crs


def test_the_asset_speaks_before_the_item() -> None:
    found = told({"proj:epsg": 32633}, **{"proj:code": "EPSG:32632"})
    assert found.crs == "EPSG:32633"


@pytest.mark.parametrize(
    ("asset", "common", "shape", "transform"),
    [
        ({"proj:shape": [5, 6], "proj:transform": TRANSFORM}, {}, (5, 6), TRANSFORM),
        ({"proj:shape": [5, 6], "proj:transform": [*TRANSFORM, 0, 0, 1]}, {}, (5, 6), TRANSFORM),
        ({}, {"proj:shape": [5, 6], "proj:transform": TRANSFORM}, (5, 6), TRANSFORM),
        # a pan band of its own shape doesn't take the transform of the others
        (
            {"proj:shape": [10, 12]},
            {"proj:shape": [5, 6], "proj:transform": TRANSFORM},
            (10, 12),
            None,
        ),
        (
            {"proj:shape": [5, 6]},
            {"proj:shape": [5, 6], "proj:transform": TRANSFORM},
            (5, 6),
            TRANSFORM,
        ),
        (
            {"proj:shape": [5, 6], "proj:bbox": [3e5, 5e6 - 300, 3e5 + 360, 5e6]},
            {},
            (5, 6),
            TRANSFORM,
        ),
        (
            {"proj:shape": [5, 6], "proj:bbox": [3e5, 5e6 - 300, 0, 3e5 + 360, 5e6, 9]},
            {},
            (5, 6),
            TRANSFORM,
        ),
        ({"proj:shape": [5, 6], "proj:bbox": [1, 1, 1, 1]}, {}, (5, 6), None),
        ({"proj:transform": TRANSFORM}, {}, None, TRANSFORM),
    ],
)  # fmt: skip
def test_grid(asset: Json, common: Json, shape: Any, transform: Any) -> None:
    found = told(asset, **common)
    assert found.shape == shape
    assert found.transform == (None if transform is None else tuple(transform))
    assert not found.located


@pytest.mark.parametrize(
    "fields",
    [
        {"proj:transform": [0] * 6},
        {"proj:transform": [1, 0, 0, 0, 0, 0]},
        {"proj:transform": [float("nan")] * 6},
        {"proj:transform": "none"},
        {"proj:transform": [1, 2]},
        {"proj:transform": [1, 0, "0", 0, -1, 0]},
        {"proj:transform": [1, 0, 0, 0, -1, 0, 0, 0, None]},
        {"proj:shape": "wide"},
        {"proj:shape": [5]},
        {"proj:shape": [5, "5"]},
        {"proj:shape": [0, 5]},
        {"proj:shape": [5, -5]},
        {"proj:epsg": 999999},
        {"proj:code": "nonsense"},
        {"proj:wkt2": "PROJCRS[broken"},
    ],
)
def test_nonsense_is_refused(fields: Json) -> None:
    with pytest.raises(UsageError):
        told(fields)


@pytest.mark.parametrize(
    ("asset", "bands"),
    [
        ({}, None),
        ({"raster:bands": [{"nodata": 0}]}, None),  # no data type
        ({"raster:bands": [{"data_type": "float128"}]}, None),
        ({"data_type": "uint8", "nodata": 255}, (Band("uint8", nodata=255.0),)),  # STAC 1.1
        (
            {"raster:bands": [{"data_type": "int16", "nodata": "nan", "scale": 0.1, "offset": -5}]},
            "nan",
        ),
        (
            {
                "raster:bands": [{"data_type": "uint16", "unit": "K"}],
                "eo:bands": [{"name": "B04", "common_name": "red"}],
            },
            (Band("uint16", "B04", unit="K", color="Red"),),
        ),
        (
            {
                "data_type": "uint8",
                "bands": [
                    {"name": "r", "eo:common_name": "red"},
                    {"name": "x", "data_type": "int8", "nodata": -1},
                ],
            },
            (Band("uint8", "r", color="Red"), Band("int8", "x", nodata=-1.0)),
        ),
        (  # the file has as many bands as raster:bands says
            {
                "raster:bands": [{"data_type": "uint8"}] * 2,
                "eo:bands": [{"name": "r"}, {"name": "g"}, {"name": "b"}],
            },
            (Band("uint8"), Band("uint8")),
        ),
        (  # Planet's mosaics name four, and have an alpha band
            {
                "raster:bands": [{"data_type": "uint8"}] * 3,
                "eo:bands": [{"name": "r", "common_name": "red"}, {"name": "n"}],
            },
            (Band("uint8", "r", color="Red"), Band("uint8", "n"), Band("uint8")),
        ),
    ],
)
def test_bands(asset: Json, bands: Any) -> None:
    found = told(asset).bands
    if bands == "nan":
        assert found is not None
        (band,) = found
        assert band.same_nodata(Band("int16", nodata=float("nan")))
        assert (band.scale, band.offset) == (0.1, -5.0)
    else:
        assert found == bands


@given(st.one_of(st.floats(), st.integers(-(2**63), 2**63), st.none(), st.text(), st.booleans()))
def test_number(value: Any) -> None:
    found = number(value)
    if isinstance(value, bool) or value is None:
        assert found is None
    elif isinstance(value, int | float):
        assert found == float(value) or (found != found and value != value)
    else:
        assert found is None or isinstance(found, float)
    assert number("-inf") == float("-inf")


RED = {"name": "red4", "eo:common_name": "red"}
ASSETS: Json = {
    "B04": {"href": "a.tif", "type": "image/tiff", "bands": [RED]},
    "B03": {"href": "b.jp2", "type": "image/jp2", "bands": [{"name": "green"}]},
    "rgb": {"href": "c.tif", "bands": [{"name": "red"}, {"name": "green"}]},
    "nc": {"href": "d.nc"},
    "query": {"href": "https://a/e.TIF?sig=1"},
    "thumbnail": {"href": "t.tif"},
    "small": {"href": "s.tif", "roles": ["overview"]},
    "picture": {"href": "p.png"},
    "meta": {"href": "m.tif", "type": "application/json"},
    "cloud": {"href": "k", "type": "image/tiff; application=geotiff; profile=cloud-optimized"},
}  # fmt: skip


def test_assets_that_hold_pixels() -> None:
    assert data_assets({"assets": ASSETS}) == ["B04", "B03", "rgb", "nc", "query", "cloud"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("B04", "B04"),
        ("red4", "B04"),
        ("red", "B04"),  # of an asset with this band alone
        ("green", "B03"),
        ("meta", "meta"),  # whoever names a key means it
        ("blue", None),
        ("", None),
    ],
)
def test_asset_by_any_of_its_names(name: str, key: str | None) -> None:
    assert asset_for({"assets": ASSETS}, name) == key


def test_upgrade_leaves_its_input_alone() -> None:
    given_ = item({"raster:bands": [{"data_type": "uint8"}]}, **{"proj:epsg": 32632})
    before = str(given_)
    once = upgrade(given_)
    assert str(given_) == before
    assert once["properties"] == {"proj:code": "EPSG:32632"}
    assert once["assets"]["B04"]["bands"] == [{"data_type": "uint8"}]
    assert upgrade(once) == once
    assert [uri.split("/")[3:5] for uri in once["stac_extensions"]] == [["projection", "v2.0.0"]]


@pytest.mark.parametrize("version", ["0.9.0", "1.0.0", "1.1.0"])
def test_an_asset_without_href_doesnt_spoil_the_others(version: str) -> None:
    given_ = item({}, datetime="2020-01-01T00:00:00Z") | {"stac_version": version}
    given_["assets"] |= {"index": {"type": "text/html"}, "none": {"href": None}}
    assert list(upgrade(given_)["assets"]) == ["B04"]
