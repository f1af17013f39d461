"""What xarray will ask for next, so that bands are read together.

``Dataset.load`` and ``compute`` go from variable to variable, each waiting for the one before, and
nothing but the caller's own frame tells a backend which come next. Where it isn't found, as in
another version of xarray, the same numbers are read one band after the other.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

_LOAD: CodeType | None = getattr(xr.Dataset.load, "__code__", None)
_DEEP = 16
"""Frames between ``Dataset.load`` and a backend's array, at most; xarray 2026.9 has 8."""


def loading() -> xr.Dataset | None:
    """The dataset that is being loaded in this thread, if its arrays are asked for just now."""
    frame = sys._getframe(1)
    for _ in range(_DEEP):
        if frame.f_code is _LOAD:
            found = frame.f_locals.get("self")
            return found if isinstance(found, xr.Dataset) else None
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None


def lazy_with(dataset: xr.Dataset, key: indexing.ExplicitIndexer) -> list[Any]:
    """Backends' arrays of a dataset that are still to be read, with an equal key."""
    found = []
    for variable in dataset.variables.values():
        data: Any = variable._data
        while not isinstance(data, indexing.LazilyIndexedArray) and hasattr(data, "array"):
            data = data.array
        if isinstance(data, indexing.LazilyIndexedArray) and _equal(data.key, key):
            found.append(data.array)
    return found


def _equal(one: indexing.ExplicitIndexer, other: indexing.ExplicitIndexer) -> bool:
    if type(one) is not type(other) or len(one.tuple) != len(other.tuple):
        return False
    return all(
        type(a) is type(b) and bool(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b)
        for a, b in zip(one.tuple, other.tuple, strict=True)
    )
