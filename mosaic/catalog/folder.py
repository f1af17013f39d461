"""A mosaic's folder as a reader sees it: on this machine, or behind a URL through the gate."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mosaic import bridge
from mosaic.catalog.columns import Codes, codes, combined
from mosaic.catalog.database import is_database, shown
from mosaic.catalog.layout import COLLECTION, MARK, read_collection
from mosaic.catalog.stored import Stored
from mosaic.errors import CatalogError, MissingError, NotACatalogError, StorageError
from mosaic.storage import Gate

_HEAD = 64 << 10
_NEAR = 64 << 10
"""Bytes between two ranges that are fetched as one; twice that where there are many."""
_MANY = 8
_MOST = 16
"""Ranges of :meth:`Folder.parts` that are asked for, at most."""


@dataclass(frozen=True, eq=False)
class Folder:
    """Where a mosaic lies."""

    base: str
    """Absolute path, or URL without a slash at its end."""
    gate: Gate | Stored
    """Through which it is read, if it is a URL."""
    stamp: tuple[int, ...] | None = None
    """What its collection was on this machine, to tell when another took its place; or None."""

    @classmethod
    def at(cls, source: str | os.PathLike[str], gate: Gate) -> Folder:
        """The folder of a path or URL, of itself or of its collection; or what stands for it in
        PostGIS."""
        text = os.fspath(source)
        if is_database(text):
            return cls(text, Stored.at(text))
        text = text.removesuffix(f"/{COLLECTION}").removesuffix("/catalog.json")
        if "://" in text:
            return cls(text.rstrip("/"), gate)
        path = Path(text).expanduser().absolute()
        return cls(str(path), gate, _stamp(path))

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return "://" in self.base

    def collection(self) -> dict[str, Any]:
        """The mosaic's collection. Raises :class:`~mosaic.errors.NotACatalogError`."""
        if not self.remote:
            return read_collection(Path(self.base))
        href = f"{self.base}/{COLLECTION}"
        try:
            document = orjson.loads(self.text(COLLECTION))
        except MissingError as error:
            what = "isn't there: no mosaic lies at this URL"
            raise NotACatalogError(f"{shown(href)} {what}") from error
        except (StorageError, orjson.JSONDecodeError) as error:
            raise NotACatalogError(f"{shown(href)} can't be read ({error})") from error
        if not isinstance(document, dict) or MARK not in document:
            what = "holds a STAC collection, but none of mosaic's"
            raise NotACatalogError(f"{shown(self.base)} {what}")
        return document

    def text(self, name: str) -> bytes:
        """A whole file in it. Raises OSError or StorageError."""
        if not self.remote:
            return (Path(self.base) / name).read_bytes()
        return _Ranges(self.gate, f"{self.base}/{name}").readall()

    def columns(self, name: str, groups: Sequence[int] | None = None) -> ParquetColumns:
        """The columns of a Parquet file in it. Raises :class:`~mosaic.errors.CatalogError`.

        ``groups``: row groups that are enough; None for all.
        """
        ranges = self._ranges(name)
        return ParquetColumns(self._file(name, ranges), self, name, groups, ranges)

    def parts(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes | memoryview]:
        """Parts of a file in it, from a byte to another; behind a URL by few requests.

        Raises :class:`~mosaic.errors.CatalogError`.
        """
        href = f"{self.base}/{name}"
        try:
            if self.remote:
                return _fetched(self.gate, href, spans)
            with open(href, "rb") as stream:  # noqa: PTH123 - its base is a text
                self._same()
                return [os.pread(stream.fileno(), end - start, start) for start, end in spans]
        except FileNotFoundError:
            raise CatalogError(
                f"{shown(href)} isn't there, but it belongs to the mosaic: copy it, too, or build "
                "the mosaic anew"
            ) from None
        except (OSError, StorageError) as error:
            raise CatalogError(f"{shown(href)} can't be read: {error}") from error

    def parquet(self, name: str) -> pq.ParquetFile:
        """A Parquet file in it. Raises :class:`~mosaic.errors.CatalogError`."""
        return self._file(name, self._ranges(name))

    def _ranges(self, name: str) -> _Ranges | None:
        """A file as the gate has it; None for one of this machine."""
        href = f"{self.base}/{name}"
        try:
            return _Ranges(self.gate, href) if self.remote else None
        except (OSError, StorageError) as error:
            raise CatalogError(f"{shown(href)} can't be read: {error}") from error

    def _file(self, name: str, ranges: _Ranges | None) -> pq.ParquetFile:
        href = f"{self.base}/{name}"
        try:
            # `open` would want a handle that lives as long as the file
            source: Any = href if ranges is None else pa.PythonFile(ranges, mode="r")
            file = pq.ParquetFile(source, pre_buffer=True)
        except (OSError, StorageError, pa.ArrowException) as error:
            self._same()
            raise CatalogError(f"{shown(href)} can't be read: {error}") from error
        self._same()
        return file

    def _same(self) -> None:
        """Raises CatalogError when files opened by now may be another build's."""
        if self.stamp is not None and _stamp(Path(self.base)) != self.stamp:
            raise CatalogError(f"{self.base} was changed while it was opened: open it again")


def _stamp(folder: Path) -> tuple[int, ...] | None:
    try:
        told = (folder / COLLECTION).stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_size


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
        ranges: _Ranges | None,
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
        bridge.settle(self)

    def __reduce__(self) -> tuple[object, ...]:
        return Folder.columns, self._place

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
        found = _walked(self._read(own, leaves), path)
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


def _joined(ranges: Sequence[tuple[int, int]], near: int) -> list[list[int]]:
    """Ranges in order, those as one that lie so near to each other."""
    found: list[list[int]] = []
    for start, end in sorted(ranges):
        if found and start - found[-1][1] <= near:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return found


def _fetched(
    gate: Gate | Stored, href: str, spans: Sequence[tuple[int, int]]
) -> list[bytes | memoryview]:
    """Parts of an object, by :data:`_MOST` requests or fewer."""
    wide = _few(spans, _MOST)
    first, last = [one[0] for one in wide], [one[1] for one in wide]
    held = gate.get_ranges(href, starts=first, ends=last)
    at = [bisect_right(first, start) - 1 for start, _ in spans]
    return [
        held[place][start - first[place] : end - first[place]]
        for place, (start, end) in zip(at, spans, strict=True)
    ]


def _few(ranges: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Ranges in order, near ones as one; where they are still many, the nearest ones first."""
    found = _joined(ranges, _NEAR)
    if len(found) <= most:
        return found
    gaps = sorted(after[0] - one[1] for one, after in pairwise(found))
    return _joined(ranges, gaps[len(found) - most - 1])


class _Ranges(io.RawIOBase):
    """An object behind the gate as a file, as pyarrow wants one."""

    def __init__(self, gate: Gate | Stored, href: str) -> None:
        super().__init__()
        self._gate, self._href, self._at = gate, href, 0
        self._held: list[tuple[int, memoryview]] = []
        gate.get_range(href, start=0, length=_HEAD)
        meta = gate.meta(href)
        if meta is None or meta.size is None:
            raise CatalogError(f"{shown(href)}: its server doesn't tell how long it is")
        self._size = meta.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Length in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def hold(self, starts: Sequence[int], ends: Sequence[int]) -> None:
        """Fetches ranges at once, near ones as one, and keeps them."""
        ranges = list(zip(starts, ends, strict=True))
        spans = _joined(ranges, _NEAR)
        if len(spans) > _MANY:
            spans = _joined(ranges, 2 * _NEAR)
        if spans:
            first, last = [one[0] for one in spans], [one[1] for one in spans]
            found = self._gate.get_ranges(self._href, starts=first, ends=last)
            self._held += zip(first, found, strict=True)

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        if stop <= self._at:
            return b""
        for start, held in self._held:
            if start <= self._at and stop <= start + len(held):
                data = held[self._at - start : stop - start]
                self._at = stop
                return bytes(data)
        data = self._gate.get_range(self._href, start=self._at, end=stop)
        self._at += len(data)
        return bytes(data)

    def readall(self) -> bytes:
        return self.read()
