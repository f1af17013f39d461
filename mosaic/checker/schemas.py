"""JSON schemas of STAC and its extensions: pystac's, a folder's, the user's cache, the network.

The core schemas come with pystac. Others are looked for by their address, and fetched once where
there is a network: then they lie in the cache as ``<host>/<path>``. What can't be had is unknown,
never an error.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from pystac.validation.local_validator import get_local_schema_cache

from mosaic.errors import StorageError
from mosaic.settings import CacheSettings, Retry
from mosaic.storage import Gate

Json = dict[str, Any]
Fetch = Callable[[str], Json | None]

LARGEST = 2 << 20
"""Bytes of a schema at most."""
MOST = 100
"""Schemas fetched in one check at most: addresses come from the items."""

_HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}|[\w.-]+:\d+")
_VERSIONED = re.compile(r"(?:^|[+/])([a-z0-9-]+)/(v\d+\.\d+\.\d+[\w.-]*)/schema\.json$")


def plain(uri: str) -> str:
    """An address without its fragment."""
    return uri.partition("#")[0]


class Schemas:
    """Schemas by address, each looked up once."""

    def __init__(
        self, folder: Path | None, kept: Path | None, fetch: Fetch = lambda uri: None
    ) -> None:
        """``folder``: the user's own schemas; ``kept``: the cache; ``fetch``: from the network."""
        self._known: dict[str, Json | None] = dict(bundled())
        self._files = {**(below(kept) if kept else {}), **(below(folder) if folder else {})}
        self._kept = kept
        self._fetch = fetch
        self._fetched = 0

    def get(self, uri: str) -> Json | None:
        """The schema at an address, or None when it can't be had."""
        uri = plain(uri)
        if uri not in self._known:
            self._known[uri] = self._found(uri)
        return self._known[uri]

    def _found(self, uri: str) -> Json | None:
        if uri in self._files:
            return _read(self._files[uri])
        if self._fetched >= MOST or urlsplit(uri).scheme not in ("http", "https"):
            return None
        self._fetched += 1
        schema = self._fetch(uri)
        if schema is not None and self._kept is not None:
            _keep(self._kept, uri, schema)
        return schema


@cache
def bundled() -> dict[str, Json]:
    """The core and GeoJSON schemas that pystac carries, by address."""
    return get_local_schema_cache()


def below(folder: Path) -> dict[str, Path]:
    """Schemas anywhere below a folder, by address.

    The address is the path behind a folder that is named as a host, else the schema's own
    ``$id``, else that of a STAC extension in ``<name>/v1.0.0/schema.json``.
    """
    by_path: dict[str, Path] = {}
    by_id: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.json")):
        parts = path.relative_to(folder).parts
        host = next((i for i, part in enumerate(parts[:-1]) if _HOST.fullmatch(part)), None)
        if host is not None:
            by_path.setdefault("https://" + "/".join(parts[host:]), path)
            by_path.setdefault("http://" + "/".join(parts[host:]), path)
        schema = _read(path)
        if schema is None:
            continue
        name = str(schema.get("$id") or schema.get("id") or "")
        if "://" in name:
            by_id.setdefault(plain(name), path)
        match = _VERSIONED.search(path.relative_to(folder).as_posix())
        if match:
            by_id.setdefault(
                f"https://stac-extensions.github.io/{match[1]}/{match[2]}/schema.json", path
            )
    return {**by_id, **by_path}


def _read(path: Path) -> Json | None:
    """The schema in a file, or None when it holds none."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        return _schema(path.read_bytes())
    except OSError:
        return None


def _schema(text: bytes) -> Json | None:
    if b'"$schema"' not in text and b'"$id"' not in text:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and ("$schema" in found or "$id" in found) else None


def _keep(folder: Path, uri: str, schema: Json) -> None:
    """A fetched schema into the cache; without a place to write there is none."""
    parts = urlsplit(uri)
    path = Path(os.path.normpath(folder / parts.netloc / parts.path.lstrip("/")))
    if not path.is_relative_to(folder / parts.netloc) or not path.name.endswith(".json"):
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_bytes(orjson.dumps(schema))
        fresh.replace(path)


def fetcher() -> Fetch:
    """Reads schemas from the network, with little patience; a host that fails is left alone."""
    patience = Retry(attempts=2, deadline=10.0, attempt=8.0, connect=3.0, stall=5.0)
    gate = Gate(cache=CacheSettings(memory=8 << 20), retry=patience)
    dead: set[str] = set()

    def fetch(uri: str) -> Json | None:
        host = urlsplit(uri).netloc
        if host in dead:
            return None
        try:
            return _schema(bytes(gate.get_range(uri, start=0, length=LARGEST)))
        except StorageError as error:
            if error.status is None:
                dead.add(host)
            return None

    return fetch
