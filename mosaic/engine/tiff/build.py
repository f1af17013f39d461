"""A directory understood: what its tags say together, checked against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mosaic.engine.tiff.chunks import Chunks
from mosaic.engine.tiff.directory import TABLES, UNSIGNED, Directory, Tag
from mosaic.engine.tiff.image import MOST_BYTES, Image, Table
from mosaic.errors import TiffUnsupportedError

EAGER = 64 << 10
"""Bytes up to which a table of blocks is fetched with its directory."""
STRUCTURE = (
    Tag.NEW_SUBFILE_TYPE,
    Tag.SUBFILE_TYPE,
    Tag.IMAGE_WIDTH,
    Tag.IMAGE_LENGTH,
    Tag.BITS_PER_SAMPLE,
    Tag.COMPRESSION,
    Tag.PHOTOMETRIC,
    Tag.FILL_ORDER,
    Tag.SAMPLES_PER_PIXEL,
    Tag.ROWS_PER_STRIP,
    Tag.PLANAR_CONFIGURATION,
    Tag.PREDICTOR,
    Tag.TILE_WIDTH,
    Tag.TILE_LENGTH,
    Tag.EXTRA_SAMPLES,
    Tag.SAMPLE_FORMAT,
    Tag.JPEG_TABLES,
    Tag.LERC_PARAMETERS,
)
"""The tags that make an image."""

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
LERC, ZSTD, WEBP = 34887, 50000, 50001
COMPRESSIONS = {
    NONE: "none",
    LZW: "LZW",
    JPEG: "JPEG",
    DEFLATE: "deflate",
    OLD_DEFLATE: "deflate",
    PACKBITS: "PackBits",
    LERC: "LERC",
    ZSTD: "zstd",
    WEBP: "WebP",
}
"""TIFF's numbers of the compressions that are decoded, and their names."""
_ELSEWHERE = {
    2: "CCITT RLE",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    6: "old JPEG",
    34712: "JPEG 2000",
    34925: "LZMA",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_PREDICTED = (LZW, DEFLATE, OLD_DEFLATE, ZSTD)
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 4: "untyped", 5: "complex int", 6: "complex"}
_DTYPES = {
    **{(1, bits): f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{(2, bits): f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{(3, bits): f"f{bits // 8}" for bits in (16, 32, 64)},
    **{(6, bits): f"c{bits // 8}" for bits in (64, 128)},
}
_STRIP = 1 << 20
_SIDE = (1 << 31) - 1
_BLOCKS = 1 << 48
_REDUCED, _MASK, _YCBCR = 1, 4, 6
_COLORS = {
    5: "CMYK",
    _YCBCR: "YCbCr without JPEG",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32844: "LogL",
    32845: "LogLuv",
}


def tables(directory: Directory) -> tuple[Tag, ...]:
    """The tables of a directory that are worth fetching with it."""
    return tuple(
        tag
        for tag in TABLES
        if (entry := directory.entries.get(tag)) and entry.count * entry.size <= EAGER
    )


def kind(directory: Directory, chunks: Chunks) -> tuple[bool, bool]:
    """Whether an image is a reduced copy, and whether it is a mask."""
    bits = directory.number(Tag.NEW_SUBFILE_TYPE, chunks, -1)
    if bits < 0:
        return directory.number(Tag.SUBFILE_TYPE, chunks, 0) == 2, False
    return bool(bits & _REDUCED), bool(bits & _MASK)


def image(directory: Directory, chunks: Chunks) -> Image:
    """The image of a directory whose values are at hand.

    Raises TiffError where its tags contradict each other or the file's size, and
    TiffUnsupportedError for what only GDAL reads.
    """
    width = directory.number(Tag.IMAGE_WIDTH, chunks)
    height = directory.number(Tag.IMAGE_LENGTH, chunks)
    samples = directory.number(Tag.SAMPLES_PER_PIXEL, chunks, 1)
    if not (0 < width <= _SIDE and 0 < height <= _SIDE and 0 < samples < 1 << 16):
        raise chunks.error(f"an image of {width} x {height} pixels and {samples} samples")
    planar = directory.number(Tag.PLANAR_CONFIGURATION, chunks, 1)
    if planar not in (1, 2):
        raise chunks.error(f"planar configuration {planar} doesn't exist")
    dtype, bits = _sample(directory, chunks, samples)
    compression, predictor, photometric = _coding(directory, chunks, bits, dtype)
    tiled = Tag.TILE_WIDTH in directory.entries or Tag.TILE_LENGTH in directory.entries
    if tiled:
        block = (
            directory.number(Tag.TILE_LENGTH, chunks),
            directory.number(Tag.TILE_WIDTH, chunks),
        )
    else:
        block = (min(height, directory.number(Tag.ROWS_PER_STRIP, chunks, height)), width)
    if not (0 < block[0] <= _SIDE and 0 < block[1] <= _SIDE):
        raise chunks.error(f"blocks of {block[1]} x {block[0]} pixels")
    _, mask = kind(directory, chunks)
    lerc = directory.numbers(Tag.LERC_PARAMETERS, chunks)
    shared = directory.values(Tag.JPEG_TABLES, chunks)
    made = Image(
        shape=(height, width),
        samples=samples,
        dtype=dtype,
        bits=bits,
        order=directory.order,
        block=block,
        tiled=tiled,
        separate=planar == 2 and samples > 1,
        compression=compression,
        predictor=predictor,
        photometric=photometric,
        extra=directory.numbers(Tag.EXTRA_SAMPLES, chunks)[:samples],
        mask=mask,
        offsets=_NOTHING,
        lengths=_NOTHING,
        jpeg_tables=b"" if shared is None else shared.tobytes(),
        lerc=lerc[1] if len(lerc) > 1 else 0,
        href=chunks.href,
        size=chunks.size,
    )
    if made.lerc not in (0, 1, 2):
        raise unsupported(chunks, f"LERC packed by method {made.lerc}")
    if made.photometric == _YCBCR and made.depth != 3:
        raise unsupported(chunks, f"YCbCr of {made.depth} samples")
    made = _chopped(_placed(made, directory, chunks))
    decoded = made.block[0] * made.block[1] * made.depth * made.dtype.itemsize
    if decoded > MOST_BYTES:
        raise unsupported(chunks, f"one block holds {decoded} bytes, more than {MOST_BYTES}")
    return made


_NOTHING = Table(0, 0, np.dtype("u4"))


def _sample(directory: Directory, chunks: Chunks, samples: int) -> tuple[np.dtype[Any], int]:
    """A sample's type once decoded, and its bits in the file."""
    bits = directory.numbers(Tag.BITS_PER_SAMPLE, chunks) or (1,)
    formats = directory.numbers(Tag.SAMPLE_FORMAT, chunks) or (1,)
    for what, found in (("bits", bits), ("formats", formats)):
        if len(set(found[:samples])) > 1:
            raise unsupported(chunks, f"samples of different {what}: {sorted(set(found))}")
    form = 1 if formats[0] == 4 else formats[0]
    name = _DTYPES.get((form, bits[0]), "")
    if form == 1 and bits[0] in (1, 2, 4):
        name = "u1"
    elif form == 1 and 8 < bits[0] < 16:
        name = "u2"
    if not name:
        what = _FORMATS.get(formats[0], f"format {formats[0]}")
        raise unsupported(chunks, f"samples of {bits[0]} bits, {what}")
    return np.dtype(name), bits[0]


def _coding(
    directory: Directory, chunks: Chunks, bits: int, dtype: np.dtype[Any]
) -> tuple[int, int, int]:
    """Compression, predictor and photometric interpretation."""
    compression = directory.number(Tag.COMPRESSION, chunks, NONE)
    if compression not in COMPRESSIONS:
        name = _ELSEWHERE.get(compression, f"number {compression}")
        raise unsupported(chunks, f"compression {name}")
    predictor = directory.number(Tag.PREDICTOR, chunks, 1)
    if compression not in _PREDICTED:
        predictor = 1
    photometric = directory.number(Tag.PHOTOMETRIC, chunks, 1)
    if photometric in _COLORS and (photometric != _YCBCR or compression != JPEG):
        # GDAL makes RGBA of these
        raise unsupported(chunks, f"colours in {_COLORS[photometric]}")
    if directory.number(Tag.FILL_ORDER, chunks, 1) != 1:
        raise unsupported(chunks, "bytes that begin with their lowest bit")
    wide = bits == 8 * dtype.itemsize
    if predictor not in (1, 2, 3) or (predictor == 3 and dtype.kind != "f"):
        raise chunks.error(f"predictor {predictor} on samples of type {dtype.name}")
    if predictor == 2 and (not wide or dtype.kind == "c"):
        raise unsupported(chunks, f"predictor 2 on samples of {bits} bits, {dtype.name}")
    if compression in (JPEG, WEBP) and (dtype != np.uint8 or not wide):
        raise unsupported(chunks, f"{COMPRESSIONS[compression]} of samples of {bits} bits")
    if compression == LERC and (not wide or (dtype.itemsize > 4 and dtype != np.float64)):
        raise unsupported(chunks, f"LERC of samples of {bits} bits")
    return compression, predictor, photometric


def _placed(made: Image, directory: Directory, chunks: Chunks) -> Image:
    """The image with the tables of its blocks, as long as its shape asks for."""
    rows, columns = made.grid
    count = rows * columns * made.planes
    if count > _BLOCKS:
        raise chunks.error(f"an image of {count} blocks")
    begin, bytes_ = (
        (Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS)
        if made.tiled
        else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS)
    )
    if made.tiled and begin not in directory.entries and Tag.STRIP_OFFSETS in directory.entries:
        # some old writers put tiles under the names of strips; libtiff reads them so
        begin, bytes_ = Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS
    offsets = _table(directory, chunks, begin, count)
    if offsets is None:
        raise chunks.error(f"the directory at byte {directory.at} has no {begin.name}")
    lengths = _table(directory, chunks, bytes_, count)
    if lengths is None:
        if made.compression != NONE or count > EAGER:
            raise chunks.error(f"the directory at byte {directory.at} has no {bytes_.name}")
        lengths = Table(0, count, np.dtype("u8"), _plain(made))
    return replace(made, offsets=offsets, lengths=lengths)


def _table(directory: Directory, chunks: Chunks, tag: Tag, count: int) -> Table | None:
    entry = directory.entries.get(tag)
    if entry is None:
        return None
    if entry.count < count:
        raise chunks.error(f"{tag.name} counts {entry.count} blocks, but the image has {count}")
    if entry.kind not in UNSIGNED:
        raise chunks.error(f"{tag.name} has values of type {entry.kind}, not unsigned integers")
    dtype = np.dtype(f"{directory.order}u{entry.size}")
    if tag not in tables(directory):
        return Table(entry.at, count, dtype)
    loaded = np.frombuffer(chunks.get(entry.span, tag.name), dtype, count)
    return Table(entry.at, count, dtype, loaded.astype(np.uint64))


def _plain(made: Image) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Bytes of each uncompressed block."""
    rows, columns = made.grid
    row_bytes = made.block_bytes // made.block[0]
    high = np.full((made.planes, rows, columns), made.block[0], np.uint64)
    if not made.tiled:
        high[:, -1] = made.shape[0] - (rows - 1) * made.block[0]
    return (high * np.uint64(row_bytes)).ravel()


def _chopped(made: Image) -> Image:
    """An image of one long uncompressed strip as one of short strips, as libtiff has it too.

    A window of such a file is then no read of all of it.
    """
    (height, width), (rows, _) = made.shape, made.block
    offsets, lengths = made.offsets.loaded, made.lengths.loaded
    row_bytes = -(-width * made.depth * made.bits // 8)
    strip = max(1, _STRIP // row_bytes)
    if made.compression != NONE or made.tiled or not strip < rows == height:
        return made
    if offsets is None or lengths is None or height // strip * made.planes > EAGER:
        return made
    if not offsets.all() or (lengths < height * row_bytes).any():
        return made
    first = np.arange(0, height, strip, dtype=np.uint64)
    begins = offsets[:, None] + first * np.uint64(row_bytes)
    bytes_ = np.minimum(np.uint64(strip), np.uint64(height) - first) * np.uint64(row_bytes)
    count = first.size * made.planes
    return replace(
        made,
        block=(strip, width),
        offsets=Table(0, count, np.dtype("u8"), begins.ravel()),
        lengths=Table(0, count, np.dtype("u8"), np.tile(bytes_, made.planes)),
    )


def unsupported(chunks: Chunks, what: str) -> TiffUnsupportedError:
    """An error that sends the reader to GDAL."""
    return TiffUnsupportedError(what, href=chunks.href)
