"""Encodings: what Sentinel-2 items mean, and what can be brought to what without a loss."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic.catalog.radiometry import MOST, Recoding, recoding
from mosaic.catalog.sentinel2 import encoded, is_sentinel2, processing_baseline, rule
from mosaic.catalog.source import Band, Told, span

Json = dict[str, Any]

NOTHING = Band("uint16")
SCALED = Band("uint16", scale=1e-4, told=Told.SCALE)
ZERO = Band("uint16", scale=1e-4, offset=0.0, told=Told.DECLARED)
MINUS = Band("uint16", scale=1e-4, offset=-0.1, told=Told.DECLARED)
SHARED_MINUS = Band("uint16", scale=1e-4, offset=-0.1, told=Told.SHARED)

OLD, NEW = (1e-4, 0.0), (1e-4, -0.1)
RULES: dict[tuple[Band, bool | None, bool | None], tuple[tuple[float, float], Told]] = {
    # (what is declared, baseline >= 04.00, offset removed): scale and offset, how they are known
    (NOTHING, None, None): ((1.0, 0.0), Told.NOTHING),
    (NOTHING, None, False): ((1.0, 0.0), Told.NOTHING),
    (NOTHING, None, True): (OLD, Told.ASSUMED),
    (NOTHING, False, None): (OLD, Told.ASSUMED),
    (NOTHING, False, False): (OLD, Told.ASSUMED),
    (NOTHING, False, True): (OLD, Told.ASSUMED),
    (NOTHING, True, None): (NEW, Told.ASSUMED),
    (NOTHING, True, False): (NEW, Told.ASSUMED),
    (NOTHING, True, True): (OLD, Told.ASSUMED),
    (SCALED, None, None): (OLD, Told.SCALE),
    (SCALED, None, False): (OLD, Told.SCALE),
    (SCALED, None, True): (OLD, Told.ASSUMED),
    (SCALED, False, None): (OLD, Told.ASSUMED),
    (SCALED, False, False): (OLD, Told.ASSUMED),
    (SCALED, False, True): (OLD, Told.ASSUMED),
    (SCALED, True, None): (NEW, Told.ASSUMED),
    (SCALED, True, False): (NEW, Told.ASSUMED),
    (SCALED, True, True): (OLD, Told.ASSUMED),
    (ZERO, None, None): (OLD, Told.DECLARED),
    (ZERO, None, False): (OLD, Told.DECLARED),
    (ZERO, None, True): (OLD, Told.DECLARED),
    (ZERO, False, None): (OLD, Told.DECLARED),
    (ZERO, False, False): (OLD, Told.DECLARED),
    (ZERO, False, True): (OLD, Told.DECLARED),
    (ZERO, True, None): (OLD, Told.DOUBTED),
    (ZERO, True, False): (OLD, Told.DOUBTED),
    (ZERO, True, True): (OLD, Told.DECLARED),
    (MINUS, None, None): (NEW, Told.DECLARED),
    (MINUS, None, False): (NEW, Told.DECLARED),
    (MINUS, None, True): (OLD, Told.REMOVED),
    (MINUS, False, None): (NEW, Told.DOUBTED),
    (MINUS, False, False): (NEW, Told.DOUBTED),
    (MINUS, False, True): (OLD, Told.REMOVED),
    (MINUS, True, None): (NEW, Told.DECLARED),
    (MINUS, True, False): (NEW, Told.UNSURE),
    (MINUS, True, True): (OLD, Told.REMOVED),
    (SHARED_MINUS, None, None): (NEW, Told.SHARED),
    (SHARED_MINUS, None, False): (NEW, Told.SHARED),
    (SHARED_MINUS, None, True): (OLD, Told.ASSUMED),
    (SHARED_MINUS, False, None): (OLD, Told.ASSUMED),
    (SHARED_MINUS, False, False): (OLD, Told.ASSUMED),
    (SHARED_MINUS, False, True): (OLD, Told.ASSUMED),
    (SHARED_MINUS, True, None): (NEW, Told.ASSUMED),
    (SHARED_MINUS, True, False): (NEW, Told.ASSUMED),
    (SHARED_MINUS, True, True): (OLD, Told.ASSUMED),
}


def test_the_table_holds_every_combination() -> None:
    bands = (NOTHING, SCALED, ZERO, MINUS, SHARED_MINUS)
    three = (None, False, True)
    assert set(RULES) == set(product(bands, three, three))


@pytest.mark.parametrize(("given", "wanted"), RULES.items())
def test_rule(
    given: tuple[Band, bool | None, bool | None], wanted: tuple[tuple[float, float], Told]
) -> None:
    found = rule(*given)
    assert (found.scale, found.offset) == wanted[0]
    assert found.told is wanted[1]
    assert found.usual_nodata == 0


def test_a_scale_of_its_own_is_kept() -> None:
    found = rule(Band("uint16", scale=0.01, told=Told.SCALE), True, None)
    assert (found.scale, found.offset) == (0.01, -10.0)


@pytest.mark.parametrize(
    ("properties", "item_id", "baseline"),
    [
        ({"s2:processing_baseline": "05.11"}, "", (5, 11)),
        ({"s2:processing_baseline": "04.00"}, "", (4, 0)),
        ({"s2:processing_baseline": "03.01"}, "", (3, 1)),
        ({"sentinel:processing_baseline": "02.14"}, "", (2, 14)),
        ({"processing:version": "05.11"}, "", (5, 11)),
        ({"processing:version": "sen2cor 2.11.0"}, "", None),
        ({"s2:processing_baseline": None}, "", None),
        (
            {"s2:product_uri": "S2A_MSIL2A_20190101T000001_N0212_R116_T60VUK_20201007T214652.SAFE"},
            "",
            (2, 12),
        ),
        (
            {"sentinel:product_id": "S2B_MSIL2A_20210101T000001_N0214_R116_T60VUK_2021"},
            "S2B_60VUK_20210101_0_L2A",
            (2, 14),
        ),
        ({}, "S2B_MSIL1C_20220413T150759_N0400_R025_T33XWJ_20220414T082126", (4, 0)),
        ({}, "S2A_MSIL2A_20190101T000001_R116_T60VUK_20201007T214652", None),
        ({}, "S2A_13TDE_20231008_0_L2A", None),
    ],
)
def test_processing_baseline(properties: Json, item_id: str, baseline: Any) -> None:
    assert processing_baseline(properties, item_id) == baseline


@pytest.mark.parametrize(
    ("properties", "is_it"),
    [
        ({"s2:processing_baseline": "05.11"}, True),
        ({"earthsearch:boa_offset_applied": False}, True),
        ({"constellation": "sentinel-2"}, True),
        ({"constellation": "Sentinel 2"}, True),
        ({"platform": "Sentinel-2A"}, True),
        ({"platform": "sentinel-2c"}, True),
        ({"platform": "sentinel-1a", "processing:version": "04.00"}, False),
        ({"platform": "landsat-8", "processing:version": "04.00"}, False),
        ({"platform": None}, False),
        ({}, False),
    ],
)
def test_is_sentinel2(properties: Json, is_it: bool) -> None:
    assert is_sentinel2(properties) is is_it


def _named(name: str = "", common: str = "") -> Json:
    fields = {"name": name, "eo:common_name": common}
    return {key: value for key, value in fields.items() if value}


@pytest.mark.parametrize(
    ("key", "fields", "dtypes", "which"),
    [
        ("B04", [], ["uint16"], [1]),
        ("B8A_20m", [], ["uint16"], [1]),
        ("B12", [{}], ["uint16"], [1]),
        ("red", [], ["uint16"], [1]),
        ("red-jp2", [], ["uint16"], [1]),
        ("rededge1_60m", [], ["uint16"], [1]),
        ("data", [_named("B04")], ["uint16"], [1]),
        ("data", [_named("x", "nir")], ["uint16"], [1]),
        ("data", [_named("B04"), _named("SCL")], ["uint16", "uint16"], [1, 0]),
        ("B04", [_named("x"), _named("y")], ["uint16", "uint16"], [0, 0]),
        ("B04", [], ["uint8"], [0]),
        ("B04", [], ["int16"], [0]),  # another product: ESA's are UInt16
        ("SCL", [], ["uint16"], [0]),
        ("scl", [], ["uint8"], [0]),
        ("AOT", [], ["uint16"], [0]),
        ("WVP_10m", [], ["uint16"], [0]),
        ("wvp", [{}], ["uint16"], [0]),
        ("visual", [], ["uint16"], [0]),
        # the item tells three bands and nobody tells how many the file has
        ("visual", [_named("B04"), _named("B03"), _named("B02")], ["uint16"], [0]),
        ("visual", [_named("red", "red")] * 3, ["uint8"] * 3, [0, 0, 0]),
        ("B13", [], ["uint16"], [0]),
        ("cloud", [], ["uint16"], [0]),
    ],
)
def test_reflectance_bands(key: str, fields: list[Json], dtypes: list[str], which: Any) -> None:
    item = {
        "id": "i",
        "properties": {"s2:processing_baseline": "05.00"},
        "assets": {key: {"href": "a.tif", "bands": fields}},
    }
    found = encoded(item, key, tuple(Band(dtype) for dtype in dtypes))
    assert [band.told is Told.ASSUMED for band in found] == [bool(one) for one in which]
    assert [band.offset for band in found] == [-0.1 if one else 0.0 for one in which]


@pytest.mark.parametrize(
    ("asset", "offset"),
    [
        ({"href": "https://e/B04.tif", "type": "image/tiff"}, 0.0),
        ({"href": "s3://sentinel-s2-l2a/B04.jp2", "type": "image/jp2"}, -0.1),
        ({"href": "s3://sentinel-s2-l2a/B04.jp2?x=1"}, -0.1),
    ],
)
def test_the_originals_keep_their_offset(asset: Json, offset: float) -> None:
    """In Earth Search's items the offset is removed from the COGs alone."""
    properties = {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
    item = {"id": "i", "properties": properties, "assets": {"red": asset}}
    (found,) = encoded(item, "red", (MINUS,))
    assert found.offset == offset


def test_other_items_are_left_alone() -> None:
    item = {
        "id": "i",
        "properties": {"platform": "landsat-9", "processing:version": "04.00"},
        "assets": {"red": {"href": "B4.TIF"}},
    }
    assert encoded(item, "red", (NOTHING,)) == (NOTHING,)


@pytest.mark.parametrize(
    ("band", "target", "nodata", "wanted"),
    [
        # Sentinel-2
        (Band("uint16", nodata=0, scale=1e-4), NEW, 0, (1.0, 1000.0)),
        (Band("uint16", nodata=0, scale=1e-4, offset=-0.1), NEW, 0, (1.0, 0.0)),
        (Band("uint16", nodata=0, scale=1e-4, offset=-0.1), OLD, 0, None),  # below 0
        (Band("uint16", nodata=None, scale=1e-4), NEW, 0, (1.0, 1000.0)),
        # rounding of scale and offset is no difference
        (Band("uint16", nodata=0, scale=0.00010000000000000002), (1e-4, -0.1), 0, (1.0, 1000.0)),
        (Band("uint16", scale=float(np.float32(1e-4)), offset=0.0), NEW, 0, (1.0, 1000.0)),
        (Band("uint16", scale=1e-4, offset=float(np.float32(-0.1))), NEW, 0, (1.0, 0.0)),
        (Band("uint16", scale=2.75e-5, offset=-0.2), (2.75e-5, -0.2), None, (1.0, 0.0)),
        # a factor, a broken shift
        (Band("uint16", nodata=0, scale=1e-3), NEW, 0, None),
        (Band("uint16", nodata=0, scale=1e-4, offset=0.00005), NEW, 0, None),
        # some number would become nodata
        (Band("uint16", nodata=65535, scale=1e-4), NEW, 65535, None),
        (Band("uint16", nodata=65535, scale=1e-4), NEW, 0, (1.0, 1000.0)),
        (Band("uint16", nodata=0, scale=1e-4), NEW, 65535, None),
        (Band("int16", nodata=-9999, scale=1e-4), NEW, -9999, None),
        (Band("int16", nodata=-32768, scale=1e-4), NEW, -32768, (1.0, 1000.0)),
        (Band("int16", nodata=-32768, scale=1e-4, offset=-0.1), OLD, -32768, None),
        (Band("int16", scale=1e-4, offset=-0.1), OLD, None, (1.0, -1000.0)),
        # too much would be clipped
        (Band("uint8", scale=1.0), (1.0, -8.0), None, (1.0, 8.0)),
        (Band("uint8", scale=1.0), (1.0, -9.0), None, None),
        # floats take any, wide and complex ones none
        (Band("float32", nodata=-9999, scale=1e-4), (1.0, -0.1), -9999, (1e-4, 0.1)),
        (Band("float64", scale=1.0), (0.5, 0.25), None, (2.0, -0.5)),
        (Band("uint32", scale=1.0), (1.0, -1.0), None, (1.0, 1.0)),
        (Band("int64", scale=1.0), (1.0, -1.0), None, None),
        (Band("cfloat32", scale=1.0), (1.0, -1.0), None, None),
        (Band("uint16", scale=0.0), NEW, None, None),
        (Band("uint16"), (0.0, 0.0), None, None),
    ],
)
def test_recoding(
    band: Band, target: tuple[float, float], nodata: float | None, wanted: Any
) -> None:
    found = recoding(band, target, nodata)
    assert (found and (found.ratio, found.shift)) == (wanted and pytest.approx(wanted))


@settings(max_examples=300)
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16"]),
    st.integers(-1100, 1100),
    st.data(),
)
def test_no_number_is_lost(dtype: str, shift: int, data: st.DataObject) -> None:
    """Of all numbers of a type, none becomes nodata, and few are clipped: those at one end."""
    ends = span(dtype)
    assert ends is not None
    special = st.one_of(st.none(), st.sampled_from([*ends, 0, 5]))
    own, nodata = data.draw(special), data.draw(special)
    band = Band(dtype, nodata=own, scale=1.0, offset=float(shift))
    found = recoding(band, (1.0, 0.0), nodata)
    if found is None or not found.changes:
        return
    stored = np.arange(ends[0], ends[1] + 1)
    stored = stored[stored != own] if own is not None else stored
    shown = np.clip(stored * int(found.ratio) + int(found.shift), *ends)
    hole = nodata if found.nodata_out is None else found.nodata_out
    assert hole is None or not (shown == hole).any()
    wrong = shown != stored + shift
    assert wrong.sum() <= (ends[1] - ends[0] + 1) * MOST
    assert set(shown[wrong].tolist()) <= {ends[1] if shift > 0 else ends[0]}
    assert dtype.startswith("int") or not (wrong.any() and shift < 0)


def test_nothing_to_do_changes_nothing() -> None:
    assert not Recoding().changes
    assert recoding(Band("uint16", nodata=7), (1.0, 0.0), 0) == Recoding(1.0, 0.0, 7, 0)
