"""The STAC collection of a mosaic: what its items share, every file of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import orjson
from affine import Affine

from mosaic.builder.frame import Frame
from mosaic.builder.options import Options
from mosaic.builder.scan import band_fields
from mosaic.catalog.gti import Index
from mosaic.catalog.layout import (
    CATALOG,
    ITEMS,
    MARK,
    PREVIEW,
    index_name,
)
from mosaic.catalog.source import has_code
from mosaic.catalog.stac import VERSION, crs_fields, extensions
from mosaic.catalog.table import Table
from mosaic.outline import lonlat_union
from mosaic.version import __version__

Json = dict[str, Any]

GTI_MEDIA = "application/geopackage+sqlite3"
COG_MEDIA = "image/tiff; application=geotiff; profile=cloud-optimized"
PARQUET_MEDIA = "application/vnd.apache.parquet"
_MOST_VALUES = 50
"""Values of a property that a summary lists."""
_PARENT_LINKS = ("license", "cite-as", "about")
"""Links of the items' own collections that are true of the mosaic too."""


def collection(
    name: str,
    table: Table,
    parents: Mapping[str, Json],
    frame: Frame,
    options: Options,
    indexes: dict[str, Index],
    stacks: list[str],
    slices: dict[str, list[str]],
) -> Json:
    """The STAC collection: what the items share, their extent, every file of the mosaic.

    ``parents``: collections that items were given with, by id; what they say of licence and
    providers is carried over for those that have items in the mosaic.
    """
    times = sorted(time for time in table.datetime if time)
    height, width = frame.grid.shape
    scenes = source_crs(table)
    traits = table.shared()
    origins = _values(traits, "collection")
    known = [parents[origin] for origin in origins if origin in parents]
    where = {
        **crs_fields(frame.crs),
        "proj:shape": [height, width],
        "proj:transform": list(frame.grid.affine)[:6],
    }
    assets = {**own_assets(), **index_assets(options, indexes, stacks, slices, where)}
    common = item_assets(indexes, known)
    summaries = _summaries(table, traits, scenes)
    told: Json = {
        "keywords": list(dict.fromkeys(chain(*(one.get("keywords") or () for one in known)))),
        "providers": _providers([*known, *traits]),
    }
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": extensions([], summaries, [*assets.values(), *common.values()]),
        "id": name,
        "title": name,
        "description": description(len(table.id), origins, known),
        "license": _license([*known, *traits]),
        "extent": {
            "spatial": {"bbox": [list(lonlat_union(table.lonlat))]},
            "temporal": {"interval": [[times[0], times[-1]] if times else [None, None]]},
        },
        "links": [
            {"rel": "root", "href": f"./{CATALOG}", "type": "application/json"},
            {"rel": "parent", "href": f"./{CATALOG}", "type": "application/json"},
            *_parent_links(known),
        ],
        **{field: values for field, values in told.items() if values},
        "item_assets": common,
        "assets": assets,
        "summaries": summaries,
        MARK: {"crs": frame.crs, "shape": [height, width], "transform": where["proj:transform"]},
        "mosaic:assets": list(indexes),
        "mosaic:items": len(table.id),
        "mosaic:raw": options.raw,
        "mosaic:options": {
            "bbox": options.bbox and list(options.bbox),
            "dtype": options.dtype,
            "item_files": options.item_files,
            "nodata": options.nodata,
            "slices": options.slices,
            "stacks": [list(members) for members in options.stacks],
        },
        "mosaic:sort": ("+" if options.ascending else "-") + options.sort,
        "mosaic:source_crs": scenes,
        "mosaic:version": __version__,
    }


def description(count: int, origins: list[str], known: list[Json]) -> str:
    titles = {one["id"]: one.get("title") or one["id"] for one in known}
    named = ", ".join(titles.get(origin, origin) for origin in origins)
    return f"Virtual mosaic of {count} items{named and f' of {named}'} made by mosaic {__version__}"


def _values(traits: list[Json], field: str) -> list[Any]:
    """Distinct values of a field, members of lists apart, in order."""
    found: dict[bytes, Any] = {}
    for one in traits:
        value = one.get(field)
        for part in value if isinstance(value, list) else [value]:
            if part is not None:
                found[orjson.dumps(part)] = part
    return [found[key] for key in sorted(found)]


def _license(parts: list[Json]) -> str:
    licenses = {str(one["license"]) for one in parts if one.get("license")}
    return licenses.pop() if len(licenses) == 1 else "other"


def _providers(parts: list[Json]) -> list[Json]:
    """Providers by name; who is named twice has the roles of both."""
    found: dict[str, Json] = {}
    for provider in chain(*(one.get("providers") or () for one in parts)):
        if isinstance(provider, dict) and provider.get("name"):
            other = found.setdefault(provider["name"], dict(provider))
            roles = [*(other.get("roles") or ()), *(provider.get("roles") or ())]
            if roles:
                other["roles"] = list(dict.fromkeys(roles))
    return list(found.values())


def _parent_links(known: list[Json]) -> list[Json]:
    links = {
        (link["rel"], link["href"]): link
        for one in known
        for link in one.get("links") or ()
        if isinstance(link, dict)
        and link.get("rel") in _PARENT_LINKS
        and str(link.get("href")).startswith(("http://", "https://"))
    }
    return list(links.values())


def _summaries(table: Table, traits: list[Json], scenes: list[list[Any]]) -> Json:
    found: Json = {"proj:code": sorted(crs for crs, _ in scenes if has_code(crs))}
    for field in ("platform", "constellation", "mission", "instruments", "gsd", "processing:level"):
        values = _values(traits, field)
        if 0 < len(values) <= _MOST_VALUES:
            found[field] = values
    clouds = table.cloud_cover[~np.isnan(table.cloud_cover)]
    if len(clouds):
        found["eo:cloud_cover"] = {"minimum": float(clouds.min()), "maximum": float(clouds.max())}
    return {field: values for field, values in found.items() if values}


def item_assets(indexes: dict[str, Index], known: list[Json]) -> Json:
    """What the items' assets have in common, as the index declares it."""
    found: Json = {}
    for asset, index in indexes.items():
        said: Json = next(
            (
                one["item_assets"][asset]
                for one in known
                if isinstance((one.get("item_assets") or {}).get(asset), dict)
            ),
            {},
        )
        told = {field: said[field] for field in ("title", "description", "type") if field in said}
        bands = [
            # scale and offset are each item's own
            {k: v for k, v in band_fields(band).items() if not k.startswith("raster:")}
            for band in index.bands
        ]
        found[asset] = {**told, "roles": said.get("roles") or ["data"], "bands": bands}
    return found


def own_assets() -> Json:
    return {
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


def index_assets(
    options: Options,
    indexes: dict[str, Index],
    stacks: list[str],
    slices: dict[str, list[str]],
    where: Json,
) -> Json:
    assets: Json = {}
    for asset, index in indexes.items():
        assets[asset] = {
            "href": f"./{index_name(asset)}",
            "type": GTI_MEDIA,
            "title": f"{asset}: GDAL raster tile index",
            "roles": ["tile-index"],
            **where,
            "bands": _declared(index),
            "mosaic:resampling": index.resampling,
        }
        if index.overview:
            factor = index.overview.factor
            height, width = index.grid.shape
            assets[f"{asset} overview"] = {
                "href": f"./{index.overview.file}",
                "type": COG_MEDIA,
                "title": f"{asset}: the whole at 1/{factor}",
                "roles": ["overview"],
                **where,
                "proj:shape": [height // factor, width // factor],
                "proj:transform": list(index.grid.affine @ Affine.scale(factor))[:6],
                "bands": _declared(index),
            }
        for path in slices.get(asset, ()):
            label = path.rpartition("_")[2].removesuffix(".gti")
            assets[f"{asset} {label}"] = {
                "href": f"./{path}",
                "type": "application/xml",
                "title": f"{asset} in {label}: GDAL raster tile index",
                "roles": ["tile-index", "slice"],
            }
    for path, members in zip(stacks, options.stacks, strict=True):
        assets[path.removesuffix(".vrt")] = {
            "href": f"./{path}",
            "type": "application/xml",
            "title": f"Stack of {path.removesuffix('.vrt').replace('_', ', ')}",
            "roles": ["tile-index", "stack"],
            **where,
            "bands": [band for name in members for band in _declared(indexes[name])],
        }
    return assets


def _declared(index: Index) -> list[Json]:
    """The bands of an index, as its XML declares them."""
    single = len(index.bands) == 1
    names = [
        band.name or (index.asset if single else f"{index.asset}.{place}")
        for place, band in enumerate(index.bands, 1)
    ]
    return [
        band_fields(replace(band, name=name, color=""))
        for band, name in zip(index.bands, names, strict=True)
    ]


def source_crs(table: Table) -> list[list[Any]]:
    """[CRS, items] of the scenes, most frequent first."""
    used = table.grids.crs_index[table.first_grid()]
    counts = np.bincount(used, minlength=len(table.grids.crs))
    return [
        [table.grids.crs[i], int(counts[i])]
        for i in np.argsort(-counts, kind="stable")
        if counts[i]
    ]
