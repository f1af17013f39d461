"""Items on their way to a mosaic, as lines of a file, so that none stays in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from mosaic.catalog.href import relative
from mosaic.catalog.layout import CATALOG, COLLECTION
from mosaic.secret import unsigned

Json = dict[str, Any]

KEPT_LINKS = frozenset(("via", "canonical", "derived_from", "license", "about", "cite-as"))
"""Relations that stay true outside the API an item came from."""

ORIGIN = "mosaic:collection"
"""Property that names the collection an item came from."""

_LINKS = [
    {"rel": "root", "href": f"./{CATALOG}", "type": "application/json"},
    {"rel": "parent", "href": f"./{COLLECTION}", "type": "application/json"},
    {"rel": "collection", "href": f"./{COLLECTION}", "type": "application/json"},
]

GEOMETRY = "proj:geometry"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class Spool:
    """Items as newline-delimited JSON; geometries are texts, because a column has one depth."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._collection = folder.name
        self._stream = path.open("wb")
        self.count = 0

    def keep(self, item: Json) -> None:
        """One item with absolute hrefs; those inside the mosaic's folder become relative.

        It is the mosaic's own then: ``mosaic:collection`` tells which collection it came from.
        """
        properties = item["properties"]
        if item.get("collection"):
            properties = {**properties, ORIGIN: item["collection"]}
        kept = {
            **item,
            "collection": self._collection,
            "properties": properties,
            "assets": {
                key: {**asset, "href": relative(asset["href"], self._folder)}
                for key, asset in item["assets"].items()
            },
            "links": [*_LINKS, *(one for one in item["links"] if one.get("rel") in KEPT_LINKS)],
        }
        line = orjson.dumps(packed(kept), option=orjson.OPT_APPEND_NEWLINE)
        if b"://" in line and (b"?" in line or b"@" in line):
            # alternate assets and links carry signatures too
            line = orjson.dumps(packed(_unsigned(kept)), option=orjson.OPT_APPEND_NEWLINE)
        self._stream.write(line)
        self.count += 1

    def lines(self, kept: npt.NDArray[Any]) -> Iterator[bytes]:
        """The lines at these ascending positions."""
        self.close()
        wanted = np.zeros(self.count, bool)
        wanted[kept] = True
        with self._path.open("rb") as stream:
            for line, is_wanted in zip(stream, wanted.tolist(), strict=True):
                if is_wanted:
                    yield line

    def placed(self, order: npt.NDArray[Any]) -> Iterator[bytes]:
        """The lines at these positions, in this order."""
        if (np.diff(order) > 0).all():
            yield from self.lines(order)
            return
        self.close()
        with self._path.open("rb") as stream:
            sizes = np.fromiter(map(len, stream), np.int64, self.count)
            start = np.cumsum(sizes) - sizes
            for at, size in zip(start[order].tolist(), sizes[order].tolist(), strict=True):
                stream.seek(at)
                yield stream.read(size)

    def close(self) -> None:
        """Flushes the file; an error of the disk shows here at the latest."""
        self._stream.close()


@contextmanager
def spool(folder: Path, target: Path) -> Iterator[Spool]:
    """A spool in the folder of a build; it is gone at the end."""
    path = folder / ".items.ndjson"
    one = Spool(path, target)
    try:
        yield one
    finally:
        one.close()
        path.unlink(missing_ok=True)


def packed(item: Json) -> Json:
    """An item whose geometries are GeoJSON texts."""
    item = {**item, "geometry": _text(item.get("geometry"))}
    if GEOMETRY in item["properties"]:
        item["properties"] = _with_geometry(item["properties"], _text)
    if any(GEOMETRY in asset for asset in item["assets"].values()):
        item["assets"] = {
            key: _with_geometry(asset, _text) if GEOMETRY in asset else asset
            for key, asset in item["assets"].items()
        }
    return item


def unpacked(line: bytes) -> Json:
    """The item that a line holds."""
    item: Json = orjson.loads(line)
    item["geometry"] = _parsed(item["geometry"])
    for fields in (item["properties"], *item["assets"].values()):
        if GEOMETRY in fields:
            fields[GEOMETRY] = _parsed(fields[GEOMETRY])
    return item


def _with_geometry(fields: Json, change: Any) -> Json:
    return {**fields, GEOMETRY: change(fields[GEOMETRY])}


def _text(geometry: Any) -> str | None:
    return orjson.dumps(geometry).decode() if geometry else None


def _parsed(text: str | None) -> Any:
    return orjson.loads(text) if text else None


def _unsigned(value: Any) -> Any:
    """A JSON value in which no URL carries a secret."""
    if isinstance(value, str):
        return _URL.sub(lambda found: unsigned(found[0]), value) if "://" in value else value
    if isinstance(value, dict):
        return {key: _unsigned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unsigned(inner) for inner in value]
    return value
