"""Rows of stac-geoparquet as items, by columns: four times as fast as a row at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from mosaic.builder.spool import GEOMETRY

Json = dict[str, Any]

_TOP = frozenset(
    "type stac_version stac_extensions id geometry bbox links assets collection".split()
)
"""Fields of an item that are no properties."""
_SIDES = ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")


def items(batch: pa.RecordBatch) -> Iterator[Json]:
    """Items of a batch; a field that is null in a row is absent from its item.

    The layout is that of stac-geoparquet 1.x, or before it, with ``bbox`` as a list.
    """
    columns = {
        name: _values(column, name)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    boxes = columns.pop("bbox", [None] * len(batch))
    kept = {name: values for name, values in columns.items() if name in _TOP}
    others = {name: values for name, values in columns.items() if name not in _TOP}
    tops, properties = _dicts(kept, len(batch)), _dicts(others, len(batch))
    for top, described, box in zip(tops, properties, boxes, strict=True):
        described.setdefault("datetime", None)
        if isinstance(box, dict):
            box = [box[side] for side in _SIDES if side in box]
        item = {"type": "Feature", "geometry": None, "assets": {}, **top, "properties": described}
        yield item if box is None else {**item, "bbox": box}


def _dicts(columns: dict[str, list[Any]], count: int) -> list[Json]:
    if not columns:
        return [{} for _ in range(count)]
    names = list(columns)
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns.values(), strict=True)
    ]


def _values(array: pa.Array, name: str) -> list[Any]:
    """What an array holds, as JSON has it; None for null."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        array, kind = array.storage, array.storage.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if name in ("geometry", GEOMETRY) and (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    ):
        shapes = shapely.from_wkb(array.to_numpy(zero_copy_only=False))
        return [text and orjson.loads(text) for text in shapely.to_geojson(shapes)]
    if pa.types.is_struct(kind):
        inner = {
            field.name: _values(values, field.name)
            for field, values in zip(kind, array.flatten(), strict=True)
        }
        rows = _dicts(inner, len(array))
        if array.null_count:
            known = array.is_valid().to_pylist()
            return [row if is_known else None for row, is_known in zip(rows, known, strict=True)]
        return rows
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(array, name)
    if pa.types.is_timestamp(kind):
        return _plain(_times(array))
    if name == "nodata" and pa.types.is_floating(kind):
        return [_finite(value) for value in array.to_pylist()]
    return _plain(array)


def _finite(value: float | None) -> float | str | None:
    """A number, or the text that JSON has instead."""
    return value if value is None or math.isfinite(value) else str(value)


def _lists(array: pa.Array, name: str) -> list[Any]:
    lengths = pc.list_value_length(array).to_pylist()
    values = iter(_values(array.flatten(), name))
    return [None if size is None else [next(values) for _ in range(size)] for size in lengths]


def _times(array: pa.Array) -> pa.Array:
    """RFC 3339 texts, with as many digits as are needed for none to be lost."""
    moments = array.cast(pa.timestamp("us", tz="UTC"), safe=False)
    texts = pc.strftime(moments, "%Y-%m-%dT%H:%M:%S")  # seconds have six decimals
    return pc.replace_substring_regex(texts, r"\.?0*$", "Z")


def _plain(array: pa.Array) -> list[Any]:
    """Numbers, texts and truths; numpy makes lists of them faster than pyarrow."""
    kind = array.type
    if pa.types.is_string(kind) or (array.null_count == 0 and pa.types.is_primitive(kind)):
        return list(array.to_numpy(zero_copy_only=False).tolist())
    return list(array.to_pylist())
