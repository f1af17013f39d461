"""STAC APIs searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic.builder.search import Search


def search(
    source: str,
    *,
    collections: str | Sequence[str] | None = None,
    ids: str | Sequence[str] | None = None,
    bbox: Sequence[float] | None = None,
    intersects: Any = None,
    datetime: Any = None,
    query: str | Sequence[str] | Mapping[str, Any] | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002 - pystac-client's name
    sortby: str | Sequence[str] | None = None,
    max_items: int | None = None,
    limit: int = 100,
    method: str | None = None,
) -> Search:
    """A search of a STAC API: ``mosaic.build(mosaic.search(...), out)``. Nobody is asked yet.

    ``source``: the API's root (``https://…``), a static catalog's, or a recipe. The others as in
    pystac-client; ``bbox``: west, south, east, north in degrees (east < west crosses 180).
    ``limit``: items a page. Iterate over the search for items as dicts, each once, or
    ``save(path)`` them; building and saving go on where an earlier attempt was interrupted.

    Raises :class:`~mosaic.errors.UsageError` for an argument that can't be meant; whoever makes the
    search gets :class:`~mosaic.errors.SearchError` when the API can't be searched.
    """
    from mosaic.builder.search import search as asked
    from mosaic.searcher.request import flags

    return asked(
        source,
        flags(
            collections=collections,
            ids=ids,
            bbox=bbox,
            intersects=intersects,
            datetime=datetime,
            query=query,
            filter=filter,
            sortby=sortby,
            max_items=max_items,
            limit=limit,
            method=method,
        ),
    )
