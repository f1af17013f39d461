"""Items as a search finds them: which is which, which version, and where their files lie. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

Json = dict[str, Any]
Key = tuple[str, str]
"""Collection and id."""


def key(item: Json) -> Key:
    """What makes an item the same as another."""
    return str(item.get("collection") or ""), str(item.get("id") or "")


def updated(item: Json) -> str:
    """When it was last changed, as it says; empty where it doesn't."""
    properties = item.get("properties")
    return str(properties.get("updated") or "") if isinstance(properties, dict) else ""


def absolute(item: Json, url: str) -> Json:
    """An item whose assets' hrefs don't depend on where it is read.

    Relative ones are read against its own link ``self``, else against ``url``.
    """
    assets = item.get("assets")
    if not isinstance(assets, dict) or not any(map(_is_relative, assets.values())):
        return item
    base = next(_selves(item), url)
    return {
        **item,
        "assets": {
            name: {**asset, "href": urljoin(base, asset["href"])} if _is_relative(asset) else asset
            for name, asset in assets.items()
        },
    }


def _selves(item: Json) -> Iterator[str]:
    for link in item.get("links") or ():
        if isinstance(link, dict) and link.get("rel") == "self":
            href = str(link.get("href") or "")
            if href.startswith(("http://", "https://")):
                yield href


def _is_relative(asset: Any) -> bool:
    href = asset.get("href") if isinstance(asset, dict) else None
    return isinstance(href, str) and "://" not in href and not href.startswith("/vsi")
