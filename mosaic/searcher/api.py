"""One STAC API, asked politely: one request at a time, paced, retried, its refusals told."""

from __future__ import annotations

import difflib
import random
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson
import requests
from pystac_client import Client, ItemSearch
from pystac_client.conformance import ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from mosaic.errors import SearchError, UnknownCollectionError, redact
from mosaic.searcher.refusal import brief, ended, message, title
from mosaic.searcher.request import Flags, Request, to_the_last
from mosaic.settings import Retry, limits_of
from mosaic.storage.answer import retry_after
from mosaic.storage.retry import Budget, Failure, GiveUp, Kind, decide
from mosaic.version import __version__

Json = dict[str, Any]

_MINOR = re.compile(r"(?<=^https://api\.stacspec\.org/)v1\.\d+\.")
_REFUSED_BY_FAULT = 3
"""Attempts for a status 500: what an API can't do, it can't do the tenth time either."""
_MOST_COLLECTIONS = 5000
"""Collections listed, to name those nearest to an unknown one."""


class Api(StacApiIO):
    """pystac-client's I/O for one API: a pause between requests, retries that hear Retry-After.

    GET and POST alike are repeated after 408, 429, 5xx, broken connections and cut bodies, since a
    search changes nothing. Retry-After is a floor; a budget ends retries at an API that is down.
    """

    def __init__(self, request: Request) -> None:
        self.retry = Retry.from_env()
        super().__init__(
            headers={"User-Agent": f"mosaic/{__version__}"},
            timeout=(self.retry.connect, max(self.retry.stall, 60.0)),
            max_retries=None,
        )
        host = urlsplit(request.url).netloc.rpartition("@")[2]
        rate = request.requests_per_minute or limits_of(host).requests_per_minute
        self._pause = 60.0 / rate if rate else 0.0
        self._next = 0.0
        self._budget = Budget(self.retry.budget)
        self._chance = random.Random()
        self._root = request.url
        self._known = ""  # the root's document, which pystac-client asks for again

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of an answer that is JSON.

        Raises :class:`~mosaic.errors.SearchError`; a 404 is pystac-client's ``APIError``, which
        knows what it means.
        """
        is_root = href.rstrip("/") == self._root.rstrip("/")
        if is_root and self._known and not parameters:
            return self._known
        deadline = time.monotonic() + self.retry.deadline
        for attempts in range(1, self.retry.attempts + 2):
            wait = self._next - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._next = time.monotonic() + self._pause
            try:
                text = self._attempt(href, (method or "GET").upper(), headers, parameters)
            except Failure as failure:
                decision: float | GiveUp = decide(
                    self.retry,
                    self._budget,
                    failure,
                    attempts=attempts,
                    now=time.monotonic(),
                    deadline=deadline,
                    chance=self._chance.random(),
                )
                if failure.status == 500 and attempts >= _REFUSED_BY_FAULT:
                    decision = GiveUp("the API fails at this request")
                if isinstance(decision, GiveUp):
                    raise ended(href, failure, attempts, decision) from failure
                self._next = max(self._next, time.monotonic() + decision)
            else:
                self._budget.earn()
                if is_root:
                    self._known = text
                return text
        raise AssertionError("decide() ends what it is asked about")  # pragma: no cover

    def _attempt(
        self,
        href: str,
        method: str,
        headers: Mapping[str, str] | None,
        parameters: Mapping[str, Any] | None,
    ) -> str:
        is_query = method == "GET"
        try:
            for _ in range(1 + self.retry.redirects):
                answer = self.session.request(
                    method,
                    href,
                    params=dict(parameters or {}) if is_query else None,
                    json=None if is_query else dict(parameters or {}),
                    headers=dict(headers or {}),
                    timeout=self.timeout,
                    allow_redirects=is_query,  # a redirected POST would lose what it asks for
                )
                content = answer.content
                if is_query or not answer.is_redirect:
                    break
                href = urljoin(href, answer.headers["location"])
        except requests.Timeout as error:
            raise Failure(Kind.TIMEOUT, brief(error)) from error
        except requests.exceptions.SSLError as error:
            raise Failure(Kind.FINAL, brief(error)) from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise Failure(Kind.RESET, brief(error)) from error
        except requests.RequestException as error:
            raise Failure(Kind.FINAL, brief(error)) from error
        status = answer.status_code
        if status in (408, 429) or status >= 500:
            wait = retry_after(answer.headers.get("retry-after"), time.time())
            kind = Kind.REFUSED if status in (429, 503) else Kind.SERVER
            raise Failure(
                kind, message(content) or f"status {status}", status=status, retry_after=wait
            )
        if status == 404:
            raise APIError.from_response(answer)
        if not 200 <= status < 300:
            raise Failure(Kind.FINAL, message(content) or f"status {status}", status=status)
        text: str = content.decode("utf-8", "replace")
        start = text.lstrip()[:1]
        if start not in ("{", "["):
            what = "HTML" if start == "<" else "no JSON" if start else "nothing"
            raise Failure(Kind.FINAL, f"it answers {what}{title(text)}", status=status)
        return text

    def get(
        self,
        href: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Json:
        """A JSON object; see :meth:`request`. A 404 is a :class:`~mosaic.errors.SearchError`."""
        try:
            document = orjson.loads(self.request(href, method, headers, parameters))
        except APIError as error:
            told = message(str(error).encode()) or "status 404"
            raise SearchError(
                f"{redact(href)}: not found ({told})", "check the URL", status=404
            ) from error
        except orjson.JSONDecodeError as error:
            what = f"{redact(href)}: its answer is broken JSON ({error})"
            raise SearchError(what, "search again; what was found is kept") from error
        if not isinstance(document, dict):
            raise SearchError(f"{redact(href)}: its answer is no JSON object", "check the URL")
        return document


def opened(request: Request, api: Api) -> Client | None:
    """The API's root, through pystac-client; None for a document that is no API.

    Raises :class:`~mosaic.errors.SearchError` for what can't be read.
    """
    root = api.get(request.url)
    if not (root.get("conformsTo") or any(_leads(link, "search") for link in _links(root))):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an extension that is missed is an error of `search`
            client: Client = Client.open(request.url, stac_io=api)
    except SearchError:
        raise
    except Exception as error:  # pystac raises whatever a document that is no STAC provokes
        what = f"{request.shown}: no STAC API ({brief(error)})"
        raise SearchError(what, "give the API's root, such as https://…/v1") from error
    # pystac-client takes v1.0 alone for a conformance class; pgstac's API sorts by v1.1
    client.set_conforms_to([_MINOR.sub("v1.0.", uri) for uri in client.get_conforms_to()])
    return client if client.conforms_to(ConformanceClasses.ITEM_SEARCH) else None


def _links(document: Json) -> list[Json]:
    return [link for link in document.get("links") or () if isinstance(link, dict)]


def _leads(link: Json, where: str) -> bool:
    return link.get("rel") == where and bool(link.get("href"))


def search(client: Client, request: Request, flags: Flags) -> ItemSearch:
    """A search whose parameters have the form that the API takes.

    Raises :class:`~mosaic.errors.SearchError` for an extension that the API doesn't have: it would
    give other items than those asked for.
    """
    for name, asked, extension in (
        ("--query", flags.query, ConformanceClasses.QUERY),
        ("--filter", flags.filter, ConformanceClasses.FILTER),
        ("--sortby", flags.sortby, ConformanceClasses.SORT),
    ):
        if asked and not client.conforms_to(extension):
            what = f"{request.shown} knows no {name} (its conformance lacks {extension.value})"
            raise SearchError(what, f"search without {name}")
    arguments = flags.arguments()
    if flags.datetime:
        arguments["datetime"] = to_the_last(flags.datetime)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: ItemSearch = client.search(
            method=flags.method or _method(client), max_items=None, **arguments
        )
    return found


def _method(client: Client) -> str:
    """POST where the root offers it, or tells no method."""
    methods = {
        str(link.extra_fields.get("method", "")).upper() for link in client.get_links("search")
    }
    return "GET" if methods == {"GET"} else "POST"


def collection_of(client: Client, api: Api, request: Request, name: str) -> Json | None:
    """A collection's document, None where the API keeps none.

    Raises :class:`~mosaic.errors.UnknownCollectionError` for one that it doesn't have.
    """
    if not client.conforms_to(ConformanceClasses.COLLECTIONS) and not client.get_links("data"):
        return None
    href = _below(request, f"collections/{name}")
    try:
        return api.get(href)
    except SearchError as error:
        if error.status != 404:
            raise
    known = list(_collections(api, request))
    if name in known or not known:
        return None
    near = nearest(name, known)
    advice = f"nearest: {', '.join(near)}" if near else f"it has: {', '.join(sorted(known)[:10])}"
    raise UnknownCollectionError(f"{request.shown} has no collection {name}", advice)


def nearest(name: str, known: list[str]) -> list[str]:
    """Up to five names that may have been meant, the most alike first."""
    return difflib.get_close_matches(name, known, n=5, cutoff=0.5)


def _collections(api: Api, request: Request) -> Iterator[str]:
    href: str | None = _below(request, "collections")
    seen: set[str] = set()
    count = 0
    while href and href not in seen and count < _MOST_COLLECTIONS:
        seen.add(href)
        page = api.get(href)
        for one in page.get("collections") or ():
            count += 1
            yield str(one.get("id"))
        links = [link for link in _links(page) if _leads(link, "next")]
        href = urljoin(href, links[0]["href"]) if links else None


def _below(request: Request, path: str) -> str:
    base, mark, query = request.url.partition("?")
    return f"{base.rstrip('/')}/{path}{mark}{query}"
