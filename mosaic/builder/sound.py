"""Do an item's own fields have the form that a table needs?"""

from __future__ import annotations

import math
import re
from typing import Any

import orjson
import shapely

from mosaic.builder.spool import GEOMETRY
from mosaic.catalog.item import utc
from mosaic.catalog.stac import TIMES
from mosaic.errors import UsageError

Json = dict[str, Any]

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_SHAPES = frozenset(
    "Point MultiPoint LineString MultiLineString Polygon MultiPolygon GeometryCollection".split()
)


def sound(item: Json) -> Json:
    """An item whose own fields have the form that a table needs, times in RFC 3339.

    Raises :class:`~mosaic.errors.UsageError` for a field that can't be meant.
    """
    if not isinstance(item["id"], str) or not isinstance(item.get("collection"), str | None):
        raise UsageError("its id or collection is no text")
    box = item.get("bbox")
    if box is not None and not (
        isinstance(box, list)
        and len(box) in (4, 6)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in box)
    ):
        raise UsageError(f"its bbox {box!r:.80} isn't four or six finite numbers")
    properties: Json = item["properties"]
    _geometry_is_sound(item.get("geometry"), "geometry")
    for fields in (properties, *item["assets"].values()):
        if fields.get(GEOMETRY):
            _geometry_is_sound(fields[GEOMETRY], GEOMETRY)
    for field_ in TIMES:
        value = properties.get(field_)
        if value is None or (isinstance(value, str) and _RFC3339.fullmatch(value) and utc(value)):
            continue
        if not utc(value):
            raise UsageError(f"its {field_} {value!r:.80} is no time")
        properties[field_] = utc(value, "auto")  # the item was copied when it was upgraded
    if "\0" in item["id"]:
        raise UsageError("its id holds a zero byte")
    for key, asset in item["assets"].items():
        if "\0" in asset["href"]:
            raise UsageError(f"the href of its asset {key} holds a zero byte")
        if not isinstance(asset.get("roles") or [], list):
            raise UsageError(f"the roles of its asset {key} are no list")
    return item


def alike(told: Any, value: Any) -> bool:
    """Whether a field has the form that it should: one text among the numbers of a million items
    would make texts of all in ``items.parquet``."""
    if not isinstance(value, list):
        return isinstance(told, type(value))
    return isinstance(told, list) and all(type(one) in (int, float) for one in told)


def _geometry_is_sound(geometry: Any, name: str) -> None:
    """Raises UsageError for what GEOS can't read as GeoJSON, or what has no points."""
    if not geometry or _is_plain(geometry):
        return
    try:
        found = shapely.from_geojson(orjson.dumps(geometry))
        if geometry["type"] in _SHAPES and not found.is_empty:
            return
    except (shapely.errors.GEOSException, TypeError, KeyError):
        pass
    raise UsageError(f"its {name} {geometry!r:.80} is no GeoJSON")


def _is_plain(geometry: Any) -> bool:
    """Whether a geometry is one short closed ring, as most are: GEOS needn't look at it."""
    if not isinstance(geometry, dict) or geometry.get("type") != "Polygon":
        return False
    rings = geometry.get("coordinates")
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list):
        return False
    ring = rings[0]
    return 4 <= len(ring) <= 16 and ring[0] == ring[-1] and all(map(_is_place, ring))


def _is_place(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and isinstance(point[0], int | float)
        and isinstance(point[1], int | float)
        and abs(point[0]) <= 1e9
        and abs(point[1]) <= 1e9
    )
