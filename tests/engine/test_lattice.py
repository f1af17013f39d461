"""Lattices against PROJ at every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic.engine.lattice import ERROR, LARGEST, NOISE, Grid, Lattice, lattice, scale
from tests.engine.grids import PAIRS, WORLD, around, exact, grid, interpolated


@pytest.mark.parametrize("name", PAIRS)
def test_every_pixel_lies_where_proj_puts_it(name):
    target, source = PAIRS[name]
    column, row = interpolated(lattice(target, source), source)
    true_column, true_row = exact(target, source)
    height, width = source.shape
    inside = (true_column >= 0) & (true_column < width) & (true_row >= 0) & (true_row < height)
    assert inside.sum() > 30
    assert np.isfinite(column[inside]).all()
    off = np.maximum(abs(column - true_column), abs(row - true_row))[inside]
    assert off.max() <= NOISE
    assert np.quantile(off, 0.999) <= 1.5 * ERROR


def test_few_points_are_projected_where_the_map_is_smooth():
    target, source = PAIRS["32632 to 3035"]
    made = lattice(target, source)
    assert set(made.size) == {LARGEST}
    assert len(made) == 25


def test_only_the_parts_that_need_it_are_refined():
    target = grid("EPSG:3031", (1024, 1024), -2560000.0, 2560000.0, 5000.0)
    made = lattice(target, grid("EPSG:4326", (180, 360), -180.0, 90.0, 1.0))
    away = np.hypot(*(made.origin + made.size[:, None] / 2 - 512).T)
    assert away[made.size == 2].max() < 100  # pixels from the pole
    assert (made.size[away > 300] >= 8).mean() > 0.9
    assert len(made) < 1024 * 1024 / 50


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("corners", [False, True])
def test_bounds_hold_every_pixel(name, corners):
    target, source = PAIRS[name]
    window = (37, 11, target.shape[0] - 50, target.shape[1] - 50)
    made = lattice(target, source, window, corners=corners)
    true_column, true_row = exact(target, source, corners)
    height, width = source.shape
    for place, bounds in zip(made.target + np.array([37, 11, 37, 11]), made.bounds, strict=True):
        here = np.s_[place[0] : place[2] + corners, place[1] : place[3] + corners]
        column, row = true_column[here], true_row[here]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        assert (row[inside] >= bounds[1] - NOISE).all()
        assert (row[inside] <= bounds[3] + NOISE).all()
        if source is not WORLD:  # whose pieces come twice where its edges meet
            assert (column[inside] >= bounds[0] - NOISE).all()
            assert (column[inside] <= bounds[2] + NOISE).all()


def test_bounds_are_tight():
    target, source = PAIRS["32632 to 3035"]
    window = (100, 130, 70, 50)
    column, row = (part[100:170, 130:180] for part in exact(target, source))
    bounds = lattice(target, source, window).bounds
    low, high = bounds[:, :2].min(0), bounds[:, 2:].max(0)
    np.testing.assert_allclose(low, [column.min(), row.min()], atol=0.01)
    np.testing.assert_allclose(high, [column.max(), row.max()], atol=0.01)


def pieces(made: Lattice, row: int, column: int) -> dict[tuple[int, ...], bytes]:
    """Each piece of a lattice, by its place in the whole target."""
    found: dict[tuple[int, ...], bytes] = {}
    for k, (r, c) in enumerate(made.origin + np.array([row, column])):
        key = (int(r), int(c), int(made.size[k]))
        found[key] = found.get(key, b"") + made.column[k].tobytes() + made.row[k].tobytes()
    return found


@pytest.mark.parametrize(
    "name", ["32632 to 3035", "world to 3031", "world to 3857", "4326 from 0 to 360"]
)
@settings(max_examples=25)
@given(data=st.data())
def test_pieces_do_not_depend_on_the_window(name, data):
    target, source = PAIRS[name]
    whole = pieces(lattice(target, source), 0, 0)
    r0, r1 = sorted(data.draw(st.tuples(*[st.integers(0, target.shape[0])] * 2)))
    c0, c1 = sorted(data.draw(st.tuples(*[st.integers(0, target.shape[1])] * 2)))
    part = pieces(lattice(target, source, (r0, c0, r1 - r0, c1 - c0)), r0, c0)
    wanted = {
        key: value
        for key, value in whole.items()
        if key[0] < r1 and key[1] < c1 and key[0] + key[2] > r0 and key[1] + key[2] > c0
    }
    if r1 > r0 and c1 > c0:
        assert part == wanted
    else:
        assert part == {}


def test_a_source_elsewhere_leaves_no_piece():
    target = around("EPSG:32633", 15.0, 47.0, 300, 10.0)
    assert len(lattice(target, around("EPSG:32632", 9.0, 47.0, 300, 10.0))) == 0
    # the other side of the Earth, which no UTM coordinate can name
    assert len(lattice(target, around("EPSG:32759", 171.0, -47.0, 300, 10.0))) == 0


def test_the_same_grid_gives_whole_pixels():
    target = around("EPSG:32632", 9.0, 47.0, 300, 10.0)
    column, row = interpolated(lattice(target, target), target)
    r, c = np.mgrid[:300, :300] + 0.5
    np.testing.assert_allclose(column, c, atol=1e-9)
    np.testing.assert_allclose(row, r, atol=1e-9)


def test_an_overview_has_fewer_pixels():
    target, source = PAIRS["32632 to 3035"]
    made = lattice(target, source)
    small = made.at((4, 2))
    np.testing.assert_array_equal(small.row, made.row / 4)
    np.testing.assert_array_equal(small.column, made.column / 2)
    assert len(made.take(made.size == 1)) == 0


@pytest.mark.parametrize(
    ("target", "source", "rows", "columns"),
    [
        (
            around("EPSG:32633", 12, 47.5, 100, 40.0),
            around("EPSG:32632", 12, 47.5, 400, 10.0),
            4,
            4,
        ),
        # a degree of longitude is half as long at 60 degrees
        (
            around("EPSG:4326", 9, 60, 100, 0.001),
            around("EPSG:32632", 9, 60, 400, 10.0),
            11.14,
            5.58,
        ),
        # columns run south, as with some radar scenes
        (
            grid("EPSG:32632", (100, 100), 500000, 5000000, 20.0),
            Grid("EPSG:32632", (200, 100), (0.0, 10.0, 500000.0, -5.0, 0.0, 5000000.0)),
            2,
            4,
        ),
        (grid("EPSG:4326", (900, 1800), -180.0, 90.0, 0.2), WORLD, 2, 2),
    ],
)
def test_scale_is_source_pixels_to_a_target_pixel(target, source, rows, columns):
    np.testing.assert_allclose(scale(target, source), (rows, columns), rtol=2e-3)


def test_scale_is_unknown_where_nothing_can_be_projected():
    target = grid("+proj=ortho +lat_0=40 +lon_0=0", (100, 100), 0.0, 100000.0, 1000.0)
    assert np.isnan(scale(target, around("EPSG:32760", 178.0, -40.0, 100, 10.0))).all()
