"""Items to ``items.parquet`` (stac-geoparquet), by columns and a chunk at a time.

pyarrow parses the spooled JSON into columns, stac-geoparquet writes them. Its own way from
items, through copies of dicts and a schema of all of them, takes eight times as long.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq
import shapely
import stac_geoparquet.arrow

from mosaic.builder.even import even
from mosaic.builder.spool import GEOMETRY
from mosaic.catalog.stac import TIMES
from mosaic.errors import CatalogError
from mosaic.grid import LONLAT, crs

Json = dict[str, Any]
Lines = Callable[[], Iterable[bytes]]

_CHUNK = 8 << 20
"""Bytes of JSON that become one row group."""
_UTC = pa.timestamp("us", tz="UTC")


def write_items(
    path: Path, lines: Lines, collection: Json, sizes: Sequence[int] | None = None
) -> list[str]:
    """``items.parquet``: stac-geoparquet with the collection in its metadata.

    ``lines``: called for each pass over the items, as :func:`mosaic.builder.spool.packed` makes
    them. ``sizes``: items of each row group, or None. Returns what should be said of fields that
    don't fit. Raises :class:`~mosaic.errors.CatalogError` when the items make no table.
    """
    try:
        return _write(path, lines, collection, sizes)
    except (pa.ArrowException, ValueError):  # a field is no column: its kind differs
        pass
    evened = path.with_name(".even.ndjson")
    try:
        mixed, numbers = even(lines, evened)
        notes = _write(path, lambda: _read(evened), collection, sizes, numbers)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise CatalogError(f"{path.name}: the items make no table ({reason})") from error
    finally:
        evened.unlink(missing_ok=True)
    if mixed:
        notes.append(f"items differ in the type of {', '.join(mixed)}: kept as text")
    return notes


def group_sizes(path: Path) -> list[int]:
    """Rows of each row group of a Parquet file."""
    found = pq.read_metadata(path)
    return [found.row_group(number).num_rows for number in range(found.num_row_groups)]


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from stream


def _write(
    path: Path,
    lines: Lines,
    collection: Json,
    sizes: Sequence[int] | None,
    numbers: frozenset[tuple[str, ...]] = frozenset(),
) -> list[str]:
    """One pass where the first chunk has every field; else one more, to learn them all.

    ``numbers``: fields that are written as text and are numbers.
    """
    schema = _seen(next(chunks(lines())), None)
    try:
        _to_parquet(path, lines, schema, collection, sizes, numbers, strict=True)
    except pa.ArrowInvalid:  # a later chunk has more fields, or wider numbers
        for part in chunks(lines()):
            schema = _seen(part, schema)
        _to_parquet(path, lines, schema, collection, sizes, numbers, strict=False)
    taken = sorted(_names(schema.field("properties").type) & set(schema.names))
    names = ", ".join(taken)
    return [f"{path.name}: properties named as an item's own {names} left out"] if taken else []


def batches(lines: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
    """Items as they lie in ``items.parquet``, a chunk at a time, each with fields of its own.

    Raises ArrowException or ValueError for items that make no table as they are.
    """
    for chunk in chunks(lines):
        seen = [(field, _filled(field.type)) for field in _seen(chunk, None)]
        schema = pa.schema([field.with_type(kind) for field, kind in seen if kind is not None])
        yield shaped(parsed(chunk, schema, "ignore"), frozenset())


def _names(struct: pa.DataType) -> set[str]:
    return {field.name for field in struct}


def chunks(lines: Iterable[bytes], sizes: Sequence[int] | None = None) -> Iterator[bytes]:
    """Lines in blocks of these sizes, or of about :data:`_CHUNK` bytes."""
    if sizes is not None:
        stream = iter(lines)
        for size in sizes:
            yield b"".join(islice(stream, size))
        return
    block, length = [], 0
    for line in lines:
        block.append(line)
        length += len(line)
        if length >= _CHUNK:
            yield b"".join(block)
            block, length = [], 0
    if block:
        yield b"".join(block)


def parsed(chunk: bytes, schema: pa.Schema | None, unexpected: str = "infer") -> pa.RecordBatch:
    table = pa.json.read_json(
        io.BytesIO(chunk),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
        parse_options=pa.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior=unexpected
        ),
    )
    return table.combine_chunks().to_batches()[0]


def _seen(chunk: bytes, schema: pa.Schema | None) -> pa.Schema:
    """A schema with the fields of a chunk besides its own."""
    if schema is not None:
        try:
            return _as_text(parsed(chunk, schema).schema)
        except pa.ArrowInvalid:  # other numbers, or null until now
            pass
    found = _as_text(parsed(chunk, None).schema)
    if schema is None:
        return found
    return pa.unify_schemas([schema, found], promote_options="permissive")


def _as_text(schema: pa.Schema) -> pa.Schema:
    """A schema in which what looks like a time is the text that it is."""
    return pa.schema([field.with_type(_text(field.type)) for field in schema])


def _text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_text(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_text(kind.value_type))
    return kind


def _filled(kind: pa.DataType) -> pa.DataType | None:
    """A type without structures that have no field, which Parquet can't hold; None if empty."""
    if pa.types.is_struct(kind):
        inner = [(field, _filled(field.type)) for field in kind]
        fields = [field.with_type(type_) for field, type_ in inner if type_ is not None]
        return pa.struct(fields) if fields else None
    if pa.types.is_list(kind):
        value = _filled(kind.value_type)
        return None if value is None else pa.list_(value)
    return kind


def _to_parquet(
    path: Path,
    lines: Lines,
    schema: pa.Schema,
    collection: Json,
    sizes: Sequence[int] | None,
    numbers: frozenset[tuple[str, ...]],
    *,
    strict: bool,
) -> None:
    """Writes the items; ``strict``: raises ArrowInvalid for a field that the schema lacks."""
    fields = [(field, _filled(field.type)) for field in schema]
    schema = pa.schema([field.with_type(kind) for field, kind in fields if kind is not None])
    unexpected = "error" if strict else "ignore"
    batches = (shaped(parsed(part, schema, unexpected), numbers) for part in chunks(lines(), sizes))
    first = next(batches)

    def every() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    stac_geoparquet.arrow.to_parquet(
        pa.RecordBatchReader.from_batches(first.schema, every()),
        path,
        collections={collection["id"]: collection},
        compression="zstd",
    )


def shaped(batch: pa.RecordBatch, numbers: frozenset[tuple[str, ...]]) -> pa.RecordBatch:
    """Items as stac-geoparquet lays them out: properties as columns, WKB, times, a bbox struct."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    properties = columns.pop("properties")
    for field, values in zip(properties.type, properties.flatten(), strict=True):
        columns.setdefault(field.name, values)
    for name in TIMES:
        if name in columns:
            columns[name] = columns[name].cast(_UTC)
    columns["bbox"] = _box(columns["bbox"])
    columns["geometry"] = _wkb(columns["geometry"])
    if GEOMETRY in columns:
        columns[GEOMETRY] = _wkb(columns[GEOMETRY])
    columns["assets"] = _placed(columns["assets"])
    for path in numbers:
        if path[0] == "assets":
            columns["assets"] = _numbers(columns["assets"], path[1:])
    fields = [pa.field(name, values.type) for name, values in columns.items()]
    place = list(columns).index("geometry")
    about = {"crs": crs(LONLAT).to_json_dict()}
    fields[place] = fields[place].with_metadata(
        {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": orjson.dumps(about)}
    )
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(fields))


def _numbers(values: pa.Array, path: tuple[str, ...]) -> pa.Array:
    """An array in which a field within it, a number as text ("nan" too), is the number."""
    if not path:
        return values.cast(pa.float64())
    if path[0] == "[]":
        inner = _numbers(values.values, path[1:])
        return pa.ListArray.from_arrays(values.offsets, inner, mask=values.is_null())
    names = [field.name for field in values.type]
    inner = [
        _numbers(column, path[1:]) if name == path[0] else column
        for name, column in zip(names, values.flatten(), strict=True)
    ]
    return pa.StructArray.from_arrays(inner, names, mask=values.is_null())


def _wkb(texts: pa.Array) -> pa.Array:
    shapes = shapely.from_geojson(texts.to_numpy(zero_copy_only=False))
    return pa.array(shapely.to_wkb(shapes, flavor="iso"), pa.binary())


def _box(boxes: pa.Array) -> pa.Array:
    """Lists of four or six numbers as a structure; raises ValueError where they are mixed."""
    if pa.types.is_null(boxes.type):
        boxes = boxes.cast(pa.list_(pa.float64()))
    lengths = set(pc.list_value_length(boxes).drop_null().to_pylist()) or {4}
    if lengths not in ({4}, {6}):
        raise ValueError("bbox of four and of six numbers")
    sides = ["xmin", "ymin", "zmin", "xmax", "ymax", "zmax"]
    names = sides if lengths == {6} else [side for side in sides if not side.startswith("z")]
    values = [pc.list_element(boxes, index).cast(pa.float64()) for index in range(len(names))]
    return pa.StructArray.from_arrays(values, names, mask=boxes.is_null())


def _placed(assets: pa.Array) -> pa.Array:
    """Assets whose own ``proj:geometry``, where they have one, is WKB."""
    if not any(GEOMETRY in _names(field.type) for field in assets.type):
        return assets
    fields, columns = [], []
    for field, values in zip(assets.type, assets.flatten(), strict=True):
        if GEOMETRY in _names(field.type):
            inner = dict(zip([f.name for f in field.type], values.flatten(), strict=True))
            inner[GEOMETRY] = _wkb(inner[GEOMETRY])
            values = pa.StructArray.from_arrays(
                list(inner.values()), list(inner), mask=values.is_null()
            )
        fields.append(pa.field(field.name, values.type))
        columns.append(values)
    return pa.StructArray.from_arrays(columns, fields=fields, mask=assets.is_null())
