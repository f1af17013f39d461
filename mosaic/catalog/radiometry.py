"""Numbers stored in one encoding, brought to another. Pure.

An encoding is a scale and an offset: physical value = number * scale + offset. Tiles of an index
that differ in it are brought to that of the index, exactly or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mosaic.catalog.source import Band, span

Encoding = tuple[float, float]
"""Scale and offset."""

MOST = 1 / 32
"""Share of a data type's numbers that a shift may push beyond its end (they stay at the end)."""


@dataclass(frozen=True, slots=True)
class Recoding:
    """What makes a tile's numbers those of its index: number * ratio + shift."""

    ratio: float = 1.0
    """Factor."""
    shift: float = 0.0
    """Added after ``ratio``."""
    nodata_in: float | None = None
    """Number of the file that stands for no data (it isn't changed but replaced), or None."""
    nodata_out: float | None = None
    """What stands for it in the index."""

    @property
    def changes(self) -> bool:
        """Whether any number becomes another."""
        return (self.ratio, self.shift) != (1.0, 0.0)


def recoding(band: Band, target: Encoding, nodata: float | None) -> Recoding | None:
    """How a band's numbers become those of another encoding, or None if they can't exactly.

    ``nodata``: of the index. Integers take a whole shift without a factor that keeps them above
    the end of an unsigned type, and by which no pixel becomes ``nodata``. At the far end up to
    1/32 of the type's numbers are clipped: Sentinel-2's +1000 leaves 64536 to 65535 at 65535,
    which means saturated in both encodings. Floating point takes any; complex numbers and
    integers of 64 bits take none.
    """
    scale, offset = target
    if not scale or not band.scale:
        return None
    ratio, shift = band.scale / scale, (band.offset - offset) / scale
    if not math.isfinite(ratio) or not math.isfinite(shift):
        return None
    # scale and offset may have been through single precision: a number is off by less than 0.1
    ratio = 1.0 if math.isclose(ratio, 1.0, rel_tol=1e-6) else ratio
    shift = round(shift) if math.isclose(shift, round(shift), rel_tol=1e-6, abs_tol=1e-3) else shift
    own = band.nodata
    found = Recoding(ratio, float(shift), own, None if own is None else _first(nodata, own))
    if not found.changes:
        return found
    if band.dtype.startswith("float"):
        return found
    ends = span(band.dtype)
    if ends is None or ends[1] - ends[0] >= 2**32 or ratio != 1 or not float(shift).is_integer():
        return None
    low, high = ends
    if abs(shift) > (high - low + 1) * MOST or (low == 0 and shift < 0):
        return None
    lost = nodata if own is None else found.nodata_out
    if lost is None:
        return found
    becomes_lost = low <= lost - shift <= high and lost - shift != own
    return None if becomes_lost or lost == (high if shift > 0 else low) else found


def _first(value: float | None, default: float) -> float:
    return default if value is None else value
