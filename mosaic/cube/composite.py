"""What a composite is made of: layers, a reduction of them, and the bands that decide. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mosaic.catalog.columns import Longs
from mosaic.catalog.opened import Opened
from mosaic.cube.groups import NAMES, GroupBy
from mosaic.cube.masks import Rule, names_of, rule
from mosaic.cube.reduction import Reduction, reduction
from mosaic.cube.variables import Variable, variables
from mosaic.engine.reading import chosen
from mosaic.errors import Problem, UsageError

_SHORT = ("time", "solar_day", "day", "id")
_MARGIN = 512
"""Pixels by which a mask may grow."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A composite as users write it, as far as that says something without a mosaic."""

    how: Reduction
    """What makes one number of many."""
    groupby: GroupBy
    """Which items make up one layer that is returned."""
    over: str | None
    """Which items of a group make up one layer of those that are reduced."""
    best: str | None
    """A band or property, ``-`` before it where the greatest is best."""
    mask: Mapping[str, Any]
    """By band what hides a pixel."""
    dilate: int
    """Pixels by which that grows."""

    @property
    def names(self) -> list[str]:
        """Bands that are named, and perhaps aren't among those that are returned."""
        best = [] if self.best is None else [self.best.removeprefix("-")]
        return [*names_of(self.mask or None), *best]


@dataclass(frozen=True, slots=True)
class Composite:
    """How the layers of a group become one."""

    how: Reduction
    """What makes one number of many."""
    over: str | None
    """Which items of a group make up one of the layers that are reduced."""
    bands: tuple[Variable, ...]
    """The bands as those layers have them."""
    rules: tuple[Rule, ...]
    """What hides a pixel."""
    dilate: int
    """Pixels of the target by which that grows."""
    quality: Variable | None = None
    """A band by which a pixel's layer is picked, in all bands."""
    greatest: bool = False
    """Whether its greatest number is the best, not its least."""

    @property
    def deciding(self) -> tuple[Variable, ...]:
        """Bands that are read besides."""
        quality = () if self.quality is None else (self.quality,)
        return *(one.band for one in self.rules), *quality

    @property
    def together(self) -> bool:
        """Whether every band's pixels depend on other bands."""
        return self.how.together or self.quality is not None

    @property
    def ranked(self) -> bool:
        """Whether layers count from the topmost down; else in the order of time."""
        return self.how.drawn or self.how.name == "medoid"


def asked(method: Any, groupby: GroupBy, over: Any, best: Any, mask: Any, dilate: Any) -> Asked:
    """What arguments mean. Raises UsageError for those that can't be meant."""
    how = reduction(method)
    names_of(mask)
    if isinstance(dilate, bool) or not isinstance(dilate, int | np.integer) or dilate < 0:
        raise UsageError(f"mask_dilate={dilate!r:.40}: a number of pixels, 0 or more")
    if dilate > _MARGIN:
        raise UsageError(f"mask_dilate={dilate}: {_MARGIN} pixels at most")
    if dilate and not mask:
        raise UsageError("mask_dilate= needs a mask=")
    if best is not None and (not isinstance(best, str) or not best.removeprefix("-")):
        raise UsageError(f'best={best!r:.80}: a band or a property, such as "eo:cloud_cover"')
    if best is not None and how.name != "first":
        raise UsageError(
            f'best= picks one layer of each pixel: take method="first", not {method!r}'
        )
    if isinstance(groupby, str) and groupby == "auto":
        groupby = "time" if how.drawn and best is None else "all"
    if isinstance(over, str) and over == "auto":
        over = "id" if groupby is None or groupby in _SHORT else "solar_day"
    if over is not None and not isinstance(over, str):
        raise UsageError(f"over={over!r:.80}: {', '.join(NAMES)}, or a property")
    return Asked(how, groupby, over, best, dict(mask or {}), int(dilate))


def composite(
    asked: Asked,
    mosaic: Opened,
    bands: Any,
    resampling: str | Mapping[str, str] | None,
    dtype: Any,
) -> tuple[Composite | None, tuple[Variable, ...], str | None]:
    """How layers become one, bands as they are asked for, and a property that orders scenes.

    None where the topmost scenes show as they are. Raises UsageError for bands, classes and
    properties that aren't there.
    """
    told = [rule(_one(mosaic, name), wanted) for name, wanted in asked.mask.items()]
    rules = tuple(replace(one, band=_aside(one.band)) for one in told)
    wanted = chosen(mosaic, bands)
    if bands is None:  # what hides pixels isn't looked at
        hidden = {(one.band.asset, one.band.place) for one in rules}
        wanted = [one for one in wanted if one[1:] not in hidden]
        if not wanted:
            raise UsageError("mask= names all bands: none is left to be shown")
    shown = variables(mosaic, wanted, resampling, dtype)
    quality, order = None, None
    if asked.best is not None:
        name = asked.best.removeprefix("-")
        if _is_band(mosaic, name):
            quality = _aside(_one(mosaic, name))
        elif mosaic.columns.has(name):
            order = asked.best
        else:
            raise UsageError(
                f"best={asked.best!r}: no band and no property; bands are "
                f"{', '.join(dict.fromkeys(n for n, _, _ in chosen(mosaic, None)))}"
            )
    if asked.how.drawn and not rules and quality is None:
        return None, shown, order
    layers = variables(mosaic, wanted, resampling, None)
    greatest = quality is not None and str(asked.best).startswith("-")
    over = "id" if asked.how.drawn and quality is None else asked.over
    made = Composite(asked.how, over, layers, rules, asked.dilate, quality, greatest)
    return made, shown, order


def _is_band(mosaic: Opened, name: str) -> bool:
    try:
        return bool(chosen(mosaic, [name]))
    except UsageError:
        return False


def _one(mosaic: Opened, name: str) -> Variable:
    """A band that decides, as it is: by nearest neighbour."""
    found = chosen(mosaic, [name])
    if len(found) != 1:
        raise UsageError(f"{name} has {len(found)} bands: name one of them")
    (one,) = variables(mosaic, found, "nearest", None)
    return one


def _aside(one: Variable) -> Variable:
    """A band under a name that none of those that are returned has."""
    return replace(one, name=f"{one.asset}:{one.place}")


def lacking(made: Composite, mosaic: Opened, of: Longs) -> list[Problem]:
    """A problem for each item that shows and lacks a band by which its pixels are judged.

    ``of`` (n,): -1 for items that show nowhere.
    """
    found = []
    for one in dict.fromkeys(band.asset for band in made.deciding):
        there = np.zeros(mosaic.count, bool)
        there[mosaic.assets[one].item] = True
        rows = np.flatnonzero((of >= 0) & ~there)
        what = f"it has no {one}, which tells which of its pixels show"
        advice = 'leave it out, or open with errors="ignore", which hides it'
        ids = mosaic.ids(rows)
        found += [Problem("unjudged", what, advice, name) for name in ids]
    return found


def layer_bytes(bands: Sequence[Variable]) -> int:
    """Bytes that a pixel of a layer takes: its numbers, and which of them count."""
    return sum(one.dtype.itemsize + 1 for one in bands)
