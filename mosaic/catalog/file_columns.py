"""Columns of a Parquet file, read one by one; its statistics spare reads."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from mosaic import bridge
from mosaic.catalog.columns import Codes, codes, combined
from mosaic.catalog.ranged import Ranges

if TYPE_CHECKING:
    from mosaic.catalog.folder import Folder

_KEPT = 16 << 20
"""Bytes of columns that are kept of a file, as they were taken rows of."""


class ParquetColumns:
    """Columns of a Parquet file by their path; a part of a structure is read without the rest.

    Columns of one single value, as the file's statistics tell, aren't read at all. To another
    process travels where the file lies; it is opened there anew.
    """

    def __init__(
        self,
        file: pq.ParquetFile,
        folder: Folder,
        name: str,
        groups: Sequence[int] | None,
        ranges: Ranges | None,
    ) -> None:
        self._file = file
        self._place = folder, name, groups
        self._ranges = ranges
        self._groups = list(range(file.num_row_groups) if groups is None else groups)
        self._schema: pa.Schema = file.schema_arrow
        self._meta = file.metadata
        self._leaves = [file.schema.column(place).path for place in range(len(file.schema))]
        self._starts = np.cumsum([0, *(self._meta.row_group(g).num_rows for g in self._groups)])
        self._lock = threading.Lock()
        self._kept: LRUCache[Hashable, pa.Array] = LRUCache(_KEPT, lambda array: int(array.nbytes))
        bridge.settle(self)

    def __reduce__(self) -> tuple[object, ...]:
        folder, *place = self._place
        return folder.columns, tuple(place)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def after_fork(self) -> None:
        """A child's lock is free."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing has to be given back."""

    def _read(self, groups: Sequence[int], leaves: Sequence[str]) -> pa.Table:
        """Some columns of some row groups. Arrow's reader serves one thread at a time."""
        with self._lock:
            return self._file.read_row_groups(list(groups), columns=list(leaves))

    def _lately(self, groups: Sequence[int], leaves: Sequence[str], path: str) -> pa.Array:
        """A column of some row groups, as it was read lately: near windows want the same."""
        key = path, *groups
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = _walked(self._read(groups, leaves), path)
            if found.nbytes <= _KEPT:
                with self._lock:
                    self._kept[key] = found
        return found

    def mark(self) -> str:
        """Tells one state of the file from another. Raises OSError or StorageError."""
        folder, name, _ = self._place
        if self._ranges is not None:
            return footer_mark(self._ranges)
        with (Path(folder.base) / name).open("rb") as stream:
            return footer_mark(stream)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._schema.names)

    def collections(self) -> dict[str, Any]:
        """STAC collections that stac-geoparquet keeps with the items, by id."""
        kept = (self._schema.metadata or {}).get(b"stac-geoparquet", b"{}")
        found: dict[str, Any] = orjson.loads(kept).get("collections") or {}
        return found

    def fields(self, name: str) -> list[str]:
        """Names of the fields of a structure."""
        return [field.name for field in self._schema.field(name).type]

    def has(self, path: str) -> bool:
        """Whether there is such a column, or a part of one: ``assets.B04.href``."""
        return bool(self._of(path, ()))

    def complete(self, path: str) -> bool:
        """Whether no row lacks it, as the statistics tell."""
        place = self._leaves.index(self._of(path, ())[0])
        groups = (self._meta.row_group(g) for g in self._groups)
        told = [group.column(place).statistics for group in groups]
        return all(one is not None and one.null_count == 0 for one in told)

    def read(self, path: str, only: Sequence[str] = ()) -> pa.Array:
        """A column, or a part of one; ``only``: of structures in lists, these fields.

        Raises KeyError without such a one.
        """
        leaves = self._of(path, only)
        if not leaves:
            raise KeyError(f"no column {path}")
        return _walked(self._read(self._groups, leaves), path)

    def fetch(self, paths: Sequence[str]) -> None:
        """Fetches columns of a file behind the gate at once, for all that is read after."""
        if self._ranges is None:
            return
        wanted = [leaf for path in paths for leaf in self._of(path, ())]
        every = [self._leaves.index(leaf) for leaf in wanted]
        varying = [self._leaves.index(leaf) for leaf in wanted if not self._constant(leaf)]
        starts, ends = [], []
        for group in self._groups:
            for place in every if group == self._groups[0] else varying:
                column = self._meta.row_group(group).column(place)
                first = column.data_page_offset
                if column.has_dictionary_page:
                    first = min(first, column.dictionary_page_offset)
                starts.append(first)
                ends.append(first + column.total_compressed_size)
        self._ranges.hold(starts, ends)

    def take(self, path: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Some rows of a column; no group of rows is read that holds none of them."""
        leaves = self._of(path, ())
        if not leaves:
            raise KeyError(f"no column {path}")
        groups = np.unique(np.searchsorted(self._starts, rows, side="right") - 1)
        if not len(groups):
            return _walked(self._schema.empty_table().select([path.partition(".")[0]]), path)
        own = [self._groups[group] for group in groups.tolist()]
        found = self._lately(own, leaves, path)
        sizes = np.diff(self._starts)[groups]
        shift = self._starts[groups] - (np.cumsum(sizes) - sizes)
        group_of = np.searchsorted(self._starts, rows, side="right") - 1
        return found.take(pa.array(rows - shift[np.searchsorted(groups, group_of)]))

    def codes(self, path: str, only: Sequence[str] = ()) -> Codes:
        """(n,) codes of a column (:func:`mosaic.catalog.columns.codes`); 0 without such a one."""
        varying = [leaf for leaf in self._of(path, only) if not self._constant(leaf)]
        if not varying:
            return np.zeros(len(self), np.int64)
        return codes(_walked(self._read(self._groups, varying), path))

    def values(self, path: str, rows: npt.NDArray[np.int64], only: Sequence[str] = ()) -> list[Any]:
        """Values of a column at some rows; None without such a one."""
        leaves = self._of(path, only)
        if not leaves or not len(rows):
            return [None] * len(rows)
        if all(self._constant(leaf) for leaf in leaves):
            first = _walked(self._read(self._groups[:1], leaves), path)[0].as_py()
            return [first] * len(rows)
        found: list[Any] = self.read(path, only).take(pa.array(rows)).to_pylist()
        return found

    def _of(self, path: str, only: Sequence[str]) -> list[str]:
        found = [leaf for leaf in self._leaves if leaf == path or leaf.startswith(f"{path}.")]
        inner = f"{path}.list.element."
        return [leaf for leaf in found if not only or leaf.removeprefix(inner) in only]

    def _constant(self, leaf: str) -> bool:
        """Whether every row has one value, and all the same, as the statistics tell."""
        place = self._leaves.index(leaf)
        seen: set[Any] = set()
        for group in self._groups:
            part = self._meta.row_group(group)
            column = part.column(place)
            told = column.statistics
            if told is None or not told.has_min_max or told.null_count != 0:
                return False
            if column.num_values != part.num_rows:
                return False
            seen |= {told.min, told.max}
        return len(seen) == 1


def footer_mark(stream: IO[bytes] | io.RawIOBase) -> str:
    """A digest of a Parquet file's footer: offsets, sizes and statistics of all that it holds."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(end - 8)
    length = int.from_bytes((stream.read(8) or b"")[:4], "little")
    stream.seek(max(0, end - 8 - length))
    return hashlib.sha1(stream.read(length) or b"").hexdigest()


def _walked(table: pa.Table, path: str) -> pa.Array:
    """The part of a table's only column that a path leads to. Names may hold dots."""
    values = combined(table.column(0))
    rest = path.removeprefix(table.column_names[0]).removeprefix(".")
    while rest:
        name = next(
            field.name
            for field in values.type
            if rest == field.name or rest.startswith(f"{field.name}.")
        )
        values = pc.struct_field(values, name)
        rest = rest.removeprefix(name).removeprefix(".")
    return values
