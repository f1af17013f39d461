"""What a user gives, as items: rasters, folders, globs, lists, STAC in every shape."""

from __future__ import annotations

import glob
import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import pyarrow.parquet as pq

from mosaic.builder import rows
from mosaic.builder.scan import scan
from mosaic.catalog.database import is_database
from mosaic.catalog.facts import RASTER_SUFFIXES
from mosaic.catalog.href import resolve
from mosaic.catalog.layout import VRT, is_mosaic, read_collection
from mosaic.errors import Problem, UsageError

if TYPE_CHECKING:
    from mosaic.storage import Gate

Json = dict[str, Any]
Source = str | os.PathLike[str] | Json

_JSON = (".json", ".geojson", ".stac")
_LINES = (".ndjson", ".jsonl", ".geojsonl", ".geojsons")
PARQUET = (".parquet", ".geoparquet", ".pq")
DOCUMENTS = (*_JSON, *_LINES, *PARQUET)
"""File name endings of what holds items; ``.gz`` may follow those of JSON."""
_SIDE_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_SCENES_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Given:
    """One item as it was given."""

    item: Json
    """The item, of any STAC version."""
    base: str
    """Folder or URL against which its relative hrefs are read."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A collection that items were given with."""

    collection: Json
    """The collection, of any STAC version."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What should be said of how items were found."""

    text: str
    """One clause or more."""


Found = Given | Parent | Noted | Problem


@dataclass(slots=True)
class _Seen:
    """What was read already, so that a file reached twice counts once."""

    documents: set[str] = field(default_factory=set)
    rasters: dict[str, None] = field(default_factory=dict)


def items(sources: Iterable[Source], gate: Gate | None = None) -> Iterator[Found]:
    """Items from everything that was given, STAC as it is read, rasters after it.

    A Problem stands for a path that isn't there, a file that can't be read, a document that
    is no STAC. ``gate``: as :func:`mosaic.builder.gather.gather` takes it.
    """
    seen = _Seen()
    for source in sources:
        if isinstance(source, dict):
            yield from _document(source, str(Path.cwd()), "item", seen)
        elif not isinstance(source, str | os.PathLike):
            raise UsageError(f"{source!r:.80}: give paths, or items as dicts")
        elif str(source) == "-":
            yield from _listed(sys.stdin.buffer, seen)
        else:
            yield from _path(os.fspath(source), seen)
    rasters = list(seen.rasters)
    for start in range(0, len(rasters), _SCENES_AT_ONCE):
        for found in scan(rasters[start : start + _SCENES_AT_ONCE], gate):
            yield found if isinstance(found, Problem) else Given(found, "/")


def stac(document: Any, base: str, origin: str) -> Iterator[Found]:
    """Items of a STAC document at hand: an Item, an ItemCollection, a list, a Catalog's links.

    ``base``: folder or URL it comes from. ``origin``: what to call it.
    """
    yield from _document(document, base, origin, _Seen())


def text(data: bytes, base: str, origin: str) -> Iterator[Found]:
    """Items of a STAC document, or of several as lines, as they were read."""
    yield from _lines_or_document(data, base, origin, _Seen())


def _listed(stream: IO[bytes], seen: _Seen) -> Iterator[Found]:
    """Paths, or items as NDJSON or one JSON document, from standard input."""
    first = stream.readline()
    if first.lstrip()[:1] in (b"{", b"["):
        text = first + stream.read()
        yield from _lines_or_document(text, str(Path.cwd()), "standard input", seen)
        return
    for line in (first, *stream):
        name = os.fsdecode(line).strip()
        if name:
            yield from _path(name, seen)


def _path(name: str, seen: _Seen) -> Iterator[Found]:
    if is_database(name):
        raise UsageError("a database is no source: give the items that its mosaic was built from")
    if "://" in name or name.startswith("/vsi"):
        if name.lower().split("?")[0].endswith(DOCUMENTS):
            raise UsageError(
                f"{name}: download it first; STAC is read from the web as JSON, or searched as stac+https://…"
            )
        seen.rasters[resolve(name, "/")] = None
        return
    path = Path(name).expanduser()
    if path.is_dir():
        yield from _folder(path, seen)
    elif path.exists():
        yield from _file(path, seen)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            yield Problem("no-match", f"{name} matches no file", "check the pattern")
        for match in matches:
            if Path(match).is_file():
                yield from _file(Path(match), seen, globbed=True)
    else:
        yield Problem("missing", f"{name}: no such file or folder", "check the path")


def _folder(path: Path, seen: _Seen) -> Iterator[Found]:
    for name in ("catalog.json", "collection.json"):
        if (path / name).is_file() and not is_mosaic(path):
            yield from _file(path / name, seen)
            return
    for folder, subfolders, names in os.walk(path):
        here = Path(folder)
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and not (name == VRT and is_mosaic(here))
        )
        if here != path and is_mosaic(here):
            subfolders.clear()
            continue
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            if suffix in RASTER_SUFFIXES and suffix not in _SIDE_PICTURES:
                seen.rasters[str((here / name).absolute())] = None
    if is_mosaic(path):
        # scenes may lie inside a mosaic; its own stacks and overviews are none
        for name in read_collection(path)["mosaic:files"]:
            seen.rasters.pop(str((path / name).absolute()), None)


def _file(path: Path, seen: _Seen, globbed: bool = False) -> Iterator[Found]:
    name = path.name.lower().removesuffix(".gz")
    absolute = str(path.absolute())
    if not name.endswith(DOCUMENTS):
        seen.rasters[absolute] = None
        return
    real = str(path.resolve())
    if real in seen.documents:
        return
    seen.documents.add(real)
    base = str(path.absolute().parent)
    if name.endswith(PARQUET):
        yield from _parquet(path, base)
        return
    try:
        with _opened(path) as stream:
            if name.endswith(_LINES):
                yield from _lines(stream, base, str(path), seen)
                return
            text = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        what = f"{path} can't be read ({getattr(error, 'strerror', None) or error})"
        yield Problem("unreadable", what, "look at the file")
        return
    yield from _lines_or_document(text, base, str(path), seen, globbed)


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines_or_document(
    text: bytes, base: str, origin: str, seen: _Seen, globbed: bool = False
) -> Iterator[Found]:
    document = _loads(text, origin)
    lines = text.splitlines() if isinstance(document, Problem) else []
    if len(lines) > 1 and lines[0].rstrip().endswith(b"}"):
        yield from _lines(lines, base, origin, seen)
    elif isinstance(document, Problem):
        yield document
    else:
        yield from _document(document, base, origin, seen, globbed)


def _lines(lines: Iterable[bytes], base: str, origin: str, seen: _Seen) -> Iterator[Found]:
    """Items of newline-delimited JSON; a broken line doesn't spoil the others."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{origin} line {number}"
            document = _loads(line, where)
            if isinstance(document, Problem):
                yield document
            else:
                yield from _document(document, base, where, seen)


def _loads(text: bytes, origin: str) -> Any:
    """What a JSON text holds, or a Problem."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        start = text.lstrip()[:15].lower()
        if not start:
            return Problem("json", f"{origin} is empty", "look at what the server sent")
        what = "is HTML, not JSON" if start.startswith((b"<!doctype", b"<html")) else "is no JSON"
        return Problem("json", f"{origin} {what} ({error})", "look at what the server sent")


def _document(
    document: Any, base: str, origin: str, seen: _Seen, globbed: bool = False
) -> Iterator[Found]:
    """Items of a STAC document: an Item, an ItemCollection, a list, a Catalog's links."""
    if isinstance(document, list):
        for part in document:
            yield from _document(part, base, origin, seen)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "Feature":
        yield Given(document, base)
    elif kind in (None, "FeatureCollection") and _has_features(document):
        for feature in document["features"]:
            yield Given(feature, base)
    elif kind in ("Catalog", "Collection") or (kind is None and _has_links(document)):
        if kind == "Collection" or "extent" in document:
            yield Parent(document)
        if not globbed:  # a pattern names the items themselves
            yield from _links(document, base, seen)
    else:
        yield Problem(
            "not-stac",
            f"{origin} holds no STAC item, ItemCollection, Catalog or Collection",
            "give STAC items or raster files",
            str(document.get("id") or "")[:200] if isinstance(document, dict) else "",
        )


def _has_features(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("features"), list)


def _has_links(document: Any) -> bool:
    """Whether a document without a type is a catalog, as before STAC 1.0; items have always one."""
    if not isinstance(document, dict) or not {"stac_version", "links"} <= document.keys():
        return False
    return "extent" in document or not {"assets", "geometry", "properties"} & document.keys()


def _links(document: Json, base: str, seen: _Seen) -> Iterator[Found]:
    for link in document.get("links") or ():
        if not isinstance(link, dict) or link.get("rel") not in ("item", "child"):
            continue
        if not isinstance(link.get("href"), str):
            continue
        target = resolve(link["href"], base)
        if "://" in target:
            yield Problem("remote", f"link to {target}", "download that part first")
        elif not Path(target).is_file():
            yield Problem("missing", f"the catalog links to {target}, which isn't there")
        else:
            yield from _file(Path(target), seen)


def _parquet(path: Path, base: str) -> Iterator[Found]:
    yield from geoparquet(lambda: pq.ParquetFile(path), base, str(path))


def geoparquet(opened: Callable[[], pq.ParquetFile], base: str, origin: str) -> Iterator[Found]:
    """Items of stac-geoparquet, whoever wrote it; ``opened``: opens the file."""
    try:
        parquet = opened()
        names = set(parquet.schema_arrow.names)
        if not {"id", "assets", "geometry"} <= names:
            what = f"{origin} lacks the columns id, assets and geometry of stac-geoparquet"
            yield Problem("not-stac", what, "give stac-geoparquet")
            return
        yield from _parents(parquet.schema_arrow.metadata or {})
        for batch in parquet.iter_batches(4096):
            for item in rows.items(batch):
                yield Given(item, base)
    except Exception as error:  # pyarrow and shapely raise whatever a bad file provokes
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        what = f"{origin} can't be read as stac-geoparquet ({reason})"
        yield Problem("parquet", what, "look at the file")


def _parents(metadata: dict[bytes, bytes]) -> Iterator[Parent]:
    """Collections that stac-geoparquet keeps in a file's metadata."""
    found = orjson.loads(metadata.get(b"stac-geoparquet", b"{}"))
    for document in (found.get("collection"), *(found.get("collections") or {}).values()):
        if isinstance(document, dict):
            yield Parent(document)
