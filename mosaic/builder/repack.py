"""``items.parquet`` with some rows gone and others added: only their row groups are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from stac_geoparquet.arrow._to_parquet import create_stac_geoparquet_metadata

from mosaic.builder import rows
from mosaic.builder.parquet import batches
from mosaic.builder.spool import packed
from mosaic.catalog.splice import Part, spliced

Json = dict[str, Any]
Longs = npt.NDArray[np.int64]


class MisfitError(ValueError):
    """Items have fields for which a file has no column."""


def items_at(path: Path, at: Longs) -> Iterator[Json]:
    """Items at some ascending rows of a file."""
    file = pq.ParquetFile(path)
    for group, own in _by_group(file, at):
        table = file.read_row_group(group).take(pa.array(own)).combine_chunks()
        for batch in table.to_batches():
            yield from rows.items(batch)


def items_of(lines: Iterable[bytes]) -> Iterator[Json]:
    """Items of a spool's lines, as they are read back from Parquet."""
    for batch in batches(lines):
        yield from rows.items(batch)


def lines_without(path: Path, gone: Longs) -> Iterator[bytes]:
    """All items of a file but those at some rows, as a spool's lines."""
    file = pq.ParquetFile(path)
    dropped = dict(_by_group(file, gone))
    for group in range(file.num_row_groups):
        table = _left(file.read_row_group(group), dropped.get(group))
        for batch in table.to_batches():
            for item in rows.items(batch):
                yield orjson.dumps(packed(item), option=orjson.OPT_APPEND_NEWLINE)


def _by_group(file: pq.ParquetFile, at: Longs) -> Iterator[tuple[int, Longs]]:
    """Row groups that hold rows, and which of their rows."""
    meta = file.metadata
    sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    group_of = np.searchsorted(starts, at, side="right") - 1
    for group in np.unique(group_of).tolist():
        yield group, at[group_of == group] - starts[group]


def _left(table: pa.Table, gone: Longs | None) -> pa.Table:
    if gone is None:
        return table
    kept = np.ones(len(table), bool)
    kept[gone] = False
    return table.filter(pa.array(kept))


def changed(
    source: Path, out: Path, gone: Longs, fresh: Iterable[bytes], collection: Json
) -> list[int]:
    """Writes a file like another: without some rows, with a spool's lines at its end.

    Row groups of which no row goes are copied as they are. Returns which row groups of the source
    the first ones of the result are; groups of the new items follow. Raises
    :class:`MisfitError` for items that no column of the source can hold.
    """
    file = pq.ParquetFile(source)
    dropped = dict(_by_group(file, gone))
    schema = _with_collection(file.schema_arrow, collection)
    part = out.with_name(f".{out.name}.part")
    parts: list[Part] = []
    order: list[int] = []
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            written = 0
            for group in range(file.num_row_groups):
                if group not in dropped:
                    if parts and parts[-1].path == source:
                        parts[-1] = Part(source, [*parts[-1].groups, group])
                    else:
                        parts.append(Part(source, [group]))
                    order.append(group)
                    continue
                table = _left(file.read_row_group(group), dropped[group])
                if len(table):
                    writer.write_table(table.cast(schema), row_group_size=len(table))
                    parts.append(Part(part, [written]))
                    written += 1
                    order.append(group)
            for batch in batches(fresh):
                writer.write_batch(_fitted(batch, schema), row_group_size=len(batch))
                parts.append(Part(part, [written]))
                written += 1
        if not pq.ParquetFile(part).schema.equals(file.schema):
            raise MisfitError
        spliced(out, parts, part)
    finally:
        part.unlink(missing_ok=True)
    return order


def _with_collection(schema: pa.Schema, collection: Json) -> pa.Schema:
    told = create_stac_geoparquet_metadata({collection["id"]: collection}, None)
    return schema.with_metadata({**schema.metadata, b"stac-geoparquet": orjson.dumps(told)})


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows with the columns of a schema. Raises :class:`MisfitError`."""
    own = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns = [_cast(own.pop(field.name, None), field.type, len(batch)) for field in schema]
    if any(column.null_count < len(column) for column in own.values()):
        raise MisfitError
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(values: pa.Array | None, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    if values.type == kind:
        return values
    if pa.types.is_struct(kind) and pa.types.is_struct(values.type):
        names = [field.name for field in values.type]
        own = dict(zip(names, values.flatten(), strict=True))
        inner = [_cast(own.pop(field.name, None), field.type, count) for field in kind]
        if any(column.null_count < len(column) for column in own.values()):
            raise MisfitError
        return pa.StructArray.from_arrays(inner, fields=list(kind), mask=values.is_null())
    if pa.types.is_list(kind) and pa.types.is_list(values.type):
        inner = _cast(values.values, kind.value_type, len(values.values))
        return pa.ListArray.from_arrays(values.offsets, inner, type=kind, mask=values.is_null())
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise MisfitError from None
