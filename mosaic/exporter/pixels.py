"""Windows of pixels: what tells that one is as it was written. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def crc_of(bands: Iterable[Array]) -> int:
    """CRC-32 of bands' numbers, one after the other, row by row, little-endian."""
    crc = 0
    for band in bands:
        plain = np.ascontiguousarray(band, band.dtype.newbyteorder("<"))
        crc = zlib.crc32(plain.reshape(-1).view(np.uint8).data, crc)
    return crc


def is_empty(band: Array, nodata: float | int | None) -> bool:
    """Whether all numbers of a band stand for no data, to the bit: -0.0 isn't 0.0."""
    bits = np.dtype(f"u{band.dtype.itemsize}")
    none = np.array(0 if nodata is None else nodata, band.dtype).view(bits)
    return bool((np.ascontiguousarray(band).view(bits) == none).all())
