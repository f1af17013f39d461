"""A file's header through the gate, and whether it is where its item says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine

from mosaic.engine.lattice import Grid, Lattice
from mosaic.engine.raster import Raster
from mosaic.engine.scene import Scene
from mosaic.engine.tiff import Chunks, Tiff, parse
from mosaic.errors import Problem, SourceMismatchError, TiffError, UsageError
from mosaic.grid import canonical, project
from mosaic.storage import Gate, Meta
from mosaic.storage.ranges import Span

FIRST = 16 << 10
"""Bytes that are read of a file first: they hold the header of most."""
SHIFT = 0.5
"""Pixels by which a file may lie elsewhere than its item says."""
_ROUNDS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A file's header."""

    tiff: Tiff
    """What it says."""
    chunks: Chunks
    """The bytes that are at hand."""
    meta: Meta | None
    """The version they come from; blocks must be of the same."""
    spans: tuple[Span, ...]
    """What was asked for."""
    beside: Head | None = None
    """The header of its masks, where these lie in a file beside it (``.msk``)."""

    @property
    def raster(self) -> Raster:
        """What the engine asks of it."""
        return self.tiff

    @property
    def ready(self) -> int:
        """Bytes from the file's beginning that are at hand."""
        return len(self.chunks.parts[0][1])


async def head(gate: Gate, href: str, first: memoryview | None = None) -> Head:
    """The header of a file. ``first``: its first :data:`FIRST` bytes, where they are at hand.

    Raises StorageError, TiffError for a file that isn't sound, TiffUnsupportedError for one that
    only GDAL reads.
    """
    asked = [Span(0, FIRST)]
    if first is None:
        first = await gate.get_range_async(href, start=0, length=FIRST)
    meta = gate.meta(href)
    size = meta.size if meta else None
    chunks = Chunks(size=size, href=href).add(asked, [first])
    found = parse(chunks)
    for _ in range(_ROUNDS):
        if isinstance(found, Tiff):
            return Head(found, chunks, meta, tuple(asked))
        chunks = await more(gate, chunks, found.spans, meta)
        asked += found.spans
        found = parse(chunks, found)
    raise TiffError("its directories don't end", href=href)


def masked(found: Head, beside: Head) -> Head:
    """A file with the masks of a file beside it. Raises TiffError, TiffUnsupportedError."""
    return replace(found, tiff=found.tiff.masked_by(beside.tiff), beside=beside)


async def more(gate: Gate, chunks: Chunks, spans: Sequence[Span], meta: Meta | None) -> Chunks:
    """The parts of a file at hand, and these besides."""
    starts, ends = [span.start for span in spans], [span.stop for span in spans]
    found = await gate.get_ranges_async(chunks.href, starts=starts, ends=ends, expect=meta)
    return chunks.add(spans, found)


def own_grid(scene: Scene, file: Raster) -> Grid:
    """The grid of a file as it says itself, where it differs from its item's.

    Raises SourceMismatchError where it lies elsewhere by more than half a pixel, or has another
    shape. A file that doesn't tell its place, or its CRS, has its item's.
    """
    said = scene.grid
    if file.shape != said.shape:
        raise _mismatch(
            scene, f"it has {_size(file.shape)} pixels, its item says {_size(said.shape)}"
        )
    transform = file.geo.transform
    if transform is None:
        return said
    own = Grid(said.crs, said.shape, tuple(transform))
    crs = _crs(file)
    height, width = said.shape
    corners = np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height])
    x, y = own.xy(*corners)
    if crs is not None and crs != said.crs:
        x, y = project(crs, said.crs, x, y)
    column, row = said.pixel(x, y)
    with np.errstate(invalid="ignore"):
        off = float(np.max(np.abs([column - corners[0], row - corners[1]])))
    if not off <= SHIFT:
        place = f"{crs or 'its CRS'}, {', '.join(f'{value:.10g}' for value in transform)}"
        raise _mismatch(scene, f"it lies {off:.3g} pixels from where its item says ({place})")
    return own if crs in (None, said.crs) else said


def check_kind(scene: Scene, file: Raster, dtype: np.dtype[Any]) -> None:
    """Raises SourceMismatchError where a file's pixels don't fit the type that its item tells."""
    own = file.levels[0].image.dtype
    if not np.can_cast(own, dtype, "safe"):
        raise _mismatch(scene, f"its pixels are {own}, its item says {dtype}")


def moved(lattice: Lattice, said: Grid, own: Grid) -> Lattice:
    """A lattice in an item's grid, in that of its file."""
    if said.transform == own.transform:
        return lattice
    a, b, c, d, e, f = (~Affine(*own.transform) @ Affine(*said.transform))[:6]
    column, row = lattice.column, lattice.row
    return replace(lattice, column=a * column + b * row + c, row=d * column + e * row + f)


def _crs(file: Raster) -> str | None:
    found = file.geo.crs
    if found is None:
        return None
    try:
        return canonical(found)
    except UsageError:  # keys that PROJ doesn't know say nothing
        return None


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _mismatch(scene: Scene, what: str) -> SourceMismatchError:
    advice = "build the mosaic with --verify, which believes the files, or mend the item"
    return SourceMismatchError(
        [Problem("mismatch", what, advice, scene.item, scene.asset, scene.href)]
    )
