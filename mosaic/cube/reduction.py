"""Which number a composite makes of a pixel's layers, and what that number then is. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from mosaic.catalog.source import Band
from mosaic.cube.masks import is_classes
from mosaic.cube.values import cast
from mosaic.cube.variables import Variable, of_band
from mosaic.errors import UsageError

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

_DRAWN = ("first", "last")
_KEPT = ("min", "max", "medoid")
_MADE = ("mean", "median", "std")
_NAMES = (*_DRAWN, *_KEPT, *_MADE, "count", "percentile:q")
_CF = {
    "min": "minimum",
    "max": "maximum",
    "mean": "mean",
    "median": "median",
    "std": "standard_deviation",
}
"""Names of the CF conventions, for ``cell_methods``."""
_MOST = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class Reduction:
    """One way to make one number of many."""

    name: str
    """``first``, ``last``, ``min``, ``max``, ``mean``, ``median``, ``std``, ``count``,
    ``percentile``, ``medoid`` or ``function``."""
    share: float = 0.5
    """Of a percentile: 0 to 1."""
    function: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    """What a user gave."""
    token: str = ""
    """Tells one function from another."""

    @property
    def drawn(self) -> bool:
        """Whether it shows the topmost layer, which drawing does by itself."""
        return self.name in _DRAWN

    @property
    def made(self) -> bool:
        """Whether its numbers may be such as no scene has."""
        return self.name in (*_MADE, "percentile", "function")

    @property
    def together(self) -> bool:
        """Whether it looks at all bands at once."""
        return self.name in ("medoid", "function")

    @property
    def whole(self) -> bool:
        """Whether it needs all layers at once; else they come and go."""
        return self.name in ("median", "percentile", "medoid", "function")


def reduction(method: Any) -> Reduction:
    """The reduction of a name, or of a function of a dataset. Raises UsageError."""
    if callable(method):
        return Reduction("function", function=method, token=_token(method))
    if isinstance(method, str):
        if method in (*_DRAWN, *_KEPT, *_MADE, "count"):
            return Reduction(method)
        match = re.fullmatch(r"percentile:(\d+(?:\.\d*)?)", method)
        if match and float(match[1]) <= 100:
            return Reduction("percentile", float(match[1]) / 100)
        if method.startswith("percentile"):
            raise UsageError(f"method={method!r:.80}: percentile:0 to percentile:100")
    raise UsageError(f"method={method!r:.80}: {', '.join(_NAMES)}, or a function of a dataset")


def _token(function: Callable[..., Any]) -> str:
    """Its name, where that tells which function it is in every process."""
    name = getattr(function, "__qualname__", "")
    module = getattr(function, "__module__", "")
    plain = name and module != "__main__" and "<" not in name
    return f"{module}.{name}" if plain else uuid4().hex


def returned(one: Variable, how: Reduction, dtype: Any, masked: bool, layers: int) -> Variable:
    """A band as a composite returns it.

    ``one``: as it is in a layer. ``dtype``: what was asked for, or None. ``masked``: whether
    pixels may be hidden. ``layers``: most layers of a group. Raises UsageError for what can't be.
    """
    own = one.declared
    told = of_band(dtype, one.name, one.asset, "dtype")
    if how.made and how.name != "function" and is_classes(one.asset):
        raise UsageError(
            f"method={how.name!r}: {one.name} holds classes, between which there is nothing; "
            "leave it out, with bands="
        )
    if how.name == "count":
        kind = np.dtype(np.uint16 if layers <= _MOST else np.uint32) if told is None else one.dtype
        if kind.kind in "iu" and int(np.iinfo(kind.name).max) < layers:
            raise UsageError(f"dtype={kind.name} can't count {layers} layers")
        return replace(one, dtype=kind, declared=Band(own.dtype, own.name))
    if how.made:
        kind = _float(own.dtype) if told is None else one.dtype
        if how.name == "std":  # an offset is in none of the distances
            own = replace(own, scale=abs(own.scale), offset=0.0)
        if kind.kind == "f":
            own = replace(own, nodata=None, usual_nodata=None)
        one = replace(one, dtype=kind, declared=own)
    if masked and one.fill is None:
        raise UsageError(
            f"band {one.name} has no nodata value that could stand for masked pixels: "
            'take dtype="float32"'
        )
    return one


def _float(dtype: str) -> np.dtype[Any]:
    """The floating point type for numbers between those of a type."""
    small = dtype in ("int8", "uint8", "int16", "uint16", "float16", "float32")
    return np.dtype(np.float32 if small else np.float64)


def attributes(how: Reduction) -> dict[str, str]:
    """What attributes say of how numbers were made."""
    if how.name == "count":
        return {"long_name": "number of observations", "cell_methods": "time: sum"}
    return {"cell_methods": f"time: {_CF[how.name]}"} if how.name in _CF else {}


def finished(values: Array, some: Bools, one: Variable, how: Reduction) -> Array:
    """Numbers as they are returned: of their type, and with what stands for none."""
    found = cast(values, one.dtype)
    fill = one.fill
    taken = None
    if how.made and found.dtype.kind in "iu" and fill is not None:
        # between two numbers may lie the one that stands for none
        taken = some & (found == fill)
    missing = ~some
    if found is values:
        found = values.copy()
    if taken is not None and fill is not None:
        found[taken] = fill + (1 if fill < np.iinfo(found.dtype).max else -1)
    found[missing] = 0 if fill is None else fill
    return found
