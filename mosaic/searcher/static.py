"""A static catalog on the web, link by link; what an API would select is selected here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import orjson
import shapely
from shapely.geometry.base import BaseGeometry

from mosaic.catalog.when import Interval, interval
from mosaic.errors import SearchError, UnknownCollectionError, UsageError, redact
from mosaic.searcher.api import Api, nearest
from mosaic.searcher.items import Key, absolute, key
from mosaic.searcher.kept import Kept
from mosaic.searcher.request import Flags, Request

Json = dict[str, Any]
_AT_ONCE = 100


def walk(
    api: Api, request: Request, kept: Kept, progress: Callable[[int, int | None], None]
) -> list[Json]:
    """All items below a catalog that the flags select go to ``kept``; returns their collections.

    An interrupted walk begins anew. Raises :class:`~mosaic.errors.SearchError` for a document
    that can't be read, :class:`~mosaic.errors.UsageError` for flags that only an API understands.
    """
    flags = request.flags
    for name, given in (
        ("--query", flags.query),
        ("--filter", flags.filter),
        ("--sortby", flags.sortby),
    ):
        if given:
            raise UsageError(f"{name}: {request.shown} is a static catalog, no API")
    kept.restart()
    chosen = Chosen(flags)
    collections: dict[str, Json] = {}
    waiting, seen = deque([request.url]), {request.url}
    known: set[Key] = set()
    lines: list[bytes] = []
    while waiting and not _enough(flags, known):
        url = waiting.popleft()
        document = api.get(url)
        items = _items(document)
        for item in items or ():
            if not _enough(flags, known) and key(item) not in known and chosen.takes(item):
                known.add(key(item))
                lines.append(orjson.dumps(absolute(item, url), option=orjson.OPT_APPEND_NEWLINE))
        if items is None:
            if not isinstance(document.get("links"), list):
                what = f"{redact(url)}: no STAC item, catalog or collection"
                raise SearchError(what, "mend the catalog's links")
            if _is_collection(document):
                collections[str(document.get("id"))] = document
            following = [urljoin(url, href) for href in _links(document, flags)]
            fresh = [href for href in dict.fromkeys(following) if href not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
        if len(lines) >= _AT_ONCE:
            kept.add(lines, pages=kept.state.pages + 1)
            lines = []
        progress(len(known), None)
    kept.add(lines, pages=kept.state.pages + 1, done=True)
    _all_known(flags, collections, request)
    return list(collections.values())


def _enough(flags: Flags, known: set[Key]) -> bool:
    return flags.max_items is not None and len(known) >= flags.max_items


def _items(document: Json) -> list[Json] | None:
    """The items that a document is or holds; None for a catalog."""
    if document.get("type") == "Feature" or {"properties", "assets"} <= document.keys():
        return [document]
    features = document.get("features")
    return features if isinstance(features, list) else None


def _is_collection(document: Json) -> bool:
    return document.get("type") == "Collection" or "extent" in document


def _links(document: Json, flags: Flags) -> list[str]:
    """Where a catalog's children lie, and its items unless they are of a collection not asked."""
    is_other = (
        flags.collections
        and _is_collection(document)
        and document.get("id") not in flags.collections
    )
    wanted = ("child",) if is_other else ("item", "child", "items")
    return [
        link["href"]
        for link in document["links"]
        if isinstance(link, dict)
        and link.get("rel") in wanted
        and isinstance(link.get("href"), str)
    ]


def _all_known(flags: Flags, collections: dict[str, Json], request: Request) -> None:
    for name in flags.collections:
        if collections and name not in collections and flags.max_items is None:
            near = nearest(name, list(collections)) or sorted(collections)[:10]
            what = f"{request.shown} has no collection {name}"
            raise UnknownCollectionError(what, f"nearest: {', '.join(near)}")


class Chosen:
    """What an API would select, item by item."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._when: Interval | None = interval(flags.datetime) if flags.datetime else None
        self._area = _area(flags)

    def takes(self, item: Json) -> bool:
        """Whether an item is one of those asked for."""
        flags = self._flags
        if flags.ids and item.get("id") not in flags.ids:
            return False
        if flags.collections and item.get("collection") not in flags.collections:
            return False
        return self._in_time(item) and self._in_place(item)

    def _in_time(self, item: Json) -> bool:
        if self._when is None:
            return True
        told = item.get("properties") or {}
        first = told.get("start_datetime") or told.get("datetime")
        last = told.get("end_datetime") or told.get("datetime")
        if not (first and last):
            return False
        return interval(first)[0] <= self._when[1] and interval(last)[1] >= self._when[0]

    def _in_place(self, item: Json) -> bool:
        if self._area is None:
            return True
        geometry = item.get("geometry")
        if not geometry:
            return False
        return bool(shapely.from_geojson(orjson.dumps(geometry)).intersects(self._area))


def _area(flags: Flags) -> BaseGeometry | None:
    if flags.intersects:
        return shapely.from_geojson(flags.intersects)
    if flags.bbox is None:
        return None
    return shapely.union_all([shapely.box(*part.bbox) for part in flags.parts() if part.bbox])
