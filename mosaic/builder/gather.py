"""Items as they come to a table: assets chosen, headers read where needed, doubts noted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from mosaic.builder.complete import (
    absolute,
    believed,
    complete,
    incomplete,
    placed,
    shared,
    unread,
    with_header,
    with_nodata,
)
from mosaic.builder.inputs import Found, Noted, Parent
from mosaic.builder.options import Options
from mosaic.builder.sound import alike, sound
from mosaic.builder.trust import disagreements
from mosaic.catalog.facts import asset_for, bands_of, data_assets, sources
from mosaic.catalog.headers import Header
from mosaic.catalog.href import location
from mosaic.catalog.reading import read_headers
from mosaic.catalog.sentinel2 import encoded
from mosaic.catalog.source import Band, Source
from mosaic.catalog.stac import upgrade
from mosaic.catalog.table import Builder
from mosaic.errors import HeaderError, Problem, UsageError
from mosaic.recipes.fill import filled, key_of

if TYPE_CHECKING:
    from mosaic.storage import Gate

Json = dict[str, Any]

_AT_ONCE = 1024
"""Items whose headers are read together."""


@dataclass(slots=True)
class Gathered:
    """What became of the items."""

    builder: Builder
    """Items and assets that can be indexed."""
    bad: list[Problem] = field(default_factory=list)
    """What can't be indexed."""
    disagreements: list[Problem] = field(default_factory=list)
    """Where headers contradict items."""
    notes: list[str] = field(default_factory=list)
    """What else was noticed."""
    doubles: str = ""
    """That of these which tells of items given twice."""
    headers_read: int = 0
    """Files opened."""
    parents: dict[str, Json] = field(default_factory=dict)
    """Collections that items were given with, by id."""
    available: dict[str, None] = field(default_factory=dict)
    """Names of assets and bands seen."""
    undated: int = 0
    """Rasters dated by their file's time."""
    given: int = 0
    """Items seen."""


@dataclass(slots=True)
class _Pending:
    item: Json
    base: str
    sources: list[Source]


def gather(
    given: Iterable[Found],
    options: Options,
    keep: Callable[[Json], None],
    progress: Callable[[int], None] = lambda count: None,
    gate: Gate | None = None,
) -> Gathered:
    """Reads all items; ``keep`` gets each indexed item as STAC 1.1 with absolute hrefs.

    ``gate``: what headers are read through, or found at hand in; None: this process's, and anew.
    """
    result = Gathered(Builder(options.sort))
    seen: dict[str, set[str]] = {}
    doubles: list[str] = []
    known: dict[tuple[str, str], tuple[Band, ...]] = {}
    stream = iter(given)
    with uncollected():
        while chunk := list(islice(stream, _AT_ONCE)):
            pending = [p for p in _prepared(chunk, options, result, seen, doubles) if p]
            headers = dict(_headers(pending, options, known, gate))
            result.headers_read += len(headers)
            for one in pending:
                _add(one, headers, known, options, result, keep)
            progress(result.given)
    if result.undated:
        result.notes.append(
            f"{result.undated} of {result.given} items tell no date in tags or name: "
            "their files' times are used"
        )
    if doubles:
        shown = ", ".join(doubles[:3]) + (", …" if len(doubles) > 3 else "")
        result.doubles = f"{len(doubles)} items were given twice, the first is kept: {shown}"
        result.notes.append(result.doubles)
    return result


@contextmanager
def uncollected() -> Iterator[None]:
    """Python's cycle collector at rest: items are trees, and looking for cycles among their
    parts takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _prepared(
    chunk: list[Found],
    options: Options,
    result: Gathered,
    seen: dict[str, set[str]],
    doubles: list[str],
) -> Iterator[_Pending | None]:
    for one in chunk:
        if isinstance(one, Problem):
            result.bad.append(one)
            continue
        if isinstance(one, Noted):
            result.notes.append(one.text)
            continue
        if isinstance(one, Parent):
            result.parents[str(one.collection.get("id"))] = one.collection
            continue
        result.given += 1
        name = _name(one.item) or f"number {result.given}"
        try:
            if not _name(one.item):
                raise UsageError("has no id")
            item = sound(upgrade(one.item))
            if options.recipe:
                item = filled(item, options.recipe)
            known = seen.setdefault(str(item.get("collection") or ""), set())
            if name in known:
                doubles.append(name)
                continue
            known.add(name)
            yield _chosen(item, one.base, options, result)
        except UsageError as error:
            result.bad.append(Problem("item", _brief(str(error)), "mend the item", name))
        except Exception as error:  # an item can be broken in any way; it must not end the build
            what = f"is no valid STAC item ({type(error).__name__}: {error})"
            result.bad.append(Problem("item", _brief(what), "mend the item", name))


def _brief(text: str) -> str:
    """A message that may quote any value, short enough to be read."""
    return text if len(text) <= 300 else f"{text[:299]}…"


def _name(item: Any) -> str:
    return str(item.get("id") or "") if isinstance(item, dict) else ""


def _chosen(item: Json, base: str, options: Options, result: Gathered) -> _Pending | None:
    name = str(item.get("id", ""))
    if options.bands:
        result.available.update(dict.fromkeys(item["assets"]))
        found = {band: _key(item, band, options) for band in options.bands}
        keys = {band: key for band, key in found.items() if key}
    else:
        keys = {key: key for key in data_assets(item)}
    if not keys:
        what = (
            f"has none of the assets {', '.join(options.bands)}"
            if options.bands
            else "has no asset that holds pixels"
        )
        advice = "choose others with --bands" if options.bands else "name one with --bands"
        result.bad.append(Problem("no-asset", what, advice, name))
        return None
    found_sources = list(sources(item, keys, base))
    for key in item["assets"].keys() - keys.values():
        for field_ in ("proj:shape", "proj:transform"):
            value = item["assets"][key].get(field_)
            if value is not None and not alike(value, []):
                raise UsageError(f"{field_} {value!r:.80} of its asset {key} is no list of numbers")
    for source in found_sources:
        if not source.href.startswith(("/", "https://", "s3://")):
            location(source.href)  # a scheme that GDAL can't read
    return _Pending(item, base, found_sources)


def _key(item: Json, band: str, options: Options) -> str | None:
    """Key of the asset that a band's name means: as the recipe says, else as the item says."""
    rule = options.recipe.band(band) if options.recipe else None
    return key_of(item, rule) if rule else asset_for(item, band)


def _headers(
    pending: list[_Pending],
    options: Options,
    known: dict[tuple[str, str], tuple[Band, ...]],
    gate: Gate | None,
) -> Iterator[tuple[str, Header | HeaderError]]:
    """The headers that are needed: all to verify, else of assets whose item tells too little.

    Assets that lack only their bands share those of the first such asset of their collection.
    """
    wanted: list[str] = []
    asked: set[tuple[str, str]] = set(known)
    for one in pending:
        scanned = "mosaic:datetime_from" in one.item["properties"]
        for source in one.sources:
            kind = (str(one.item.get("collection") or ""), source.asset)
            needed = not source.located or (options.verify and not scanned)
            if source.bands is None and not needed and options.dtype is None and kind not in asked:
                asked.add(kind)
                needed = True
            if needed:
                wanted.append(source.href)
    yield from read_headers(wanted, gate=gate, fresh=gate is None)


def _add(
    one: _Pending,
    headers: dict[str, Header | HeaderError],
    known: dict[tuple[str, str], tuple[Band, ...]],
    options: Options,
    result: Gathered,
    keep: Callable[[Json], None],
) -> None:
    item = one.item
    whole: list[Source] = []
    assets = dict(item["assets"])
    for source in one.sources:
        kind = (str(item.get("collection") or ""), source.asset)
        key = _key(item, source.asset, options) or source.asset
        said = source.bands
        header = headers.get(source.href)
        if isinstance(header, HeaderError):
            if not (source.located and options.dtype):
                result.bad.append(unread(source, header.problem))
                continue
            header = None
        if header is not None:
            result.disagreements += disagreements(source, header)
            source = believed(source, header)
            known.setdefault(kind, source.bands or ())
            assets[key] = with_header(assets[key], header)
        elif source.bands is None:
            if kind in known:
                source = replace(source, bands=shared(known[kind]))
            elif options.dtype:
                source = replace(source, bands=bands_of(assets[key], options.dtype))
        filled = with_nodata(source, options)
        if not filled.located or filled.bands is None:
            result.bad.append(incomplete(filled))
            continue
        bands = encoded(item, key, filled.bands)
        whole.append(filled if bands is filled.bands else replace(filled, bands=bands))
        assets[key] = complete(assets[key], filled, said)
    if whole:
        try:
            keep({**placed(item, whole[0]), "assets": absolute(assets, one.base)})
        except TypeError as error:  # what JSON can't hold, such as an integer above 64 bits
            what = f"can't be written ({error})"
            result.bad.append(Problem("item", what, "mend the item", item["id"]))
        else:
            result.undated += item["properties"].get("mosaic:datetime_from") == "file"
            result.builder.add(item, whole)
