"""Bands as they are returned. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mosaic.catalog.opened import Opened
from mosaic.catalog.source import Band, holds
from mosaic.engine.resampling import METHODS, Method, method
from mosaic.engine.scene import shown
from mosaic.errors import UsageError

COVERED = "_covered"
"""What the name of a band's coverage ends in."""
_TAKEN = ("time", "y", "x", "spatial_ref")


@dataclass(frozen=True, slots=True)
class Variable:
    """One band as it is returned."""

    name: str
    """Its name in the dataset."""
    asset: str
    """Asset that has it."""
    place: int
    """Its place in the asset's files."""
    declared: Band
    """What its numbers mean."""
    method: Method
    """How pixels are made of the files'."""
    dtype: np.dtype[Any]
    """Type that is returned."""

    @property
    def fill(self) -> float | None:
        """What stands for no data; None: nothing does, and 0 is there."""
        if self.declared.nodata is None and self.dtype.kind == "f":
            return float("nan")
        return self.declared.nodata


def variables(
    mosaic: Opened,
    wanted: Sequence[tuple[str, str, int]],
    resampling: str | Mapping[str, str] | None,
    dtype: Any,
) -> tuple[Variable, ...]:
    """The bands to return, each once. Raises UsageError.

    ``wanted``: name, asset, and place in it.
    """
    wanted = list(dict.fromkeys(wanted))
    names = [name for name, _, _ in wanted]
    found = []
    for name, asset, place in wanted:
        if names.count(name) > 1 or name in _TAKEN:
            name = f"{asset}.{place + 1}"
        one = mosaic.assets[asset]
        how = of_band(resampling, name, asset, "resampling") or one.resampling
        found.append(_variable(name, asset, place, one.bands[place], how, dtype))
    for what, told in (("resampling", resampling), ("dtype", dtype)):
        if isinstance(told, Mapping):
            known = {"*", *(v.name for v in found), *(v.asset for v in found)}
            unknown = [str(name) for name in told if name not in known]
            if unknown:
                raise UsageError(
                    f"{what}= names no band {', '.join(unknown)}; there are {', '.join(names)}"
                )
    return tuple(found)


def _variable(name: str, asset: str, place: int, band: Band, how: Any, dtype: Any) -> Variable:
    own = shown(band.dtype)
    if own is None:
        raise UsageError(
            f"band {name} is {band.dtype}: complex numbers can't be read; leave it out, with bands="
        )
    told = of_band(dtype, name, asset, "dtype")
    try:
        kind = own if told is None else np.dtype(told)
    except (TypeError, ValueError, SyntaxError) as error:  # numpy parses lists of types
        raise UsageError(f"dtype={told!r:.80} is no type of numpy's") from error
    if kind.kind not in "iuf" and kind != own:
        raise UsageError(f"dtype={kind.name}: take an integer or floating point type")
    nodata = band.nodata
    if kind != own and kind.kind in "iu" and nodata is not None and not holds(kind.name, nodata):
        raise UsageError(f"band {name}: {kind.name} can't hold its nodata value {nodata:g}")
    return Variable(name, asset, place, replace(band), method(how), kind)


def of_band(told: Any, name: str, asset: str, what: str) -> Any:
    """What is told of a band, by its name, its asset's, or ``*``."""
    if isinstance(told, Mapping):
        return next((told[key] for key in (name, asset, "*") if key in told), None)
    if what == "resampling" and told is not None and not isinstance(told, str):
        raise UsageError(f"resampling={told!r:.80}: a name or a mapping: {', '.join(METHODS)}")
    return told
