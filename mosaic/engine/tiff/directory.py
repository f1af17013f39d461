"""A TIFF's directories: bounded, and not yet understood.

TIFF 6.0, section 2; BigTIFF as libtiff writes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from mosaic.engine.tiff.chunks import AHEAD, LONGEST, Chunks, Missing, Order, merged
from mosaic.errors import TiffError, TiffUnsupportedError
from mosaic.storage.ranges import Span

MOST_DIRECTORIES = 256
"""Directories that a file may have: an image, its overviews, their masks, some pages."""
MOST_ENTRIES = 4096
"""Entries that one directory may have."""

_TYPES = {
    1: "u1", 2: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 11: "f4", 12: "f8",
    13: "u4", 16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
_SIZES = {kind: int(name[1:]) for kind, name in _TYPES.items()}
_ENDIAN: Final[dict[Order, Literal["little", "big"]]] = {"<": "little", ">": "big"}
_ORDERS: Final[dict[bytes, Order]] = {b"II": "<", b"MM": ">"}
UNSIGNED = (1, 3, 4, 13, 16, 18)
"""TIFF's numbers of the types that offsets and counts may have."""


class Tag(IntEnum):
    """The tags that are read, by their names in TIFF 6.0, GeoTIFF and GDAL."""

    NEW_SUBFILE_TYPE = 254
    SUBFILE_TYPE = 255
    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    PLANAR_CONFIGURATION = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    MODEL_PIXEL_SCALE = 33550
    MODEL_TIEPOINT = 33922
    MODEL_TRANSFORMATION = 34264
    GEO_KEY_DIRECTORY = 34735
    GEO_DOUBLE_PARAMS = 34736
    GEO_ASCII_PARAMS = 34737
    GDAL_METADATA = 42112
    GDAL_NODATA = 42113
    LERC_PARAMETERS = 50674


TABLES = (
    Tag.STRIP_OFFSETS,
    Tag.STRIP_BYTE_COUNTS,
    Tag.TILE_OFFSETS,
    Tag.TILE_BYTE_COUNTS,
)
"""Tags with a number for each block: these may be long, and are fetched where needed."""
_TAGS = {int(tag): tag for tag in Tag}
_MOST = {
    Tag.GDAL_METADATA: 1 << 20,
    Tag.GEO_ASCII_PARAMS: 1 << 20,
    Tag.MODEL_TIEPOINT: 6 << 16,
    Tag.COLOR_MAP: 3 << 16,
}
_MOST_VALUES = 1 << 16
_TEXTS = (Tag.GDAL_METADATA, Tag.GEO_ASCII_PARAMS)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file's directories are written."""

    order: Order
    """``<`` for little, ``>`` for big endian."""
    big: bool
    """Whether it is a BigTIFF."""
    entry: struct.Struct = field(repr=False)
    """Layout of one entry: tag, type, count, value or offset."""

    @property
    def endian(self) -> Literal["little", "big"]:
        """The byte order as Python names it."""
        return _ENDIAN[self.order]

    @property
    def head(self) -> int:
        """Bytes that count a directory's entries."""
        return 8 if self.big else 2

    @property
    def word(self) -> int:
        """Bytes of an offset, and of a value that stands in its entry."""
        return 8 if self.big else 4


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the values of one tag lie."""

    kind: int
    """TIFF's number of the type."""
    count: int
    """Number of values."""
    at: int
    """Offset of the first one."""

    @property
    def span(self) -> Span:
        """All of its bytes."""
        return Span(self.at, self.at + self.count * self.size)

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return _SIZES[self.kind]


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory: its known tags, each where its values lie."""

    at: int
    """Offset in the file."""
    order: Order
    """Byte order of values."""
    entries: Mapping[Tag, Entry]
    """What is known of its tags."""

    def values(self, tag: Tag, chunks: Chunks) -> npt.NDArray[Any] | None:
        """The values of a tag in native byte order, or None without it."""
        entry = self.entries.get(tag)
        if entry is None:
            return None
        data = chunks.get(entry.span, tag.name)
        dtype = np.dtype(_TYPES[entry.kind])
        found: npt.NDArray[Any] = np.frombuffer(data, dtype.newbyteorder(self.order))
        return found if found.dtype.isnative else found.astype(dtype)

    def numbers(self, tag: Tag, chunks: Chunks) -> tuple[int, ...]:
        """The unsigned integers of a tag; none without it. Raises TiffError for other types."""
        entry = self.entries.get(tag)
        if entry is None:
            return ()
        if entry.kind not in UNSIGNED:
            raise chunks.error(f"{tag.name} has values of type {entry.kind}, not unsigned integers")
        data = chunks.get(entry.span, tag.name)
        if entry.count == 1:
            return (int.from_bytes(data, _ENDIAN[self.order]),)
        values = np.frombuffer(data, np.dtype(_TYPES[entry.kind]).newbyteorder(self.order))
        return tuple(values.tolist())

    def number(self, tag: Tag, chunks: Chunks, default: int | None = None) -> int:
        """The first integer of a tag. Raises TiffError without it and without a default."""
        found = self.numbers(tag, chunks)
        if found:
            return found[0]
        if default is None:
            raise chunks.error(f"the directory at byte {self.at} has no {tag.name}")
        return default

    def text(self, tag: Tag, chunks: Chunks) -> str:
        """A text, up to its first NUL; empty without the tag."""
        entry = self.entries.get(tag)
        if entry is None or entry.size != 1:
            return ""
        data = bytes(chunks.get(entry.span, tag.name))
        return data.partition(b"\0")[0].decode("utf-8", "replace")


def layout(chunks: Chunks) -> tuple[Layout, int]:
    """How the file is written, and where its first directory lies. Raises TiffError, Missing."""
    head = bytes(chunks.get(Span(0, 8), "the header", AHEAD))
    order = _ORDERS.get(head[:2], "<")
    name = _ENDIAN[order]
    version = int.from_bytes(head[2:4], name)
    if head[:2] not in _ORDERS or version not in (42, 43):
        raise TiffError("no TIFF", href=chunks.href, advice="check the href")
    big = version == 43
    if big:
        head = bytes(chunks.get(Span(0, 16), "the header", AHEAD))
        if int.from_bytes(head[4:6], name) != 8 or head[6:8] != b"\0\0":
            raise chunks.error("a BigTIFF with offsets of other than 8 bytes")
        first = int.from_bytes(head[8:16], name)
    else:
        first = int.from_bytes(head[4:8], name)
    entry = struct.Struct(f"{order}HH{'QQ' if big else 'II'}")
    return Layout(order, big, entry), first


@dataclass(frozen=True, slots=True)
class Walk:
    """Directories as far as the chain was followed."""

    found: tuple[Directory, ...]
    """Those that are understood, in order."""
    after: int
    """Offset of the next one, or 0."""


def directories(chunks: Chunks, so_far: Walk | None = None) -> Walk:
    """All directories that the chain from the header names.

    Raises TiffError where the chain is a loop, too long, or leaves the file; Missing, which holds
    how far it came, where bytes aren't at hand.
    """
    how, first = layout(chunks)
    at = so_far.after if so_far else first
    found = list(so_far.found) if so_far else []
    seen = {directory.at for directory in found}
    while at:
        if at in seen:
            raise chunks.error(f"its directories are a loop: byte {at} comes twice")
        if len(found) == MOST_DIRECTORIES:
            raise TiffUnsupportedError(
                f"has more than {MOST_DIRECTORIES} directories", href=chunks.href
            )
        seen.add(at)
        try:
            directory, after = _directory(chunks, how, at)
        except Missing as missing:
            raise Missing(missing.spans, Walk(tuple(found), at)) from None
        found.append(directory)
        at = after
    if not found:
        raise chunks.error("has no directory")
    return Walk(tuple(found), 0)


def _directory(chunks: Chunks, how: Layout, at: int) -> tuple[Directory, int]:
    name = f"the directory at byte {at}"
    head = chunks.get(Span(at, at + how.head), name, AHEAD)
    count = int.from_bytes(head, how.endian)
    if not 0 < count <= MOST_ENTRIES:
        raise chunks.error(f"{name} counts {count} entries")
    start = at + how.head
    stop = start + count * how.entry.size
    data = chunks.get(Span(start, stop + how.word), name, AHEAD)
    after = int.from_bytes(data[-how.word :], how.endian)
    entries: dict[Tag, Entry] = {}
    inside = start + 4 + how.word  # where a value stands in its entry
    for number, kind, many, value in how.entry.iter_unpack(data[: -how.word]):
        tag = _TAGS.get(number)
        if tag is not None and tag not in entries and kind in _SIZES:
            size = many * _SIZES[kind]
            place = value if size > how.word else inside
            _bounded(chunks, tag, many, Span(place, place + size))
            entries[tag] = Entry(kind, many, place)
        inside += how.entry.size
    return Directory(at, how.order, entries), after


def _bounded(chunks: Chunks, tag: Tag, count: int, span: Span) -> None:
    if tag in TABLES:
        if chunks.size is not None and span.stop > chunks.size:
            raise chunks.error(f"{tag.name} ends at byte {span.stop} of {chunks.size}")
        return
    most = _MOST.get(tag, _MOST_VALUES)
    if count > most and tag in _TEXTS:
        raise TiffUnsupportedError(f"{tag.name} of {count} bytes", href=chunks.href)
    if count > most:
        raise chunks.error(f"{tag.name} counts {count} values, more than {most}")
    chunks.check(span, tag.name)


def demand(chunks: Chunks, wanted: Iterable[tuple[Directory, Iterable[Tag]]]) -> None:
    """Raise Missing for all values of these tags that aren't at hand, in one go.

    Raises TiffError above 64 MiB in all.
    """
    spans = [
        entry.span
        for directory, tags in wanted
        for tag in tags
        if (entry := directory.entries.get(tag)) and entry.count
    ]
    total = sum(span.stop - span.start for span in spans)
    if total > LONGEST:
        raise chunks.error(f"its directories take {total} bytes, more than {LONGEST}")
    missing = [span for span in spans if not chunks.has(span)]
    if missing:
        raise Missing(merged(missing, AHEAD))
