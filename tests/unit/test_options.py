"""What a person may write as an option, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic.builder.options import Options, options
from mosaic.catalog.gti import GDAL_RESAMPLING
from mosaic.errors import UsageError

METHODS = st.sampled_from(sorted(GDAL_RESAMPLING))
NAMES = st.text("abBC04_=.", min_size=1, max_size=5)


def test_defaults() -> None:
    assert options() == Options()
    assert options().method("anything") == "nearest"


@given(st.dictionaries(NAMES, METHODS), METHODS)
def test_resampling_as_words_and_as_a_mapping_mean_the_same(
    own: dict[str, str], default: str
) -> None:
    words = [default, *(f"{name}={method}" for name, method in own.items())]
    by_words, by_mapping = options(resampling=words), options(resampling={"*": default, **own})
    assert by_words == by_mapping
    for name, method in own.items():
        assert by_words.method(name) == method
    assert by_words.method("never given") == default


@given(st.text(max_size=12))
def test_any_other_method_is_refused(word: str) -> None:
    if word.rpartition("=")[2] in GDAL_RESAMPLING:
        assert options(resampling=word)
    else:
        with pytest.raises(UsageError, match="--resampling"):
            options(resampling=word)


SIZES = st.floats(1e-12, 1e9)


@given(SIZES, SIZES)
def test_res(width: float, height: float) -> None:
    assert options(res=width).res == (width, width)
    assert options(res=[width]).res == (width, width)
    assert options(res=(width, height)).res == (width, height)


@given(
    st.one_of(
        st.floats(max_value=0),
        st.just(float("nan")),
        st.just(float("inf")),
        st.lists(SIZES, min_size=3, max_size=5),
        st.just([]),
        st.tuples(SIZES, st.floats(max_value=0)),
    )
)
def test_bad_res(res: Any) -> None:
    with pytest.raises(UsageError, match="--res"):
        options(res=res)


LON, LAT = st.floats(-180, 180), st.floats(-90, 90)


@given(LON, LAT, LON, LAT)
def test_bbox(west: float, south: float, east: float, north: float) -> None:
    if south < north and west != east:
        assert options(bbox=[west, south, east, north]).bbox == (west, south, east, north)
    else:
        with pytest.raises(UsageError, match="--bbox"):
            options(bbox=[west, south, east, north])


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 1),
        (0, 0, 1, float("nan")),
        (0, 0, 1, 91),
        (0, -91, 1, 0),
        (-181, 0, 1, 1),
        (0, 0, 181, 1),
        (float("-inf"), 0, 1, 1),
    ],
)
def test_bad_bbox(box: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="--bbox"):
        options(bbox=box)


@pytest.mark.parametrize(
    ("word", "field", "ascending"),
    [
        ("-datetime", "datetime", False),
        ("datetime", "datetime", True),
        ("+datetime", "datetime", True),
        ("-eo:cloud_cover", "eo:cloud_cover", False),
        ("s2:nodata-share", "s2:nodata-share", True),
    ],
)
def test_sort(word: str, field: str, ascending: bool) -> None:
    chosen = options(sort=word)
    assert (chosen.sort, chosen.ascending) == (field, ascending)


@pytest.mark.parametrize("word", ["", "-", "+", "+-"])
def test_sort_by_nothing(word: str) -> None:
    with pytest.raises(UsageError, match="--sort"):
        options(sort=word)


@pytest.mark.parametrize(
    ("given_as", "name"),
    [
        ("EPSG:3857", "EPSG:3857"),
        ("epsg:3857", "EPSG:3857"),
        ("ESRI:54008", "ESRI:54008"),
        ("+proj=utm +zone=32 +datum=WGS84", "EPSG:32632"),
        ("auto", "auto"),
        ("utm", "utm"),
    ],
)
def test_crs(given_as: str, name: str) -> None:
    found = options(dst_crs=given_as).dst_crs
    assert found == name or (given_as.startswith("+") and "UTM zone 32N" in found)


@settings(max_examples=15)  # PROJ searches its whole database for a name that it doesn't know
@given(st.text("EPSG:0123 ", min_size=1, max_size=12))
def test_any_crs_is_known_or_refused(name: str) -> None:
    try:
        found = options(dst_crs=name).dst_crs
    except UsageError:
        return  # and nothing else
    assert options(dst_crs=found).dst_crs == found


def test_bands_of_stacks_are_built_too() -> None:
    assert options(bands=["a", "a", "b"]).bands == ("a", "b")
    assert options(bands=["a"], stacks=[["b", "a"], ["c", "b"]]).bands == ("a", "b", "c")
    assert options(stacks=[["b", "a"]]).bands == ()  # every asset is
    with pytest.raises(UsageError, match="--stack a: a stack has two bands"):
        options(stacks=[["a"]])


def test_slices_and_dtype() -> None:
    for kind in ("none", "day", "month", "year"):
        assert options(slices=kind).slices == kind
    with pytest.raises(UsageError, match="--slices week: one of none, year, month, day"):
        options(slices="week")
    assert options(dtype="int16").dtype == "int16"
    with pytest.raises(UsageError, match="--dtype Int16"):
        options(dtype="Int16")
