"""Nested Arrow columns as numbers: equal values get equal codes, without an object per row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int64]
Longs = npt.NDArray[np.int64]


class Columns(Protocol):
    """Columns of items by their path, wherever they are kept: ``id``, ``assets.B04.href``."""

    def __len__(self) -> int:
        """Number of items."""

    @property
    def names(self) -> list[str]:
        """Names of the columns; ``assets``, ``links`` and ``geometry`` may be among them."""

    def has(self, path: str) -> bool:
        """Whether there is such a column."""

    def read(self, path: str) -> pa.Array:
        """(n,) a column. Raises KeyError without such a one."""

    def take(self, path: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Some rows of a column."""


_MOST = 1 << 62


def codes(values: pa.Array) -> Codes:
    """(n,) codes of texts, numbers, lists or structures: equal exactly where values are.

    Nulls are equal to each other.
    """
    kind = values.type
    if pa.types.is_struct(kind):
        there = values.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
        return joined([there, *(codes(child) for child in values.flatten())])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        length = pc.fill_null(pc.list_value_length(values), -1).to_numpy().astype(np.int64)
        inner = codes(values.flatten())
        stop = np.cumsum(np.maximum(length, 0))
        start = stop - np.maximum(length, 0)
        parts = [length + 1]
        for place in range(int(length.max(initial=0))):
            has = length > place
            part = np.zeros(len(length), np.int64)
            part[has] = inner[start[has] + place] + 1
            parts.append(part)
        return joined(parts)
    if pa.types.is_null(kind):
        return np.zeros(len(values), np.int64)
    coded = pc.dictionary_encode(values, null_encoding="encode")
    found: Codes = coded.indices.to_numpy().astype(np.int64)
    return found


def joined(parts: Sequence[Codes]) -> Codes:
    """(n,) codes of rows of several columns of codes, all of them 0 or more."""
    found: Codes | None = None
    for part in parts:
        if found is None or not found.any():
            found = part
            continue
        size = int(part.max(initial=0)) + 1
        if size == 1:
            continue
        if int(found.max(initial=0)) >= _MOST // size:
            found = _dense(found)
        found = found * size + part
    return _dense(found) if found is not None else np.zeros(0, np.int64)


def distinct(values: Codes) -> tuple[Codes, Codes]:
    """(k,) the first row of each code, and (n,) which of these k each row equals."""
    dense = _dense(values)
    first = np.full(int(dense.max(initial=-1)) + 1, -1, np.int64)
    first[dense[::-1]] = np.arange(len(dense))[::-1]
    return first, dense


def _dense(values: Codes) -> Codes:
    found: Codes = pc.dictionary_encode(pa.array(values)).indices.to_numpy().astype(np.int64)
    return found


def combined(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else whole.chunk(0)


def fixed(values: pa.Array, width: int, dtype: type) -> npt.NDArray[Any]:
    """(n, width) the first numbers of lists; rows that are null or shorter are NaN, or -1."""
    floats = np.issubdtype(dtype, np.floating)
    found: npt.NDArray[Any] = np.full((len(values), width), np.nan if floats else -1, dtype)
    length = pc.fill_null(pc.list_value_length(values), 0).to_numpy().astype(np.int64)
    flat = values.flatten()
    if flat.null_count:
        flat = pc.fill_null(flat, float("nan") if floats else -1)
    inner = flat.to_numpy(zero_copy_only=False)
    if len(length) and (length == length[0]).all() and length[0] >= width:
        whole: npt.NDArray[Any] = inner.reshape(len(length), -1)[:, :width].astype(dtype)
        return whole
    start = np.cumsum(length) - length
    has = length >= width
    found[has] = inner[start[has][:, None] + np.arange(width)]
    return found


def true(values: pa.Array) -> npt.NDArray[np.bool_]:
    """(n,) whether a value is true; null isn't."""
    found: npt.NDArray[np.bool_] = pc.coalesce(values, pa.scalar(False)).to_numpy(
        zero_copy_only=False
    )
    return found
