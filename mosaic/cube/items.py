"""What users hold of items, as the builder takes them: pystac's objects, dicts, files, URLs."""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mosaic.builder import inputs
from mosaic.builder.inputs import DOCUMENTS, PARQUET, Found, Given
from mosaic.catalog.facts import RASTER_SUFFIXES
from mosaic.catalog.folder import Folder
from mosaic.errors import CatalogError, Problem, StorageError, UsageError
from mosaic.storage import Gate

Json = dict[str, Any]


def is_document(source: str) -> bool:
    """Whether a path or URL, by its ending, is a file of items, a raster, or a pattern of these."""
    name = source.partition("?")[0].lower().removesuffix(".gz")
    return name.endswith((*DOCUMENTS, *RASTER_SUFFIXES)) or (
        "://" not in source and glob.has_magic(source)
    )


def is_parquet(source: str) -> bool:
    """Whether a path or URL, by its ending, is Parquet."""
    return source.partition("?")[0].lower().endswith(PARQUET)


def is_json(url: str, gate: Gate) -> bool:
    """Whether what lies at a URL begins as JSON does: an item of a STAC API has no ending."""
    try:
        return bytes(gate.get_range(url, start=0, length=512)).lstrip()[:1] in (b"{", b"[")
    except StorageError:
        return False


def found(source: Any, gate: Gate) -> Iterator[Found]:
    """Items of whatever was given, as :func:`mosaic.builder.inputs.items` yields them.

    Relative hrefs are read against the place that an item says it comes from (its ``self`` link),
    else the file, URL or working directory in which it was found.
    """
    if isinstance(source, str | os.PathLike):
        yield from _named(os.fspath(source), gate)
    elif isinstance(source, dict):
        for one in inputs.stac(source, str(Path.cwd()), "what was given"):
            yield _at_home(one)
    elif hasattr(source, "item_collection"):  # a search of pystac_client
        yield from found(source.item_collection(), gate)
    elif hasattr(source, "search"):  # a Client of pystac_client
        raise UsageError("a whole API is too much: give a search of it, client.search(…)")
    elif hasattr(source, "get_items"):  # a Catalog or Collection of pystac
        yield from found(source.get_items(recursive=True), gate)
    elif hasattr(source, "to_dict") and hasattr(source, "get_self_href"):
        item = source.to_dict(include_self_link=False, transform_hrefs=False)
        yield Given(item, _folder(source.get_self_href()) or str(Path.cwd()))
    elif isinstance(source, Iterable):
        for one in source:
            yield from found(one, gate)
    else:
        raise UsageError(
            f"{source!r:.80} is no source: give a mosaic's folder or URL, STAC items, "
            "or a file of them"
        )


def _named(name: str, gate: Gate) -> Iterator[Found]:
    """Items of a file or URL."""
    bare = name.partition("?")[0]
    if "://" not in name or bare.lower().endswith(tuple(RASTER_SUFFIXES)):
        yield from inputs.items([name], gate=gate)
        return
    base = bare.rpartition("/")[0]
    folder, last = Folder(base, gate), name[len(base) + 1 :]
    if is_parquet(name):
        yield from inputs.geoparquet(lambda: folder.parquet(last), base, name)
        return
    try:
        data = folder.text(last)
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (StorageError, CatalogError, OSError, EOFError, zlib.error) as error:
        yield Problem("unreadable", f"items can't be read ({error})", "look at the URL", href=name)
        return
    yield from inputs.text(data, base, name)


def _at_home(one: Found) -> Found:
    """An item whose relative hrefs are read against its own place, if it tells one."""
    if not isinstance(one, Given) or not isinstance(one.item, dict):
        return one
    for link in one.item.get("links") or ():
        if isinstance(link, dict) and link.get("rel") == "self":
            base = _folder(link.get("href"))
            return Given(one.item, base) if base else one
    return one


def _folder(href: Any) -> str:
    """Folder or URL of what an absolute href names; empty where it is none."""
    if isinstance(href, str) and ("://" in href or href.startswith("/")):
        return href.partition("?")[0].rpartition("/")[0]
    return ""
