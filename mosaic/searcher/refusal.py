"""What an API's refusals mean, in one line each. Pure."""

from __future__ import annotations

import re

import orjson

from mosaic.errors import SearchError, redact
from mosaic.storage.retry import Failure, GiveUp, Kind


def ended(href: str, failure: Failure, attempts: int, decision: GiveUp) -> SearchError:
    """The error that ends the attempts at a URL."""
    where = redact(href)
    counted = f"{attempts} attempt{'s'[: attempts > 1]}"
    why = f", {decision.why}" if decision.why else ""
    told = failure.cause
    if failure.kind is Kind.FINAL and failure.status == 200:
        return SearchError(f"{where}: {told}", "check the URL", status=200)
    if failure.status in (401, 403):
        advice = "the API wants credentials: put them into a netrc file"
        return SearchError(f"{where} refuses access: {told}", advice, status=failure.status)
    if failure.kind is Kind.FINAL and failure.status is not None:
        what = f"{where} refuses the search (status {failure.status}): {told}"
        return SearchError(what, "mend what is asked", status=failure.status)
    if failure.kind is Kind.FINAL:
        return SearchError(f"{where}: {told}", "check the URL")
    status = f"status {failure.status}: " if failure.status else ""
    what = f"{where} doesn't answer ({counted}{why}; {status}{told})"
    return SearchError(
        what, "search again later: it goes on where it stopped", status=failure.status
    )


def message(content: bytes) -> str:
    """What an API says of its refusal, in one line."""
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:
        text = content[:4000].decode("utf-8", "replace")
        return "HTML" + title(text) if text.lstrip()[:1] == "<" else _line(text)
    while isinstance(told, dict):
        told = next(
            (
                told[k]
                for k in ("description", "detail", "message", "error", "title")
                if told.get(k)
            ),
            "",
        )
    return _line(told if isinstance(told, str) else orjson.dumps(told).decode())


def title(text: str) -> str:
    """The title of a page of HTML, in brackets; empty where it has none."""
    found = re.search(r"<title[^>]*>([^<]{1,120})", text, re.IGNORECASE)
    return f" ({' '.join(found[1].split())})" if found else ""


def _line(text: str) -> str:
    """A text in a line, without the queries of URLs: they may hold a key."""
    text = re.sub(r"https?://[^\s'\"<>]+", lambda found: redact(found[0]), text)
    return " ".join(re.sub(r"\?[^\s'\"<>()]+", "?…", text).split())[:300]


def brief(error: Exception) -> str:
    """An exception of the network's in a clause, without secrets."""
    text = _line(str(error))
    reason = re.search(
        r"(Connection refused|Name or service not known|reset by peer|"
        r"IncompleteRead\([^)]*\)|timed out|closed connection without response|"
        r"Failed to resolve [^(]*|certificate verify failed)",
        text,
    )
    return reason[1].strip() if reason else text[:200] or type(error).__name__
