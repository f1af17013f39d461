"""Times that sort as texts, boxes, and the order in which scenes are drawn."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.catalog.item import bbox, extent, utc, when
from mosaic.catalog.order import drawing_order
from mosaic.catalog.source import Band, Source
from mosaic.catalog.table import Builder

MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(MOMENTS, ZONES)
def test_utc_is_the_same_moment_in_one_form(moment: datetime, zone: timezone) -> None:
    local = moment.replace(tzinfo=UTC).astimezone(zone)
    text = utc(local.isoformat())
    assert datetime.fromisoformat(text) == local
    assert len(text) == 24
    assert text.endswith("Z")
    assert utc(text) == text
    assert utc(moment.isoformat()) == text  # without a zone it is UTC
    assert utc(moment.isoformat() + "z") == text


@given(MOMENTS, MOMENTS)
def test_utc_texts_sort_as_times(one: datetime, other: datetime) -> None:
    a, b = utc(one.isoformat()), utc(other.isoformat())
    assert (a < b) == (one < other)
    assert (a == b) == (one == other)


@given(st.one_of(st.text(max_size=24), st.none(), st.integers(), st.floats(), st.lists(st.text())))
def test_utc_of_anything(value: Any) -> None:
    text = utc(value)
    assert text == "" or datetime.fromisoformat(text).tzinfo is not None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2025-06-01T10:00:00Z", "2025-06-01T10:00:00.000Z"),
        ("2025-06-01T10:00:00.123456789Z", "2025-06-01T10:00:00.123Z"),
        ("2025-06-01", "2025-06-01T00:00:00.000Z"),
        ("2025-06-01T23:30:00-02:00", "2025-06-02T01:30:00.000Z"),
        ("0001-01-01T00:00:00+05:00", ""),
        ("2025-13-01T10:00:00Z", ""),
        ("nineteen-letters-xxZ", ""),
    ],
)
def test_utc_by_example(value: str, text: str) -> None:
    assert utc(value) == text


def test_when() -> None:
    start = {"datetime": None, "start_datetime": "2025-06-01T00:00:00Z"}
    assert when({"properties": start}) == "2025-06-01T00:00:00.000Z"
    assert when({"properties": {}}) == ""


VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5)), max_size=20),
    st.lists(st.one_of(st.none(), st.text("ab", max_size=2)), max_size=20),
    st.lists(st.one_of(st.none(), st.text("ab1", max_size=2), st.integers(0, 12)), max_size=20),
)


@given(VALUES, st.booleans(), st.randoms())
def test_drawing_order(values: list[Any], ascending: bool, chance: random.Random) -> None:
    ids = [f"i{number:02}" for number in range(len(values))]
    chance.shuffle(ids)
    z = drawing_order(values, ids, ascending)
    assert sorted(z.tolist()) == list(range(len(values)))  # total: no two are equal
    rows = np.argsort(-z).tolist()  # from the top
    known = [row for row in rows if values[row] is not None]
    assert rows[: len(known)] == known  # what has no value lies below
    numbers = {
        row: float(value)
        for row, value in enumerate(values)
        if isinstance(value, int | float) or (isinstance(value, str) and value.isdigit())
    }
    numeric = len(numbers) == len(known)  # numbers written as texts are numbers too
    for upper, lower in itertools.pairwise(rows):
        a, b = values[upper], values[lower]
        if b is None:
            assert a is not None or ids[upper] < ids[lower]
            continue
        a, b = (numbers[upper], numbers[lower]) if numeric else (str(a), str(b))
        assert a == b or (a < b) == ascending
        assert a != b or ids[upper] < ids[lower]
    # whatever order the items come in
    order = list(range(len(values)))
    chance.shuffle(order)
    again = drawing_order([values[i] for i in order], [ids[i] for i in order], ascending)
    assert again.tolist() == [z[i] for i in order]


def test_bbox_of_an_item() -> None:
    assert bbox({"bbox": [1, 2, 3, 4]}) == (1, 2, 3, 4)
    assert bbox({"bbox": [1, 2, 0, 3, 4, 9]}) == (1, 2, 3, 4)
    for nothing in ({}, {"bbox": None}, {"bbox": [1, 2, 3]}, {"bbox": ["a"] * 4}):
        assert np.isnan(bbox(nothing)).all()


POINTS = st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=8)


@given(st.lists(POINTS, min_size=1, max_size=3))
def test_extent_of_a_geometry(rings: list[list[tuple[float, float]]]) -> None:
    geometry = {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    points = np.array([point for ring in rings for point in ring])
    expected = (*points.min(0), *points.max(0))
    assert extent({"geometry": geometry}) == expected
    if len(rings) == 1:
        assert extent({"geometry": {"type": "Polygon", "coordinates": rings}}) == expected


@pytest.mark.parametrize(
    "geometry",
    [None, {}, {"type": "Point", "coordinates": [1, 2]}, {"type": "Polygon", "coordinates": "x"}],
)
def test_no_extent(geometry: Any) -> None:
    assert np.isnan(extent({"geometry": geometry})).all()


def source(item: str, asset: str, left: float) -> Source:
    transform = (60.0, 0.0, left, 0.0, -60.0, 5e6)
    return Source(item, asset, f"/{item}", "EPSG:32633", (9, 9), transform, (Band("uint8"),))


def test_builder_keeps_equal_grids_and_bands_once() -> None:
    builder = Builder("datetime")
    for number in range(6):
        item = {"id": f"i{number}", "properties": {"datetime": f"2025-06-0{number + 1}T00:00:00Z"}}
        builder.add(item, [source(item["id"], "a", 60.0 * (number % 2))])  # type: ignore[arg-type]
    assert len(builder) == 6
    table = builder.table()
    assert len(table.grids) == 2
    assert len(table.bands) == 1
    assert table.assets["a"].grid.tolist() == [0, 1, 0, 1, 0, 1]
    some = table.assets["a"].take(np.array([1, 3]))
    from dataclasses import replace

    small = replace(table, assets={"a": some}).compact()
    assert small.id == ["i1", "i3"]
    assert small.line.tolist() == [1, 3]
    assert len(small.grids) == 1
    assert small.grids.transform[0, 2] == 60.0
    assert small.assets["a"].item.tolist() == [0, 1]
    assert small.assets["a"].grid.tolist() == [0, 0]


def test_builder_refuses_half_a_source() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="i a is incomplete"):
        Builder("datetime").add(
            {"id": "i", "properties": {}}, [replace(source("i", "a", 0), crs=None)]
        )
