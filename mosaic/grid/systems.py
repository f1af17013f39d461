"""CRSs: their names, transformations between them, where their maps are cut, which to choose."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyproj

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
