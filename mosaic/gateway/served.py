"""A mosaic as a gateway holds it: what it has, and which files may be read for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.catalog.folder import Folder, ParquetColumns
from mosaic.catalog.href import location, resolve
from mosaic.catalog.layout import COLLECTION, ITEMS, MASK
from mosaic.catalog.opened import Opened, open_mosaic
from mosaic.errors import CatalogError, StorageError
from mosaic.gateway.members import Members
from mosaic.storage import Gate
from mosaic.storage.address import Places, address, host_of
from mosaic.storage.signers import places_from_env

_BATCH = 1 << 16
_AZURE = ("az://", "abfs://", "abfss://")


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One served mosaic, as it lay on disk when it was loaded."""

    name: str
    """Under which it is served."""
    folder: Path
    """Where it lies."""
    stamp: tuple[int, ...]
    """What tells this build of it from another."""
    document: dict[str, Any] = field(repr=False)
    """Its collection."""
    opened: Opened = field(repr=False)
    """Its items by columns."""
    files: frozenset[str]
    """Names of its own files, relative to its folder."""
    members: Members
    """hrefs of its assets, and of masks beside them."""
    hosts: frozenset[str]
    """Hosts, with their ports, that these hrefs name."""
    azure: dict[str, str]
    """hrefs on Azure by GDAL's name for them, which doesn't tell the storage account."""


def stamp_of(folder: Path) -> tuple[int, ...]:
    """What changes whenever a mosaic is built anew. Raises CatalogError when it is gone."""
    try:
        told = (folder / COLLECTION).stat()
    except OSError as error:
        raise CatalogError(f"{folder} can't be read any more ({error.strerror})") from error
    return told.st_ino, told.st_mtime_ns, told.st_size


def load(name: str, folder: Path, gate: Gate) -> Served:
    """A mosaic, opened to be served.

    Raises :class:`~mosaic.errors.CatalogError` when it can't be read, or when the gate has no way
    to the files of its bands.
    """
    try:
        return _loaded(name, folder, gate)
    except CatalogError:
        raise
    except Exception as error:  # of a spoiled mosaic, which mustn't take others along
        why = f"isn't as it was built ({type(error).__name__}: {error})"
        raise CatalogError(f"{folder} {why}: build the mosaic again") from error


def _loaded(name: str, folder: Path, gate: Gate) -> Served:
    place = Folder.at(folder, gate)
    try:
        stamp = stamp_of(folder)
    except CatalogError:
        place.collection()  # it says so where there never was a mosaic
        raise
    document, columns = place.collection(), place.columns(ITEMS)
    files = _files(document, folder)
    opened = open_mosaic(place, None, document, columns)
    needed = {key for asset in opened.assets.values() for key in asset.keys}
    hosts: set[str] = set()
    azure: dict[str, str] = {}
    members = Members(_hrefs(columns, folder, needed, hosts, azure))
    return Served(name, folder, stamp, document, opened, files, members, frozenset(hosts), azure)


def _files(document: dict[str, Any], folder: Path) -> frozenset[str]:
    """A mosaic's own files. Raises CatalogError where not all is told that the gateway tells."""
    try:
        _, _, _, _ = map(float, document["extent"]["spatial"]["bbox"][0])
        _ = document["mosaic:items"]
        return frozenset(map(str, document["mosaic:files"]))
    except (LookupError, TypeError, ValueError) as error:
        why = f"isn't as it was built ({type(error).__name__}): build the mosaic again"
        raise CatalogError(f"{folder / COLLECTION} {why}") from error


def _hrefs(
    columns: ParquetColumns,
    folder: Path,
    needed: set[str],
    hosts: set[str],
    azure: dict[str, str],
) -> Iterator[str]:
    """Every href of every asset, and of the masks beside them; ``hosts`` and ``azure`` fill."""
    places, seen = places_from_env(), set[str]()
    for key in columns.fields("assets"):
        if not columns.has(f"assets.{key}.href"):
            continue
        kept = columns.read(f"assets.{key}.href")
        beside = f"assets.{key}.{MASK}"
        masks = columns.read(beside) if columns.has(beside) else None
        for start in range(0, len(kept), _BATCH):
            batch = kept[start : start + _BATCH].to_pylist()
            here = masks[start : start + _BATCH].to_pylist() if masks is not None else batch
            for text, mask in zip(batch, here, strict=True):
                if text is None:
                    continue
                href = resolve(text, str(folder))
                root = "/".join(href.split("/", 3)[:3]) if "://" in href else href[:4]
                if root not in seen:
                    if not _known(href, places, hosts, key in needed, folder):
                        continue
                    seen.add(root)
                if href.startswith(_AZURE):
                    azure[location(href)] = href
                yield href
                if mask is True:
                    yield f"{href}.msk"


def _known(href: str, places: Places, hosts: set[str], needed: bool, folder: Path) -> bool:
    """Whether the gate has a way to such an href; its host is then among ``hosts``."""
    why = "no transport for GDAL's own file systems" if href.startswith("/vsi") else ""
    try:
        host = host_of(address(href, places).url) if not why else ""
    except StorageError as error:
        why = error.what
    if why and needed:
        raise CatalogError(f"{folder}: {href.split('?')[0]} can't be served: {why}")
    if not why and host:
        hosts.add(host)
    return not why


def rows_by_location(served: Served, asset: str) -> dict[str, int]:
    """Rows of an asset by the location that its tile index has of them."""
    one = served.opened.assets[asset]
    hrefs = served.opened.hrefs(one, np.arange(len(one.item), dtype=np.int64))
    inside = f"{served.folder}/"
    return {location(href.removeprefix(inside)): row for row, href in enumerate(hrefs)}
