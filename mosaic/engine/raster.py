"""What the engine asks of a file's header, whatever its format. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Plane(Protocol):
    """Pixels in blocks: a raster, an overview of it, or a mask."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def samples(self) -> int:
        """Bands."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample."""

    @property
    def block(self) -> tuple[int, int]:
        """Height and width of a block."""

    @property
    def separate(self) -> bool:
        """Whether each band has blocks of its own."""

    @property
    def depth(self) -> int:
        """Samples of a pixel in one block."""

    @property
    def href(self) -> str:
        """Where the file lies, for messages."""


class Level(Protocol):
    """A raster at one resolution."""

    @property
    def image(self) -> Plane:
        """Its pixels."""

    @property
    def mask(self) -> Plane | None:
        """Nonzero where they are valid; None where the file has no mask."""


class Place(Protocol):
    """Where a raster lies on Earth, as its file says."""

    @property
    def transform(self) -> tuple[float, ...] | None:
        """Affine a, b, c, d, e, f, or None where the file has none."""

    @property
    def crs(self) -> str | None:
        """A code or WKT, or None where the file doesn't tell."""


class Raster(Protocol):
    """A file's header."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def levels(self) -> Sequence[Level]:
        """Full resolution, then overviews from fine to coarse."""

    @property
    def geo(self) -> Place:
        """Where it lies."""

    @property
    def alpha(self) -> int | None:
        """Place of the band that is alpha, or None."""

    def nodata_of(self, band: int) -> float | None:
        """The value of a band that means no data, or None where the file declares none."""


def plane(level: Level, mask: bool) -> Plane:
    """The pixels of a level, or its mask."""
    if not mask:
        return level.image
    assert level.mask is not None
    return level.mask
