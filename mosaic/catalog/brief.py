"""``items.arrow``: what opening takes of a large mosaic's items, a batch for each row group.

An Arrow IPC file (Feather) beside ``items.parquet``, whose rows its rows are: times, the drawing
order and, by asset, grid and bands of each file. A column that is one value all over, or equal to
another, isn't kept but told in the schema's metadata. The collection tells where each batch lies
(``mosaic:brief``), so that a reader behind a URL asks for those that it needs, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mosaic.catalog.assets import Asset
from mosaic.catalog.columns import Columns, Longs
from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import Band, Told
from mosaic.catalog.table import Bands
from mosaic.catalog.variants import Variant
from mosaic.errors import CatalogError
from mosaic.grid import Grids

Json = dict[str, Any]
Numbers = npt.NDArray[Any]
TIMES = ("datetime", "start_datetime")
_UTC = pa.timestamp("us", tz="UTC")
_MAGIC = 8
"""Bytes before the schema."""
_LEVEL = 3
_AFFINE = "abcdef"


def write(
    path: Path, columns: Columns, z: Longs, assets: Mapping[str, Asset], sizes: Sequence[int]
) -> Json:
    """Writes the file; what comes back is the collection's ``mosaic:brief``.

    ``columns``: of the items. ``z``: (n,) drawing order. ``sizes``: rows of each row group.
    Raises OSError.
    """
    count = len(z)
    numbers: dict[str, Numbers] = {"z": z}
    told: Json = {}
    for name, asset in assets.items():
        numbers |= {f"{name}.{part}": one for part, one in _of_asset(asset, count)}
        told[name] = {
            "keys": asset.keys,
            "crs": asset.grids.crs,
            "variants": [_variant_told(one) for one in asset.variants],
        }
    kept, elsewhere = _distinct(numbers)
    arrays = {name: _time(columns, name, count) for name in TIMES}
    arrays |= {name: pa.array(values) for name, values in kept.items()}
    table = pa.table(arrays)
    mark = _mark(table, [told, elsewhere])
    about = {"id": mark, "assets": told, "columns": elsewhere}
    schema = table.schema.with_metadata({"mosaic": json.dumps(about)})
    how = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=_LEVEL))
    ends = []
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, schema, options=how) as writer:
        start = 0
        for size in (0, *sizes):  # the first, of no rows, tells where the schema ends
            part = table.slice(start, size).combine_chunks().cast(schema)
            batches = part.to_batches() or [pa.RecordBatch.from_pylist([], schema)]
            writer.write_batch(batches[0])
            ends.append(out.tell())
            start += size
    return {"id": mark, "ends": ends}


def spans(brief: Json, groups: Sequence[int] | None) -> list[tuple[int, int]]:
    """Where the schema lies in the file, and the batches of some row groups; None: of all."""
    ends = [0, *(int(end) for end in brief["ends"])]
    wanted = range(len(ends) - 2) if groups is None else groups
    return [(ends[place], ends[place + 1]) for place in (0, *(group + 1 for group in wanted))]


def read(brief: Json, parts: Sequence[bytes | memoryview]) -> pa.Table:
    """What lies at :func:`spans` as a table. Raises :class:`~mosaic.errors.CatalogError`."""
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(parts[0][_MAGIC:]))
        about = json.loads(schema.metadata[b"mosaic"])
        if about["id"] == brief["id"]:
            batches = [pa.ipc.read_record_batch(pa.py_buffer(part), schema) for part in parts[1:]]
            return pa.Table.from_batches(batches, schema).combine_chunks()
    except (pa.ArrowException, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:160]
        raise CatalogError(f"it can't be read ({reason})") from error
    raise CatalogError("it isn't of the same build as the collection")


def assets_of(table: pa.Table, names: Mapping[str, tuple[Bands, str]]) -> dict[str, Asset]:
    """Assets of the items in a table. ``names``: what is declared of each, and its resampling."""
    about = json.loads(table.schema.metadata[b"mosaic"])
    read: dict[str, Numbers] = {}

    def numbers(name: str) -> Numbers:
        known = about["columns"].get(name, name)
        if not isinstance(known, str):
            return np.full(len(table), known)
        if known not in read:
            read[known] = table[known].to_numpy()
        return read[known]

    return {
        name: _asset(name, about["assets"][name], bands, resampling, numbers)
        for name, (bands, resampling) in names.items()
    }


def _of_asset(asset: Asset, count: int) -> Iterator[tuple[str, Numbers]]:
    """Columns of an asset, as long as there are items; ``key`` is -1 for those without it."""
    grids = asset.grids
    yield "key", _spread(asset.key, asset.item, count, -1)
    yield "variant", _spread(asset.variant, asset.item, count)
    yield "crs", _spread(grids.crs_index, asset.item, count)
    for place, part in enumerate(("height", "width")):
        yield part, _spread(grids.shape[:, place], asset.item, count)
    for place, part in enumerate(_AFFINE):
        yield part, _spread(grids.transform[:, place], asset.item, count)


def _spread(values: Numbers, item: Longs, count: int, other: int = 0) -> Numbers:
    found = np.full(count, other, values.dtype)
    found[item] = values
    return found


def _asset(name: str, told: Json, bands: Bands, resampling: str, numbers: Any) -> Asset:
    key = numbers(f"{name}.key")
    item = np.flatnonzero(key >= 0)
    item = item[np.argsort(key[item], kind="stable")]

    def own(part: str) -> Numbers:
        found: Numbers = numbers(f"{name}.{part}")[item]
        return found

    shape = [own(part).astype(np.int64) for part in ("height", "width")]
    affine = [own(part).astype(np.float64) for part in _AFFINE]
    crs = own("crs").astype(np.int32)
    return Asset(
        name=name,
        bands=bands,
        resampling=resampling,
        item=item,
        key=own("key").astype(np.int64),
        keys=tuple(told["keys"]),
        grids=Grids(tuple(told["crs"]), crs, np.column_stack(shape), np.column_stack(affine)),
        variant=own("variant").astype(np.int64),
        variants=tuple(_variant(one) for one in told["variants"]),
    )


def _distinct(numbers: Mapping[str, Numbers]) -> tuple[dict[str, Numbers], Json]:
    """Columns that have to be kept, as narrow as they are; and the value, or name, of others."""
    kept: dict[str, Numbers] = {}
    elsewhere: Json = {}
    seen: dict[bytes, str] = {}
    for name, values in numbers.items():
        if len(values) and (values == values[0]).all():
            elsewhere[name] = values[0].item()
            continue
        narrow = _narrow(values)
        told = hashlib.sha1(narrow.dtype.str.encode() + narrow.tobytes()).digest()
        if told in seen:
            elsewhere[name] = seen[told]
        else:
            seen[told] = name
            kept[name] = narrow
    return kept, elsewhere


def _narrow(values: Numbers) -> Numbers:
    """Numbers as the narrowest signed integers that hold them all, else as they are."""
    low, high = values.min(initial=0), values.max(initial=0)
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            whole = values.astype(kind)
            return whole if (whole == values).all() else values
    return values


def _time(columns: Columns, name: str, count: int) -> pa.Array:
    return columns.read(name).cast(_UTC) if columns.has(name) else pa.nulls(count, _UTC)


def _mark(table: pa.Table, told: Any) -> str:
    found = hashlib.sha1(json.dumps(told).encode())
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                found.update(buffer or b"")
    return found.hexdigest()


def _variant_told(one: Variant) -> Json:
    recodings = None if one.recodings is None else [asdict(how) for how in one.recodings]
    return {"bands": [asdict(band) for band in one.bands], "recodings": recodings}


def _variant(told: Json) -> Variant:
    bands = tuple(Band(**{**band, "told": Told(band["told"])}) for band in told["bands"])
    known = told["recodings"]
    return Variant(bands, None if known is None else tuple(Recoding(**how) for how in known))
