"""What a user gives, as items: rasters, folders, globs, lists, STAC in every shape."""

from __future__ import annotations

import glob
import gzip
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow.parquet as pq
import stac_geoparquet.arrow

from mosaic.build.scan import scan
from mosaic.catalog.facts import RASTER_SUFFIXES
from mosaic.catalog.href import resolve
from mosaic.catalog.layout import is_mosaic
from mosaic.errors import InputError, NoItemsError, Problem, UsageError

Json = dict[str, Any]
Source = str | os.PathLike[str] | Json

_JSON = (".json", ".geojson", ".stac")
_LINES = (".ndjson", ".jsonl", ".geojsonl", ".geojsons")
_PARQUET = (".parquet", ".geoparquet", ".pq")
_SIDE_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_SCENES_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Given:
    """One item as it was given."""

    item: Json
    """The item, of any STAC version."""
    base: str
    """Folder or URL against which its relative hrefs are read."""


@dataclass(slots=True)
class _Seen:
    """What was read already, so that a file reached twice counts once."""

    documents: set[str] = field(default_factory=set)
    rasters: dict[str, None] = field(default_factory=dict)


def items(sources: Iterable[Source], stdin: IO[bytes] | None = None) -> Iterator[Given | Problem]:
    """Items from everything that was given, STAC as it is read, rasters after it.

    A Problem stands for a file that can't be read. Raises
    :class:`~mosaic.errors.NoItemsError` for a path or pattern that matches nothing and
    :class:`~mosaic.errors.InputError` for a document that is no STAC.
    """
    seen = _Seen()
    for source in sources:
        if isinstance(source, dict):
            yield from _document(source, str(Path.cwd()), "item", seen)
        elif str(source) == "-":
            yield from _listed(stdin or sys.stdin.buffer, seen)
        else:
            yield from _path(os.fspath(source), seen)
    rasters = list(seen.rasters)
    for start in range(0, len(rasters), _SCENES_AT_ONCE):
        for found in scan(rasters[start : start + _SCENES_AT_ONCE]):
            yield found if isinstance(found, Problem) else Given(found, "/")


def _listed(stream: IO[bytes], seen: _Seen) -> Iterator[Given | Problem]:
    """Paths, or items as NDJSON or one JSON document, from standard input."""
    first = stream.readline()
    if first.lstrip()[:1] in (b"{", b"["):
        text = first + stream.read()
        yield from _lines_or_document(text, str(Path.cwd()), "standard input", seen)
        return
    for line in (first, *stream):
        name = line.decode().strip()
        if name:
            yield from _path(name, seen)


def _path(name: str, seen: _Seen) -> Iterator[Given | Problem]:
    if "://" in name or name.startswith("/vsi"):
        if name.lower().split("?")[0].endswith((*_JSON, *_LINES, *_PARQUET)):
            raise UsageError(f"{name}: STAC documents are read from files; download it first")
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
            raise NoItemsError([Problem("no-match", f"{name} matches no file", "check it")])
        for match in matches:
            if Path(match).is_file():
                yield from _file(Path(match), seen, globbed=True)
    else:
        raise NoItemsError(
            [Problem("missing", f"{name}: no such file or folder", "check the path")]
        )


def _folder(path: Path, seen: _Seen) -> Iterator[Given | Problem]:
    for name in ("catalog.json", "collection.json"):
        if (path / name).is_file() and not is_mosaic(path):
            yield from _file(path / name, seen)
            return
    for folder, subfolders, names in os.walk(path):
        here = Path(folder)
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name != "vrt"
        )
        if here != path and is_mosaic(here):
            subfolders.clear()
            continue
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            if suffix in RASTER_SUFFIXES and suffix not in _SIDE_PICTURES:
                seen.rasters[str((here / name).absolute())] = None
    if is_mosaic(path):
        # a mosaic's own rasters lie in its subfolders; its previews and stacks are not scenes
        for name in list(seen.rasters):
            if Path(name).parent == path.absolute() and name.endswith(".vrt"):
                del seen.rasters[name]


def _file(path: Path, seen: _Seen, globbed: bool = False) -> Iterator[Given | Problem]:
    name = path.name.lower().removesuffix(".gz")
    absolute = str(path.absolute())
    if not name.endswith((*_JSON, *_LINES, *_PARQUET)):
        seen.rasters[absolute] = None
        return
    real = str(path.resolve())
    if real in seen.documents:
        return
    seen.documents.add(real)
    base = str(path.absolute().parent)
    if name.endswith(_PARQUET):
        yield from _parquet(path, base)
    elif name.endswith(_LINES):
        with _opened(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield from _document(
                        _loads(line, f"{path} line {number}"), base, str(path), seen
                    )
    else:
        with _opened(path) as stream:
            text = stream.read()
        yield from _lines_or_document(text, base, str(path), seen, globbed)


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines_or_document(
    text: bytes, base: str, origin: str, seen: _Seen, globbed: bool = False
) -> Iterator[Given | Problem]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        lines = text.splitlines()
        if len(lines) < 2 or not lines[0].rstrip().endswith(b"}"):
            _loads(text, origin)
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield from _document(_loads(line, f"{origin} line {number}"), base, origin, seen)
        return
    yield from _document(document, base, origin, seen, globbed)


def _loads(text: bytes, origin: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        start = text.lstrip()[:15].lower()
        what = "is HTML, not JSON" if start.startswith((b"<!doctype", b"<html")) else "is no JSON"
        raise InputError(
            [Problem("json", f"{origin} {what} ({error})", "look at what the server sent")]
        ) from error


def _document(
    document: Any, base: str, origin: str, seen: _Seen, globbed: bool = False
) -> Iterator[Given | Problem]:
    """Items of a STAC document: an Item, an ItemCollection, a list, a Catalog's links."""
    if isinstance(document, list):
        for part in document:
            yield from _document(part, base, origin, seen)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "Feature":
        yield Given(document, base)
    elif kind == "FeatureCollection" or (kind is None and _has_features(document)):
        for feature in document["features"]:
            yield Given(feature, base)
    elif kind in ("Catalog", "Collection") or (kind is None and _has_links(document)):
        if not globbed:  # a pattern names the items themselves
            yield from _links(document, base, seen)
    else:
        raise InputError(
            [
                Problem(
                    "not-stac",
                    f"{origin} holds no STAC item, ItemCollection, Catalog or Collection",
                    "give STAC items or raster files",
                )
            ]
        )


def _has_features(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("features"), list)


def _has_links(document: Any) -> bool:
    return isinstance(document, dict) and "stac_version" in document and "links" in document


def _links(document: Json, base: str, seen: _Seen) -> Iterator[Given | Problem]:
    for link in document.get("links") or ():
        if link.get("rel") not in ("item", "child") or not isinstance(link.get("href"), str):
            continue
        target = resolve(link["href"], base)
        if "://" in target:
            yield Problem("remote", f"link to {target}", "download that part first")
        elif not Path(target).is_file():
            yield Problem("missing", f"the catalog links to {target}, which isn't there")
        else:
            yield from _file(Path(target), seen)


def _parquet(path: Path, base: str) -> Iterator[Given | Problem]:
    try:
        parquet = pq.ParquetFile(path)
    except Exception as error:
        raise InputError(
            [Problem("parquet", f"{path} can't be read as Parquet ({error})", "look at the file")]
        ) from error
    names = set(parquet.schema_arrow.names)
    if not {"id", "assets", "geometry"} <= names:
        raise InputError(
            [
                Problem(
                    "not-stac",
                    f"{path} lacks the columns id, assets and geometry of stac-geoparquet",
                    "give stac-geoparquet",
                )
            ]
        )
    for batch in parquet.iter_batches(4096):
        for item in stac_geoparquet.arrow.stac_table_to_items(batch):
            yield Given(item, base)
