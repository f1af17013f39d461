"""Beginnings of objects in a Parquet file: to compare with later, or to read on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mosaic.errors import CatalogError
from mosaic.storage.answer import Meta

SCHEMA = pa.schema(
    [
        pa.field("href", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("modified", pa.string(), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)
"""Columns of the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """The beginning of one object, and the version it comes from."""

    href: str
    """The unsigned href."""
    meta: Meta
    """Size and validators."""
    data: bytes = field(repr=False)
    """Its first bytes."""


def to_table(headers: Iterable[Header]) -> pa.Table:
    """Headers as a table, one row each."""
    rows = [
        {
            "href": header.href,
            "size": header.meta.size,
            "etag": header.meta.etag,
            "modified": header.meta.modified,
            "data": header.data,
        }
        for header in headers
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def from_table(table: pa.Table) -> Iterator[Header]:
    """The headers of a table. Raises CatalogError if its columns aren't those of headers."""
    if not set(SCHEMA.names) <= set(table.column_names):
        raise CatalogError(f"headers need the columns {', '.join(SCHEMA.names)}; build them anew")
    for row in table.select(SCHEMA.names).to_pylist():
        meta = Meta(row["size"], row["etag"] or "", row["modified"] or "")
        yield Header(row["href"], meta, row["data"])


def store(path: Path, headers: Iterable[Header]) -> None:
    """Write a file of them; compressed, because headers are mostly tables of offsets."""
    pq.write_table(to_table(headers), path, compression="zstd")


def load(path: Path) -> Iterator[Header]:
    """Read such a file. Raises CatalogError."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CatalogError(f"{path}: headers can't be read; build them anew") from error
    yield from from_table(table)
