"""Pixels that ``mosaic.read`` returns, against PROJ at every pixel and against GDAL."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

import mosaic
from mosaic import bridge
from mosaic.catalog.folder import Folder
from mosaic.catalog.opened import open_mosaic
from mosaic.engine.pipeline import draw_all
from mosaic.engine.reading import chosen, requested
from mosaic.errors import UsageError
from mosaic.storage import Gate
from tests.support.exact import shown
from tests.support.mixed import MIXTURES, Mixture, pair
from tests.support.mosaics import CASES, Built, Case, build, check_every_pixel, write_case
from tests.support.scenes import Scene, lattice_scenes, seam_scenes, write_scenes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


def built(case: Case, home: Path) -> Built:
    folder = home / case.name
    out = home / str(case)
    if out.exists():
        shutil.rmtree(out)
    return build(case, write_case(folder, case.scenes), out, "nearest")


def files(case: Case, folder: Path) -> list[Path]:
    """Scenes from the top down: the newest first, ties by id."""
    order = sorted(sorted(case.scenes, key=lambda s: s.id), key=lambda s: s.datetime, reverse=True)
    return [folder / scene.id / f"{scene.bands[0]}.tif" for scene in order]


def at_edges(valid: np.ndarray) -> np.ndarray:
    """Pixels beside which validity changes, along a row or a column."""
    found = np.zeros(valid.shape, bool)
    for step in (-1, 1):
        found[:, 1:-1] |= (valid != np.roll(valid, step, 1))[:, 1:-1]
        found[1:-1] |= (valid != np.roll(valid, step, 0))[1:-1]
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_pixel_is_where_proj_puts_it(case: Case, home: Path) -> None:
    """The zone seam, 180 degrees, the poles and nodata edges, in twenty CRSs."""
    one = built(case, home)
    count = {"nearest": 0, "bilinear": 0, "cubic": 0}
    wrong, edges, torn = dict(count), dict(count), dict(count)
    for number, window in enumerate(one.windows):
        place = one.window_transform(window)
        shape = (window[3], window[2])
        box = GeoBox(shape, place, case.crs)
        for method in count:
            if method == "cubic" and number > 1:  # dear
                continue
            got = mosaic.read(one.index.parent, geobox=box, resampling=method, gate=Gate())
            want = shown(files(case, home / case.name), case.crs, place, shape, method)
            off = np.abs(got.values[0].astype(float) - want.values) * (want.valid & got.valid[0])
            same = (got.valid[0] == want.valid) & (off <= (1 if method == "cubic" else 0))
            count[method] += int((want.valid | got.valid[0]).sum())
            wrong[method] += int((~same).sum())
            edge = at_edges(want.valid)
            edges[method] += int(edge.sum())
            far = off > (0 if method == "nearest" else 1)
            torn[method] += int((edge & (far | (got.valid[0] != want.valid))).sum())
            assert method != "bilinear" or off.max(initial=0) <= 1
            assert got.covered.all()
            assert not got.values[~got.valid].any()
    assert count["nearest"] > 50_000
    assert wrong["nearest"] <= 1e-4 * count["nearest"]
    assert wrong["bilinear"] <= 1e-3 * count["bilinear"]
    assert wrong["cubic"] <= 1e-3 * count["cubic"]
    assert min(edges.values()) > 100
    assert all(torn[method] <= 1e-4 * edges[method] for method in count)


@pytest.mark.parametrize("method", ["cubic", "lanczos", "average"])
def test_other_methods_lie_where_the_truth_is(method: str, home: Path) -> None:
    one = built(CASES[1], home)
    one = replace(one, resampling="cubic")

    def read(window: tuple[int, int, int, int]) -> np.ndarray:
        box = GeoBox((window[3], window[2]), one.window_transform(window), one.crs)
        values, valid = mosaic.read(one.index.parent, geobox=box, resampling=method, gate=Gate())
        assert not values[~valid].any()
        found: np.ndarray = values[0]
        return found

    check_every_pixel(one, read)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mosaic on the pixels of its scenes: one zone, two dates, gaps, partial overlaps."""
    home = tmp_path_factory.mktemp("native")
    mosaic.build(write_scenes(home / "s", lattice_scenes(384)), home / "m")
    return home / "m"


@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
def test_own_pixels_are_copied_as_gdal_reads_them(native: Path, method: str) -> None:
    values, valid = mosaic.read(native, resampling=method, gate=Gate())
    for place, name in enumerate(("B02", "B03")):
        with rasterio.open(native / f"{name}.gti.gpkg") as index:
            np.testing.assert_array_equal(values[place], index.read(1))
            np.testing.assert_array_equal(valid[place], index.read_masks(1) > 0)
    assert 0.2 < valid.mean() < 0.99


def test_windows_of_own_pixels(native: Path) -> None:
    rng = np.random.default_rng(3)
    with rasterio.open(native / "B02.gti.gpkg") as index:
        whole = index.read(1)
        for _ in range(25):
            column, row = int(rng.integers(index.width - 1)), int(rng.integers(index.height - 1))
            width = int(rng.integers(1, min(300, index.width - column + 1)))
            height = int(rng.integers(1, min(300, index.height - row + 1)))
            window = Window(column, row, width, height)
            box = GeoBox((height, width), index.window_transform(window), str(index.crs))
            values, _ = mosaic.read(native, bands="B02", geobox=box, gate=Gate())
            here = np.s_[row : row + height, column : column + width]
            np.testing.assert_array_equal(values[0], whole[here])


@pytest.mark.parametrize("place", [0.25, 0.5])
def test_a_lattice_between_pixels_is_no_copy(native: Path, place: float) -> None:
    """Half a pixel off, a copy would be wrong: it is warped."""
    with rasterio.open(native / "B02.gti.gpkg") as index:
        shift = index.transform @ Affine.translation(place, place)
        box = GeoBox((256, 256), shift @ Affine.translation(100, 100), str(index.crs))
    paths = [native.parent / f"s/n{number}/B02.tif" for number in (4, 3, 2, 1, 0)]
    for method in ("nearest", "bilinear"):
        got = mosaic.read(native, bands="B02", geobox=box, resampling=method, gate=Gate())
        want = shown(paths, "EPSG:32632", box.affine, (256, 256), method)
        np.testing.assert_array_equal(got.valid[0], want.valid)
        np.testing.assert_array_equal(got.values[0][want.valid], want.values[want.valid])


@pytest.mark.parametrize("cut", [64, 100, 333])
def test_parts_of_a_window_are_the_window(cut: int, home: Path) -> None:
    """However a target is cut, a pixel has one value, to the last bit: no seam between parts."""
    case = CASES[4]
    one = built(case, home)
    opened = open_mosaic(Folder.at(one.index.parent, Gate()))
    left, top, _, _ = one.windows[0]
    box = GeoBox((400, 430), one.window_transform((left, top, 0, 0)), case.crs)
    for method in ("nearest", "cubic", "average"):
        request, *_ = requested(opened, box, chosen(opened, None), None, method, False)
        (whole,) = bridge.run(draw_all(request, Gate())).canvases
        assert whole.filled.any()
        for row in range(0, 400, cut):
            for column in range(0, 430, cut):
                window = (row, column, min(cut, 400 - row), min(cut, 430 - column))
                part = replace(request, window=window)
                (got,) = bridge.run(draw_all(part, Gate())).canvases
                here = np.s_[:, row : row + cut, column : column + cut]
                np.testing.assert_array_equal(got.filled, whole.filled[here])
                np.testing.assert_array_equal(got.values, whole.values[here])


@pytest.mark.parametrize("case", [m for m in MIXTURES if m.name in ("own-zone", "inside")], ids=str)
def test_numbers_are_those_of_the_index(case: Mixture, tmp_path: Path) -> None:
    """Scenes of two encodings, harmonised: as GDAL shows them, and as if they were stored so."""
    made = pair(case, tmp_path, "nearest")
    for kind, path in made.indexes.items():
        with rasterio.open(path) as index:
            want, box = index.read(1), GeoBox(index.shape, index.transform, str(index.crs))
        got = mosaic.read(path.parent, geobox=box, gate=Gate())
        # a foreign zone's scenes GDAL places to an eighth of a pixel only
        same = got.values[0] == want
        assert same.mean() > 0.95, kind
        if kind == "mixed":
            harmonised = got
        elif kind == "twin":
            np.testing.assert_array_equal(harmonised.values, got.values)
            np.testing.assert_array_equal(harmonised.valid, got.valid)
    raw = mosaic.read(made.mixed.parent, geobox=box, raw=True, gate=Gate())
    stored = mosaic.read(made.raw.parent, geobox=box, gate=Gate())
    np.testing.assert_array_equal(raw.values, stored.values)
    assert (raw.values != harmonised.values).any()


@pytest.mark.parametrize("case", [m for m in MIXTURES if not m.jp2], ids=str)
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_two_encodings_are_one(case: Mixture, method: str, tmp_path: Path) -> None:
    """Rotated, across 180 degrees: the mixture shows what scenes stored alike show."""
    made = pair(case, tmp_path, method)
    # the whole mosaic may go round the world: the box crosses 180 degrees instead
    box = (179.6, 51.8, -179.6, 52.2) if "180" in case.name else None
    mixed = mosaic.read(made.mixed.parent, bbox=box, gate=Gate())
    twin = mosaic.read(made.twin.parent, bbox=box, gate=Gate())
    np.testing.assert_array_equal(mixed.valid, twin.valid)
    np.testing.assert_array_equal(mixed.values, twin.values)
    assert mixed.valid.any()


def test_time_and_bands(native: Path) -> None:
    first = mosaic.read(native, bands=["B03"], datetime="2025-06-01", gate=Gate())
    again = mosaic.read(native, bands="B03", datetime="../2025-06-01T10:00:00Z", gate=Gate())
    both = mosaic.read(native, bands=["B03", "B02", "B03"], datetime="2025-06-01", gate=Gate())
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(both.values[0], first.values[0])
    np.testing.assert_array_equal(both.values[2], first.values[0])
    assert both.bands == ("B03", "B02", "B03")
    assert 0 < first.valid.mean() < 0.5
    none = mosaic.read(native, datetime="2019", gate=Gate())
    assert not none.valid.any()
    assert none.covered.all()


def test_the_grid_that_is_read(native: Path) -> None:
    own = mosaic.read(native, bands="B02", bbox=(9.0, 47.45, 9.1, 47.5), gate=Gate())
    info = mosaic.info(native)
    a = own.geobox.affine
    assert (a.a, -a.e) == (60, 60)
    assert ((a.c - info["bounds"][0]) / 60).is_integer()
    other = mosaic.read(
        native,
        bands="B02",
        bbox=(9.0, 47.45, 9.1, 47.5),
        crs="EPSG:3035",
        resolution=120,
        gate=Gate(),
    )
    assert str(other.geobox.crs) == "EPSG:3035"
    assert other.values.shape[1:] == other.geobox.shape
    west, south, east, north = other.geobox.geographic_extent.boundingbox.bbox
    assert west < 9.0 < 9.1 < east
    assert south < 47.45 < 47.5 < north


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"bands": "B99"}, "no band B99; the mosaic has B02, B03"),
        ({"bands": []}, "no bands"),
        ({"bbox": (10, 47, 9, 47)}, "empty"),
        ({"bbox": (9, 48, 10, 47)}, "empty"),
        ({"bbox": (9, 47, 10)}, "isn't west"),
        ({"bbox": (9, 47, float("nan"), 48)}, "isn't west"),
        ({"crs": "EPSG:99999", "resolution": 1}, "no CRS"),
        ({"crs": "EPSG:4326"}, "give resolution="),
        ({"resolution": 0}, "no size"),
        ({"resolution": 1e-4}, "too many"),
        ({"resolution": (None, 10)}, "no size"),
        ({"bbox": "somewhere"}, "isn't west"),
        ({"bands": 4}, "no band 4; the mosaic has"),
        ({"crs": "EPSG:4978", "resolution": 10}, "no CRS of a map"),
        ({"crs": "EPSG:5703", "resolution": 10}, "no CRS of a map"),
        ({"crs": "IAU_2015:30100", "resolution": 10}, "another planet"),
        ({"geobox": "a"}, "no odc.geo GeoBox"),
        ({"geobox": GeoBox((2, 2), Affine(1, 0, 0, 0, 0, 0), 3035)}, "without pixel area"),
        ({"geobox": GeoBox((2, 2), Affine(np.inf, 0, 0, 0, -1, 0), 3035)}, "six finite numbers"),
        ({"resampling": "best"}, "no resampling method"),
        ({"errors": "hide"}, "raise or ignore"),
        ({"datetime": "soon"}, "no RFC 3339"),
        ({"geobox": GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), None)}, "needs a CRS"),
        ({"geobox": GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), 3035), "crs": 3035}, "either"),
    ],
)
def test_what_cant_be_meant(native: Path, told: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mosaic.read(native, **told)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_a_turn_that_is_no_whole_number_of_pixels(method: str, tmp_path: Path) -> None:
    """A scene goes on beyond 180 degrees; on its own lattice, its rest lies between pixels."""
    size = 0.0171  # 360 degrees are 21052.63 pixels
    place = Affine(size, 0, 10500 * size, 0, -size, 1000 * size)
    scene = Scene("x", "EPSG:4326", place, (60, 90))
    write_scenes(tmp_path / "s", [scene])
    path = tmp_path / "s/x/B04.tif"
    mosaic.build(path, tmp_path / "m", dst_crs="EPSG:4326")
    whole = place @ Affine.translation(-10500 - 10526, -10)
    for left, width in ((10500 - 30, 200), (21026 - 60, 200), (0, 300)):
        box = GeoBox((80, width), whole @ Affine.translation(left, 0), "EPSG:4326")
        got = mosaic.read(tmp_path / "m", geobox=box, resampling=method, gate=Gate())
        want = shown([path], "EPSG:4326", box.affine, box.shape, method)
        np.testing.assert_array_equal(got.valid[0], want.valid)
        np.testing.assert_array_equal(got.values[0][want.valid], want.values[want.valid])


def test_overviews_are_read_when_the_target_is_coarse(tmp_path: Path) -> None:
    """Two rows of overviews; a coarse read takes the coarse one, and lies right."""
    scenes = seam_scenes(1024, 20.0, ("B04",), dates=1)
    mosaic.build(write_scenes(tmp_path / "s", scenes), tmp_path / "m", dst_crs="EPSG:3035")
    fine = mosaic.read(
        tmp_path / "m", bands="B04", resolution=21, resampling="nearest", gate=Gate()
    )
    coarse = mosaic.read(tmp_path / "m", bands="B04", resolution=84, gate=Gate())
    assert coarse.tally.blocks * 4 <= fine.tally.blocks
    average = mosaic.read(
        tmp_path / "m", bands="B04", resolution=84, resampling="average", gate=Gate()
    )
    both = coarse.valid & average.valid
    off = np.abs(coarse.values.astype(int) - average.values.astype(int))[both]
    assert np.median(off) < 120  # DN, of a truth that changes by up to 1000 a kilometre
