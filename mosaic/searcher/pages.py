"""Pages of a search, one after the other, until there are no more: never endlessly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

import orjson

from mosaic.errors import PagingError, SearchError
from mosaic.searcher.api import Api

Json = dict[str, Any]

BARREN = 5
"""Pages in a row without a new item until an API is taken for endless."""


@dataclass(frozen=True, slots=True)
class Step:
    """How one page is asked for."""

    href: str
    """URL."""
    method: str
    """``GET`` or ``POST``."""
    body: str = ""
    """Parameters of the query, or the body, as JSON; empty for none."""
    headers: str = ""
    """Headers that a link asks for, as JSON; empty for none."""

    def digest(self) -> str:
        """Equal for equal requests."""
        text = "\n".join((self.href, self.method, self.body, self.headers))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Page:
    """What one request gave."""

    features: list[Json]
    """Items."""
    following: Step | None
    """How the next page is asked for; None: this is the last."""
    matched: int | None
    """Items that the API counts in all, or None."""


def step(href: str, method: str, parameters: Json) -> Step:
    """The first page of a search."""
    return Step(href, method, _text(parameters))


def page(api: Api, asked: Step) -> Page:
    """One page.

    Raises :class:`~mosaic.errors.SearchError` for what is no page of items.
    """
    document = api.get(asked.href, asked.method, _json(asked.headers), _json(asked.body))
    features = document.get("features")
    if not isinstance(features, list) or not all(isinstance(one, dict) for one in features):
        what = f"{asked.href.partition('?')[0]}: its answer holds no list of items (features)"
        raise SearchError(what, "check that the URL is the root of a STAC API")
    return Page(features, _following(document, asked), _matched(document))


def pages(api: Api, first: Step, seen: set[str]) -> Iterator[Page]:
    """All pages from ``first`` on; ``seen`` gathers the digests of what was asked.

    Raises :class:`~mosaic.errors.PagingError` when a link leads back.
    """
    asked: Step | None = first
    while asked is not None:
        seen.add(asked.digest())
        found = page(api, asked)
        if found.following and found.following.digest() in seen:
            if found.features:
                what = (
                    f"{asked.href.partition('?')[0]}: a page's next link leads back to one before"
                )
                raise PagingError(what, "tell the API's keepers; --max-items ends a search early")
            found = replace(found, following=None)  # some APIs link on behind their last page
        yield found
        asked = found.following


def _following(document: Json, asked: Step) -> Step | None:
    links = [link for link in document.get("links") or () if isinstance(link, dict)]
    link = next((one for one in links if one.get("rel") == "next" and one.get("href")), None)
    if link is None:
        return None
    method = str(link.get("method") or "GET").upper()
    body: Json = link.get("body") or {}
    if link.get("merge"):
        body = {**_json(asked.body), **body}
    href = urljoin(asked.href, str(link["href"]))
    return Step(href, method, _text(body) if method != "GET" else "", _text(link.get("headers")))


def _matched(document: Json) -> int | None:
    context = document.get("context")
    for value in (
        document.get("numberMatched"),
        context.get("matched") if isinstance(context, dict) else None,
    ):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _text(value: Json | None) -> str:
    return orjson.dumps(value).decode() if value else ""


def _json(text: str) -> Json:
    found: Json = orjson.loads(text) if text else {}
    return found
