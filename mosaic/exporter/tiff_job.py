"""The process in which GDAL packs windows and writes COGs: rasterio keeps Python's lock.

Spoken to as :mod:`mosaic.engine.gdal_worker` is. It ends with who started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.io import MemoryFile

from mosaic.engine.answering import answer_requests
from mosaic.exporter.pixels import Array, crc_of
from mosaic.files import saved

CACHE = 64
"""Megabytes of blocks that GDAL keeps."""
OPEN = 16
"""Files of windows that a VRT keeps open; each holds a tile of all bands."""
_DIE_WITH_PARENT = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What GDAL says of a COG."""

    layout: str
    """``COG`` where tiles and overviews lie as a COG's do."""
    shape: tuple[int, int]
    """Rows and columns."""
    crs: str
    """WKT, or empty."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f."""
    dtypes: tuple[str, ...]
    """Of each band."""
    nodata: tuple[float | None, ...]
    """Of each band."""
    names: tuple[str | None, ...]
    """Description of each band."""
    scales: tuple[float, ...]
    """Of each band."""
    offsets: tuple[float, ...]
    """Of each band."""
    units: tuple[str | None, ...]
    """Of each band."""
    block: tuple[int, int]
    """Rows and columns of a tile."""
    overviews: tuple[int, ...]
    """Factors."""
    compress: str
    """GDAL's name, or empty."""


def pack(path: str, bands: Array, block: int) -> int:
    """Write one window as a GeoTIFF that appears whole; bytes of the file."""
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": bands.dtype.name,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "interleave": "pixel",
        "compress": "zstd",
        "zstd_level": 1,
        "predictor": 3 if bands.dtype.kind == "f" else 2,
        "bigtiff": "if_safer",
    }
    # in memory first: GDAL tells nobody of a disk that is full when it closes a file
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(bands)
        data = memory.getbuffer()
        saved(Path(path), data)
        return len(data)


def cog(source: str, out: str, options: dict[str, str]) -> None:
    """Copy a raster as a COG."""
    rasterio.shutil.copy(source, out, driver="COG", **options)


def told(crs: str) -> str:
    """The CRS that a GeoTIFF tells which was given one, as WKT; empty for none."""
    size = {"count": 1, "height": 1, "width": 1, "dtype": "uint8"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=crs, transform=Affine.scale(2), **size):
            pass
        with memory.open() as file:
            return file.crs.to_wkt() if file.crs else ""


def facts(path: str) -> Facts:
    """What a COG says of itself."""
    with _opened(path) as file:
        return Facts(
            file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT", ""),
            (file.height, file.width),
            file.crs.to_wkt() if file.crs else "",
            tuple(file.transform)[:6],
            tuple(file.dtypes),
            tuple(file.nodatavals),
            tuple(file.descriptions),
            tuple(file.scales),
            tuple(file.offsets),
            tuple(file.units),
            tuple(file.block_shapes[0]),
            tuple(file.overviews(1)),
            file.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", ""),
        )


def checked(path: str, places: Sequence[tuple[int, int, int, int]]) -> list[int]:
    """CRC-32 of windows: first row and column, rows and columns."""
    found = []
    with _opened(path) as file:
        for row, column, height, width in places:
            part = ((row, row + height), (column, column + width))
            found.append(crc_of(file.read(window=part)))
    return found


def decoded(path: str, factor: int, level: int) -> None:
    """Read an overview, tile by tile. Raises for one that can't be decoded, or of another size."""
    with _opened(path) as whole:
        full = whole.shape
    with _opened(path, overview_level=level) as file:
        if any(abs(a / factor - b) > 1 for a, b in zip(full, file.shape, strict=True)):
            raise ValueError(f"an overview of {file.shape} of {full}, not by {factor}")
        for _, window in file.block_windows(1):
            file.read(window=window)


def _opened(path: str, **options: Any) -> Any:
    return rasterio.open(path, driver="GTiff", sharing=False, **options)


def work() -> None:
    """Answer requests until standard input ends."""
    with contextlib.suppress(AttributeError):  # Linux alone; elsewhere the end of input tells
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.environ["GDAL_MAX_DATASET_POOL_SIZE"] = str(OPEN)
    verbs = {one.__name__: one for one in (told, pack, cog, facts, checked, decoded)}

    def called(verb: str, arguments: tuple[Any, ...]) -> Any:
        # what a file can't say itself would lie beside it, where nobody finds it
        with rasterio.Env(
            GDAL_CACHEMAX=CACHE, GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"
        ):
            return verbs[verb](*arguments)

    answer_requests(called, threads=1)
