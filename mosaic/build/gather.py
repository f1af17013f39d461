"""Items as they come to a table: assets chosen, gaps filled from headers, doubts noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from mosaic.build.inputs import Given
from mosaic.build.options import Options
from mosaic.build.scan import asset as asset_of
from mosaic.build.trust import disagreements
from mosaic.catalog.facts import asset_for, data_assets, sources
from mosaic.catalog.headers import Header, read_headers
from mosaic.catalog.href import resolve
from mosaic.catalog.source import Band, Source
from mosaic.catalog.stac import upgrade
from mosaic.catalog.table import Builder
from mosaic.errors import HeaderError, Problem, UsageError

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
    headers_read: int = 0
    """Files opened."""
    available: dict[str, None] = field(default_factory=dict)
    """Names of assets and bands seen."""
    given: int = 0
    """Items seen."""


@dataclass(slots=True)
class _Pending:
    item: Json
    base: str
    sources: list[Source]


def gather(
    given: Iterable[Given | Problem],
    options: Options,
    keep: Callable[[Json], None],
    progress: Callable[[int], None] = lambda count: None,
) -> Gathered:
    """Reads all items; ``keep`` gets each indexed item as STAC 1.1 with absolute hrefs."""
    result = Gathered(Builder(options.sort))
    seen: set[tuple[str, str]] = set()
    doubles: list[str] = []
    known: dict[tuple[str, str], tuple[Band, ...]] = {}
    stream = iter(given)
    while chunk := list(islice(stream, _AT_ONCE)):
        pending = [p for p in _prepared(chunk, options, result, seen, doubles) if p]
        headers = dict(_headers(pending, options, known))
        result.headers_read += len(headers)
        for one in pending:
            _add(one, headers, known, options, result, keep)
        progress(result.given)
    if doubles:
        shown = ", ".join(doubles[:3]) + (", …" if len(doubles) > 3 else "")
        result.notes.append(f"{len(doubles)} items were given twice, the first is kept: {shown}")
    return result


def _prepared(
    chunk: list[Given | Problem],
    options: Options,
    result: Gathered,
    seen: set[tuple[str, str]],
    doubles: list[str],
) -> Iterator[_Pending | None]:
    for one in chunk:
        if isinstance(one, Problem):
            result.bad.append(one)
            continue
        result.given += 1
        name = str(one.item.get("id", "")) if isinstance(one.item, dict) else ""
        try:
            item = upgrade(one.item)
            key = (str(item.get("collection") or ""), name)
            if key in seen:
                doubles.append(name)
                continue
            seen.add(key)
            yield _chosen(item, one.base, options, result)
        except UsageError as error:
            result.bad.append(Problem("item", str(error), "mend the item", name))
        except Exception as error:  # an item can be broken in any way; it must not end the build
            what = f"is no valid STAC item ({type(error).__name__}: {error})"
            result.bad.append(Problem("item", what[:300], "mend the item", name))


def _chosen(item: Json, base: str, options: Options, result: Gathered) -> _Pending | None:
    name = str(item.get("id", ""))
    if options.bands:
        result.available.update(dict.fromkeys(item["assets"]))
        found = {band: asset_for(item, band) for band in options.bands}
        keys = {band: key for band, key in found.items() if key}
    else:
        keys = {key: key for key in data_assets(item)}
    if not keys:
        what = (
            f"has none of the assets {', '.join(options.bands)}"
            if options.bands
            else "has no asset that holds pixels"
        )
        result.bad.append(Problem("no-asset", what, "choose others with --bands", name))
        return None
    return _Pending(item, base, list(sources(item, keys, base)))


def _headers(
    pending: list[_Pending], options: Options, known: dict[tuple[str, str], tuple[Band, ...]]
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
    yield from read_headers(wanted)


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
        header = headers.get(source.href)
        if isinstance(header, HeaderError):
            if not (source.located and options.dtype):
                result.bad.append(_unread(source, header.problem))
                continue
            header = None
        if header is not None:
            result.disagreements += disagreements(source, header)
            source = _believed(source, header)
            known.setdefault(kind, source.bands or ())
            key = asset_for(item, source.asset) or source.asset
            assets[key] = _with_header(assets[key], header)
        elif source.bands is None:
            if kind in known:
                source = replace(source, bands=known[kind])
            elif options.dtype:
                source = replace(source, bands=(Band(options.dtype, source.asset),))
        filled = _with_nodata(source, options)
        if not filled.located or filled.bands is None:
            result.bad.append(_incomplete(filled))
            continue
        whole.append(filled)
    if whole:
        result.builder.add(item, whole)
        keep({**item, "assets": _absolute(assets, one.base)})


def _absolute(assets: dict[str, Json], base: str) -> dict[str, Json]:
    return {key: {**asset, "href": resolve(asset["href"], base)} for key, asset in assets.items()}


def _unread(source: Source, problem: Problem) -> Problem:
    advice = problem.advice
    if source.located:
        advice = "its item tells no data type: give --dtype, or make the file readable"
    return Problem(
        problem.kind, problem.what, advice, source.item, source.asset, problem.href or source.href
    )


def _believed(source: Source, header: Header) -> Source:
    """A source with what its file says; the item's nodata and names stay where it has none."""
    bands = header.bands
    masked = False
    if source.bands is not None and len(source.bands) == len(bands):
        merged = []
        for said, found in zip(source.bands, bands, strict=True):
            nodata = found.nodata
            if nodata is None and said.nodata is not None and not header.masked:
                nodata, masked = said.nodata, True
            scaled = (found.scale, found.offset) != (1.0, 0.0)
            merged.append(
                replace(
                    found,
                    name=said.name or found.name,
                    nodata=nodata,
                    scale=found.scale if scaled else said.scale,
                    offset=found.offset if scaled else said.offset,
                    unit=said.unit or found.unit,
                    color=found.color or said.color,
                )
            )
        bands = tuple(merged)
    return replace(
        source,
        crs=header.crs,
        shape=header.shape,
        transform=header.transform,
        bands=bands,
        mask_nodata=masked,
    )


def _with_nodata(source: Source, options: Options) -> Source:
    """``--nodata`` for bands that declare none; JPEG 2000 files can't declare theirs."""
    bands = source.bands
    if bands is None:
        return source
    if options.nodata is not None and any(band.nodata is None for band in bands):
        data = tuple(
            band
            if band.nodata is not None or band.color == "Alpha"
            else replace(band, nodata=options.nodata)
            for band in bands
        )
        return replace(source, bands=data, mask_nodata=True)
    undeclared = source.href.lower().endswith((".jp2", ".j2k"))
    if undeclared and any(band.nodata is not None for band in bands):
        return replace(source, mask_nodata=True)
    return source


def _with_header(asset: Json, header: Header) -> Json:
    """An asset that says what its file says; what only the item knows stays."""
    told = asset_of(header)
    kept = {
        key: value
        for key, value in asset.items()
        if key not in ("proj:code", "proj:wkt2", "proj:projjson", "proj:bbox", "proj:geometry")
    }
    bands = asset.get("bands") or []
    if len(bands) == len(told["bands"]):
        told["bands"] = [
            {**said, **found} for said, found in zip(bands, told["bands"], strict=True)
        ]
    fields = ("proj:code", "proj:wkt2", "proj:shape", "proj:transform", "bands")
    return kept | {field: told[field] for field in fields if field in told}


def _incomplete(source: Source) -> Problem:
    missing = [
        name
        for name, value in (
            ("CRS (proj:code)", source.crs),
            ("proj:shape", source.shape),
            ("proj:transform", source.transform),
            ("data type (bands)", source.bands),
        )
        if value is None
    ]
    return Problem(
        "incomplete",
        f"the item tells no {', no '.join(missing)}",
        "give --dtype" if source.located else "make the file readable",
        source.item,
        source.asset,
        source.href,
    )
