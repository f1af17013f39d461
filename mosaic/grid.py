"""CRSs and pixel grids: names, transformations, pixel sizes, the mosaic's own grid.

A raster's *grid* is (CRS, height, width, affine). Coordinates are always x, y (longitude,
latitude), whatever the authority's axis order. Angles are degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.errors import UsageError

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]

LONLAT = "OGC:CRS84"
"""Longitude and latitude on WGS 84, in that order."""

_WRAPPING = ("mercator", "pseudo", "equidistant cylindrical", "cylindrical equal area", "plate")


@lru_cache(maxsize=4096)
def crs(name: str) -> pyproj.CRS:
    """The CRS that a code, WKT, PROJJSON or PROJ string names.

    Raises :class:`~mosaic.errors.UsageError` when PROJ knows no such CRS.
    """
    try:
        return pyproj.CRS.from_user_input(name)
    except pyproj.exceptions.CRSError as error:
        reason = str(error).split("\n")[0][:160]
        raise UsageError(f"{name[:80]!r} is no CRS that PROJ knows ({reason})") from error


@lru_cache(maxsize=4096)
def canonical(name: str) -> str:
    """The shortest lossless name of a CRS: ``EPSG:32632`` where there is a code, else WKT2."""
    found = crs(name)
    authority = found.to_authority(min_confidence=100)
    if authority and authority[0] in ("EPSG", "ESRI", "OGC", "IAU_2015"):
        return ":".join(authority)
    return str(found.to_wkt("WKT2_2019"))


@lru_cache(maxsize=1024)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The transformation between two CRSs, x before y."""
    try:
        return pyproj.Transformer.from_crs(crs(source), crs(target), always_xy=True)
    except pyproj.exceptions.ProjError as error:
        names = " to ".join(name[:40] for name in (source, target))
        raise UsageError(f"PROJ can't transform {names}: another planet's CRS?") from error


def project(source: str, target: str, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coordinates of any shape in another CRS; infinite where PROJ has no answer."""
    if source == target:
        return x, y
    px, py = transformer(source, target).transform(np.ravel(x), np.ravel(y))
    return np.reshape(px, np.shape(x)), np.reshape(py, np.shape(y))


def stepwise(
    source: str, target: str, x: Floats, y: Floats, *, back: bool = False
) -> tuple[Floats, Floats]:
    """:func:`project`, the same but for rounding, for few points and CRSs that are new.

    A transformer between two datums takes 25 ms to make. Where PROJ knows one operation between
    them, and that does nothing, each CRS is gone through to degrees instead, which takes 2 ms.
    ``back``: by the inverse of the way from ``target``, for who has gone that way before.
    """
    if source == target:
        return x, y
    px, py = np.ravel(x), np.ravel(y)
    for step in reversed(_steps(target, source)) if back else _steps(source, target):
        px, py = step.transform(px, py, direction="INVERSE" if back else "FORWARD")
    return np.reshape(px, np.shape(x)), np.reshape(py, np.shape(y))


@lru_cache(maxsize=1024)
def _steps(source: str, target: str) -> tuple[pyproj.Transformer, ...]:
    """The way between two CRSs."""
    one, other = crs(source), crs(target)
    here, there = _degrees(one), _degrees(other)
    parts = [(a, b) for a, b in ((one, here), (there, other)) if a != b]
    if None in (here, there) or here == there or not parts or not _one_place(here, there):
        return (transformer(source, target),)
    return tuple(pyproj.Transformer.from_crs(a, b, always_xy=True) for a, b in parts)


@lru_cache(maxsize=256)
def _one_place(source: pyproj.CRS, target: pyproj.CRS) -> bool:
    """Whether degrees of one CRS are those of another, by all that PROJ knows of them."""
    known = pyproj.transformer.TransformerGroup(source, target, always_xy=True)
    only = len(known.transformers) == 1 and not known.unavailable_operations
    return only and known.transformers[0].definition.startswith("proj=noop")


@lru_cache(maxsize=4096)
def moves_datum(source: str, target: str) -> bool:
    """Whether a transformation moves places from one datum to another by more than nothing.

    How far is then a matter of the grids at hand and of PROJ's version.
    """
    one, other = (_degrees(crs(name)) for name in (source, target))
    return one is None or other is None or (one != other and _shifts(one, other))


def _degrees(found: pyproj.CRS) -> pyproj.CRS | None:
    """The degrees that a CRS of a map is made of; None if it brings a shift of its own."""
    plain = (found.is_projected or found.is_geographic) and not found.is_bound
    return found.geodetic_crs if plain and not found.is_compound else None


@lru_cache(maxsize=256)
def _shifts(source: pyproj.CRS, target: pyproj.CRS) -> bool:
    lon, lat = np.meshgrid(np.arange(-180.0, 180.0, 30.0), np.arange(-80.0, 90.0, 20.0))
    between = pyproj.Transformer.from_crs(source, target, always_xy=True)
    x, y = between.transform(lon, lat)
    off = np.hypot((x - lon + 180.0) % 360.0 - 180.0, y - lat)
    return not bool(off.max() < 1e-10)


def is_geographic(name: str) -> bool:
    """Whether coordinates are degrees."""
    return bool(crs(name).is_geographic)


def is_horizontal(name: str) -> bool:
    """Whether a CRS places things on a map: not by heights alone, nor from the Earth's centre."""
    found = crs(name)
    return bool(found.is_geographic or found.is_projected or found.is_engineering)


@lru_cache(maxsize=256)
def seam(name: str) -> float | None:
    """The meridian (degrees, -180 to 180) at which a world map in this CRS is cut, or None.

    Geographic CRSs and the cylindrical projections are cut; transverse, conic and azimuthal
    ones are continuous where they are used.
    """
    found = crs(name)
    if found.is_geographic:
        return 180.0
    operation = found.coordinate_operation
    method = (operation.method_name if operation else "").lower()
    if any(word in method for word in ("transverse", "oblique", "hotine")):
        return None
    if operation is None or not any(word in method for word in _WRAPPING):
        return None
    central = next(
        (
            math.degrees(float(parameter.value) * parameter.unit_conversion_factor)
            for parameter in operation.params
            if parameter.name.lower().startswith("longitude of")
        ),
        0.0,
    )
    cut = (central + 360.0) % 360.0 - 180.0
    return 180.0 if cut == -180.0 else cut


@lru_cache(maxsize=256)
def world(name: str) -> Bounds | None:
    """Bounds of the whole world map in a CRS that has a :func:`seam`, else None.

    Mercator maps end at 85.06 degrees (EPSG:3857's area of use).
    """
    cut = seam(name)
    if cut is None:
        return None
    if is_geographic(name):
        return (-180.0, -90.0, 180.0, 90.0)
    operation = crs(name).coordinate_operation
    method = operation.method_name.lower() if operation else ""
    top = 85.06 if "mercator" in method else 90.0
    middle = (cut + 360.0) % 360.0 - 180.0
    x, y = project(LONLAT, name, np.array([middle, middle + 90.0]), np.array([-top, top]))
    half = 2 * abs(float(x[1] - x[0]))
    return (float(x[0]) - half, float(y[0]), float(x[0]) + half, float(y[1]))


def turn(name: str) -> float | None:
    """How far x goes once round the world in a CRS that has a :func:`seam`, else None."""
    if is_geographic(name):
        return float(2 * math.pi / crs(name).axis_info[0].unit_conversion_factor)
    whole = world(name)
    return None if whole is None else whole[2] - whole[0]


def affine6(transform: Any) -> tuple[float, ...]:
    """The first six numbers (a, b, c, d, e, f) of a rasterio or STAC transform.

    Raises :class:`~mosaic.errors.UsageError` unless they are finite and invertible.
    """
    try:
        six = tuple(float(value) for value in transform[:6])
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{transform!r} is no affine transform") from error
    if len(six) != 6 or not all(map(math.isfinite, six)):
        raise UsageError(f"{transform!r} is no affine transform of six finite numbers")
    if six[0] * six[4] - six[1] * six[3] == 0:
        raise UsageError(f"{transform!r} is a transform without pixel area")
    return six


@dataclass(frozen=True, slots=True)
class Grids:
    """Pixel grids by columns, one row a distinct grid."""

    crs: tuple[str, ...]
    """Canonical names of the distinct CRSs."""
    crs_index: npt.NDArray[np.int32]
    """(n,) index into ``crs``."""
    shape: npt.NDArray[np.int64]
    """(n, 2) height and width in pixels."""
    transform: Floats
    """(n, 6) affine a, b, c, d, e, f: pixel (column, row) to CRS coordinates."""

    @classmethod
    def one(cls, name: str, shape: tuple[int, int], transform: tuple[float, ...]) -> Grids:
        """A single grid."""
        index = np.zeros(1, np.int32)
        return cls((name,), index, np.array([shape], np.int64), np.array([transform], np.float64))

    def __len__(self) -> int:
        return len(self.crs_index)

    def take(self, index: Any) -> Grids:
        """The grids at these rows."""
        return Grids(self.crs, self.crs_index[index], self.shape[index], self.transform[index])

    def name(self, row: int) -> str:
        """Canonical name of one grid's CRS."""
        return self.crs[int(self.crs_index[row])]

    def xy(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """(n, points) coordinates, each in its own CRS, of fractions of width and height."""
        column, row = self.shape[:, 1:2] * u, self.shape[:, :1] * v
        a, b, c, d, e, f = (self.transform[:, i : i + 1] for i in range(6))
        return a * column + b * row + c, d * column + e * row + f

    def within(self, name: str) -> npt.NDArray[np.bool_]:
        """(n,) whether grids are in a CRS."""
        mine: npt.NDArray[np.bool_] = np.array([own == name for own in self.crs], bool)
        return mine[self.crs_index]

    @property
    def pixel(self) -> Floats:
        """(n,) geometric mean size of a pixel, in the units of the grid's CRS."""
        t = self.transform
        size: Floats = np.sqrt(np.abs(t[:, 0] * t[:, 4] - t[:, 1] * t[:, 3]))
        return size

    @property
    def upright(self) -> npt.NDArray[np.bool_]:
        """(n,) whether rows run south and columns east, without rotation."""
        t = self.transform
        flat: npt.NDArray[np.bool_] = (t[:, 1] == 0) & (t[:, 3] == 0)
        return flat & (t[:, 0] > 0) & (t[:, 4] < 0)


def pixel_extent(grids: Grids, target: str) -> tuple[Floats, Floats]:
    """(n, 2) largest and (n, 2) typical width and height of a grid's pixels in another CRS.

    Taken at nine places of the raster; NaN where none of them can be projected.
    """
    largest = np.full((len(grids), 2), np.nan)
    typical = largest.copy()
    u, v = (axis.ravel() for axis in np.meshgrid([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]))
    whole = world(target)
    for index, name in enumerate(grids.crs):
        rows = np.flatnonzero(grids.crs_index == index)
        if not len(rows):
            continue
        here = grids.take(rows)
        x, y = here.xy(u, v)
        size = np.zeros((2, *x.shape))
        x0, y0 = project(name, target, x, y)
        for a, d in ((0, 3), (1, 4)):
            x1, y1 = project(
                name, target, x + here.transform[:, a : a + 1], y + here.transform[:, d : d + 1]
            )
            with np.errstate(invalid="ignore"):
                dx = np.abs(x1 - x0)
                if whole:
                    dx = np.minimum(dx, np.abs(whole[2] - whole[0] - dx))
                size += np.stack([dx, np.abs(y1 - y0)])
        size[~np.isfinite(size)] = np.nan
        known = ~np.isnan(size).all(axis=(0, 2))
        largest[rows[known]] = np.nanmax(size[:, known], axis=2).T
        typical[rows[known]] = np.nanmedian(size[:, known], axis=2).T
    return largest, typical


def utm(longitude: float, latitude: float) -> str:
    """The WGS 84 UTM zone (EPSG code) of a place; polar places get UPS (EPSG:32661/32761)."""
    if latitude > 84:
        return "EPSG:32661"
    if latitude < -80:
        return "EPSG:32761"
    zone = int(((longitude + 180.0) % 360.0) // 6) + 1
    return f"EPSG:{32600 + zone if latitude >= 0 else 32700 + zone}"


def choose_crs(names: tuple[str, ...], lonlat: Bounds) -> str:
    """The mosaic's CRS when the user doesn't name one.

    The scenes' own where they share one; else polar stereographic (EPSG:3413, 3031) beyond
    60 degrees of latitude, the UTM zone of the centre up to 12 degrees of longitude, and
    EPSG:4326 above that. ``lonlat`` has east < west when it crosses 180 degrees.
    """
    if len(names) == 1:
        return names[0]
    west, south, east, north = lonlat
    width = east - west if east >= west else east - west + 360.0
    if south >= 60:
        return "EPSG:3413"
    if north <= -60:
        return "EPSG:3031"
    if width <= 12 and south >= -80 and north <= 84:
        return utm(west + width / 2, (south + north) / 2)
    return "EPSG:4326"


def nice_resolution(size: float, own: float | None, geographic: bool = False) -> float:
    """A pixel size no coarser than ``size``: ``own`` when within 1 % of it, else three digits.

    In degrees, a whole number of pixels between equator and pole, so that none sticks out
    beyond a pole or 180 degrees.
    """
    if geographic:
        return 90.0 / math.ceil(90.0 / size - 1e-9)
    if own is not None and abs(size / own - 1) <= 0.01:
        return own
    scale = 10.0 ** (2 - math.floor(math.log10(size)))
    return math.floor(size * scale) / scale


def overview_factors(width: int, height: int, smallest: int = 128) -> tuple[int, ...]:
    """Powers of two by which a mosaic is shrunk until it fits ``smallest`` pixels."""
    factors = []
    factor = 2
    while max(width, height) / factor * 2 > smallest and factor <= 1 << 16:
        factors.append(factor)
        factor *= 2
    return tuple(factors)


def mosaic_geobox(
    bounds: Bounds,
    resolution: tuple[float, float],
    name: str,
    origin: tuple[float, float] = (0.0, 0.0),
) -> GeoBox:
    """The mosaic's grid: bounds snapped outward to whole pixels from an origin.

    At the edge of the world they are snapped inward: PROJ has no place for the rest of a pixel.
    Width and height are multiples of the largest overview factor, because GDAL shifts an
    overview of any other size by up to a pixel (measured: 1.22 pixels at 1/16).
    Raises :class:`~mosaic.errors.UsageError` above GDAL's 2^31 - 1 pixels a side.
    """
    (dx, dy), (x0, y0) = resolution, origin
    left, right = _snapped(bounds[0] - x0, bounds[2] - x0, dx)
    bottom, top = _snapped(bounds[1] - y0, bounds[3] - y0, dy)
    whole = world(name)
    if whole:
        # a pixel with its middle on the map belongs to it, east and west
        left = max(left, math.ceil((whole[0] - x0) / dx - 0.5 - 1e-6))
        right = min(right, math.floor((whole[2] - x0) / dx + 0.5 + 1e-6))
        bottom = max(bottom, math.ceil((whole[1] - y0) / dy - 1e-6))
        top = min(top, math.floor((whole[3] - y0) / dy + 1e-6))
    width, height = max(1, right - left), max(1, top - bottom)
    factors = overview_factors(width, height)
    step = factors[-1] if factors else 1
    width, height = (-(-size // step) * step for size in (width, height))
    if max(width, height) > 2**31 - 1:
        raise UsageError(
            f"{width} x {height} pixels of {dx:g} x {dy:g} are more than GDAL can address; "
            "give a coarser --res or a --bbox"
        )
    affine = Affine(dx, 0.0, x0 + left * dx, 0.0, -dy, y0 + top * dy)
    return GeoBox((height, width), affine, name)


def enlarged(grid: GeoBox, bounds: Bounds) -> GeoBox:
    """A mosaic's grid with room for bounds: the same pixels, and more of them where needed."""
    own = grid.boundingbox
    a = grid.affine
    slack_x, slack_y = 1e-6 * a.a, -1e-6 * a.e
    if (
        bounds[0] >= own.left - slack_x
        and bounds[1] >= own.bottom - slack_y
        and bounds[2] <= own.right + slack_x
        and bounds[3] <= own.top + slack_y
    ):
        return grid
    whole = (
        min(own.left, bounds[0]),
        min(own.bottom, bounds[1]),
        max(own.right, bounds[2]),
        max(own.top, bounds[3]),
    )
    return mosaic_geobox(whole, (a.a, -a.e), str(grid.crs), (a.c, a.f))


def covering(
    bounds: Bounds, resolution: tuple[float, float], name: str, origin: tuple[float, float]
) -> GeoBox:
    """The pixels of a lattice that cover bounds: whole ones, counted from an origin."""
    (dx, dy), (x0, y0) = resolution, origin
    left, right = _snapped(bounds[0] - x0, bounds[2] - x0, dx)
    bottom, top = _snapped(bounds[1] - y0, bounds[3] - y0, dy)
    affine = Affine(dx, 0.0, x0 + left * dx, 0.0, -dy, y0 + top * dy)
    return GeoBox((max(1, top - bottom), max(1, right - left)), affine, name)


def _snapped(low: float, high: float, step: float) -> tuple[int, int]:
    return math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
