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
"""``time``, ``solar_day``, ``id``, ``all``, a property's name, or a function of an item."""

DAY = 86_400_000_000
HOUR = 3_600_000_000
_NAMES = ("time", "solar_day", "id", "all")


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Layers of time."""

    time: Times
    """(T,) UTC of the earliest item of each, in microseconds."""
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
    _, key = np.unique(_keys(mosaic, rows, time, by, longitude), return_inverse=True)
    count = int(key.max(initial=-1)) + 1
    of = np.full(len(mosaic.id), -1, np.int64)
    of[rows] = key
    first = np.full(count, np.iinfo(np.int64).max)
    known = time != NEVER
    np.minimum.at(first, key[known], time[known])
    first[first == np.iinfo(np.int64).max] = np.datetime64("NaT").astype(np.int64)
    return Groups(first.astype("datetime64[us]"), of)


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
        return _ranks([by(item) for item in _items(mosaic, rows)])
    if not isinstance(by, str):
        raise UsageError(f"groupby={by!r:.80}: {', '.join(_NAMES)}, a property or a function")
    if not mosaic.columns.has(by):
        raise UsageError(f"groupby={by!r}: no item has such a property; or {', '.join(_NAMES)}")
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


def _items(mosaic: Opened, rows: Longs) -> list[dict[str, Any]]:
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
