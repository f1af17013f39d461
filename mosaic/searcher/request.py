"""What is searched, checked before anybody is asked: pystac-client's words, values in and out."""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pystac_client import ItemSearch

from mosaic.catalog.when import PARTIAL, interval
from mosaic.errors import UsageError
from mosaic.grid import Bounds
from mosaic.secret import unsigned

Json = dict[str, Any]

PREFIX = "stac+"
"""What a URL begins with that is searched, not read."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What is asked of an API, in pystac-client's words; empty or None: not asked."""

    collections: tuple[str, ...] = ()
    """Ids of collections."""
    ids: tuple[str, ...] = ()
    """Ids of items."""
    bbox: Bounds | None = None
    """West, south, east, north in degrees; east < west crosses 180."""
    intersects: str = ""
    """A GeoJSON geometry, as text."""
    datetime: str = ""
    """An instant or an interval, also ``2025`` or ``2025-06``."""
    query: tuple[str, ...] = ()
    """Conditions such as ``eo:cloud_cover<10``, or JSON: the query extension."""
    filter: str = ""
    """CQL2, as text or JSON: the filter extension."""
    sortby: tuple[str, ...] = ()
    """Fields such as ``-properties.datetime``: the sort extension."""
    max_items: int | None = None
    """Items at most."""
    limit: int = 100
    """Items a page."""
    method: str = ""
    """``GET`` or ``POST``; empty: what the API offers, POST before GET."""

    @property
    def asked(self) -> bool:
        """Whether anything is asked beside a bbox, which means a build's as well."""
        return replace(self, bbox=None, limit=100) != Flags()

    def parts(self) -> tuple[Flags, ...]:
        """The searches to make: two where the bbox crosses 180 degrees."""
        if self.bbox is None or self.bbox[0] <= self.bbox[2]:
            return (self,)
        west, south, east, north = self.bbox
        return (
            replace(self, bbox=(west, south, 180.0, north)),
            replace(self, bbox=(-180.0, south, east, north)),
        )

    def arguments(self) -> Json:
        """Arguments of pystac-client's search."""
        given = {
            "collections": list(self.collections),
            "ids": list(self.ids),
            "bbox": self.bbox,
            "intersects": orjson.loads(self.intersects) if self.intersects else None,
            "datetime": self.datetime,
            "query": _query(self.query),
            "filter": _filter(self.filter),
            "sortby": list(self.sortby),
            "limit": self.limit,
        }
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Request:
    """One search."""

    url: str
    """Root of the API, or a static catalog."""
    flags: Flags
    """What is asked."""
    requests_per_minute: float | None = None
    """Requests a minute at most, or None: what is known of the host."""

    def __post_init__(self) -> None:
        """Raises :class:`~mosaic.errors.UsageError` for what no API could understand."""
        if not self.url.startswith(("https://", "http://")):
            raise UsageError(f"{self.url}: a STAC API is searched by https:// or http://")
        method = self.flags.method or "POST"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ItemSearch(self.url, method=method, **self.flags.arguments())
        except UsageError:
            raise
        except Exception as error:  # pystac-client and cql2 raise plain Exceptions
            told = " ".join(str(error).split())
            raise UsageError(f"the search can't be meant: {told}") from error

    @property
    def shown(self) -> str:
        """The URL without secrets."""
        return unsigned(self.url)

    def as_dict(self) -> Json:
        """The request as JSON-ready values, without secrets."""
        flags = self.flags.arguments()
        flags |= {"max_items": self.flags.max_items} if self.flags.max_items else {}
        flags.pop("limit")
        return {"url": self.shown, **flags}

    def digest(self) -> str:
        """Equal for equal searches."""
        told = {**self.as_dict(), "url": self.url, "limit": self.flags.limit}
        return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def flags(
    *,
    collections: str | Sequence[str] | None = None,
    ids: str | Sequence[str] | None = None,
    bbox: Sequence[float] | None = None,
    intersects: str | Mapping[str, Any] | Any = None,
    datetime: Any = None,
    query: str | Sequence[str] | Mapping[str, Any] | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002 - the extension's name
    sortby: str | Sequence[str] | None = None,
    max_items: int | None = None,
    limit: int = 100,
    method: str | None = None,
) -> Flags:
    """Flags from what a person writes.

    Raises :class:`~mosaic.errors.UsageError` that names the flag and what it takes.
    """
    if bbox is not None and intersects is not None:
        raise UsageError("--bbox and --intersects: an API takes one of them")
    if max_items is not None and max_items < 1:
        raise UsageError(f"--max-items {max_items}: 1 or more")
    if not 1 <= limit <= 10_000:
        raise UsageError(f"--limit {limit}: from 1 to 10000 items a page")
    if method and method.upper() not in ("GET", "POST"):
        raise UsageError(f"--method {method}: GET or POST")
    return Flags(
        collections=_names(collections),
        ids=_names(ids),
        bbox=_bbox(bbox),
        intersects=_geometry(intersects),
        datetime=_datetime(datetime),
        query=(_text(query),) if isinstance(query, Mapping) else _words(query),
        filter=_text(filter) if filter else "",
        sortby=_names(sortby),
        max_items=max_items,
        limit=limit,
        method=(method or "").upper(),
    )


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    words = _words(given)
    return tuple(dict.fromkeys(name.strip() for word in words for name in word.split(",") if name))


def _words(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _text(value: str | Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _bbox(box: Sequence[float] | None) -> Bounds | None:
    if box is None:
        return None
    values = tuple(float(value) for value in box)
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise UsageError("--bbox: west,south,east,north in degrees")
    west, south, east, north = values
    if not (-90 <= south <= north <= 90) or max(abs(west), abs(east)) > 180:
        raise UsageError(f"--bbox: {', '.join(f'{v:g}' for v in values)} is no box in degrees")
    return (west, south, east, north)


def _geometry(given: Any) -> str:
    """A GeoJSON geometry from a file, a text, a dict or what has ``__geo_interface__``."""
    if given is None or given == "":
        return ""
    value = getattr(given, "__geo_interface__", given)
    if isinstance(value, str):
        try:
            text = value if value.lstrip().startswith("{") else Path(value).read_text("utf-8")
            value = json.loads(text)
        except (OSError, ValueError) as error:
            raise UsageError(f"--intersects {given!s:.80}: no GeoJSON ({error})") from None
    if isinstance(value, Mapping) and value.get("type") == "FeatureCollection":
        features = value.get("features") or []
        if len(features) != 1:
            raise UsageError(f"--intersects: one feature, not {len(features)}")
        value = features[0]
    if isinstance(value, Mapping) and value.get("type") == "Feature":
        value = value.get("geometry")
    if not isinstance(value, Mapping) or not {"type", "coordinates"} <= value.keys():
        raise UsageError(f"--intersects {given!s:.80}: no GeoJSON geometry")
    return json.dumps(value)


def _datetime(given: Any) -> str:
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    ends = list(given) if isinstance(given, list | tuple) else [given]
    return "/".join(
        ".." if end is None else end.isoformat() if hasattr(end, "isoformat") else str(end)
        for end in ends
    )


def to_the_last(datetime: str) -> str:
    """A time as it is sent: a day, month or year ends with its last microsecond.

    pystac-client ends it with its last second, and an item of the half second after is lost.
    """
    first, mark, last = datetime.partition("/")
    last = last if mark else first
    if not PARTIAL.fullmatch(last):
        return datetime
    end = np.datetime64(interval(last)[1], "ms")
    return f"{first}/{end}999Z"


_CONDITION = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=|<>|<|>|=)\s*(.+?)\s*")
_OPERATORS = {"<=": "lte", ">=": "gte", "<>": "neq", "<": "lt", ">": "gt", "=": "eq"}


def _query(conditions: tuple[str, ...]) -> Json:
    """Conditions as the query extension has them.

    Numbers are numbers, where pystac-client sends texts, which some APIs compare as such; a value
    in quotes, or one that no number is written like (``033``), stays a text.
    """
    found: Json = {}
    for text in conditions:
        match = _CONDITION.fullmatch(text)
        if match:
            told: Json = {match[1]: {_OPERATORS[match[2]]: _value(match[3])}}
        else:
            try:
                told = orjson.loads(text)
            except orjson.JSONDecodeError:
                told = {}
        if not told or not isinstance(told, dict):
            raise UsageError(f"--query {text!r:.80}: such as 'eo:cloud_cover<10', or JSON")
        for field, operators in told.items():
            if not isinstance(operators, dict):
                raise UsageError(f"--query {text!r:.80}: {field} has no operator such as lt")
            found[field] = {**found.get(field, {}), **operators}
    return found


def _value(text: str) -> str | float:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    try:
        number = float(text)
    except ValueError:
        return text
    if text.lstrip("-").isdigit():
        return int(text) if str(int(text)) == text else text
    return number if math.isfinite(number) else text


def _filter(text: str) -> Any:
    """CQL2 as JSON where it is JSON, else as text."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--filter: no JSON ({error})") from None
