"""One block's bytes as pixels.

The codecs are imagecodecs', which lets go of the GIL. Each writes into a buffer of the block's own
size, so that no input can take more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from mosaic.engine.tiff import build
from mosaic.engine.tiff.chunks import Buffer
from mosaic.engine.tiff.image import Image
from mosaic.errors import TiffBlockError

Array = npt.NDArray[Any]

_SLACK = 64 << 10
_ROOM = 16 << 20
_WORK = 2 << 30  # bytes that a progressive JPEG may go over: each scan, however short, all of them
_END = b"\xff\xd9"
_YCBCR = 6
_BYTES: dict[int, Callable[..., Array]] = {
    build.DEFLATE: imagecodecs.deflate_decode,
    build.OLD_DEFLATE: imagecodecs.deflate_decode,
    build.PACKBITS: imagecodecs.packbits_decode,
    build.ZSTD: imagecodecs.zstd_decode,
}
_RATIO = {
    build.NONE: 1,
    build.LZW: 4096,
    build.DEFLATE: 1032,
    build.OLD_DEFLATE: 1032,
    build.PACKBITS: 64,
    build.ZSTD: 1 << 16,
}
"""How many times its own length a block can hold at most, by the formats' own limits."""
_BLOBS = {1: imagecodecs.deflate_decode, 2: imagecodecs.zstd_decode}


def room(image: Image) -> int:
    """Bytes that :func:`decode` unpacks a block into; 0 where its codec makes an array itself."""
    return image.block_bytes if image.compression in _BYTES else 0


def decode(
    image: Image,
    data: Buffer,
    row: int,
    column: int,
    plane: int = 0,
    out: npt.NDArray[np.uint8] | None = None,
) -> Array:
    """(height, width, depth) pixels of a block, cut where the image ends; see ``Image.size_of``.

    ``data``: the block's bytes, as many as ``Image.locate`` tells. The dtype is the image's, in
    native byte order; ``depth`` is all samples, or one where they lie in planes. YCbCr becomes RGB,
    packed bits become integers, pixels that LERC masks become NaN where the type has it. May be a
    read-only view of ``data``, or a view of ``out``, which has :func:`room` bytes or more. Raises
    TiffBlockError for bytes that aren't such a block.
    """
    height, width = image.size_of(row, column)
    shape = (image.block[0] if image.tiled else height, image.block[1], image.depth)
    try:
        if image.compression == build.JPEG:
            found = _jpeg(image, data, shape)
        elif image.compression == build.WEBP:
            found = _webp(data, shape)
        elif image.compression == build.LERC:
            found = _lerc(image, data, shape)
        else:
            found = _plain(image, data, shape, out)
    except (_UnsoundError, RuntimeError, ValueError, TypeError) as error:
        # imagecodecs' own errors are RuntimeErrors, a shape of its that isn't ours a ValueError
        rows, columns = image.grid
        name = image.name((plane * rows + row) * columns + column)
        kind = build.COMPRESSIONS[image.compression]
        reason = str(error).split("\n")[0][:120]
        raise TiffBlockError(f"{name} isn't sound {kind}: {reason}", href=image.href) from error
    return found[:height, :width]


def blank(image: Image, fill: np.generic, row: int, column: int) -> Array:
    """(height, width, depth) pixels of a block that the file leaves out: a read-only view."""
    return np.broadcast_to(fill, (*image.size_of(row, column), image.depth))


class _UnsoundError(Exception):
    """What is wrong with a block's bytes."""


def _plain(
    image: Image,
    data: Buffer,
    shape: tuple[int, int, int],
    out: npt.NDArray[np.uint8] | None,
) -> Array:
    """Blocks of bytes: none, LZW, deflate, PackBits, zstd."""
    height, width, depth = shape
    length = height * -(-width * depth * image.bits // 8)
    if length > len(data) * _RATIO[image.compression]:
        raise _UnsoundError(f"{len(data)} bytes can't hold {length}")
    if image.compression == build.NONE:
        raw = np.frombuffer(data, np.uint8)
    elif image.compression == build.LZW:
        raw = _lzw(data, height, length // height)
    else:
        raw = _unpacked(_BYTES[image.compression], data, length, out)
    if len(raw) < length:
        raise _UnsoundError(f"it holds {len(raw)} bytes, not {length}")
    raw = raw[:length]
    if image.bits != 8 * image.dtype.itemsize:
        values: Array = imagecodecs.packints_decode(
            raw, image.dtype, image.bits, runlen=width * depth
        )
        return values.reshape(shape)
    if image.predictor == 3:
        return _unpredicted(raw, image.dtype, shape)
    pixels = raw.view(image.dtype.newbyteorder(image.order))
    if not pixels.dtype.isnative:
        pixels = pixels.astype(image.dtype)
    pixels = pixels.reshape(shape)
    if image.predictor == 2:
        whole = pixels.view(f"u{image.dtype.itemsize}")
        imagecodecs.delta_decode(whole, axis=1, out=whole)
    return pixels


def _lzw(data: Buffer, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """LZW by libtiff, to which the block is a small file of one strip.

    imagecodecs' own decoder ended the process on a damaged block (2025.3 and 2026.3; 2026.10 has
    no wheels for Python 3.11), and takes nearly twice as long.
    """
    tags = (
        *(256, 4, 1, columns, 257, 4, 1, rows, 258, 3, 1, 8, 259, 3, 1, build.LZW, 262, 3, 1, 1),
        *(273, 4, 1, _STRIP.size, 277, 3, 1, 1, 278, 4, 1, rows, 279, 4, 1, len(data)),
    )
    whole = _STRIP.pack(b"II", 42, 8, 9, *tags, 0) + bytes(data)
    found: npt.NDArray[np.uint8] = imagecodecs.tiff_decode(whole)
    return found.reshape(-1)


_STRIP = struct.Struct("<2sHIH" + 9 * "HHII" + "I")


def _unpacked(
    codec: Callable[..., Array], data: Buffer, length: int, out: npt.NDArray[np.uint8] | None
) -> Array:
    """At most ``length`` bytes; what a writer put behind them is cut off, as by libtiff."""
    if out is None:
        out = np.empty(length, np.uint8)
    try:
        return codec(data, out=out[:length])
    except RuntimeError:
        # few blocks are longer than they must be: a roomier buffer tells them from broken ones
        room = min(length, _ROOM) + _SLACK
        return codec(data, out=np.empty(length + room, np.uint8))[:length]


def _unpredicted(
    raw: npt.NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, int, int]
) -> Array:
    """Predictor 3: each row holds all first bytes, then all second ones; differences of bytes.

    Adobe Photoshop TIFF Technical Note 3. Four times as fast as imagecodecs' own.
    """
    height, width, depth = shape
    size = dtype.itemsize
    sums = raw.reshape(height, width * size, depth)
    imagecodecs.delta_decode(sums, axis=1, out=sums)
    planes = sums.reshape(height, size, width * depth)
    made = np.empty((height, width * depth, size), np.uint8)
    for byte in range(size):
        made[:, :, byte] = planes[:, size - 1 - byte if _LITTLE else byte]
    pixels: Array = made.view(dtype).reshape(shape)
    return pixels


_LITTLE = np.dtype("<u2").isnative


def _jpeg(image: Image, data: Buffer, shape: tuple[int, int, int]) -> Array:
    raw = bytes(data)
    if _END not in raw:
        # libjpeg makes grey of what is missing, and says nothing that reaches us
        raise _UnsoundError("it ends too early")
    scans = raw.count(b"\xff\xda")
    if scans * image.block_bytes > max(_WORK, 4 * image.block_bytes):
        raise _UnsoundError(f"{scans} scans of {image.block_bytes} bytes")
    depth = shape[2]
    given = {1: "GRAYSCALE", 3: "RGB", 4: "CMYK"}.get(depth, "UNKNOWN")
    wanted = given
    if image.photometric == _YCBCR and depth == 3:
        given = "YCBCR"
    out = np.empty(shape[:2] if depth == 1 else shape, np.uint8)
    imagecodecs.jpeg8_decode(
        raw, tables=image.jpeg_tables or None, colorspace=given, outcolorspace=wanted, out=out
    )
    return out.reshape(shape)


def _webp(data: Buffer, shape: tuple[int, int, int]) -> Array:
    out = np.empty(shape, np.uint8)
    imagecodecs.webp_decode(data, hasalpha=shape[2] == 4, out=out)
    return out


def _lerc(image: Image, data: Buffer, shape: tuple[int, int, int]) -> Array:
    """LERC as libtiff writes it: all samples in one blob, one blob a sample, or alpha as a mask."""
    height, width, depth = shape
    blob = np.frombuffer(data, np.uint8)
    if image.lerc:
        blob = _BLOBS[image.lerc](data, out=np.empty(2 * image.block_bytes + _SLACK, np.uint8))
    raw = blob.tobytes()
    inner = _lerc_depth(raw)
    color = depth - 1 if depth > 1 and inner == depth - 1 and image.dtype == np.uint8 else depth
    many = inner == 1 and depth > 1 and color == depth
    if inner != (1 if many else color):
        raise _UnsoundError(f"blobs of {inner} samples for {depth}")
    out = np.empty((height, width) if inner == 1 else (height, width, inner), image.dtype)
    if many:
        out = np.empty((depth, height, width), image.dtype)
    found: tuple[Array, Array | None] = imagecodecs.lerc_decode(raw, masks=True, out=out)
    pixels, masks = found
    if many:
        pixels = np.moveaxis(pixels, 0, 2)
        masks = np.moveaxis(masks, 0, 2) if masks is not None and masks.ndim == 3 else masks
    pixels = pixels.reshape(height, width, color)
    if masks is not None and masks.ndim == 2:
        masks = masks[:, :, None]
    if color < depth:
        alpha = np.full((height, width, 1), 255, np.uint8)
        if masks is not None:
            alpha *= masks
        return np.concatenate([pixels, alpha], axis=2)
    if masks is not None and image.dtype.kind == "f":
        pixels[~np.broadcast_to(masks, pixels.shape)] = np.nan
    return pixels


def _lerc_depth(raw: bytes) -> int:
    """Samples of a pixel in a LERC blob, version 2 and above."""
    if raw[:6] != b"Lerc2 " or len(raw) < 40:
        raise _UnsoundError("no LERC of version 2")
    version = int.from_bytes(raw[6:10], "little", signed=True)
    return int.from_bytes(raw[22:26], "little", signed=True) if version >= 4 else 1
