"""What the scenes of :mod:`tests.benchmarks.seam` show in a window: PROJ at every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import rasterio

from tests.benchmarks.cases import Window
from tests.benchmarks.seam import Corpus, drawn

_ROWS = 256
EDGE = 1e-10
"""A place so little short of a pixel's edge counts as beyond it, as in GDAL."""


def shown(folder: Path, corpus: Corpus, window: Window) -> np.ndarray:
    """(days, bands, height, width) numbers: nearest pixel of the topmost scene with data.

    From the coarsest overview that isn't coarser than the window, as ``gdalwarp -ovr AUTO``.
    """
    out = np.zeros(window.shape, np.uint16)
    level = min(int(np.log2(window.res / corpus.res)), int(np.log2(corpus.size / corpus.block)))
    column = np.arange(window.width) + 0.5
    for n, day in enumerate(window.days):
        for item in drawn(corpus, day):
            place = item["properties"]
            to = pyproj.Transformer.from_crs(3035, place["proj:epsg"], always_xy=True)
            size, _, left, _, _, top = place["proj:transform"][:6]
            files = []
            for band in window.bands:
                path = folder / item["id"] / f"{band}.tif"
                options = {} if not level else {"overview_level": level - 1}
                with rasterio.open(path, **options) as dataset:
                    files.append(dataset.read(1))
            step = size * corpus.size / files[0].shape[1]
            for first in range(0, window.height, _ROWS):
                row = np.arange(first, min(first + _ROWS, window.height)) + 0.5
                x, y = to.transform(
                    *np.meshgrid(window.left + column * window.res, window.top - row * window.res)
                )
                c = np.floor((x - left) / step + EDGE).astype(int)
                r = np.floor((top - y) / step + EDGE).astype(int)
                height, width = files[0].shape
                inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
                for m, pixels in enumerate(files):
                    strip = out[n, m, first : first + len(row)]
                    new = inside & (strip == 0)
                    strip[new] = pixels[r[new], c[new]]
    return out


@dataclass(frozen=True)
class Verdict:
    """How a contender's pixels compare with PROJ's."""

    equal: float
    """Share of pixels that are the same."""
    near: float
    """Share of pixels that differ by no more than ``NEAR``, or by a neighbour's choice."""

    def __str__(self) -> str:
        return f"{self.equal:.3%} equal, {self.near:.3%} near"


NEAR = 150
"""DN: more than six times the noise of the scenes. Who takes the next pixel is as near as this."""


def judged(pixels: np.ndarray, truth: np.ndarray) -> Verdict:
    """The verdict on (days, bands, height, width) numbers."""
    if pixels.shape != truth.shape:
        return Verdict(0.0, 0.0)
    off = np.abs(pixels.astype(np.int32) - truth)
    return Verdict(float((off == 0).mean()), float((off <= NEAR).mean()))
