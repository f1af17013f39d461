"""What is opened: enough to open it again in another process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from mosaic.catalog.layout import COLLECTION, ITEMS
from mosaic.catalog.opened import Opened
from mosaic.catalog.source import Band, holds
from mosaic.cube.groups import GroupBy, Groups
from mosaic.engine.reading import chosen
from mosaic.engine.resampling import METHODS, Method, method
from mosaic.engine.scene import shown
from mosaic.errors import UsageError
from mosaic.storage import Gate

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


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What was asked for."""

    source: str | Opened
    """Where a mosaic lies, a path absolute; or items in memory."""
    stamp: str
    """Its version: another one isn't mixed with it."""
    target: GeoBox
    """The grid."""
    variables: tuple[Variable, ...]
    """The bands."""
    span: tuple[int, int] | None
    """First and last millisecond, or None."""
    groupby: GroupBy | Groups
    """How items make layers of time; a function's layers, as a function may not travel."""
    last: bool
    """Whether the undermost scene shows, not the topmost."""
    ignore: bool
    """Whether what can't be read is noted, not raised."""
    raw: bool
    """Whether numbers are the files' own."""
    gate: Gate
    """Through which files are read."""
    where: str | None = None
    """An SQL condition on items, or None."""

    @property
    def token(self) -> str:
        """Equal for what reads the same, in every process."""
        by: Any = self.groupby
        if isinstance(by, Groups):
            by = hashlib.sha1(by.time.tobytes() + by.of.tobytes()).hexdigest()
        source = self.source if isinstance(self.source, str) else ""
        grid = str(self.target.crs), tuple(self.target.affine), tuple(self.target.shape)
        how = self.span, by, self.last, self.ignore, self.raw, self.where
        told = source, self.stamp, grid, self.variables, how
        return hashlib.sha1(repr(told).encode()).hexdigest()


def stamp(source: str | Opened, gate: Gate) -> str:
    """The version of a source: of a mosaic's files, or of items in memory."""
    if not isinstance(source, str):
        return source.digest
    whole = source.endswith(f"/{ITEMS}")
    base = source.removesuffix(f"/{ITEMS}").rstrip("/").removesuffix(f"/{COLLECTION}")
    names = [f"{base}/{name}" for name in ((ITEMS,) if whole else (COLLECTION, ITEMS))]
    if "://" in source:
        return repr([gate.meta(name) for name in names])
    states = [path.stat() for path in map(Path, names) if path.exists()]
    return repr([(one.st_mtime_ns, one.st_size) for one in states])


def is_stamped(version: str) -> bool:
    """Whether a version that :func:`stamp` told is one."""
    return version not in ("[]", "[None]", "[None, None]")


def variables(
    mosaic: Opened,
    bands: str | Sequence[str] | None,
    resampling: str | Mapping[str, str] | None,
    dtype: Any,
) -> tuple[Variable, ...]:
    """The bands to return, each once. Raises UsageError, which says which bands there are."""
    wanted = list(dict.fromkeys(chosen(mosaic, bands)))
    names = [name for name, _, _ in wanted]
    found = []
    for name, asset, place in wanted:
        if names.count(name) > 1 or name in _TAKEN:
            name = f"{asset}.{place + 1}"
        one = mosaic.assets[asset]
        how = _of(resampling, name, asset, "resampling") or one.resampling
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
            f"band {name} is {band.dtype}: such numbers can't be read; leave it out, with bands="
        )
    told = _of(dtype, name, asset, "dtype")
    try:
        kind = own if told is None else np.dtype(told)
    except TypeError as error:
        raise UsageError(f"dtype={told!r:.80} is no type of numpy's") from error
    if kind.kind not in "iuf" and kind != own:
        raise UsageError(f"dtype={kind.name}: take an integer or floating point type")
    nodata = band.nodata
    if kind != own and kind.kind in "iu" and nodata is not None and not holds(kind.name, nodata):
        raise UsageError(f"band {name}: {kind.name} can't hold its nodata value {nodata:g}")
    return Variable(name, asset, place, replace(band), method(how), kind)


def _of(told: Any, name: str, asset: str, what: str) -> Any:
    """What is told of a band, by its name, its asset's, or ``*``."""
    if isinstance(told, Mapping):
        return next((told[key] for key in (name, asset, "*") if key in told), None)
    if what == "resampling" and told is not None and not isinstance(told, str):
        raise UsageError(f"resampling={told!r:.80}: a name or a mapping: {', '.join(METHODS)}")
    return told
