"""Parquet files of row groups of others, which are copied as they are: nothing is decoded.

Source: apache/parquet-format, ``parquet.thrift``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mosaic.catalog import thrift
from mosaic.catalog.thrift import I64, LIST, STRUCT, Struct, field

_MAGIC = b"PAR1"
_ROWS, _GROUPS = 3, 4
_COLUMNS, _GROUP_ROWS, _START, _ORDINAL = 1, 3, 5, 7
_CHUNK_START, _ABOUT, _INDEXES = 2, 3, (4, 5, 6, 7)
_SIZE, _OFFSETS, _BLOOM = 7, (9, 10, 11), (14, 15)


@dataclass(frozen=True, slots=True)
class Part:
    """Row groups of a Parquet file."""

    path: Path
    """The file."""
    groups: Sequence[int]
    """Which of them, in their order."""


def spliced(out: Path, parts: Sequence[Part], like: Path) -> None:
    """Writes the row groups of several files of one schema as one file.

    ``like``: a file whose schema and metadata it has. Indexes of pages and Bloom filters are left
    out. Raises OSError, and ValueError for a file that isn't Parquet as pyarrow writes it.
    """
    footers = {path: _footer(path) for path in {like, *(part.path for part in parts)}}
    groups: list[Struct] = []
    with out.open("wb") as target:
        target.write(_MAGIC)
        for part in parts:
            own = field(footers[part.path], _GROUPS)[1]
            with part.path.open("rb") as source:
                for number in part.groups:
                    start, size = _extent(own[number])
                    shift = target.tell() - start
                    _copy(source, target, start, size)
                    groups.append(_moved(own[number], shift))
        rows = sum(field(group, _GROUP_ROWS) for group in groups)
        replaced = {_ROWS: rows, _GROUPS: (STRUCT, groups)}
        footer = [(n, kind, replaced.get(n, value)) for n, kind, value in footers[like]]
        data = thrift.write(footer)
        target.write(data + len(data).to_bytes(4, "little") + _MAGIC)


def _footer(path: Path) -> Struct:
    with path.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        tail = stream.read(8)
        if tail[4:] != _MAGIC:
            raise ValueError(f"{path} is no Parquet")
        size = int.from_bytes(tail[:4], "little")
        stream.seek(-8 - size, os.SEEK_END)
        return thrift.read(stream.read(size))


def _extent(group: Struct) -> tuple[int, int]:
    """Where the pages of a row group begin, and their size in bytes."""
    starts, ends = [], []
    for chunk in field(group, _COLUMNS)[1]:
        about = field(chunk, _ABOUT)
        start = min(at for n, _, at in about if n in _OFFSETS)
        starts.append(start)
        ends.append(start + field(about, _SIZE))
    start, end = min(starts), max(ends)
    if sum(ends) - sum(starts) != end - start:
        raise ValueError("the pages of a row group don't lie side by side")
    return start, end - start


def _moved(group: Struct, shift: int) -> Struct:
    """A row group whose pages lie elsewhere in the file."""
    columns = []
    for chunk in field(group, _COLUMNS)[1]:
        about = [
            (n, kind, value + shift if n in _OFFSETS else value)
            for n, kind, value in field(chunk, _ABOUT)
            if n not in _BLOOM
        ]
        told = {_CHUNK_START: 0, _ABOUT: about}  # the first is deprecated, and 0 since
        columns.append([(n, k, told.get(n, v)) for n, k, v in chunk if n not in _INDEXES])
    found: Struct = []
    for number, kind, value in group:
        if number == _COLUMNS:
            found.append((number, LIST, (STRUCT, columns)))
        elif number == _START:
            found.append((number, I64, value + shift))
        elif number != _ORDINAL:
            found.append((number, kind, value))
    return found


def _copy(source: BinaryIO, target: BinaryIO, start: int, size: int) -> None:
    """Bytes of one file to the end of another, by the system where it can."""
    target.flush()
    at = 0
    while at < size:
        done = os.sendfile(target.fileno(), source.fileno(), start + at, size - at)
        if not done:
            raise ValueError("a file of row groups ends too early")
        at += done
    target.seek(0, os.SEEK_END)
