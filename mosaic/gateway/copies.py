"""A mosaic's files with locations led to the gateway, made when first asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mosaic import bridge
from mosaic.catalog.gti import LAYER
from mosaic.catalog.href import is_remote, resolve
from mosaic.catalog.layout import COLLECTION, ITEM_FILES, ITEMS
from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.vrt import Tile, recoded
from mosaic.errors import CatalogError
from mosaic.gateway.locations import WEB_MAP_LINKS, Site
from mosaic.gateway.served import Served, rows_by_location
from mosaic.gateway.standins import marked

_ROWS = 10_000


class Copies:
    """Copies in a folder of the gateway's own, one of each file of each build of a mosaic."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, tuple[int, ...], str], asyncio.Task[Path]] = {}
        self._stamps: dict[str, list[tuple[int, ...]]] = {}
        self._count = 0

    async def get(self, served: Served, site: Site, file: str) -> Path:
        """The copy of one of a mosaic's own files. Raises CatalogError."""
        self._sweep(served)
        key = (served.name, served.stamp, file)
        task = self._made.get(key)
        if task is None or _is_spent(task):
            self._count += 1
            target = self._folder / f"{self._count}" / Path(file).name
            work = bridge.pooled(lambda: made(served, site, file, target))
            task = self._made[key] = asyncio.create_task(work)
        return await asyncio.shield(task)

    def _sweep(self, served: Served) -> None:
        """Forget the copies of builds before the last one: that may still be read."""
        stamps = self._stamps.setdefault(served.name, [])
        if served.stamp in stamps:
            return
        stamps.append(served.stamp)
        old = [key for key in self._made if key[0] == served.name and key[1] not in stamps[-2:]]
        for task in [self._made.pop(key) for key in old]:
            if task.done() and not task.cancelled() and not task.exception():
                task.result().unlink(missing_ok=True)
        del stamps[:-2]


def _is_spent(task: asyncio.Task[Path]) -> bool:
    """Whether a copy couldn't be made, or is gone: old temporary files are cleared away."""
    if not task.done():
        return False
    return task.cancelled() or task.exception() is not None or not task.result().exists()


def made(served: Served, site: Site, file: str, target: Path) -> Path:
    """Writes a file of a mosaic as it is served. Raises CatalogError."""
    source = served.folder / file
    try:
        with contextlib.ExitStack() as undo:  # half of one would keep a full disk full
            undo.callback(shutil.rmtree, target.parent, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            _maker(file)(served, site, source, target)
            undo.pop_all()
    except CatalogError:
        raise
    except Exception as error:  # a spoiled file is no fault of whoever asks for it
        raise CatalogError(f"{source} can't be served ({type(error).__name__}: {error})") from error
    return target


def _maker(file: str) -> Callable[[Served, Site, Path, Path], None]:
    if file.endswith(".gti.gpkg"):
        return _index
    if file.endswith((".vrt", ".gti")):
        return _text
    if file == ITEMS:
        return _items
    if file.startswith(f"{ITEM_FILES}/") and file.endswith(".json"):
        return _item
    if file == COLLECTION:
        return _collection
    return _as_it_is


def _as_it_is(served: Served, site: Site, source: Path, target: Path) -> None:
    # a link where it can be: what is served stays, should the mosaic be built anew meanwhile
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _text(served: Served, site: Site, source: Path, target: Path) -> None:
    text = source.read_text("utf-8")
    is_vrt = source.suffix == ".vrt"
    new = site.vrt(text, str(source.parent)) if is_vrt else site.slice(text)
    target.write_text(new, "utf-8")


def _collection(served: Served, site: Site, source: Path, target: Path) -> None:
    document = orjson.loads(source.read_bytes())
    document["links"] += site.links(plain_colours(served))
    document["stac_extensions"] = [*document.get("stac_extensions", []), WEB_MAP_LINKS]
    target.write_bytes(orjson.dumps(document))


def plain_colours(served: Served) -> bool:
    """Whether tiles show a mosaic without being told which numbers are darkest and brightest."""
    every = [band for asset in served.opened.assets.values() for band in asset.bands]
    return all(band.dtype == "uint8" for band in every)


def _item(served: Served, site: Site, source: Path, target: Path) -> None:
    document = orjson.loads(source.read_bytes())
    for asset in document["assets"].values():
        asset["href"] = _led(site, asset["href"], str(source.parent))
    target.write_bytes(orjson.dumps(document))


def _led(site: Site, href: str, base: str) -> str:
    """An href of an item: what is relative stays so, as a URL's path has it."""
    absolute = is_remote(href) or href.startswith("/")
    return site.url(resolve(href, base)) if absolute else quote(href, safe="/")


def _index(served: Served, site: Site, source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    told = served.document["assets"]
    asset = next(name for name in told if told[name]["href"] == f"./{source.name}")
    rows = rows_by_location(served, asset)
    with contextlib.closing(sqlite3.connect(target)) as database, database:
        # GDAL's triggers keep the spatial index and want its functions; no footprint changes here
        kept = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (LAYER,)
        ).fetchall()
        for name, _ in kept:
            database.execute(f'DROP TRIGGER "{name}"')
        found = database.execute(f"SELECT fid, location FROM {LAYER}")
        while some := found.fetchmany(_ROWS):
            led = [(_tile(served, asset, rows, site, where), fid) for fid, where in some]
            database.executemany(f"UPDATE {LAYER} SET location = ? WHERE fid = ?", led)
        for _, sql in kept:
            database.execute(sql)


def _tile(served: Served, asset: str, rows: dict[str, int], site: Site, where: str) -> str:
    """The location of a tile: a VRT where it may be one, else one that tells the tile's grid.

    For a tile that won't open GDAL 3.10 shows an image of zeros, and exits 0; a VRT always opens,
    and one whose file can't be read fails.
    """
    new = site.location(where, site.folder)
    row = rows.get(where)
    if row is None:
        return new
    one = served.opened.assets[asset]
    variant = int(one.variant[row])
    bands = one.variants[variant].bands if variant >= 0 else ()
    if not bands:
        return new
    grids = one.grids
    height, width = grids.shape[row].tolist()
    tile = Tile(
        new,
        False,
        grids.crs[int(grids.crs_index[row])],
        (height, width),
        tuple(grids.transform[row].tolist()),
        bands,
    )
    if any(band.nodata is None for band in bands):
        return marked(tile)  # a VRT would have to tell of its mask, and hide no tile below it
    return recoded(tile, tuple(Recoding(nodata_out=band.nodata) for band in bands))


def _items(served: Served, site: Site, source: Path, target: Path) -> None:
    file = pq.ParquetFile(source)
    schema = file.schema_arrow
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group)
            place = schema.get_field_index("assets")
            assets = table.column(place).combine_chunks()
            led = _assets(assets, site)
            writer.write_table(table.set_column(place, schema.field(place), led))


def _assets(assets: Any, site: Site) -> pa.StructArray:
    """The struct of items' assets with its hrefs led to the gateway."""
    if isinstance(assets, pa.ChunkedArray):
        assets = pa.concat_arrays(assets.chunks)
    keys = []
    for place, field in enumerate(assets.type):
        asset = assets.field(place)
        names = [inner.name for inner in field.type]
        parts = [asset.field(inner) for inner in range(len(names))]
        if "href" in names:
            at = names.index("href")
            texts = parts[at].to_pylist()
            new = [None if text is None else _led(site, text, site.folder) for text in texts]
            parts[at] = pa.array(new, parts[at].type)
        keys.append(
            pa.StructArray.from_arrays(parts, fields=list(field.type), mask=asset.is_null())
        )
    return pa.StructArray.from_arrays(keys, fields=list(assets.type), mask=assets.is_null())
