"""Times and drawing order of a mosaic's items, from its columns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mosaic.catalog.columns import Columns, Longs

Json = dict[str, Any]

NEVER = -(1 << 62)
"""Time of an item that has none."""


def times(columns: Columns) -> Longs:
    """(n,) ``datetime``, else ``start_datetime``, in milliseconds since 1970; else ``NEVER``."""
    time = np.full(len(columns), NEVER, np.int64)
    for name in ("start_datetime", "datetime"):
        if columns.has(name):
            micro = columns.read(name).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
            known = micro.is_valid().to_numpy(zero_copy_only=False)
            time[known] = pc.fill_null(micro, 0).to_numpy()[known] // 1000
    return time


def drawn(columns: Columns, document: Json, ids: pa.Array, time: Longs) -> Longs:
    """(n,) z of each item, as :func:`drawing_order` has it."""
    sort = str(document["mosaic:sort"])
    ascending, name = sort[0] == "+", sort[1:]
    if name == "datetime":
        values = pa.array(time, mask=time == NEVER)
    elif columns.has(name):
        values = columns.read(name)
    else:
        values = pa.nulls(len(ids), pa.int64())
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    flat = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not flat and not pa.types.is_timestamp(values.type):
        return drawing_order(values.to_pylist(), ids.to_pylist(), ascending)
    # ties are few: only they are ordered by id
    number = values.cast(pa.int64()) if not pa.types.is_floating(values.type) else values
    known = number.is_valid().to_numpy(zero_copy_only=False)
    key = pc.fill_null(number, 0).to_numpy()
    sign = 1 if ascending else -1
    order = np.lexsort((sign * key, ~known))
    run = np.ones(len(order), bool)
    run[1:] = (np.diff(key[order]) != 0) | (np.diff(known[order]) != 0)
    group = np.cumsum(run) - 1
    tied = np.bincount(group)[group] > 1
    if tied.any():
        rows = order[tied]
        by_id = pc.sort_indices(ids.take(pa.array(rows))).to_numpy()
        rank = np.empty(len(rows), np.int64)
        rank[by_id] = np.arange(len(rows))
        order[tied] = rows[np.lexsort((rank, group[tied]))]
    z = np.empty(len(order), np.int64)
    z[order] = np.arange(len(order))[::-1]
    return z


def drawing_order(values: list[Any], ids: list[str], ascending: bool) -> npt.NDArray[np.int64]:
    """(n,) z of each item: the first by ``values`` lies on top, and has the highest z.

    Numbers sort as numbers, all else as text; ties go by id, items without a value lie below.
    """
    numbers = [_number(value) for value in values]
    numeric = all(n is not None for n, v in zip(numbers, values, strict=True) if v is not None)
    if numeric:  # also those that are written as texts
        values = list(numbers)

    def key(row: int) -> tuple[Any, ...]:
        value = values[row]
        if value is None:
            return (1, 0, ids[row])
        return (0, value if numeric else str(value), ids[row])

    known = [row for row in range(len(values)) if values[row] is not None]
    unknown = [row for row in range(len(values)) if values[row] is None]
    order = sorted(known, key=key)
    if not ascending:
        # ties stay in the order of ids whichever way the values run
        order = sorted(known, key=lambda row: ids[row])
        order.sort(key=lambda row: key(row)[1], reverse=True)
    order += sorted(unknown, key=lambda row: ids[row])
    z = np.empty(len(values), np.int64)
    z[order] = np.arange(len(values))[::-1]
    return z


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
