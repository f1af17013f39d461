"""The scenes that a choice means: of a mosaic that is open, or opened again in another process."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from mosaic.catalog.database import shown
from mosaic.catalog.opened import Opened
from mosaic.catalog.order import drawing_order
from mosaic.cube.choice import Choice
from mosaic.cube.composite import lacking
from mosaic.cube.groups import Groups
from mosaic.cube.scenes import Scenes, scenes
from mosaic.cube.sources import opened
from mosaic.cube.stamp import stamp
from mosaic.errors import CatalogError, InputError


def found_in(choice: Choice, mosaic: Opened) -> Scenes:
    """The scenes that a choice means.

    Raises InputError where items lack what their pixels are judged by; with ``errors="ignore"``
    that is told by the mosaic's problems.
    """
    if choice.order is not None:
        mosaic = ordered(mosaic, choice.order)
    found = scenes(
        mosaic,
        choice.target,
        choice.assets,
        choice.span,
        choice.groupby,
        choice.last,
        choice.raw,
        choice.others,
        choice.native,
    )
    if choice.composite is not None:
        problems = lacking(choice.composite, mosaic, found.groups.of)
        if problems and not choice.ignore:
            raise InputError(problems)
        found.mosaic = replace(mosaic, problems=(*mosaic.problems, *problems))
    return found


def ordered(mosaic: Opened, by: str) -> Opened:
    """A mosaic whose scenes lie on each other by a property: the least on top.

    The greatest with ``-`` before its name; ties as they lay.
    """
    values = mosaic.columns.read(by.removeprefix("-")).to_pylist()
    names = [f"{place:012d}" for place in (-mosaic.z).argsort().argsort().tolist()]
    return replace(mosaic, z=drawing_order(values, names, not by.startswith("-")))


def found_again(choice: Choice) -> Scenes:
    """The scenes of a choice that was made elsewhere; once for all arrays that travel here.

    Raises CatalogError for a mosaic that was built anew, and what opening raises.
    """
    return _once(_Same(choice))


@lru_cache(maxsize=2)
def _once(same: _Same) -> Scenes:
    choice = same.choice
    bands = list(dict.fromkeys((*choice.assets, *choice.others)))
    mosaic = opened(
        choice.source,
        gate=choice.gate,
        bands=bands,
        geobox=choice.target,
        where=choice.where,
        span=choice.span,
    )
    if isinstance(choice.groupby, Groups) and len(choice.groupby.of) != mosaic.count:
        # its layers are of all items
        mosaic = opened(choice.source, gate=choice.gate, bands=bands, where=choice.where)
    if stamp(choice.source, choice.gate) != choice.stamp:
        what = "was built anew since it was opened: open it again"
        raise CatalogError(f"{shown(mosaic.base)} {what}")
    return found_in(choice, mosaic)


class _Same:
    """A choice by its token."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.token = choice.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.token == self.token
