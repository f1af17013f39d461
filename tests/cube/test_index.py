"""Any index of a lazy array gives what it gives of the loaded one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import mosaic
from mosaic.cube.keys import Run, portions, stepped
from mosaic.engine.pieces import Grid
from mosaic.storage import Gate
from tests.cube.conftest import Made

KEPT = Gate()


def indices(size: int) -> st.SearchStrategy[Any]:
    place = st.integers(-size, size - 1)
    # dask 2026.8 takes what begins before its beginning, backwards, for everything
    end = st.none() | st.integers(-size, size + 5)
    step = st.integers(-9, 9).filter(bool)
    return (
        place
        | st.builds(slice, end, end, st.none() | step)
        | st.lists(place, min_size=1, max_size=6).map(np.array)
    )


@pytest.fixture(scope="module")
def loaded(native: Made) -> np.ndarray:
    found: np.ndarray = mosaic.open(native.path, gate=KEPT).B02.values
    assert (found > 0).mean() > 0.1
    return found


@pytest.fixture(scope="module", params=["lazy", "dask"])
def band(native: Made, request: pytest.FixtureRequest) -> xr.DataArray:
    chunks = {"time": 2, "y": 100, "x": 130} if request.param == "dask" else None
    return mosaic.open(native.path, gate=KEPT, chunks=chunks).B02


@settings(max_examples=60)
@given(data=st.data())
def test_any_orthogonal_index(band: xr.DataArray, loaded: np.ndarray, data: st.DataObject) -> None:
    """Whole numbers, slices with steps of either sign, arrays; negative ones too. Twice."""
    once = [data.draw(indices(size)) for size in loaded.shape]
    want = xr.DataArray(loaded, dims=band.dims)[tuple(once)]
    got = band[tuple(once)]
    if got.size and data.draw(st.booleans()):
        again = [data.draw(indices(size)) for size in want.shape]
        got, want = got[tuple(again)], want[tuple(again)]
    np.testing.assert_array_equal(got.values, want.values)


@settings(max_examples=30)
@given(data=st.data())
def test_any_points(band: xr.DataArray, loaded: np.ndarray, data: st.DataObject) -> None:
    """Pixels one by one, as ``sel(x=points.x, y=points.y)`` asks for them."""
    count = data.draw(st.integers(1, 12))
    dims = data.draw(st.sampled_from([("y", "x"), ("time", "y", "x"), ("time", "x")]))
    index = {
        dim: xr.DataArray(
            data.draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count)), dims="p"
        )
        for dim, n in zip(band.dims, loaded.shape, strict=True)
        if dim in dims
    }
    want = xr.DataArray(loaded, dims=band.dims).isel(index)
    got = band.isel(index)
    assert got.dims == want.dims
    np.testing.assert_array_equal(got.values, want.values)


def test_points_by_place(band: xr.DataArray, loaded: np.ndarray) -> None:
    rows, columns = np.array([200, 3, 77]), np.array([5, 410, 300])
    where = {
        "y": xr.DataArray(band.y.values[rows] + 11, dims="site"),
        "x": xr.DataArray(band.x.values[columns] - 11, dims="site"),
    }
    got = band.sel(where, method="nearest")
    np.testing.assert_array_equal(got.transpose("time", "site").values, loaded[:, rows, columns])


def test_a_slice_of_a_slice_reads_no_more(native: Made) -> None:
    ds = mosaic.open(native.path, gate=Gate())
    part = ds.isel(x=slice(100, 400)).isel(x=slice(-20, None), y=slice(50, 60)).B02
    assert "values with dtype" in repr(part)  # nothing is read to show it
    assert part.shape == (5, 10, 20)
    assert ds.B02.isel(time=slice(0, 0)).values.shape[0] == 0


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5000), st.integers(1, 5000)),
    size=st.integers(1, 8),
    limit=st.integers(1 << 18, 1 << 24),
)
def test_portions_tile_a_window(shape: tuple[int, int, int], size: int, limit: int) -> None:
    seen = np.zeros([shape[0], *(-(-side // 64) for side in shape[1:])], int)
    total = 0
    for part in portions(*shape, size, limit):
        sides = [one.stop - one.start for one in part]
        total += int(np.prod(sides))
        assert np.prod(sides) * size <= max(limit, 512 * 512 * size)
        t, r, c = part
        assert r.start % 512 == c.start % 512 == 0
        seen[t, r.start // 64 : -(-r.stop // 64), c.start // 64 : -(-c.stop // 64)] += 1
    assert total == np.prod(shape)
    assert (seen == 1).all()


@given(
    start=st.integers(0, 50),
    step=st.integers(1, 9),
    count=st.integers(1, 5),
    more=st.integers(0, 9),
)
def test_stepped_middles_are_the_pixels_own(start: int, step: int, count: int, more: int) -> None:
    """And parts of a run have the run's grid."""
    grid = Grid("EPSG:32632", (400, 300), (60.0, 2.0, 5e5, 1.0, -60.0, 5e6))
    row, column = Run(start, count, step), Run(more, count, step + 1)
    found, window = stepped(grid, row, column)
    for place in range(count):
        own = grid.xy(
            np.array([column.start + place * (step + 1) + 0.5]),
            np.array([start + place * step + 0.5]),
        )
        theirs = found.xy(np.array([window[1] + place + 0.5]), np.array([window[0] + place + 0.5]))
        np.testing.assert_allclose(np.ravel(own), np.ravel(theirs), rtol=0, atol=1e-6)
    assert window[0] + count <= found.shape[0]
    assert window[1] + count <= found.shape[1]
    if step > 1 and count > 2:
        part, _ = stepped(grid, row.part(1, count), column.part(1, count))
        assert part == found
