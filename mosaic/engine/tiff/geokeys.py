"""Geo keys, and the CRS that they tell.

GeoTIFF 1.1 (OGC 19-008), annex B; where writers differ, what libgeotiff and GDAL write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyproj

# pyproj's documentation names these here, its type information doesn't
from pyproj.crs import (  # type: ignore[attr-defined]
    BoundCRS,
    CoordinateOperation,
    Datum,
    Ellipsoid,
    PrimeMeridian,
)
from pyproj.crs.coordinate_operation import ToWGS84Transformation
from pyproj.exceptions import CRSError

from mosaic import grid
from mosaic.errors import UsageError

Value = int | float | str | tuple[float, ...]
Keys = Mapping[int, Value]

_ASCII, _DOUBLES = 34737, 34736
_USER = 32767
_PROJECTED, _GEOGRAPHIC = 1, 2
_KNOWN = {1024, 1025, 1026, 2048, 2049, *range(2050, 2063), *range(3072, 3096)}
_LONGEST = 8192  # characters of a citation: texts of WKT have some hundred
_CITATIONS = (1026, 3073, 2049)
_ESRI = "ESRI PE String = "
_DEGREES = {9101: 180.0 / math.pi, 9102: 1.0, 9105: 0.9, 9122: 1.0}
_METRES = {9001: 1.0, 9002: 0.3048, 9003: 1200.0 / 3937.0}

_LAT, _LON = (3081, 3085, 3089), (3080, 3084, 3088, 3095)
_EAST, _NORTH, _SCALE = (3082, 3086, 3090), (3083, 3087, 3091), (3092, 3093)
_PARALLEL1, _PARALLEL2 = (3078,), (3079,)
_NATURAL = (
    ("Latitude of natural origin", _LAT),
    ("Longitude of natural origin", _LON),
    ("False easting", _EAST),
    ("False northing", _NORTH),
)
_SCALED = (*_NATURAL, ("Scale factor at natural origin", _SCALE))
_FALSE = (
    ("Latitude of false origin", _LAT),
    ("Longitude of false origin", _LON),
    ("Easting at false origin", _EAST),
    ("Northing at false origin", _NORTH),
    ("Latitude of 1st standard parallel", _PARALLEL1),
    ("Latitude of 2nd standard parallel", _PARALLEL2),
)
_STANDARD = (("Latitude of 1st standard parallel", _PARALLEL1), *_NATURAL[1:])
_POLAR = (
    ("Latitude of standard parallel", _LAT),
    ("Longitude of origin", _LON),
    *_NATURAL[2:],
)
_METHODS = {
    1: ("Transverse Mercator", _SCALED),
    7: ("Mercator (variant A)", _SCALED),
    8: ("Lambert Conic Conformal (2SP)", _FALSE),
    9: ("Lambert Conic Conformal (1SP)", _SCALED),
    10: ("Lambert Azimuthal Equal Area", _NATURAL),
    11: ("Albers Equal Area", _FALSE),
    15: ("Polar Stereographic (variant A)", _SCALED),
    16: ("Oblique Stereographic", _SCALED),
    17: ("Equidistant Cylindrical", _STANDARD),
    18: ("Cassini-Soldner", _NATURAL),
    22: ("American Polyconic", _NATURAL),
    24: ("Sinusoidal", _NATURAL[1:]),
    27: ("Transverse Mercator (South Orientated)", _SCALED),
    28: ("Lambert Cylindrical Equal Area", _STANDARD),
}
"""ProjMethodGeoKey to EPSG's name of the method, and which keys hold its parameters."""


def read(directory: Sequence[int], doubles: Sequence[float], text: str) -> dict[int, Value]:
    """Values by key. A key that points behind its tag's end is left out, as GDAL leaves it."""
    keys: dict[int, Value] = {}
    for at in range(4, min(len(directory), 4 + 4 * 1024) - 3, 4):
        key, place, count, value = directory[at : at + 4]
        if key in keys or key not in _KNOWN:
            continue
        if place == 0:
            keys[key] = value
        elif place == _DOUBLES and value < len(doubles) and count:
            keys[key] = doubles[value] if count == 1 else tuple(doubles[value : value + count])
        elif place == _ASCII and value < len(text):
            keys[key] = text[value : value + min(count, _LONGEST)].rstrip("\0|")
    return keys


@lru_cache(maxsize=256)
def crs(items: tuple[tuple[int, Value], ...]) -> str | None:
    """The horizontal CRS of keys and values: a code where a key holds one, else WKT2.

    None where the keys tell no CRS, or one that isn't known here: user-defined ones of rare
    projections, with datum shifts of their own, or geocentric.
    """
    keys = dict(items)
    name = _name(keys)
    if name is None:
        return None
    try:
        return grid.canonical(name)
    except (UsageError, CRSError):
        return None


def _name(keys: Keys) -> str | None:
    model = keys.get(1024, _PROJECTED if 3072 in keys else _GEOGRAPHIC)
    place = 3072 if model == _PROJECTED else 2048 if model == _GEOGRAPHIC else 0
    if place and (code := _code(keys, place)):
        return f"EPSG:{code}"
    for key in _CITATIONS:
        # for what has no keys GDAL, like ArcGIS, writes a user-defined model and WKT
        citation = str(keys.get(key, ""))
        if _ESRI in citation:
            return citation.partition(_ESRI)[2]
        if "Web_Mercator_Auxiliary_Sphere" in citation:
            return "EPSG:3857"
    if not place or not keys:
        return None
    try:
        made = _projected(keys) if model == _PROJECTED else _geographic(keys)
    except (CRSError, KeyError, TypeError, ValueError):
        return None
    return None if made is None else _shifted(json.dumps(made), keys.get(2062))


def _shifted(name: str, shift: Value | None) -> str:
    """A CRS with the datum shift that its keys hold besides: 3 or 7 numbers to WGS 84."""
    if not isinstance(shift, tuple) or len(shift) not in (3, 7):
        return name
    own = grid.crs(name)
    way = ToWGS84Transformation(own.geodetic_crs, *shift)
    bound = BoundCRS(own, pyproj.CRS.from_epsg(4326), way)
    return str(bound.to_wkt("WKT2_2019"))


def _geographic(keys: Keys) -> dict[str, Any] | None:
    """The geographic CRS in PROJJSON."""
    code, major = _code(keys, 2048), _number(keys, 2057)
    if code:
        own = pyproj.CRS.from_epsg(code)
        # axes beside a code win, as with libgeotiff
        if not major or own.ellipsoid is None or abs(own.ellipsoid.semi_major_metre - major) < 0.01:
            found: dict[str, Any] = own.to_json_dict()
            return found
    ellipsoid = _ellipsoid(keys)
    if (datum := _code(keys, 2050)) and not code:
        frame = Datum.from_epsg(datum).to_json_dict()
    elif ellipsoid is not None:
        frame = {"type": "GeodeticReferenceFrame", "name": "unknown", "ellipsoid": ellipsoid}
        if zero := _code(keys, 2051):
            frame["prime_meridian"] = PrimeMeridian.from_epsg(zero).to_json_dict()
        elif meridian := _number(keys, 2061):
            degrees = meridian * _unit(keys, 2054, 2055, _DEGREES, math.degrees(1.0))
            frame["prime_meridian"] = {"name": "unknown", "longitude": degrees}
    else:
        return None
    axes = [("Longitude", "lon", "east"), ("Latitude", "lat", "north")]
    ensemble = frame["type"] == "DatumEnsemble"
    return {
        "type": "GeographicCRS",
        "name": "unknown",
        "datum_ensemble" if ensemble else "datum": frame,
        "coordinate_system": _axes("ellipsoidal", axes, "degree"),
    }


def _ellipsoid(keys: Keys) -> dict[str, Any] | None:
    major, minor, inverse = (_number(keys, key) for key in (2057, 2058, 2059))
    shape: dict[str, Any] = {"name": "unknown", "semi_major_axis": major}
    if major > 0 and inverse > 0:
        return {**shape, "inverse_flattening": inverse}
    if major > 0 and minor > 0 and minor != major:
        return {**shape, "semi_minor_axis": minor}
    if code := _code(keys, 2056):
        found: dict[str, Any] = Ellipsoid.from_epsg(code).to_json_dict()
        return found
    return {"name": "unknown", "radius": major} if major > 0 else None


def _projected(keys: Keys) -> dict[str, Any] | None:
    base = _geographic(keys)
    metres = _unit(keys, 3076, 3077, _METRES, 1.0)
    conversion: dict[str, Any] | None
    if code := _code(keys, 3074):
        conversion = CoordinateOperation.from_epsg(code).to_json_dict()
    else:
        conversion = _conversion(keys, metres)
    if base is None or conversion is None:
        return None
    unit = {"type": "LinearUnit", "name": "unknown", "conversion_factor": metres}
    axes = [("Easting", "E", "east"), ("Northing", "N", "north")]
    return {
        "type": "ProjectedCRS",
        "name": "unknown",
        "base_crs": base,
        "conversion": conversion,
        "coordinate_system": _axes("Cartesian", axes, "metre" if metres == 1.0 else unit),
    }


def _conversion(keys: Keys, metres: float) -> dict[str, Any] | None:
    number = keys.get(3075)
    if not isinstance(number, int) or number not in _METHODS:
        return None
    method, parameters = _METHODS[number]
    latitude = _first(keys, _LAT, 0.0)
    if number == 7 and 3078 in keys:
        method, parameters = "Mercator (variant B)", _STANDARD
    if number == 15 and abs(latitude) != 90.0:
        if _first(keys, _SCALE, 1.0) != 1.0:
            return None
        method, parameters = "Polar Stereographic (variant B)", _POLAR
    if parameters is _STANDARD and latitude != 0.0:
        return None  # PROJ has no place for it
    degrees = _unit(keys, 2054, 2055, _DEGREES, math.degrees(1.0))
    unit = {"type": "LinearUnit", "name": "unknown", "conversion_factor": metres}
    values: list[dict[str, Any]] = []
    of: object
    for name, places in parameters:
        if places is _SCALE:
            value, of = _first(keys, places, 1.0), "unity"
        elif places in (_EAST, _NORTH):
            value, of = _first(keys, places, 0.0), "metre" if metres == 1.0 else unit
        else:
            value, of = _first(keys, places, 0.0) * degrees, "degree"
        values.append({"name": name, "value": value, "unit": of})
    return {"name": "unknown", "method": {"name": method}, "parameters": values}


def _first(keys: Keys, places: Sequence[int], default: float) -> float:
    return next((_number(keys, key) for key in places if key in keys), default)


def _number(keys: Keys, key: int) -> float:
    """The finite number that a key holds, or 0."""
    value = keys.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _code(keys: Keys, key: int) -> int:
    """The authority's code that a key holds, or 0: none, undefined, or user-defined."""
    value = keys.get(key)
    return value if isinstance(value, int) and 0 < value < _USER else 0


def _unit(keys: Keys, code: int, size: int, known: Mapping[int, float], base: float) -> float:
    """A unit in degrees or metres. Raises KeyError for one that isn't known."""
    found = keys.get(code)
    if found == _USER:
        return _number(keys, size) * base
    return 1.0 if not isinstance(found, int) or found == 0 else known[found]


def _axes(subtype: str, axes: Sequence[tuple[str, str, str]], unit: object) -> dict[str, Any]:
    return {
        "subtype": subtype,
        "axis": [
            {"name": name, "abbreviation": short, "direction": to, "unit": unit}
            for name, short, to in axes
        ],
    }
