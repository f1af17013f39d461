"""The process in which GDAL opens and reads what the engine doesn't parse itself.

Several requests are answered at once, each by a handle of its own. It knows no storage: names are
files of this machine, or URLs of the gate's loopback.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from mosaic.engine.answering import answer_requests

THREADS = 8
"""Requests that are served at once."""
HANDLES = 32
"""Files that stay open at most."""


@dataclass(frozen=True, slots=True)
class Name:
    """What GDAL is to open."""

    name: str
    """A path, or a ``/vsicurl/`` name of the loopback."""
    text: bytes = b""
    """XML of a VRT that is opened in its stead."""
    driver: str = ""
    """GDAL's driver, or empty: any."""
    beside: bool = False
    """Whether GDAL may look for files beside it, such as overviews and masks."""


@dataclass(frozen=True, slots=True)
class Told:
    """What GDAL says of a file."""

    driver: str
    """GDAL's driver."""
    shapes: tuple[tuple[int, int], ...]
    """Height and width of the raster and its overviews, from fine to coarse."""
    blocks: tuple[tuple[int, int], ...]
    """Height and width of GDAL's own blocks in each."""
    dtypes: tuple[str, ...]
    """numpy's data type of each band."""
    nodata: tuple[float | None, ...]
    """Of each band."""
    masked: bool
    """Whether it has a mask, besides nodata and alpha."""
    alpha: int | None
    """Place of the band that is alpha, or None."""
    transform: tuple[float, ...] | None
    """Affine a, b, c, d, e, f, or None."""
    crs: str | None
    """WKT, or None."""
    problem: str = ""
    """Why it can't be read all the same, or empty."""


class _Handles:
    """Open files, each used by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, tuple[tuple[Name, int], Any]] = OrderedDict()
        self._count = 0

    def take(self, name: Name, level: int) -> Any:
        """A handle of a file, or of one of its overviews."""
        with self._lock:
            for number, (key, handle) in reversed(self._idle.items()):
                if key == (name, level):
                    del self._idle[number]
                    return handle
        return _opened(name, level)

    def give(self, name: Name, level: int, handle: Any) -> None:
        """Keep a handle for the next that wants it."""
        with self._lock:
            self._count += 1
            self._idle[self._count] = (name, level), handle
            old = [self._idle.popitem(last=False)] if len(self._idle) > HANDLES else []
        for _, (_, other) in old:
            other.close()

    def forget(self, names: frozenset[Name]) -> None:
        """Close what isn't asked for any more."""
        with self._lock:
            old = [number for number, ((name, _), _) in self._idle.items() if name in names]
            closed = [self._idle.pop(number)[1] for number in old]
        for handle in closed:
            handle.close()


def _opened(name: Name, level: int) -> Any:
    import rasterio
    from rasterio.io import MemoryFile

    options = {"overview_level": level - 1} if level else {}
    if name.text:
        return MemoryFile(name.text, ext=".vrt").open(driver="VRT", **options)
    return rasterio.open(name.name, driver=name.driver or None, sharing=False, **options)


def told(handles: _Handles, name: Name) -> Told:
    """What a file says of itself."""
    from rasterio.enums import ColorInterp, MaskFlags

    handle = handles.take(name, 0)
    try:
        if not handle.count:
            inner = [one.split("/")[-1] for one in handle.subdatasets[:1]]
            what = f"a container of {len(handle.subdatasets)} rasters {inner}, not a raster"
            raise ValueError(what)
        flags = [set(one) for one in handle.mask_flag_enums]
        alpha = [at for at, one in enumerate(handle.colorinterp) if one == ColorInterp.alpha]
        problem = ""
        masked = False
        if not alpha:
            masked = any(MaskFlags.per_dataset in one for one in flags)
            own = [not one for one in flags]
            if any(own):
                masked = len(own) == 1
                problem = "" if masked else "bands have masks of their own"
        shapes, blocks = [(handle.height, handle.width)], [handle.block_shapes[0]]
        dtypes = tuple(map(str, handle.dtypes))
        if any("complex" in one for one in dtypes):
            problem = f"it holds complex numbers ({dtypes[0]}), which can't be shown"
        if len(set(dtypes)) > 1:
            problem = f"its bands are of different types ({', '.join(dtypes)})"
        for level in range(1, len(handle.overviews(1)) + 1):
            one = handles.take(name, level)
            shapes.append((one.height, one.width))
            blocks.append(one.block_shapes[0])
            handles.give(name, level, one)
        return Told(
            driver=handle.driver,
            shapes=tuple(shapes),
            blocks=tuple(blocks),
            dtypes=dtypes,
            nodata=tuple(handle.nodatavals),
            masked=masked,
            alpha=alpha[0] if alpha else None,
            transform=None if handle.transform.is_identity else tuple(handle.transform)[:6],
            crs=handle.crs.to_wkt() if handle.crs else None,
            problem=problem,
        )
    finally:
        handles.give(name, 0, handle)


def pixels(
    handles: _Handles,
    name: Name,
    level: int,
    window: tuple[int, int, int, int],
    bands: tuple[int, ...],
    mask: bool,
) -> list[Any]:
    """(height, width) pixels of bands, and of the mask behind them where it is asked for.

    ``window``: first row and column, last row and column + 1, in pixels of the overview.
    """
    r0, c0, r1, c1 = window
    part = ((r0, r1), (c0, c1))
    handle = handles.take(name, level)
    try:
        found = list(handle.read([band + 1 for band in bands], window=part)) if bands else []
        if mask:
            found.append(handle.read_masks(1, window=part))
    except BaseException:
        handle.close()  # what it holds may be half read
        raise
    handles.give(name, level, handle)
    return found


def work() -> None:
    """Answer requests until standard input ends."""
    handles = _Handles()
    verbs = {"told": told, "pixels": pixels}

    def called(verb: str, arguments: tuple[Any, ...]) -> Any:
        import rasterio

        beside = "FALSE" if arguments[0].beside else "EMPTY_DIR"
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=beside):
            return verbs[verb](handles, *arguments)  # type: ignore[operator]

    answer_requests(called, THREADS, {"forget": handles.forget})
