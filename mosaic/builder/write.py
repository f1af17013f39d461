"""The files of a mosaic, written into the folder in which it is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import stac_geoparquet.arrow
from affine import Affine

from mosaic.builder.even import even
from mosaic.builder.options import SLICES, Options
from mosaic.builder.tiles import Frame
from mosaic.catalog.gti import Index, index_xml
from mosaic.catalog.href import relative, unsigned
from mosaic.catalog.layout import (
    CATALOG,
    COLLECTION,
    ITEMS,
    MARK,
    PREVIEW,
    VRT,
    index_name,
    slice_name,
    stack_name,
)
from mosaic.catalog.source import has_code
from mosaic.catalog.stac import PROJECTION, VERSION, crs_fields
from mosaic.catalog.table import Table
from mosaic.catalog.vrt import stack
from mosaic.errors import CatalogError, UsageError
from mosaic.outline import lonlat_union
from mosaic.version import __version__

Json = dict[str, Any]

GTI_MEDIA = "application/geopackage+sqlite3"
COG_MEDIA = "image/tiff; application=geotiff; profile=cloud-optimized"
PARQUET_MEDIA = "application/vnd.apache.parquet"


class Spool:
    """Items on their way to Parquet, as lines of a file, so that none stays in memory."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._stream = path.open("wb")
        self.count = 0

    def keep(self, item: Json) -> None:
        """One item with absolute hrefs; those inside the mosaic's folder become relative."""
        assets = {
            key: {**asset, "href": relative(asset["href"], self._folder)}
            for key, asset in item["assets"].items()
        }
        links = [link for link in item["links"] if link.get("rel") in _KEPT_LINKS]
        kept = {**item, "assets": assets, "links": links}
        line = orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)
        if b"://" in line and (b"?" in line or b"@" in line):
            # alternate assets and links carry signatures too
            line = orjson.dumps(_unsigned(kept), option=orjson.OPT_APPEND_NEWLINE)
        self._stream.write(line)
        self.count += 1

    def close(self) -> None:
        """Flushes the file; an error of the disk shows here at the latest."""
        self._stream.close()


_KEPT_LINKS = frozenset(("via", "canonical", "derived_from", "license", "about", "cite-as"))
"""Relations that stay true outside the API an item came from."""


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def _unsigned(value: Any) -> Any:
    """A JSON value in which no URL carries a secret."""
    if isinstance(value, str):
        return _URL.sub(lambda found: unsigned(found[0]), value) if "://" in value else value
    if isinstance(value, dict):
        return {key: _unsigned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unsigned(inner) for inner in value]
    return value


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


def write_items(folder: Path, one: Spool, collection: Json, lines: npt.NDArray[Any]) -> list[str]:
    """``items.parquet``: stac-geoparquet 1.1 with the collection in its metadata.

    ``lines``: positions, in the spool, of the items that are in the mosaic. Returns the fields
    that had to become text, because items differ in their kind. Raises
    :class:`~mosaic.errors.CatalogError` when the items make no table all the same.
    """
    one.close()
    source = folder / ".items.ndjson"
    if len(lines) < one.count:
        kept = set(lines.tolist())
        some = folder / ".some.ndjson"
        with source.open("rb") as given, some.open("wb") as out:
            out.writelines(line for number, line in enumerate(given) if number in kept)
        some.replace(source)
    try:
        _to_parquet(source, folder / ITEMS, collection)
        return []
    except OSError:
        raise
    except Exception:  # pyarrow and stac-geoparquet raise whatever an odd field provokes
        evened = folder / ".even.ndjson"
        fields = even(source, evened)
    try:
        _to_parquet(evened, folder / ITEMS, collection)
    except OSError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0][:200]
        raise CatalogError(f"{ITEMS}: the items make no table ({reason})") from error
    evened.unlink()
    return fields


def _to_parquet(source: Path, target: Path, collection: Json) -> None:
    stac_geoparquet.arrow.parse_stac_ndjson_to_parquet(
        source,
        target,
        chunk_size=8192,
        collections={collection["id"]: collection},
        compression="zstd",
    )


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the time axis."""

    label: str
    """Such as ``2025-06``."""
    where: str
    """SQL condition on the index."""


def time_slices(table: Table, kind: str) -> list[Slice]:
    """The slices that hold items, in order; times are UTC."""
    length = SLICES[kind]
    if not length:
        return []
    labels = sorted({time[:length] for time in table.datetime if time})
    return [
        # '~' sorts after every character of a time
        Slice(label, f"datetime >= '{label}' AND datetime < '{label}~'")
        for label in labels
    ]


def write_slices(folder: Path, target: Path, index: Index, slices: list[Slice]) -> list[str]:
    """One ``.gti`` a slice; it names the index by an absolute path (``mosaic relocate``)."""
    names = []
    for one in slices:
        name = slice_name(index.asset, one.label)
        path = folder / name
        dataset = str(target / index_name(index.asset))
        path.write_text(index_xml(index, dataset, one.where), encoding="utf-8")
        names.append(name)
    return names


def write_stack(folder: Path, members: tuple[str, ...], indexes: dict[str, Index]) -> str:
    """A VRT of single-band indexes.

    Raises :class:`~mosaic.errors.UsageError` for a member that isn't indexed or has several
    bands.
    """
    parts = []
    for member in members:
        if member not in indexes:
            raise UsageError(f"--stack: no index {member}; there are {', '.join(indexes)}")
        index = indexes[member]
        if len(index.bands) != 1:
            raise UsageError(f"--stack: {member} has {len(index.bands)} bands, not one")
        parts.append((index_name(member), member, index.bands[0]))
    first = indexes[members[0]]
    name = stack_name(members)
    text = stack(parts, first.crs, (first.grid.height, first.grid.width), first.grid.affine)
    (folder / name).write_text(text, encoding="utf-8")
    return name


def collection(
    name: str,
    table: Table,
    frame: Frame,
    options: Options,
    indexes: dict[str, Index],
    stacks: list[str],
    slices: dict[str, list[str]],
) -> Json:
    """The STAC collection: extent, and every file of the mosaic as an asset."""
    times = sorted(time for time in table.datetime if time)
    height, width = frame.grid.shape
    scenes = source_crs(table)
    where = {
        **crs_fields(frame.crs),
        "proj:shape": [height, width],
        "proj:transform": list(frame.grid.affine)[:6],
    }
    assets: Json = {
        "geoparquet-items": {
            "href": f"./{ITEMS}",
            "type": PARQUET_MEDIA,
            "title": "Items (stac-geoparquet)",
            "roles": ["stac-items"],
        },
        "mosaic-preview": {
            "href": f"./{PREVIEW}",
            "type": "image/png",
            "title": "Footprints by CRS",
            "roles": ["overview"],
        },
    }
    for asset, index in indexes.items():
        assets[asset] = {
            "href": f"./{index_name(asset)}",
            "type": GTI_MEDIA,
            "title": f"{asset}: GDAL raster tile index",
            "roles": ["tile-index"],
            **where,
            "mosaic:resampling": index.resampling,
        }
        if index.overview:
            factor = index.overview.factor
            assets[f"{asset} overview"] = {
                "href": f"./{index.overview.file}",
                "type": COG_MEDIA,
                "title": f"{asset}: the whole at 1/{factor}",
                "roles": ["overview"],
                **where,
                "proj:shape": [height // factor, width // factor],
                "proj:transform": list(frame.grid.affine @ Affine.scale(factor))[:6],
            }
        for path in slices.get(asset, ()):
            label = path.rpartition("_")[2].removesuffix(".gti")
            assets[f"{asset} {label}"] = {
                "href": f"./{path}",
                "type": "application/xml",
                "title": f"{asset} in {label}: GDAL raster tile index",
                "roles": ["tile-index", "slice"],
            }
    for path in stacks:
        assets[path.removesuffix(".vrt")] = {
            "href": f"./{path}",
            "type": "application/xml",
            "title": f"Stack of {path.removesuffix('.vrt').replace('_', ', ')}",
            "roles": ["tile-index", "stack"],
            **where,
        }
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [PROJECTION],
        "id": name,
        "title": name,
        "description": f"Virtual mosaic of {len(table.id)} items made by mosaic {__version__}",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [list(lonlat_union(table.lonlat))]},
            "temporal": {"interval": [[times[0], times[-1]] if times else [None, None]]},
        },
        "links": [
            {"rel": "root", "href": f"./{CATALOG}", "type": "application/json"},
            {"rel": "parent", "href": f"./{CATALOG}", "type": "application/json"},
        ],
        "assets": assets,
        "summaries": {"proj:code": sorted(crs for crs, _ in scenes if has_code(crs))},
        MARK: {"crs": frame.crs, "shape": [height, width], "transform": where["proj:transform"]},
        "mosaic:assets": list(indexes),
        "mosaic:items": len(table.id),
        "mosaic:sort": ("+" if options.ascending else "-") + options.sort,
        "mosaic:source_crs": scenes,
        "mosaic:version": __version__,
    }


def source_crs(table: Table) -> list[list[Any]]:
    """[CRS, items] of the scenes, most frequent first."""
    used = table.grids.crs_index[table.first_grid()]
    counts = np.bincount(used, minlength=len(table.grids.crs))
    return [
        [table.grids.crs[i], int(counts[i])]
        for i in np.argsort(-counts, kind="stable")
        if counts[i]
    ]


def write_stac(folder: Path, document: Json) -> None:
    """``catalog.json`` and, last of all, ``collection.json`` with the list of all files."""
    title = document["title"]
    catalog = {
        "type": "Catalog",
        "stac_version": VERSION,
        "id": f"{document['id']}-catalog",
        "title": title,
        "description": document["description"],
        "links": [
            {"rel": "root", "href": f"./{CATALOG}", "type": "application/json"},
            {
                "rel": "child",
                "href": f"./{COLLECTION}",
                "type": "application/json",
                "title": title,
            },
        ],
    }
    (folder / CATALOG).write_bytes(_pretty(catalog))
    files = {asset["href"].removeprefix("./") for asset in document["assets"].values()}
    files |= {CATALOG, COLLECTION}
    files |= {path.relative_to(folder).as_posix() for path in (folder / VRT).rglob("*.vrt")}
    (folder / COLLECTION).write_bytes(_pretty({**document, "mosaic:files": sorted(files)}))


def _pretty(document: Json) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
