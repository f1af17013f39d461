"""Which items share a layer of time: by columns, nothing is done per item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mosaic.catalog.columns import Longs, codes
from mosaic.catalog.opened import NEVER, Opened
from mosaic.errors import UsageError

Times = npt.NDArray[np.datetime64]
GroupBy = str | Callable[[dict[str, Any]], Any] | None
"""A name of :data:`NAMES`, a property's name, or a function of an item; None is ``id``."""

DAY = 86_400_000_000
HOUR = 3_600_000_000
PERIODS = ("day", "week", "month", "season", "year")
"""Of UTC. A week begins on Monday, a season with December, March, June or September."""
NAMES = ("time", "solar_day", *PERIODS, "id", "all")
"""Layers that need no property."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Layers of time."""

    time: Times
    """(T,) UTC of the earliest item of each, in microseconds; of a period its beginning."""
    of: Longs
    """(n,) layer of each item; -1 for those that are in none."""

    def __len__(self) -> int:
        return len(self.time)


def grouped(mosaic: Opened, rows: Longs, by: GroupBy, longitude: float) -> Groups:
    """The layers that some items make, in the order of their keys, as odc.stac.load has them.

    ``longitude``: of the middle of what is read, for ``solar_day``. Raises
    :class:`~mosaic.errors.UsageError` for a property that no item has, or that has no order.
    """
    time = microseconds(mosaic)[rows]
    keys = _keys(mosaic, rows, time, by, longitude)
    of = np.full(mosaic.count, -1, np.int64)
    if by in PERIODS:
        numbers, of[rows] = np.unique(keys, return_inverse=True)
        begin = _beginning(numbers, str(by))
        begin[numbers == _period(np.array([NEVER]), str(by))] = np.datetime64("NaT", "us")
        return Groups(begin, of)
    _, of[rows] = np.unique(keys, return_inverse=True)
    return Groups(_earliest(of[rows], time), of)


def parted(mosaic: Opened, groups: Groups, by: GroupBy, longitude: float) -> tuple[Groups, Longs]:
    """The layers that the items of each group make, and the group of each layer.

    They follow each other as the groups do, within one as :func:`grouped` has them.
    """
    rows = np.flatnonzero(groups.of >= 0)
    time = microseconds(mosaic)[rows]
    _, key = np.unique(_keys(mosaic, rows, time, by, longitude), return_inverse=True)
    both = groups.of[rows] * (int(key.max(initial=0)) + 1) + key
    _, first, layer = np.unique(both, return_index=True, return_inverse=True)
    of = np.full(mosaic.count, -1, np.int64)
    of[rows] = layer
    return Groups(_earliest(layer, time), of), groups.of[rows][first]


def _earliest(layer: Longs, time: Longs) -> Times:
    """(T,) the earliest time of each layer; NaT where none of its items has one."""
    first = np.full(int(layer.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    known = time != NEVER
    np.minimum.at(first, layer[known], time[known])
    first[first == np.iinfo(np.int64).max] = np.datetime64("NaT", "us").astype(np.int64)
    return first.astype("datetime64[us]")


def _period(time: Longs, by: str) -> Longs:
    """(n,) numbers of the periods, since 1970, that microseconds lie in."""
    if by in ("day", "week"):
        day = time // DAY
        return day if by == "day" else (day + 3) // 7  # 1970 began on a Thursday
    month = time.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return {"month": month, "season": (month + 1) // 3, "year": month // 12}[by]


def _beginning(number: Longs, by: str) -> Times:
    """(n,) when periods begin."""
    if by in ("day", "week"):
        day = number if by == "day" else number * 7 - 3
        return day.astype("datetime64[D]").astype("datetime64[us]")
    month = {"month": number, "season": number * 3 - 1, "year": number * 12}[by]
    return month.astype("datetime64[M]").astype("datetime64[us]")


def microseconds(mosaic: Opened) -> Longs:
    """(n,) ``datetime``, else ``start_datetime``, since 1970; NEVER without either."""
    time = np.where(mosaic.time == NEVER, NEVER, mosaic.time * 1000)
    for name in ("start_datetime", "datetime"):
        if mosaic.columns.has(name):
            found = mosaic.columns.read(name).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
            known = found.is_valid().to_numpy(zero_copy_only=False)
            time[known] = pc.fill_null(found, 0).to_numpy()[known]
    return time


def _keys(
    mosaic: Opened, rows: Longs, time: Longs, by: GroupBy, longitude: float
) -> npt.NDArray[Any]:
    """(rows,) numbers, equal for items of one layer, in the layers' order."""
    if by is None or by == "id":
        return np.arange(len(rows))
    if by == "time":
        return time
    if by == "all":
        return np.zeros(len(rows), np.int64)
    if by == "solar_day":  # whole hours, cut towards Greenwich: as odc.stac.load does
        return (time + int(longitude / 15) * HOUR) // DAY
    if callable(by):
        return _ranks([by(item) for item in items(mosaic, rows)])
    if not isinstance(by, str):
        raise UsageError(f"groupby={by!r:.80}: {', '.join(NAMES)}, a property or a function")
    if by in PERIODS:
        return _period(time, by)
    if not mosaic.columns.has(by):
        raise UsageError(f"groupby={by!r}: no item has such a property; or {', '.join(NAMES)}")
    values = mosaic.columns.read(by).take(pa.array(rows))
    if pa.types.is_nested(values.type):
        raise UsageError(f"groupby={by!r}: a property that is a list or structure has no order")
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    order = pc.sort_indices(values).to_numpy()  # nulls last
    code = codes(values)[order]
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.cumsum(np.concatenate([[False], code[1:] != code[:-1]]))[: len(rows)]
    return rank


def items(mosaic: Opened, rows: Longs) -> list[dict[str, Any]]:
    """Items as a function sees them: id, and properties."""
    names = [name for name in mosaic.columns.names if name not in ("assets", "links", "geometry")]
    taken = pa.array(rows)
    table = {name: mosaic.columns.read(name).take(taken).to_pylist() for name in names}
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def _ranks(keys: list[Any]) -> Longs:
    try:
        distinct = {key: place for place, key in enumerate(sorted(set(keys)))}
    except TypeError as error:
        raise UsageError(f"groupby= gave keys that have no order ({error})") from error
    return np.array([distinct[key] for key in keys], np.int64)
