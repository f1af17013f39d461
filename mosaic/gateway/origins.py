"""Pages of other origins whose scripts may read: Cross-Origin Resource Sharing. Pure.

A page anywhere can make a browser ask a gateway of the same machine, whose mosaics may be private:
the browser shows it the answer only where the gateway says so, by the page's own origin. Whoever
runs the gateway names origins one by one; cookies and remembered passwords never count.

Sources: the Fetch standard; for machines of a private network, Private Network Access.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from mosaic.errors import UsageError

_ASKED = "Authorization, If-None-Match, If-Range, Range"
"""Headers that scripts may send, besides those that the standard lets pass."""
_SHOWN = "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After"
"""Headers of an answer that scripts may read, besides those that the standard shows."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile("[a-z0-9.:_-]+", re.ASCII)


def origin(text: str) -> str:
    """An origin as browsers write it: ``https://maps.example.org``, ``http://localhost:3000``.

    Raises UsageError for what isn't one; ``*`` isn't: it would be every page that anybody opens.
    """
    wrong = UsageError(f"{text!r} is no origin of pages, such as https://maps.example.org")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    rest = parts.path.strip("/") + parts.query + parts.fragment
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or rest or "@" in parts.netloc:
        raise wrong
    host = f"[{host}]" if ":" in host else host
    end = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{end}"


def preflight(method: str, asked: Mapping[str, str], origins: tuple[str, ...]) -> dict[str, str]:
    """Headers that answer a browser's question before a request; none: it isn't one, or no.

    ``asked``: the question's headers, their names in any case.
    """
    wanted = asked.get("Access-Control-Request-Method")
    if method != "OPTIONS" or wanted not in ("GET", "HEAD") or asked.get("Origin") not in origins:
        return {}
    found = {
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": _ASKED,
        "Access-Control-Max-Age": "600",
    }
    if asked.get("Access-Control-Request-Private-Network") == "true":
        found["Access-Control-Allow-Private-Network"] = "true"
    return found


def shared(asked: Mapping[str, str], origins: tuple[str, ...]) -> dict[str, str]:
    """Headers by which a browser shows an answer to the page that asked, if it may see it."""
    if not origins:
        return {}
    found = {"Vary": "Origin"}  # whoever keeps answers keeps one for each origin
    asking = asked.get("Origin", "")
    if asking in origins:
        found |= {"Access-Control-Allow-Origin": asking, "Access-Control-Expose-Headers": _SHOWN}
    return found
