"""One image of a TIFF: its samples, and where its blocks lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.engine.tiff.chunks import LONGEST, Chunks, Missing, Need, Order, merged
from mosaic.errors import TiffBlockError, TiffError, UsageError
from mosaic.storage.ranges import Span

Ints = npt.NDArray[np.int64]

MOST_BYTES = 256 << 20
"""Bytes that one block may have once decoded; decoding it may take three times as many."""
_PAGE = 4096  # entries of a long table that are fetched together
_SLACK = 64 << 10


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A number for each block of an image, in the file or at hand."""

    at: int
    """Offset of the first one."""
    count: int
    """How many there are."""
    dtype: np.dtype[Any]
    """Their type in the file."""
    loaded: npt.NDArray[np.uint64] | None = field(default=None, repr=False)
    """All of them, or None where they are fetched in parts."""

    def take(self, index: Ints, chunks: Chunks) -> npt.NDArray[np.uint64]:
        """The numbers of some blocks. Raises Missing, TiffError."""
        if self.loaded is not None:
            return self.loaded[index]
        pages, where = np.unique(index // _PAGE, return_inverse=True)
        spans = [self._page(page) for page in pages.tolist()]
        if sum(span.stop - span.start for span in spans) > LONGEST:
            raise UsageError("too many blocks for one look-up; ask for fewer at a time")
        missing = [span for span in spans if not chunks.has(span)]
        for span in missing:
            chunks.check(span, "the table of blocks")
        if missing:
            raise Missing(merged(missing, 0))
        found = np.zeros((len(spans), _PAGE), np.uint64)
        for row, span in zip(found, spans, strict=True):
            part = np.frombuffer(chunks.get(span, "the table of blocks"), self.dtype)
            row[: len(part)] = part
        values: npt.NDArray[np.uint64] = found[where.reshape(index.shape), index % _PAGE]
        return values

    def _page(self, page: int) -> Span:
        first, last = page * _PAGE, min((page + 1) * _PAGE, self.count)
        return Span(self.at + first * self.dtype.itemsize, self.at + last * self.dtype.itemsize)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Where blocks lie in the file."""

    offset: Ints
    """Offset of each block's bytes."""
    length: Ints
    """How many there are; 0 where the file has none, and every pixel is the fill value."""

    def spans(self) -> Iterator[Span | None]:
        """Each block's bytes, or None where the file has none."""
        for start, length in zip(self.offset.flat, self.length.flat, strict=True):
            yield Span(int(start), int(start + length)) if length else None


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One image of a TIFF: the raster, an overview of it, or a mask."""

    shape: tuple[int, int]
    """Height and width in pixels."""
    samples: int
    """Samples of a pixel: the raster's bands."""
    dtype: np.dtype[Any]
    """Type of a sample once decoded, in native byte order."""
    bits: int
    """Bits of a sample in the file; fewer than ``dtype`` has where samples are packed."""
    order: Order
    """Byte order in the file, ``<`` or ``>``."""
    block: tuple[int, int]
    """Height and width of a block; strips are as wide as the image."""
    tiled: bool
    """Whether blocks are tiles. The last strip ends with the image, the last tile doesn't."""
    separate: bool
    """Whether each sample has blocks of its own (planar configuration 2)."""
    compression: int
    """TIFF's number of the compression."""
    predictor: int
    """1: none, 2: horizontal differences, 3: floating point."""
    photometric: int
    """TIFF's number of what samples mean."""
    extra: tuple[int, ...]
    """What samples beyond colour mean, from the last backwards; 1 and 2 are alpha."""
    mask: bool
    """Whether it is a mask of another image: nonzero where pixels are valid."""
    offsets: Table = field(repr=False)
    """Where blocks begin."""
    lengths: Table = field(repr=False)
    """How many bytes they have."""
    jpeg_tables: bytes = field(default=b"", repr=False)
    """Tables that all JPEG blocks share."""
    lerc: int = 0
    """What LERC blobs are packed in besides: 0 nothing, 1 deflate, 2 zstd."""
    href: str = ""
    """Where the file lies, for messages."""
    size: int | None = None
    """Length of the file in bytes, or None where it isn't known."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.shape[0] // self.block[0]), -(-self.shape[1] // self.block[1])

    @property
    def planes(self) -> int:
        """How often the grid of blocks is repeated: for each sample if separate, else once."""
        return self.samples if self.separate else 1

    @property
    def depth(self) -> int:
        """Samples of a pixel in one block."""
        return 1 if self.separate else self.samples

    @property
    def block_bytes(self) -> int:
        """Bytes of a whole block before compression."""
        return self.block[0] * (-(-self.block[1] * self.depth * self.bits // 8))

    def size_of(self, row: int, column: int) -> tuple[int, int]:
        """Height and width of the part of a block that lies within the image."""
        (height, width), (rows, columns) = self.shape, self.block
        return min(rows, height - row * rows), min(columns, width - column * columns)

    def locate(
        self,
        row: npt.ArrayLike,
        column: npt.ArrayLike,
        plane: npt.ArrayLike = 0,
        *,
        chunks: Chunks | None = None,
    ) -> Blocks | Need:
        """Where blocks lie, by rows, columns and planes that broadcast against each other.

        ``chunks`` holds what was fetched of tables that are too long to be read whole; without
        such a table the answer is never a Need. Raises TiffBlockError where a block can't lie in
        the file, TiffError where a table can't, UsageError for blocks that the image hasn't.
        """
        r, c, p = np.broadcast_arrays(*(np.asarray(x, np.int64) for x in (row, column, plane)))
        rows, columns = self.grid
        for name, axis, stop in (
            ("row", r, rows),
            ("column", c, columns),
            ("plane", p, self.planes),
        ):
            if axis.size and not 0 <= int(axis.min()) <= int(axis.max()) < stop:
                raise UsageError(f"blocks have {name}s 0 to {stop - 1}")
        index = (p * rows + r) * columns + c
        known = chunks or Chunks(size=self.size, href=self.href)
        try:
            offset, length = self._taken(index, known)
        except Missing as missing:
            return Need(missing.spans)
        self._checked(index, offset, length)
        return Blocks(np.where(length > 0, offset, 0).astype(np.int64), length.astype(np.int64))

    def _taken(
        self, index: Ints, chunks: Chunks
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        taken: list[npt.NDArray[np.uint64]] = []
        missing: list[Span] = []
        for table in (self.offsets, self.lengths):
            try:
                taken.append(table.take(index, chunks))
            except Missing as more:
                missing += more.spans
        if missing:
            raise Missing(merged(missing, 0))
        return taken[0], taken[1]

    def _checked(
        self, index: Ints, offset: npt.NDArray[np.uint64], length: npt.NDArray[np.uint64]
    ) -> None:
        there = length > 0
        stop = np.uint64(self.size if self.size is not None else 1 << 62)
        most = np.uint64(2 * self.block_bytes + _SLACK)
        # in this order nothing can overflow
        long = there & (length > most)
        outside = there & (
            (offset == 0) | (offset > stop) | (length > stop - np.minimum(offset, stop))
        )
        for bad, what in ((outside, "lies outside the file"), (long, "is too long to be one")):
            if bad.any():
                first = np.flatnonzero(bad.ravel())[0]
                place = f"{length.ravel()[first]} bytes at {offset.ravel()[first]}"
                size = "" if self.size is None else f" of {self.size}"
                raise TiffBlockError(
                    f"{self.name(int(index.ravel()[first]))} {what}: {place}{size}", href=self.href
                )

    def name(self, index: int) -> str:
        """A block as messages call it."""
        rows, columns = self.grid
        plane, rest = divmod(index, rows * columns)
        row, column = divmod(rest, columns)
        kind = "mask" if self.mask else "image"
        sample = f" of sample {plane + 1}" if self.separate else ""
        return (
            f"block ({row}, {column}){sample} of the {kind} of "
            f"{self.shape[1]} x {self.shape[0]} pixels"
        )

    def error(self, what: str) -> TiffError:
        """An error of a block, which names the file."""
        return TiffBlockError(what, href=self.href)
