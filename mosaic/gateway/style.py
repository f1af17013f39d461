"""How a tile is shown: what a query asks for, and numbers as colours. Pure."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from mosaic.engine.resampling import method
from mosaic.errors import UsageError
from mosaic.gateway import expression

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_KNOWN = ("bands", "expression", "rescale", "colormap", "datetime", "resampling", "size")
_SIZES = (256, 512)


@dataclass(frozen=True, slots=True)
class Style:
    """What a tile shows."""

    bands: tuple[str, ...]
    """Bands that are read."""
    formula: ast.expr | None = None
    """What is computed of them, or None for the bands themselves."""
    rescale: tuple[tuple[float, float], ...] = ()
    """Numbers shown darkest and brightest, for all or for each; empty for 0 and 255."""
    colormap: str = ""
    """matplotlib's name of a colormap for a single band, or empty for grey."""
    datetime: str | None = None
    """An instant, a month, an interval, or None."""
    resampling: str | None = None
    """rasterio's name, or None for the mosaic's."""
    size: int = 256
    """Pixels of a side."""


def styled(
    query: Mapping[str, str],
    rescale: Sequence[str],
    usual: Callable[[], Sequence[str]],
    count: Callable[[Sequence[str]], int] = len,
) -> Style:
    """A style as a query asks for it.

    ``rescale``: all values of that name. ``usual``: bands that are shown where nobody says.
    ``count``: of how many bands some names tell, for an asset's tells of all it has. Raises
    UsageError.
    """
    unknown = [name for name in query if name not in _KNOWN]
    if unknown:
        raise UsageError(f"no parameter {unknown[0][:40]!r}; there are {', '.join(_KNOWN)}")
    formula = expression.parsed(query["expression"]) if query.get("expression") else None
    if formula is not None:
        if query.get("bands"):
            raise UsageError("give either bands or expression")
        bands = expression.names(formula)
    else:
        told = tuple(word.strip() for word in query.get("bands", "").split(",") if word.strip())
        bands = told or tuple(usual())
    if not bands:
        raise UsageError("the expression names no band")
    shown = count(bands)
    if formula is not None:
        several = [name for name in bands if count([name]) > 1]
        if several:
            raise UsageError(f"{several[0]} has several bands: name the one you mean")
        shown = 1
    if query.get("resampling"):
        method(query["resampling"])
    colormap = query.get("colormap", "")
    if colormap and colormap not in mpl.colormaps:
        raise UsageError(f"matplotlib knows no colormap {colormap[:40]!r}, such as viridis")
    size = query.get("size", "256")
    if size not in map(str, _SIZES):
        raise UsageError("size is 256 or 512")
    style = Style(
        bands,
        formula,
        tuple(_range(text) for text in rescale),
        colormap,
        query.get("datetime") or None,
        query.get("resampling") or None,
        int(size),
    )
    if style.rescale and len(style.rescale) not in (1, shown):
        raise UsageError(f"rescale is given once, or for each of {shown} bands")
    if colormap and shown != 1:
        raise UsageError("a colormap shows one band")
    return style


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(f"rescale={text[:40]!r}: two numbers, such as 0,3000")
    return low, high


def computed(style: Style, values: Floats, valid: Bools) -> tuple[Floats, Bools]:
    """(bands, h, w) what is shown, and (h, w) where."""
    there: Bools = np.asarray(valid.all(axis=0))
    if style.formula is None:
        return values, there & np.isfinite(values).all(axis=0)
    result = expression.value(style.formula, dict(zip(style.bands, values, strict=True)))
    result = np.broadcast_to(result, there.shape)
    return result[None], there & np.isfinite(result)


def figures(values: Floats, there: Bools, names: Sequence[str]) -> dict[str, Any]:
    """Share of the pixels that are there; of each band's, ends and 2nd and 98th percentile."""
    bands = []
    for name, band in zip(names, values, strict=True):
        kept = band[there]
        told = np.percentile(kept, (0, 2, 98, 100)).tolist() if kept.size else [None] * 4
        bands.append({"name": name, **dict(zip(("min", "p2", "p98", "max"), told, strict=True))})
    return {"valid": float(there.mean()), "bands": bands}


def colours(style: Style, values: Floats, there: Bools) -> npt.NDArray[np.uint8]:
    """(h, w, 4) RGBA of what is shown. Raises UsageError for other than one or three bands."""
    if len(values) not in (1, 3):
        raise UsageError("a picture shows one band or three; a .tif takes any number")
    ranges = style.rescale or ((0.0, 255.0),)
    ranges = ranges * len(values) if len(ranges) == 1 else ranges
    low, high = (np.array(side)[:, None, None] for side in zip(*ranges, strict=True))
    picture = np.empty((*there.shape, 4), np.uint8)
    picture[..., 3] = 255
    with np.errstate(invalid="ignore", over="ignore"):  # of pixels that aren't there
        share = (values - low) / (high - low)
        np.clip(share, 0, 1, out=share)
        if style.colormap:
            picture[..., :3] = mpl.colormaps[style.colormap](share[0], bytes=True)[..., :3]
        else:
            share *= 255
            picture[..., :3] = np.moveaxis(np.rint(share, out=share), 0, -1)
    if not there.all():
        picture[~there] = 0
    return picture
