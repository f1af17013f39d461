"""Files that GDAL reads for the engine: JPEG 2000, NetCDF, Zarr, VRT, rare TIFFs, and others.

GDAL runs in a process of its own, and remote files reach it through the gate's loopback, under the
limits of everything else. What it tells of a file is a header like a TIFF's; its pixels come block
by block, so that waves, budget and warp are the same for both.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.bridge import pooled
from mosaic.engine.formats import ZARR, is_archive, is_hdf5, is_vrt, is_zarr, names_others
from mosaic.engine.gdal_process import Died, Hung, Refused, gdal_process
from mosaic.engine.gdal_worker import Name, Told
from mosaic.engine.raster import Raster
from mosaic.engine.vrt_sources import LONGEST, rewritten
from mosaic.errors import ForeignError, MissingError, StorageError
from mosaic.storage import Gate
from mosaic.storage.loopback import Loopback

Array = npt.NDArray[Any]

SIDE = 256
"""Rows and columns that a block has at least, if the raster has as many."""
LARGE = 1 << 22
"""Pixels of GDAL's own blocks, above which they are read in parts."""
HUGE = 1 << 30
"""Bytes of one of GDAL's own blocks, above which a file isn't read."""
_STRIP = 1 << 18
_PART = 1024
_LOOPBACK = re.compile(r"(/vsicurl/)?http://127\.0\.0\.1:\d+/[\w-]+/")


@dataclass(frozen=True, slots=True)
class ForeignPlane:
    """Pixels as GDAL gives them: bands apart, in blocks that suit the file's own."""

    shape: tuple[int, int]
    """Height and width."""
    samples: int
    """Bands."""
    dtype: np.dtype[Any]
    """Type of a sample."""
    block: tuple[int, int]
    """Height and width of a block."""
    href: str
    """Where the file lies."""
    separate: bool = True
    """Each band is read by itself."""
    depth: int = 1
    """Samples of a pixel in one block."""


@dataclass(frozen=True, slots=True)
class ForeignLevel:
    """A raster at one resolution."""

    image: ForeignPlane
    """Its pixels."""
    mask: ForeignPlane | None
    """Its mask."""


@dataclass(frozen=True, slots=True)
class ForeignPlace:
    """Where it lies."""

    transform: tuple[float, ...] | None
    """Affine a, b, c, d, e, f, or None."""
    crs: str | None
    """WKT, or None."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A header as GDAL tells it."""

    name: Name
    """What GDAL opens."""
    href: str
    """Where the file lies."""
    sources: tuple[str, ...]
    """Hrefs of what is read besides: a VRT's sources."""
    levels: tuple[ForeignLevel, ...]
    """Full resolution, then overviews from fine to coarse."""
    geo: ForeignPlace
    """Where it lies on Earth."""
    alpha: int | None
    """Place of the band that is alpha, or None."""
    nodata: tuple[float | None, ...]
    """Of each band."""

    @property
    def raster(self) -> Raster:
        """What the engine asks of it."""
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.levels[0].image.shape

    def nodata_of(self, band: int) -> float | None:
        """The value of a band that means no data, or None."""
        return self.nodata[band] if band < len(self.nodata) else None


def described(told: Told, name: Name, href: str, sources: tuple[str, ...]) -> Foreign:
    """GDAL's word on a file as a header. Raises ForeignError for what can't be shown."""
    if told.problem:
        raise ForeignError(told.problem, href=href, advice="convert it")
    if told.driver == "netCDF" and told.transform is None:
        # GDAL turns some of these upside down, by guess
        what = "a NetCDF that doesn't tell where it lies: nor which of its rows is the first"
        raise ForeignError(what, href=href, advice="give it in a VRT, or convert it")
    dtype = np.dtype(told.dtypes[0])
    count = len(told.dtypes)
    levels = []
    for shape, own in zip(told.shapes, told.blocks, strict=True):
        size = own[0] * own[1] * dtype.itemsize
        if size > HUGE:
            what = f"one of its blocks holds {size} bytes"
            raise ForeignError(what, href=href, advice="convert it to a tiled GeoTIFF")
        block = block_of(own, shape)
        image = ForeignPlane(shape, count, dtype, block, href)
        mask = ForeignPlane(shape, 1, np.dtype(np.uint8), block, href)
        levels.append(ForeignLevel(image, mask if told.masked else None))
    place = ForeignPlace(told.transform, told.crs)
    return Foreign(name, href, sources, tuple(levels), place, told.alpha, told.nodata)


def block_of(own: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width in which a raster of GDAL's own blocks is read.

    Whole ones; several where they are small, parts where they are large.
    """
    rows, columns = min(own[0], shape[0]), min(own[1], shape[1])
    if rows * columns > LARGE:
        return min(rows, _PART), min(columns, _PART)
    rows *= max(1, min(SIDE // rows, _STRIP // (rows * columns)))
    columns *= max(1, min(SIDE // columns, _STRIP // (rows * columns)))
    return rows, columns


class Desk:
    """Where one request has GDAL open and read files. Lives on the background loop."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._loopback: Loopback | None = None
        self._names: set[Name] = set()

    async def open(self, href: str, first: bytes, driver: str = "") -> Foreign:
        """The header of a file that begins with ``first``.

        Raises ForeignError where GDAL can't read it or mustn't, StorageError where storage fails.
        """
        if is_hdf5(first):  # by name, GDAL might take another driver, which turns rows round
            driver = "netCDF"
        remote = "://" in href
        sources: tuple[str, ...] = ()
        if is_vrt(first):
            text = await self._text(href)
            await self._served()
            made = await pooled(lambda: rewritten(text, href, self._named))
            name, sources = Name(href, made.text, "VRT", beside=not remote), made.sources
        elif remote and names_others(first, href):
            what = "a text that may name other files, which GDAL would open past mosaic's limits"
            raise ForeignError(what, href=href, advice="give what it names, or a VRT")
        elif remote:
            await self._served()
            own = self._named(href)
            zarr = is_zarr(href)
            name = Name(f'ZARR:"{own}"' if zarr else own, driver="Zarr" if zarr else driver)
        else:
            name = Name(href, driver=driver, beside=True)
        self._names.add(name)
        told = await self._ask(name, href, sources, "told", name)
        return described(told, name, href, sources)

    async def read(
        self, file: Foreign, level: int, row: int, column: int, bands: tuple[int, ...], mask: bool
    ) -> list[Array]:
        """(height, width, 1) of one block in some bands, and of the mask behind them.

        Raises what :meth:`open` does.
        """
        image = file.levels[level].image
        (rows, columns), (height, width) = image.block, image.shape
        r0, c0 = row * rows, column * columns
        window = (r0, c0, min(r0 + rows, height), min(c0 + columns, width))
        found = await self._ask(
            file.name, file.href, file.sources, "pixels", file.name, level, window, bands, mask
        )
        blocks = [part.astype(image.dtype, copy=False) for part in found[: len(bands)]]
        return [one[..., None] for one in (*blocks, *found[len(bands) :])]

    async def close(self) -> None:
        """Close files and the loopback."""
        if self._names:
            gdal_process().tell("forget", frozenset(self._names))
        loopback, self._loopback = self._loopback, None
        if loopback is not None:
            await asyncio.to_thread(loopback.close)

    async def _ask(
        self, name: Name, href: str, sources: tuple[str, ...], verb: str, *arguments: Any
    ) -> Any:
        patience = self.gate.settings.retry.deadline
        mark = self._failures(href, sources)
        failed: ForeignError | None = None
        found: Any = None
        try:
            found = await gdal_process().ask(
                verb, *arguments, patience=patience, active=self._active
            )
        except Refused as error:
            failed = refusal(str(error), name, href)
        except Died:
            what = "GDAL's process ended while it read this file"
            failed = ForeignError(what, href=href, advice="mend the file or leave it out")
        except Hung:
            what = f"GDAL didn't answer in {patience:g} seconds while it read this file"
            failed = ForeignError(what, href=href, advice="mend the file, or raise MOSAIC_DEADLINE")
        # GDAL tells a status at most, and takes a chunk that can't be had for one that isn't there
        known = self._failures(href, sources)
        if not failed:
            parts = sources or is_zarr(href)
            whole = [one for one in (href, *sources) if not is_zarr(one)]
            known = {
                one: error
                for one, error in known.items()
                if parts
                and error is not mark.get(one)
                and (one in whole or not isinstance(error, MissingError))
            }
        if known:
            raise list(known.values())[-1].again() from failed
        if failed:
            raise failed
        return found

    def _active(self) -> object:
        return self._loopback.served if self._loopback else 0

    def _failures(self, href: str, sources: tuple[str, ...]) -> dict[str, StorageError]:
        return self._loopback.failures((href, *sources)) if self._loopback else {}

    async def _served(self) -> None:
        if self._loopback is None:
            self._loopback = Loopback(self.gate, sidecars=ZARR, refuse=names_others)
        # it waits for the loop; whoever comes while another starts it waits, too
        await asyncio.to_thread(self._loopback.start)

    def _named(self, href: str) -> str:
        """What GDAL opens for an href: a file of this machine, or the loopback's URL."""
        if "://" not in href:
            return href
        assert self._loopback is not None
        return f"/vsicurl/{self._loopback.url(href)}"

    async def _text(self, href: str) -> bytes:
        """A whole VRT."""
        if "://" not in href and is_archive(href):
            raise ForeignError("a VRT in an archive", href=href, advice="unpack it")
        if "://" in href:
            data = await self.gate.get_range_async(href, start=0, length=LONGEST + 1)
            return bytes(data)
        try:
            return await pooled(lambda: Path(href).read_bytes()[: LONGEST + 1])
        except OSError as error:
            what = f"can't be read ({error.strerror})"
            raise ForeignError(what, href=href, advice="check the path") from error


def refusal(text: str, name: Name, href: str) -> ForeignError:
    """GDAL's message as an error that says what to do."""
    if "not recognized" in text or "No such driver" in text:
        what = "no driver of rasterio's GDAL knows its format"
        return ForeignError(what, href=href, advice="convert it to a GeoTIFF")
    if "://" in href and name.driver == "netCDF":
        advice = (
            "fetch the file first if it is sound: over HTTP, GDAL's NetCDF driver must be let "
            "handle page faults (sysctl vm.unprivileged_userfaultfd=1)"
        )
    else:
        advice = "mend it or leave it out"
    return ForeignError(f"GDAL can't read it ({plain(text, name)})", href=href, advice=advice)


def plain(text: str, name: Name) -> str:
    """GDAL's message in one line, without the loopback's URL and its key."""
    bare = _LOOPBACK.sub("", text.replace(name.name, "")).strip(" :'`\n")
    return bare.partition("\n")[0][:200]
