"""What of a mosaic is shown, and in which colours: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.catalog.opened import Asset, Opened
from mosaic.engine.reading import chosen
from mosaic.errors import UsageError

_COLORS = ("Red", "Green", "Blue")
_ENDS = (1.0, 97.0)
"""Percentiles that become the darkest and the brightest."""
_GAMMA = 0.7
_MOST = 1 << 20
"""Numbers that percentiles are taken of."""


def bands_of(mosaic: Opened, document: dict[str, Any]) -> tuple[str, ...]:
    """Names of the bands that are shown where nobody says.

    Red, green and blue where items tell them, in one asset before in three; else a stack of three
    bands; else the first band. Raises UsageError for a mosaic without any.
    """
    single: dict[str, str] = {}
    for name, asset in mosaic.assets.items():
        own = dict(zip(_colors(asset), chosen(mosaic, [name]), strict=True))
        if all(color in own for color in _COLORS):
            return tuple(own[color][0] for color in _COLORS)
        for color in own.keys() & set(_COLORS):
            single.setdefault(color, own[color][0])
    if len(single) == 3:
        return tuple(single[color] for color in _COLORS)
    for told in document.get("assets", {}).values():
        names = [str(band.get("name") or "") for band in told.get("bands") or ()]
        if "stack" in told.get("roles", ()) and len(names) == 3:
            return tuple(names)
    found = chosen(mosaic, None)
    if not found:
        raise UsageError("the mosaic has no bands")
    return (found[0][0],)


def _colors(asset: Asset) -> list[str]:
    """GDAL's colour of each band, as its items tell it; a number where they don't."""
    told = [one.color for one in asset.bands]
    for variant in asset.variants:
        told = [had or band.color for had, band in zip(told, variant.bands, strict=True)]
    return [color or str(place) for place, color in enumerate(told)]


def colours(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(bands, h, w) numbers to (h, w, 4) RGBA, alpha 0 where one of them isn't valid.

    Three bands are stretched together, so that they keep their balance; those of three bytes are
    colours already. One band is grey.
    """
    there = valid.all(axis=0)
    if values.dtype.kind == "f":
        there = there & np.isfinite(values).all(axis=0)
    rgba = np.zeros((*there.shape, 4), np.uint8)
    rgba[..., 3] = 255 * there
    if not there.any():
        return rgba
    if values.dtype == np.uint8 and len(values) == 3:
        rgba[..., :3] = np.moveaxis(values, 0, -1)
        rgba[~there] = 0
        return rgba
    numbers = values.astype(np.float32)
    low, high = ends(numbers[:, there])
    share = np.clip((np.where(there, numbers, low) - low) / (high - low), 0, 1) ** _GAMMA
    rgba[..., :3] = np.rint(255 * np.moveaxis(share, 0, -1)).astype(np.uint8)
    rgba[~there] = 0
    return rgba


def ends(numbers: npt.NDArray[np.float32]) -> Sequence[float]:
    """What is darkest and what is brightest of some numbers; never equal."""
    flat = numbers.ravel()
    low, high = np.percentile(flat[:: max(1, len(flat) // _MOST)], _ENDS)
    return float(low), float(high if high > low else low + 1)
