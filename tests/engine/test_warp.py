"""Warped windows against PROJ at every pixel, and whatever the chunk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosaic.catalog.gti import GDAL_RESAMPLING
from mosaic.engine.lattice import Grid, Lattice, lattice, scale
from mosaic.engine.resampling import METHODS, method, needed, widening
from mosaic.engine.warp import fill, warp
from mosaic.errors import UsageError
from tests.engine import resampled
from tests.engine.grids import PAIRS, around, exact, grid
from tests.engine.resampled import scene

POINTS = ("bilinear", "cubic", "cubic_spline", "lanczos")
FOOTPRINTS = ("average", "rms", "min", "max", "mode", "q1", "med", "q3")
DTYPES = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split()


def coarse(target: Grid, factor: float) -> Grid:
    """The same place in fewer pixels."""
    a, b, c, d, e, f = target.transform
    shape = int(target.shape[0] / factor), int(target.shape[1] / factor)
    return Grid(target.crs, shape, (a * factor, b * factor, c, d * factor, e * factor, f))


def mine(target, source, values, name, **options):
    how = method(name)
    made = lattice(target, source, corners=how.footprint)
    return warp(values, (0, 0), made, how, scale=scale(target, source), **options)


@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize("name", PAIRS)
def test_nearest_is_the_pixel_where_proj_lies(name, holes):
    target, source = PAIRS[name]
    values = scene(source.shape, holes=holes)
    got, valid = mine(target, source, values, "nearest", nodata=0)
    wanted, right = resampled.nearest(values, values != 0, *exact(target, source))
    assert (valid == right).mean() >= 0.9999
    both = valid & right
    assert both.sum() > 30
    assert (got[both] == wanted[both]).mean() >= 0.9999


@pytest.mark.parametrize("method_name", POINTS)
@pytest.mark.parametrize("name", [name for name in PAIRS if max(scale(*PAIRS[name])) < 3.4])
def test_filters_are_within_one_of_sums_in_full_precision(name, method_name):
    target, source = PAIRS[name]
    values = scene(source.shape)
    wide = widening(method(method_name), scale(target, source))
    got, valid = mine(target, source, values, method_name, nodata=0)
    wanted, right = resampled.filtered(
        method_name, values, values != 0, *exact(target, source), wide
    )
    assert (valid == right).mean() >= 0.9999
    both = valid & right
    assert both.sum() > 30
    off = abs(got[both].astype(float) - resampled.rounded(wanted, "uint16")[both])
    assert (off <= 1).mean() >= 0.999


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.3])
@pytest.mark.parametrize("method_name", POINTS)
def test_filters_widen_when_pixels_shrink(method_name, factor):
    target, source = PAIRS["32632 to 3035"]
    target = coarse(target, factor)
    values = scene(source.shape)
    wide = widening(method(method_name), scale(target, source))
    assert wide == (1.0, 1.0) or min(wide) > 1.45
    got, valid = mine(target, source, values, method_name, nodata=0)
    wanted, right = resampled.filtered(
        method_name, values, values != 0, *exact(target, source), wide
    )
    np.testing.assert_array_equal(valid, right)
    off = abs(got[valid].astype(float) - resampled.rounded(wanted, "uint16")[valid])
    assert (off <= 1).mean() >= 0.9999


@pytest.mark.parametrize("factor", [0.7, 1.0, 2.0, 3.3])
@pytest.mark.parametrize("method_name", FOOTPRINTS)
def test_footprints_take_all_pixels_below(method_name, factor):
    target, source = PAIRS["32632 to 32633"]
    target = coarse(Grid(target.crs, (180, 180), target.transform), factor)
    values = scene(source.shape) // (1000 if method_name == "mode" else 1)
    got, valid = mine(target, source, values, method_name, nodata=0)
    bigger = Grid(target.crs, (target.shape[0] + 1, target.shape[1] + 1), target.transform)
    column, row = exact(bigger, source, corners=True)
    wanted, right = resampled.footprint(method_name, values, values != 0, column, row)
    assert (valid == right).mean() >= 0.9999
    both = valid & right
    off = abs(got[both].astype(float) - resampled.rounded(wanted, "uint16")[both])
    assert (off <= (1 if method_name in ("average", "rms") else 0)).mean() >= 0.9995


def test_what_the_builder_writes_can_be_read():
    assert {method(name).name for name in GDAL_RESAMPLING} == set(GDAL_RESAMPLING)


def test_a_rotated_footprint_keeps_its_size():
    # 45 degrees: opposite corners of a target pixel share a source column
    source = grid("EPSG:32632", (400, 400), 500000.0, 5000000.0, 10.0)
    a = 40 / np.sqrt(2)
    target = Grid("EPSG:32632", (30, 30), (a, a, 501200.0, a, -a, 4998000.0))
    rng = np.random.default_rng(0)
    values = rng.normal(100, 10, source.shape).astype("float32")
    got, valid = mine(target, source, values, "average")
    assert valid.all()
    # the mean of 16 independent pixels scatters by a quarter
    assert 2.0 < got.std() < 3.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "method_name", ["nearest", "bilinear", "cubic", "lanczos", "average", "med"]
)
def test_every_dtype(dtype, method_name):
    target, source = PAIRS["32632 to 3035"]
    target = Grid(target.crs, (90, 90), target.transform)
    values = scene(source.shape, dtype)
    got, valid = mine(target, source, values, method_name, nodata=0)
    other, same = mine(target, source, values.astype("float64"), method_name, nodata=0)
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(valid, same)
    tolerance = 1e-6 if dtype == "float32" else 0.0
    exactly = resampled.rounded(other, dtype)[valid].astype(float)
    np.testing.assert_allclose(got[valid].astype(float), exactly, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["uint64", "int64"])
def test_large_integers_are_copied_as_they_are_and_sums_clamped(dtype):
    source = around("EPSG:32632", 9.0, 47.0, 40, 10.0)
    target = around("EPSG:32632", 9.0, 47.0, 20, 7.0)
    most = np.iinfo(dtype).max
    values = np.full(source.shape, most - 1, dtype)
    for name in ("nearest", "mode", "min", "max", "med"):
        got, valid = mine(target, source, values, name)
        assert valid.all()
        assert (got == most - 1).all()
    for name in ("bilinear", "cubic", "average"):
        got, _ = mine(target, source, values, name)
        assert (got >= most - 8192).all()


def test_overshoot_is_clamped():
    source = around("EPSG:32632", 9.0, 47.0, 60, 10.0)
    values = np.zeros(source.shape, "uint8")
    values[:, 30:] = 255
    got, _ = mine(around("EPSG:32632", 9.0, 47.0, 60, 3.0), source, values, "cubic")
    assert set(np.unique(got[:, :20])) == {0}
    assert set(np.unique(got[:, 40:])) == {255}


@pytest.mark.parametrize("name", METHODS)
def test_masks_and_nodata_say_the_same(name):
    target, source = PAIRS["32632 to 3035"]
    target = coarse(target, 2.3)
    values = scene(source.shape)
    by_value = mine(target, source, values, name, nodata=0)
    by_mask = mine(target, source, values, name, valid=values != 0)
    both = mine(target, source, values, name, nodata=0, valid=values != 0)
    floats = np.where(values == 0, np.nan, values).astype("float64")
    by_nan = mine(target, source, floats, name, nodata=float("nan"))
    for values_, valid in (by_mask, both):
        np.testing.assert_array_equal(valid, by_value[1])
        np.testing.assert_array_equal(values_[valid], by_value[0][valid])
    np.testing.assert_array_equal(by_nan[1], by_value[1])
    np.testing.assert_array_equal(
        resampled.rounded(by_nan[0], "uint16")[by_nan[1]], by_value[0][by_value[1]]
    )


@pytest.mark.parametrize("nodata", [-1, 70000, 0.5, float("nan"), 1e30])
def test_nodata_that_no_pixel_can_have_hides_nothing(nodata):
    target, source = PAIRS["32632 to 3035"]
    values = scene(source.shape)
    assert mine(target, source, values, "nearest", nodata=nodata)[1].all()


def test_a_result_may_equal_nodata_and_is_valid():
    source = around("EPSG:32632", 9.0, 47.0, 40, 10.0)
    values = np.where(np.arange(40) % 2, 10, 14).astype("uint8") * np.ones((40, 1), "uint8")
    target = Grid(
        source.crs, (10, 10), (10.0, 0, source.transform[2] + 105, 0, -10.0, source.transform[5])
    )
    got, valid = mine(target, source, values, "bilinear", nodata=12)
    assert (got == 12).all()
    assert valid.all()


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=15)
@given(data=st.data())
def test_a_pixel_is_the_same_in_every_window(name, data):
    pair = data.draw(st.sampled_from(["32632 to 3035", "33 to 32, skewed", "world to 3031"]))
    target, source = PAIRS[pair]
    target = coarse(target, data.draw(st.sampled_from([1.0, 1.7, 2.6])))
    how, wide = method(name), scale(target, source)
    values = scene(source.shape, "float64")
    whole, valid = whole_of(pair, name, target, source, values)
    r0, r1 = sorted(data.draw(st.tuples(*[st.integers(0, target.shape[0])] * 2)))
    c0, c1 = sorted(data.draw(st.tuples(*[st.integers(0, target.shape[1])] * 2)))
    made = lattice(target, source, (r0, c0, r1 - r0, c1 - c0), corners=how.footprint)
    # just the source pixels that the plan would fetch
    need = needed(made, how, wide, source.shape)
    need = need[(need[:, :2] < need[:, 2:]).all(1)]
    if len(need):
        (t, left), (b, r) = need[:, :2].min(0), need[:, 2:].max(0)
        part = values[t:b, left:r]
        got, ok = warp(part, (int(t), int(left)), made, how, scale=wide, nodata=0)
    else:
        got, ok = np.zeros(made.shape), np.zeros(made.shape, bool)
    np.testing.assert_array_equal(ok, valid[r0:r1, c0:c1])
    assert got[ok].tobytes() == whole[r0:r1, c0:c1][ok].tobytes()


_WHOLE: dict[tuple[str, str, tuple[int, int]], resampled.Result] = {}


def whole_of(pair, name, target, source, values):
    key = pair, name, target.shape
    if key not in _WHOLE:
        _WHOLE[key] = mine(target, source, values, name, nodata=0)
    return _WHOLE[key]


@pytest.mark.parametrize("name", ["nearest", "cubic", "average"])
def test_pieces_can_be_done_one_by_one(name):
    target, source = PAIRS["32632 to 3035"]
    how, wide = method(name), scale(target, source)
    values = scene(source.shape)
    whole, valid = mine(target, source, values, name, nodata=0)
    made = lattice(target, source, corners=how.footprint)
    out, filled = np.zeros(made.shape, "uint16"), np.zeros(made.shape, bool)
    for k, (t, left, b, r) in enumerate(needed(made, how, wide, source.shape)):
        part, at = values[t:b, left:r], (int(t), int(left))
        fill(out, filled, part, at, made.take([k]), how, scale=wide, nodata=0)
    np.testing.assert_array_equal(filled, valid)
    np.testing.assert_array_equal(out[valid], whole[valid])


@pytest.mark.parametrize("name", METHODS)
def test_the_first_stays_on_top(name):
    target, source = PAIRS["32632 to 3035"]
    how, wide = method(name), scale(target, source)
    made = lattice(target, source, corners=how.footprint)
    one, two = scene(source.shape, seed=1), scene(source.shape, seed=2)
    one[:, :300] = 0
    (a, has_a), (b, has_b) = (
        warp(values, (0, 0), made, how, scale=wide, nodata=0) for values in (one, two)
    )
    out, filled = np.full(made.shape, 77, "uint16"), np.zeros(made.shape, bool)
    for values in (one, two):
        fill(out, filled, values, (0, 0), made, how, scale=wide, nodata=0)
    np.testing.assert_array_equal(filled, has_a | has_b)
    np.testing.assert_array_equal(out[filled], np.where(has_a, a, b)[filled])
    assert (out[~filled] == 77).all()


def test_an_overview_is_a_source_of_fewer_pixels():
    source = around("EPSG:32632", 11.9, 47.5, 800, 10.0)
    target = around("EPSG:3035", 11.9, 47.5, 300, 20.0)
    values = scene((400, 400))
    half = Grid(
        source.crs, (400, 400), (20.0, 0.0, source.transform[2], 0.0, -20.0, source.transform[5])
    )
    made = lattice(target, source).at((2.0, 2.0))
    got, valid = warp(values, (0, 0), made, method("nearest"), nodata=0)
    wanted, right = resampled.nearest(values, values != 0, *exact(target, half))
    assert (valid == right).mean() > 0.9999
    assert (got == wanted)[valid & right].mean() > 0.9999


def test_threads_run_side_by_side():
    target, source = PAIRS["32632 to 3035"]
    made, how = lattice(target, source), method("cubic")
    values = scene(source.shape)
    wanted = warp(values, (0, 0), made, how)[0]
    got = [None] * 4

    def work(n):
        got[n] = warp(values, (0, 0), made, how)[0]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in got:
        np.testing.assert_array_equal(one, wanted)


def test_readonly_and_strided_windows_need_no_other_kernel():
    from mosaic.engine import kernels

    target, source = PAIRS["32632 to 3035"]
    made, how = lattice(target, source), method("nearest")
    values = scene(source.shape)
    wanted = warp(values, (0, 0), made, how)[0]
    before = len(kernels.nearest.signatures)
    frozen = np.frombuffer(values.tobytes(), "uint16").reshape(values.shape)
    pixels = np.stack([values, values], axis=-1)
    for window in (frozen, pixels[..., 0], np.asfortranarray(values)):
        np.testing.assert_array_equal(warp(window, (0, 0), made, how)[0], wanted)
    assert len(kernels.nearest.signatures) == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"window": np.zeros((700, 700), "complex64")}, "complex64"),
        ({"window": np.zeros((700, 700), "float16")}, "f2"),
        ({"window": np.zeros((700, 700), ">u2")}, ">u2"),
        ({"window": np.zeros((700, 700), "float32")}, "can't hold"),
        ({"window": np.zeros((1, 700, 700), "uint16")}, "two dimensions"),
        ({"out": np.zeros((9, 9), "uint16")}, "doesn't fit"),
        ({"out": np.zeros((600, 1200), "uint16")[:, ::2]}, "contiguous"),
        ({"filled": np.zeros((600, 600), "uint8")}, "bool"),
        ({"how": METHODS["average"]}, "corners"),
        ({"offset": (-1, 0)}, "begins"),
    ],
)
def test_what_cannot_be_meant_is_said(change, what):
    target, source = PAIRS["32632 to 3035"]
    arguments = {
        "out": np.zeros(target.shape, "uint16"),
        "filled": np.zeros(target.shape, bool),
        "window": np.zeros(source.shape, "uint16"),
        "offset": (0, 0),
        "lattice": lattice(target, source),
        "how": METHODS["nearest"],
    }
    with pytest.raises(UsageError, match=what):
        fill(**{**arguments, **change})


def test_unknown_methods_are_named():
    assert method("cubicspline") is METHODS["cubic_spline"]
    with pytest.raises(UsageError, match="'cubist' is no resampling method"):
        method("cubist")


def test_an_empty_lattice_fills_nothing():
    target = around("EPSG:32633", 15.0, 47.0, 30, 10.0)
    made: Lattice = lattice(target, around("EPSG:32632", 9.0, 47.0, 30, 10.0))
    _, valid = warp(np.ones((30, 30), "uint8"), (0, 0), made, METHODS["nearest"])
    assert not valid.any()


SCRIPT = """
import os, resource
import numpy as np
from mosaic.engine import kernels
from mosaic.engine.warp import warp
from mosaic.engine.resampling import METHODS
from mosaic.catalog.gti import GDAL_RESAMPLING
from mosaic.engine.lattice import Grid, lattice
if os.environ.get("FULL"):  # as on a disk without room
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
grid = Grid("EPSG:32632", (9, 9), (10.0, 0.0, 0.0, 0.0, -10.0, 90.0))
values = np.arange(81, dtype="uint16").reshape(9, 9)
got, valid = warp(values, (0, 0), lattice(grid, grid), METHODS["nearest"])
assert valid.all() and (got == values).all()
stats = kernels.nearest.stats
print(type(kernels.nearest._cache).__name__, sum(stats.cache_hits.values()))
"""


def run(*, package: Path | None = None, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    if package is not None:
        kept["PYTHONPATH"] = str(package)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**kept, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_are_compiled_once_for_all_processes(tmp_path):
    first = run(NUMBA_CACHE_DIR=str(tmp_path))
    second = run(NUMBA_CACHE_DIR=str(tmp_path))
    assert first.split() == ["FunctionCache", "0"]
    assert second.split() == ["FunctionCache", "1"]


def test_kernels_work_where_no_cache_folder_is_writable(tmp_path):
    package = tmp_path / "installed"
    shutil.copytree(
        Path(__file__).parents[2] / "mosaic",
        package / "mosaic",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    # even root can't make a folder below a file
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    for cache in package.rglob("engine"):
        (cache / "__pycache__").write_text("")
    home = {"HOME": str(nowhere), "XDG_CACHE_HOME": str(nowhere), "IPYTHONDIR": str(nowhere)}
    assert run(package=package, PYTHONDONTWRITEBYTECODE="1", **home).split() == ["NullCache", "0"]


def test_kernels_work_where_the_cache_is_full(tmp_path):
    assert run(NUMBA_CACHE_DIR=str(tmp_path), FULL="1").split() == ["FunctionCache", "0"]
    assert not list(tmp_path.rglob("*.nbc"))
