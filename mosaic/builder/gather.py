"""Items as they come to a table: assets chosen, gaps filled from headers, doubts noted."""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
import shapely

from mosaic.builder.inputs import Found, Noted, Parent
from mosaic.builder.options import Options
from mosaic.builder.scan import asset as asset_of
from mosaic.builder.scan import band_fields, footprint
from mosaic.builder.spool import GEOMETRY
from mosaic.builder.trust import disagreements
from mosaic.catalog.facts import asset_for, bands_of, data_assets, sources
from mosaic.catalog.headers import Header
from mosaic.catalog.href import location, resolve
from mosaic.catalog.layout import MASK
from mosaic.catalog.reading import read_headers
from mosaic.catalog.sentinel2 import encoded
from mosaic.catalog.source import Band, Source, Told, holds
from mosaic.catalog.stac import TIMES, crs_fields, upgrade
from mosaic.catalog.table import Builder, utc
from mosaic.errors import HeaderError, Problem, UsageError
from mosaic.grid import Grids
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
            item = _sound(upgrade(one.item))
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


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_SHAPES = frozenset(
    "Point MultiPoint LineString MultiLineString Polygon MultiPolygon GeometryCollection".split()
)


def _sound(item: Json) -> Json:
    """An item whose own fields have the form that a table needs, times in RFC 3339.

    Raises :class:`~mosaic.errors.UsageError` for a field that can't be meant.
    """
    if not isinstance(item["id"], str) or not isinstance(item.get("collection"), str | None):
        raise UsageError("its id or collection is no text")
    box = item.get("bbox")
    if box is not None and not (
        isinstance(box, list)
        and len(box) in (4, 6)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in box)
    ):
        raise UsageError(f"its bbox {box!r:.80} isn't four or six finite numbers")
    properties: Json = item["properties"]
    _geometry_is_sound(item.get("geometry"), "geometry")
    for fields in (properties, *item["assets"].values()):
        if fields.get(GEOMETRY):
            _geometry_is_sound(fields[GEOMETRY], GEOMETRY)
    for field_ in TIMES:
        value = properties.get(field_)
        if value is None or (isinstance(value, str) and _RFC3339.fullmatch(value) and utc(value)):
            continue
        if not utc(value):
            raise UsageError(f"its {field_} {value!r:.80} is no time")
        properties[field_] = utc(value, "auto")  # the item was copied when it was upgraded
    if "\0" in item["id"]:
        raise UsageError("its id holds a zero byte")
    for key, asset in item["assets"].items():
        if "\0" in asset["href"]:
            raise UsageError(f"the href of its asset {key} holds a zero byte")
        if not isinstance(asset.get("roles") or [], list):
            raise UsageError(f"the roles of its asset {key} are no list")
    return item


def _is_plain(geometry: Any) -> bool:
    """Whether a geometry is one short closed ring, as most are: GEOS needn't look at it."""
    if not isinstance(geometry, dict) or geometry.get("type") != "Polygon":
        return False
    rings = geometry.get("coordinates")
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list):
        return False
    ring = rings[0]
    return 4 <= len(ring) <= 16 and ring[0] == ring[-1] and all(map(_is_place, ring))


def _is_place(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and isinstance(point[0], int | float)
        and isinstance(point[1], int | float)
        and abs(point[0]) <= 1e9
        and abs(point[1]) <= 1e9
    )


def _geometry_is_sound(geometry: Any, name: str) -> None:
    """Raises UsageError for what GEOS can't read as GeoJSON, or what has no points."""
    if not geometry or _is_plain(geometry):
        return
    try:
        found = shapely.from_geojson(orjson.dumps(geometry))
        if geometry["type"] in _SHAPES and not found.is_empty:
            return
    except (shapely.errors.GEOSException, TypeError, KeyError):
        pass
    raise UsageError(f"its {name} {geometry!r:.80} is no GeoJSON")


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
            if value is not None and not _alike(value, []):
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
                result.bad.append(_unread(source, header.problem))
                continue
            header = None
        if header is not None:
            result.disagreements += disagreements(source, header)
            source = _believed(source, header)
            known.setdefault(kind, source.bands or ())
            assets[key] = _with_header(assets[key], header)
        elif source.bands is None:
            if kind in known:
                source = replace(source, bands=_shared(known[kind]))
            elif options.dtype:
                source = replace(source, bands=bands_of(assets[key], options.dtype))
        filled = _with_nodata(source, options)
        if not filled.located or filled.bands is None:
            result.bad.append(_incomplete(filled))
            continue
        bands = encoded(item, key, filled.bands)
        whole.append(filled if bands is filled.bands else replace(filled, bands=bands))
        assets[key] = _complete(assets[key], filled, said)
    if whole:
        try:
            keep({**_placed(item, whole[0]), "assets": _absolute(assets, one.base)})
        except TypeError as error:  # what JSON can't hold, such as an integer above 64 bits
            what = f"can't be written ({error})"
            result.bad.append(Problem("item", what, "mend the item", item["id"]))
        else:
            result.undated += item["properties"].get("mosaic:datetime_from") == "file"
            result.builder.add(item, whole)


def _complete(asset: Json, source: Source, said: tuple[Band, ...] | None) -> Json:
    """An asset that tells its own grid and bands: those of its item, or found elsewhere.

    ``said``: the bands as the asset itself tells them.
    """
    grid = {
        **crs_fields(source.crs or ""),
        "proj:shape": list(source.shape or ()),
        "proj:transform": list(source.transform or ()),
    }
    asset = asset | {
        field: value for field, value in grid.items() if not _alike(asset.get(field), value)
    }
    found = source.bands or ()
    if said != found:
        bands = asset.get("bands") or []
        own = bands if len(bands) == len(found) else [{}] * len(found)
        asset["bands"] = [
            {**band_fields(band), **told} for band, told in zip(found, own, strict=True)
        ]
    return asset


def _alike(told: Any, value: Any) -> bool:
    """Whether a field has the form that it should: one text among the numbers of a million items
    would make texts of all in ``items.parquet``."""
    if not isinstance(value, list):
        return isinstance(told, type(value))
    return isinstance(told, list) and all(type(one) in (int, float) for one in told)


def _placed(item: Json, source: Source) -> Json:
    """An item with a geometry and a bbox: where it has none, those of its first asset."""
    if item.get("geometry") and item.get("bbox"):
        return item
    if source.crs is None or source.shape is None or source.transform is None:
        return item
    geometry, bbox = footprint(Grids.one(source.crs, source.shape, source.transform))
    return {**item, "geometry": item.get("geometry") or geometry, "bbox": item.get("bbox") or bbox}


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
                    told=found.told if scaled else said.told,
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


def _shared(bands: tuple[Band, ...]) -> tuple[Band, ...]:
    """Bands of one file for another whose item tells none."""
    return tuple(
        replace(band, told=Told.SHARED if band.told is not Told.NOTHING else Told.NOTHING)
        for band in bands
    )


def _with_nodata(source: Source, options: Options) -> Source:
    """``--nodata`` for bands that declare none; JPEG 2000 files can't declare theirs."""
    bands = source.bands
    if bands is None:
        return source
    if options.nodata is not None and any(band.nodata is None for band in bands):
        if not all(holds(band.dtype, options.nodata) for band in bands):
            kind = f"{bands[0].dtype} pixels of {source.asset}"
            raise UsageError(f"--nodata {options.nodata:g}: {kind} can't hold it")
        data = tuple(
            band
            if band.nodata is not None or band.color == "Alpha"
            else replace(band, nodata=options.nodata)
            for band in bands
        )
        return replace(source, bands=data, mask_nodata=True)
    rule = options.recipe.band(source.asset) if options.recipe else None
    undeclared = source.href.lower().endswith((".jp2", ".j2k")) or (rule and rule.undeclared)
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
    fields = ("proj:code", "proj:wkt2", "proj:shape", "proj:transform", "bands", MASK)
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
