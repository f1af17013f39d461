"""What a read asks for: layers of scenes on a target grid. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mosaic.catalog.opened import Variant
from mosaic.catalog.source import Band
from mosaic.engine.lattice import Grid, Window
from mosaic.engine.resampling import Method

_SHOWN = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split()


def shown(dtype: str) -> np.dtype[Any] | None:
    """The type in which a band's numbers are shown: half floats are widened, as GDAL does.

    None for complex numbers, and what else can't be shown.
    """
    name = "float32" if dtype == "float16" else dtype
    return np.dtype(name) if name in _SHOWN else None


@dataclass(frozen=True, slots=True)
class Scene:
    """One file that may show in a window."""

    item: str
    """Id of the item."""
    asset: str
    """Name of the asset."""
    href: str
    """Absolute path or URL."""
    grid: Grid
    """Its pixels, as the item tells them."""
    variant: Variant
    """Its bands, and how their numbers become the layer's."""
    mask: bool = False
    """Whether its masks lie in a file beside it (``.msk``), as the item says."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Scenes that lie on each other, and the bands of them that are read."""

    asset: str
    """Name of the asset."""
    bands: tuple[int, ...]
    """Places of the bands in the files."""
    declared: tuple[Band, ...]
    """These bands as the values that are returned have them."""
    method: Method
    """How target pixels are made of theirs."""
    scenes: tuple[Scene, ...]
    """From the topmost down."""
    overviews: bool = True
    """Whether files' overviews serve."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        found = shown(self.declared[0].dtype)
        assert found is not None  # a request asks for none that can't be shown
        return found


@dataclass(frozen=True, slots=True)
class Request:
    """A window of a target grid, and what is to be shown in it."""

    target: Grid
    """The grid; what a pixel shows depends on it, not on the window."""
    window: Window
    """First row, first column, height, width."""
    layers: tuple[Layer, ...]
    """What is read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.window[2], self.window[3]
