"""Outlines, boxes in degrees and the mosaic's own grid, against PROJ and brute force."""

from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mosaic.builder.frame import frame
from mosaic.errors import UsageError
from mosaic.grid import Grids, mosaic_geobox, overview_factors, pixel_extent, seam, world
from mosaic.outline import lonlat_bounds, lonlat_union, outlines

TARGETS = [
    "EPSG:4326", "EPSG:3857", "EPSG:3035", "EPSG:32632", "EPSG:32733", "EPSG:32660",
    "EPSG:3413", "EPSG:3031",
]  # fmt: skip


def grid(crs: str, transform: tuple[float, ...], shape: tuple[int, int]) -> Grids:
    return Grids((crs,), np.zeros(1, np.int32), np.array([shape]), np.array([transform]))


@st.composite
def rasters(draw: st.DrawFn) -> Grids:
    """A raster of 1 to 2000 km in a CRS of its place, perhaps turned or upside down."""
    lon, lat = draw(st.floats(-180, 180)), draw(st.floats(-89, 89))
    kind = draw(st.sampled_from(["utm", "polar", "lonlat"]))
    if kind == "polar":
        crs = "EPSG:3413" if lat > 0 else "EPSG:3031"
        assume(abs(lat) > 55)
    elif kind == "utm":
        assume(abs(lat) < 84)
        crs = f"EPSG:{(32600 if lat > 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"
    else:
        crs = "EPSG:4326"
    height, width = draw(st.integers(1, 3000)), draw(st.integers(1, 3000))
    if kind == "lonlat":
        res = draw(st.floats(1e-4, 5 / max(height, width)))
        x, y = lon, min(max(lat, -90 + res * height / 2), 90 - res * height / 2)
    else:
        most = 100_000 if kind == "utm" else 1_000_000
        res = draw(st.floats(0.5, most / max(height, width)))
        to = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
        x, y = to.transform(lon, lat)
    turn = math.radians(draw(st.sampled_from([0, 0, 0, 7, 45]))) if kind != "lonlat" else 0.0
    flip = draw(st.sampled_from([-1, -1, 1]))
    a, b = res * math.cos(turn), -flip * res * math.sin(turn)
    d, e = res * math.sin(turn), flip * res * math.cos(turn)
    left = x - a * width / 2 - b * height / 2
    top = y - d * width / 2 - e * height / 2
    return grid(crs, (a, b, left, d, e, top), (height, width))


STRETCHED = grid("EPSG:4326", (0.0015135, 0, 121.3496, 0, 0.0015135, -75.8016), (1899, 1))
"""A raster whose pixels a far map makes 40 times as long as they are wide."""
ANTIPODE = grid("EPSG:3031", (550.17, 0, -141919, 0, 550.17, -98854), (714, 342))
"""A raster where a map of the other pole runs off to infinity."""
CAP = grid("EPSG:4326", (1, 0, -2, 0, -1, 90), (4, 4))
"""A raster one edge of which is a pole."""
EARTH = 2.1e7
"""Metres from a map's middle; a stereographic or transverse one has its far side beyond."""


@settings(max_examples=80)
@given(rasters(), st.sampled_from(TARGETS))
@example(CAP, "EPSG:3413")
@example(STRETCHED, "EPSG:3035")
def test_every_point_of_a_raster_lies_in_its_footprint(raster: Grids, target: str) -> None:
    """A fine lattice over the raster, projected by PROJ itself, falls inside the footprint."""
    u, v = (axis.ravel() for axis in np.meshgrid(*[np.linspace(0, 1, 41)] * 2))
    x, y = (values[0] for values in raster.xy(u, v))
    to = pyproj.Transformer.from_crs(raster.crs[0], target, always_xy=True)
    px, py = to.transform(x, y)
    bx, by = to.transform(px, py, direction="INVERSE")
    if raster.crs[0] == "EPSG:4326":
        bx = x + (np.asarray(bx) - x + 180) % 360 - 180
    size = raster.pixel[0]
    good = np.isfinite(px) & np.isfinite(py) & (np.hypot(bx - x, by - y) < 0.01 * size)
    whole = world(target)
    if whole:
        good &= (px >= whole[0]) & (px <= whole[2]) & (py >= whole[1]) & (py <= whole[3])
    assume(good.any())
    assume(max(np.abs(px[good]).max(), np.abs(py[good]).max()) < EARTH)
    place = frame(raster, target, None, None)
    assert place is not None, f"no outline, yet {good.sum()} of {len(good)} points are on the map"
    footprint = place.pieces.footprint
    inside = np.zeros(len(good), bool)
    for part in footprint:
        inside |= shapely.intersects_xy(part, px, py)
    lost = good & ~inside
    assert not lost.any(), (px[lost][:3], py[lost][:3])
    if whole:
        bounds = shapely.bounds(footprint)
        assert (bounds[:, 0] >= whole[0] - 1e-6).all()
        assert (bounds[:, 2] <= whole[2] + 1e-6).all()


@settings(max_examples=80)
@given(rasters(), st.sampled_from(TARGETS))
@example(CAP, "EPSG:3413")
@example(CAP, "EPSG:3031")
@example(ANTIPODE, "EPSG:3413")
def test_footprint_exceeds_the_outline_by_one_to_two_pixels(raster: Grids, target: str) -> None:
    height, width = raster.shape[0]
    assume(min(height, width) > 3)
    side = np.linspace(0, 1, 300)
    zero, one = np.zeros(300), np.ones(300)
    edge = (np.r_[side, one, side, zero][None], np.r_[zero, side, one, side][None])
    x, y = raster.xy(*edge)
    to = pyproj.Transformer.from_crs(raster.crs[0], target, always_xy=True)
    points = np.column_stack(to.transform(x[0], y[0]))
    assume(np.abs(points).max() < EARTH)
    place = frame(raster, target, None, None)
    assume(place is not None and len(place.pieces.plain) == 1 and place.pieces.plain[0])
    whole = world(target)
    footprint = place.pieces.footprint[0]
    if whole:  # what is cut at the edge of the world ends there
        assume(not shapely.dwithin(footprint, shapely.boundary(shapely.box(*whole)), 1e-6))
    # the footprint's pixel: the larger of the mosaic's and the scene's in the mosaic's CRS
    pixel = np.fmax(pixel_extent(raster, target)[0][0], [place.grid.affine.a, -place.grid.affine.e])
    unit = shapely.transform(footprint, lambda c: c / pixel)
    off = shapely.distance(shapely.boundary(unit), shapely.points(points / pixel))
    assert shapely.contains_xy(unit, *(points / pixel).T).all()
    assert off.min() >= 1.0, off.min()
    assert off.max() <= 2.0, off.max()


@settings(max_examples=50)
@given(rasters())
def test_lonlat_bounds_hold_every_point(raster: Grids) -> None:
    west, south, east, north = lonlat_bounds(raster)[0]
    assume(np.isfinite(west))
    u, v = (axis.ravel() for axis in np.meshgrid(*[np.linspace(0, 1, 21)] * 2))
    x, y = (values[0] for values in raster.xy(u, v))
    lon, lat = pyproj.Transformer.from_crs(raster.crs[0], "OGC:CRS84", always_xy=True).transform(
        x, y
    )
    slack = 0.5 * max(raster.pixel[0] / (1 if raster.crs[0] == "EPSG:4326" else 111_000), 1e-3)
    assert lat.min() >= south - slack
    assert lat.max() <= north + slack
    wide = slack / max(np.cos(np.radians(np.abs(lat).max())), 1e-3)
    width = east - west if east >= west else east - west + 360
    inside = (lon - west + wide) % 360 <= width + 2 * wide
    assert inside.all(), (lon[~inside][:3], west, east)


def test_a_raster_beyond_the_edge_of_its_map() -> None:
    edge = 20037508.342789244
    raster = grid("EPSG:3857", (1000, 0, edge - 1e5, 0, -1000, 0), (100, 300))
    want = (180 - 180 * 1e5 / edge, -180 + 180 * 2e5 / edge)
    west, _, east, _ = lonlat_bounds(raster)[0]
    assert (west, east) == pytest.approx(want, abs=1e-6)


def test_a_raster_round_the_pole() -> None:
    raster = grid("EPSG:3413", (1000, 0, -4e5, 0, -1000, 6e5), (1000, 1000))
    west, south, east, north = lonlat_bounds(raster)[0]
    assert (west, east) == (-180, 180)
    assert north == 90
    corners = pyproj.Transformer.from_crs(3413, "OGC:CRS84", always_xy=True)
    least = min(corners.transform(x, y)[1] for x in (-4e5, 6e5) for y in (-4e5, 6e5))
    assert south == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize("name", ["EPSG:3413", "EPSG:3031", "EPSG:3995", "EPSG:32661"])
def test_wherever_a_raster_lies_round_the_pole(name: str) -> None:
    """Turned and shifted: where its outline begins and ends, rounding decides nothing."""
    middle = 2e6 if name == "EPSG:32661" else 0.0
    for angle in (0, 10, 45, 120):
        for off in (0.3, 0.5, 0.7):
            turned = Affine.translation(middle, middle) @ Affine.rotation(angle)
            place = turned @ Affine.scale(1000, -1000) @ Affine.translation(-100 * off, -45)
            west, _, east, _ = lonlat_bounds(grid(name, tuple(place)[:6], (100, 100)))[0]
            assert (west, east) == (-180, 180), (angle, off)


def test_what_can_not_be_projected_is_told() -> None:
    raster = grid("EPSG:32633", (1e30, 0, 0, 0, -1e30, 0), (64, 64))
    with np.errstate(all="ignore"):
        found = outlines(raster, "EPSG:4326", np.ones((1, 2)))
    assert found.missing.tolist() == [0]
    assert len(found.grid) == 0


# ---- boxes in degrees

DEGREES = st.integers(-180, 179)


@st.composite
def boxes(draw: st.DrawFn) -> list[tuple[float, float, float, float]]:
    """Boxes on whole degrees, some across 180."""
    result = []
    for _ in range(draw(st.integers(1, 6))):
        west, width = draw(DEGREES), draw(st.integers(1, 200))
        east = west + width
        south = draw(st.integers(-90, 89))
        north = draw(st.integers(south + 1, 90))
        result.append(
            (float(west), south * 1.0, float(east - 360 if east > 180 else east), north * 1.0)
        )
    return result


def cells(west: float, east: float) -> set[int]:
    """Whole degrees from west to east, as numbers 0 to 359."""
    width = (east - west) % 360 or (360 if east != west else 0)
    return {int(west + step) % 360 for step in range(int(width))}


@settings(max_examples=300)
@given(boxes())
@example([(-180.0, -90.0, 180.0, 90.0)])
@example([(170.0, 0.0, -170.0, 1.0), (-175.0, 2.0, -160.0, 3.0)])
@example([(0.0, 0.0, 1.0, 1.0), (180.0 - 360, 0.0, -179.0, 1.0)])
def test_lonlat_union(given_boxes: list[tuple[float, float, float, float]]) -> None:
    west, south, east, north = lonlat_union(np.array(given_boxes))
    assert south == min(box[1] for box in given_boxes)
    assert north == max(box[3] for box in given_boxes)
    assert -180 <= west < 180
    assert -180 < east <= 180
    covered = set().union(*(cells(box[0], box[2]) for box in given_boxes))
    union = cells(west, east)
    assert covered <= union
    # the smallest: what is left out is the widest run of empty degrees
    run = widest = 0
    for degree in range(720):
        run = 0 if degree % 360 in covered else run + 1
        widest = min(max(widest, run), 360)
    assert 360 - len(union) == widest


def test_lonlat_union_of_nothing() -> None:
    assert lonlat_union(np.full((2, 4), np.nan)) == (-180, -90, 180, 90)
    known = [[1, 2, 3, 4], [np.nan] * 4]
    assert lonlat_union(np.array(known)) == (1, 2, 3, 4)


# ---- the mosaic's grid


@settings(max_examples=300)
@given(
    st.floats(-1e7, 1e7), st.floats(-1e7, 1e7), st.floats(1e-3, 1e6), st.floats(1e-3, 1e6),
    st.sampled_from([0.5, 1, 10, 30, 60, 0.1, 1 / 3, 12.34]), st.sampled_from([1, 10, 60, 7.7]),
)  # fmt: skip
def test_mosaic_geobox(
    west: float, south: float, width: float, height: float, dx: float, dy: float
) -> None:
    bounds = (west, south, west + width, south + height)
    box = mosaic_geobox(bounds, (dx, dy), "EPSG:32632")
    left, bottom, right, top = box.boundingbox.bbox
    # it covers the bounds, to a millionth of a pixel
    assert left <= bounds[0] + 2e-6 * dx
    assert bottom <= bounds[1] + 2e-6 * dy
    assert right >= bounds[2] - 2e-6 * dx
    assert top >= bounds[3] - 2e-6 * dy
    # and begins with the pixel in which they begin
    assert left > bounds[0] - dx * (1 + 1e-6)
    assert top < bounds[3] + dy * (1 + 1e-6)
    # whole pixels from the origin, so that two mosaics of one CRS share their pixels
    assert box.affine.a == dx
    assert box.affine.e == -dy
    assert left / dx == pytest.approx(round(left / dx), abs=1e-6)
    assert top / dy == pytest.approx(round(top / dy), abs=1e-6)
    rows, columns = box.shape
    factors = overview_factors(columns, rows)
    for factor in factors[-1:]:
        assert rows % factor == columns % factor == 0
        # no larger than that needs
        assert rows * dy < height + (factor + 1) * dy * (1 + 1e-6)
        assert columns * dx < width + (factor + 1) * dx * (1 + 1e-6)


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1))
def test_overview_factors(width: int, height: int) -> None:
    factors = overview_factors(width, height)
    assert list(factors) == [2 ** (n + 1) for n in range(len(factors))]
    if factors and factors[-1] < 1 << 16:
        assert max(width, height) / factors[-1] <= 128 < max(width, height) / factors[-1] * 2


def test_too_large_for_gdal() -> None:
    with pytest.raises(UsageError, match="coarser --res or a --bbox"):
        mosaic_geobox((0, 0, 1e6, 1e6), (1e-4, 1e-4), "EPSG:32632")


@pytest.mark.parametrize(
    ("name", "meridian"),
    [
        ("EPSG:4326", 180.0), ("OGC:CRS84", 180.0), ("EPSG:3857", 180.0), ("EPSG:3832", -30.0),
        ("EPSG:32660", None), ("EPSG:3413", None), ("EPSG:3031", None), ("EPSG:3035", None),
        ("EPSG:8857", None),
    ],
)  # fmt: skip
def test_seam(name: str, meridian: float | None) -> None:
    found = seam(name)
    assert found == meridian if meridian is None else found == pytest.approx(meridian)
    if meridian is None or pyproj.CRS(name).is_geographic:
        return
    whole = world(name)
    assert whole is not None
    near = pyproj.Transformer.from_crs("OGC:CRS84", name, always_xy=True)
    for side, edge in ((-1e-7, whole[2]), (1e-7, whole[0])):
        # the map ends where a hair further on it begins again
        assert near.transform(meridian + side, 0)[0] == pytest.approx(edge, abs=0.1)
