"""Sources and assets made complete: by their files' headers, by options, by their items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mosaic.builder.options import Options
from mosaic.builder.scan import asset as asset_of
from mosaic.builder.scan import band_fields, footprint
from mosaic.builder.sound import alike
from mosaic.catalog.headers import Header
from mosaic.catalog.href import resolve
from mosaic.catalog.layout import MASK
from mosaic.catalog.source import Band, Source, Told, holds
from mosaic.catalog.stac import crs_fields
from mosaic.errors import Problem, UsageError
from mosaic.grid import Grids

Json = dict[str, Any]


def believed(source: Source, header: Header) -> Source:
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


def shared(bands: tuple[Band, ...]) -> tuple[Band, ...]:
    """Bands of one file for another whose item tells none."""
    return tuple(
        replace(band, told=Told.SHARED if band.told is not Told.NOTHING else Told.NOTHING)
        for band in bands
    )


def with_nodata(source: Source, options: Options) -> Source:
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


def with_header(asset: Json, header: Header) -> Json:
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


def complete(asset: Json, source: Source, said: tuple[Band, ...] | None) -> Json:
    """An asset that tells its own grid and bands: those of its item, or found elsewhere.

    ``said``: the bands as the asset itself tells them.
    """
    grid = {
        **crs_fields(source.crs or ""),
        "proj:shape": list(source.shape or ()),
        "proj:transform": list(source.transform or ()),
    }
    asset = asset | {
        field: value for field, value in grid.items() if not alike(asset.get(field), value)
    }
    found = source.bands or ()
    if said != found:
        bands = asset.get("bands") or []
        own = bands if len(bands) == len(found) else [{}] * len(found)
        asset["bands"] = [
            {**band_fields(band), **told} for band, told in zip(found, own, strict=True)
        ]
    return asset


def placed(item: Json, source: Source) -> Json:
    """An item with a geometry and a bbox: where it has none, those of its first asset."""
    if item.get("geometry") and item.get("bbox"):
        return item
    if source.crs is None or source.shape is None or source.transform is None:
        return item
    geometry, bbox = footprint(Grids.one(source.crs, source.shape, source.transform))
    return {**item, "geometry": item.get("geometry") or geometry, "bbox": item.get("bbox") or bbox}


def absolute(assets: dict[str, Json], base: str) -> dict[str, Json]:
    """Assets whose hrefs don't depend on where their item lies."""
    return {key: {**asset, "href": resolve(asset["href"], base)} for key, asset in assets.items()}


def unread(source: Source, problem: Problem) -> Problem:
    """What is told of a source whose file can't be read."""
    advice = problem.advice
    if source.located:
        advice = "its item tells no data type: give --dtype, or make the file readable"
    return Problem(
        problem.kind, problem.what, advice, source.item, source.asset, problem.href or source.href
    )


def incomplete(source: Source) -> Problem:
    """What is told of a source of which something isn't known in the end."""
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
