"""The files of a mosaic, written into the folder in which it is built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mosaic.builder.options import SLICES
from mosaic.catalog.gti import Index, index_xml
from mosaic.catalog.layout import index_name, slice_name, stack_name
from mosaic.catalog.table import Table
from mosaic.catalog.vrt import stack
from mosaic.errors import UsageError


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the time axis."""

    label: str
    """Such as ``2025-06``."""
    where: str
    """SQL condition on the index."""


def time_slices(table: Table, kind: str) -> list[Slice]:
    """The slices that hold items, in order; times are UTC."""
    length = SLICES[kind]
    return slices_of({time[:length] for time in table.datetime if time} if length else ())


def slices_of(labels: Iterable[str]) -> list[Slice]:
    """The slices of these labels, in order."""
    return [
        # '~' sorts after every character of a time
        Slice(label, f"datetime >= '{label}' AND datetime < '{label}~'")
        for label in sorted(labels)
    ]


def write_slices(folder: Path, target: Path, index: Index, slices: list[Slice]) -> list[str]:
    """One ``.gti`` a slice; it names the index by an absolute path (``mosaic relocate``)."""
    names = []
    for one in slices:
        name = slice_name(index.asset, one.label)
        path = folder / name
        dataset = str(target / index_name(index.asset))
        path.write_text(index_xml(index, dataset, one.where), encoding="utf-8")
        names.append(name)
    return names


def write_stack(folder: Path, members: tuple[str, ...], indexes: dict[str, Index]) -> str:
    """A VRT of single-band indexes.

    Raises :class:`~mosaic.errors.UsageError` for a member that isn't indexed or has several
    bands.
    """
    parts = []
    for member in members:
        if member not in indexes:
            raise UsageError(f"--stack: no index {member}; there are {', '.join(indexes)}")
        index = indexes[member]
        if len(index.bands) != 1:
            raise UsageError(f"--stack: {member} has {len(index.bands)} bands, not one")
        parts.append((index_name(member), member, index.bands[0]))
    first = indexes[members[0]]
    name = stack_name(members)
    text = stack(parts, first.crs, (first.grid.height, first.grid.width), first.grid.affine)
    (folder / name).write_text(text, encoding="utf-8")
    return name
