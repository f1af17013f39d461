"""What an item tells of its time and its place. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np

Json = dict[str, Any]

_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
"""How most times are written, so that little has to be done."""


def utc(value: Any, digits: str = "milliseconds") -> str:
    """An RFC 3339 time in UTC with milliseconds, so that texts sort as times; empty if none.

    ``digits``: as :meth:`datetime.isoformat` has them, ``auto`` for all that are told.
    """
    if not isinstance(value, str) or not value:
        return ""
    try:
        when = datetime.fromisoformat(value.replace("z", "Z"))
        if _USUAL.fullmatch(value):
            return value if len(value) == 24 else f"{value[:19]}.000Z"
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        when = when.astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{when.replace(tzinfo=None).isoformat(timespec=digits)}Z"


def when(item: Json) -> str:
    """The time of an item: ``datetime``, else ``start_datetime``."""
    properties = item["properties"]
    return utc(properties.get("datetime")) or utc(properties.get("start_datetime"))


def bbox(item: Json) -> tuple[float, float, float, float]:
    """What an item says its bounds are, in degrees; NaN where it says nothing."""
    box = item.get("bbox")
    if isinstance(box, list) and len(box) in (4, 6):
        four = box if len(box) == 4 else [*box[:2], *box[3:5]]
        if all(isinstance(value, int | float) for value in four):
            return (float(four[0]), float(four[1]), float(four[2]), float(four[3]))
    return (np.nan,) * 4


def extent(item: Json) -> tuple[float, float, float, float]:
    """Bounds of an item's geometry as they are written; NaN without a geometry."""
    geometry = item.get("geometry") or {}
    kind, rings = geometry.get("type"), geometry.get("coordinates")
    if not rings or kind not in ("Polygon", "MultiPolygon"):
        return (np.nan,) * 4
    outer = [part[0] for part in rings] if kind == "MultiPolygon" else rings[:1]
    points = [point for ring in outer for point in ring]
    try:
        x, y = [point[0] for point in points], [point[1] for point in points]
        return (float(min(x)), float(min(y)), float(max(x)), float(max(y)))
    except (TypeError, IndexError, ValueError):
        return (np.nan,) * 4
