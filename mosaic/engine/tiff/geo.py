"""Where a TIFF lies on Earth: its affine transform and its geo keys.

GeoTIFF 1.1 (OGC 19-008), read as GDAL reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mosaic.engine.tiff import geokeys
from mosaic.engine.tiff.chunks import Chunks
from mosaic.engine.tiff.directory import Directory, Tag

TAGS = (
    Tag.MODEL_PIXEL_SCALE,
    Tag.MODEL_TIEPOINT,
    Tag.MODEL_TRANSFORMATION,
    Tag.GEO_KEY_DIRECTORY,
    Tag.GEO_DOUBLE_PARAMS,
    Tag.GEO_ASCII_PARAMS,
)
"""The tags that are read here."""
_RASTER_TYPE, _POINT = 1025, 2


@dataclass(frozen=True, slots=True)
class Georeference:
    """Where a raster lies."""

    transform: tuple[float, ...] | None
    """Affine a, b, c, d, e, f: corner of a pixel (column, row) to x, y. None where the file has
    none: no reference at all, ground control points, or RPCs."""
    points: int
    """Number of ground control points, where these take the transform's place."""
    is_point: bool
    """Whether the file counts from centres of pixels; ``transform`` counts from corners anyway."""
    keys: Mapping[int, geokeys.Value] = field(repr=False)
    """Geo keys by number."""

    @property
    def crs(self) -> str | None:
        """The horizontal CRS as a code or WKT, or None where the keys don't tell it.

        Worked out by PROJ at the first call for each set of keys, unless they hold a code.
        """
        return geokeys.crs(tuple(sorted(self.keys.items())))


def read(directory: Directory, chunks: Chunks) -> Georeference:
    """What a directory's geo tags say. Raises TiffError where they break their format."""
    keys = geokeys.read(
        directory.numbers(Tag.GEO_KEY_DIRECTORY, chunks),
        _floats(directory, Tag.GEO_DOUBLE_PARAMS, chunks),
        _ascii(directory, chunks),
    )
    is_point = keys.get(_RASTER_TYPE) == _POINT
    scale = _floats(directory, Tag.MODEL_PIXEL_SCALE, chunks)
    ties = _floats(directory, Tag.MODEL_TIEPOINT, chunks)
    matrix = _floats(directory, Tag.MODEL_TRANSFORMATION, chunks)
    found: tuple[float, ...] | None = None
    if len(scale) >= 2 and scale[0] and scale[1]:
        # GDAL takes a negative height of pixels for a mistake: rows run south all the same
        a, e = scale[0], -abs(scale[1])
        found = (a, 0.0, 0.0, 0.0, e, 0.0)
        if len(ties) >= 6:
            found = (a, 0.0, ties[3] - ties[0] * a, 0.0, e, ties[4] - ties[1] * e)
    elif len(matrix) == 16:
        found = (matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7])
    if found is not None and is_point:
        a, b, c, d, e, f = found
        found = (a, b, c - (a + b) / 2, d, e, f - (d + e) / 2)
    if found is not None and (
        not all(map(math.isfinite, found)) or found[0] * found[4] == found[1] * found[3]
    ):
        raise chunks.error("its affine transform isn't finite, or has no area")
    points = len(ties) // 6 if found is None else 0
    return Georeference(found, points, is_point, keys)


def _floats(directory: Directory, tag: Tag, chunks: Chunks) -> tuple[float, ...]:
    values = directory.values(tag, chunks)
    return () if values is None else tuple(map(float, values.tolist()))


def _ascii(directory: Directory, chunks: Chunks) -> str:
    entry = directory.entries.get(Tag.GEO_ASCII_PARAMS)
    if entry is None or entry.size != 1:
        return ""
    return bytes(chunks.get(entry.span, "GEO_ASCII_PARAMS")).decode("utf-8", "replace")
