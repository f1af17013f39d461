"""Tables of a mosaic in PostGIS, made of the files of a built folder, by COPY."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely

from mosaic.catalog.database import named
from mosaic.catalog.gti import LAYER
from mosaic.catalog.stored import PAGE

_LONLAT = 4326
_SYSTEM = frozenset(("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))
"""Names of columns that every table has."""
_BATCH = 10_000
"""Rows that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that is ready to be written."""

    name: str
    """Its name."""
    postgis: str
    """Schema of the extension, quoted."""
    connection: Any
    """A connection, in a transaction."""

    def of(self, name: str) -> str:
        """A table of it, as SQL names it."""
        return f'"{self.name}".{quoted(name)}'


def srid_of(schema: Schema, crs: str) -> int:
    """PostGIS's number of a CRS; 0 for one that it doesn't have: the doors tell it then."""
    authority, _, code = crs.partition(":")
    if not code.isdigit():
        return 0
    found = schema.connection.execute(
        f"SELECT srid FROM {schema.postgis}.spatial_ref_sys "
        "WHERE auth_name = %s AND auth_srid = %s",
        (authority, int(code)),
    ).fetchone()
    return int(found[0]) if found else 0


def tiles_table(schema: Schema, name: str, index: Path, srid: int) -> None:
    """The rows of an index, as GDAL reads them from the GeoPackage."""
    # times are compared as texts, and only "C" puts '~' behind every digit
    schema.connection.execute(
        f"""CREATE TABLE {schema.of(name)} (
            fid bigint PRIMARY KEY, location text NOT NULL, item text,
            datetime text COLLATE "C", z bigint, crs text,
            "resX" double precision, "resY" double precision,
            geom {schema.postgis}.geometry(Polygon, {srid}) NOT NULL)"""
    )
    columns = ["location", "item", "datetime", "z", "crs", "resX", "resY", "geom"]

    def rows() -> Iterator[Sequence[Any]]:
        count = 0
        with pyogrio.open_arrow(index, layer=LAYER, batch_size=_BATCH, use_pyarrow=True) as opened:
            about, reader = opened
            place = about["geometry_name"] or "wkb_geometry"
            for batch in reader:
                found = [
                    _hex(batch.column(place), srid)
                    if column == "geom"
                    else batch.column(column).to_pylist()
                    for column in columns
                ]
                yield from zip(range(count + 1, count + 1 + len(batch)), *found, strict=True)
                count += len(batch)

    _copy(schema, name, ["fid", *columns], rows())
    schema.connection.execute(f"CREATE INDEX ON {schema.of(name)} USING gist (geom)")
    schema.connection.execute(f"CREATE INDEX ON {schema.of(name)} (datetime)")
    schema.connection.execute(f"ANALYZE {schema.of(name)}")


def items_table(schema: Schema, name: str, path: Path, progress: Callable[[int], None]) -> None:
    """The columns of ``items.parquet``; what is nested in them as JSON."""
    with pq.ParquetFile(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
        columns = {
            column: named("", column) for column in kinds if not pa.types.is_null(kinds[column])
        }
        # colons are the rule in names of properties: they are kept, in quotes
        columns = {one: one if len(one.encode()) <= 63 else short for one, short in columns.items()}
        columns |= {one: f"{one}_" for one in _SYSTEM & columns.keys()}
        types = [f"{quoted(columns[one])} {_type(schema, one, kinds[one])}" for one in columns]
        schema.connection.execute(f"CREATE TABLE {schema.of(name)} ({', '.join(types)})")

        def rows() -> Iterator[Sequence[Any]]:
            count = 0
            for batch in file.iter_batches(_BATCH, columns=list(columns)):
                found = [_cells(batch.column(one), one) for one in columns]
                yield from zip(*found, strict=True)
                count += len(batch)
                progress(count)

        _copy(schema, name, list(columns.values()), rows())
    schema.connection.execute(f"CREATE INDEX ON {schema.of(name)} USING gist (geometry)")
    for column in ("id", "datetime"):
        if column in columns:
            schema.connection.execute(f"CREATE INDEX ON {schema.of(name)} ({column})")
    schema.connection.execute(f"ANALYZE {schema.of(name)}")


def _type(schema: Schema, name: str, kind: pa.DataType) -> str:
    if name == "geometry":
        return f"{schema.postgis}.geometry(Geometry, {_LONLAT})"
    for is_kind, sql in (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "bigint"),
        (pa.types.is_floating, "double precision"),
        (pa.types.is_timestamp, "timestamptz"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_binary, f"{schema.postgis}.geometry"),
    ):
        if is_kind(kind):
            return str(sql)
    return "jsonb"


def _cells(values: pa.Array, name: str) -> list[Any]:
    """A column as COPY takes it."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_binary(values.type):
        return _hex(values, _LONLAT if name == "geometry" else 0)
    found: list[Any] = values.to_pylist()
    if pa.types.is_nested(values.type):
        return [None if one is None else orjson.dumps(_plain(one)).decode() for one in found]
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it: fields that an item lacks left out, geometries as GeoJSON."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)  # STAC's own words for them: nan, inf, -inf
    if isinstance(value, bytes):
        return orjson.Fragment(shapely.to_geojson(shapely.from_wkb(value)))
    return value


def _hex(values: pa.Array, srid: int) -> list[str | None]:
    """WKB as the text that PostGIS reads."""
    shapes = shapely.set_srid(shapely.from_wkb(values.to_numpy(zero_copy_only=False)), srid)
    found: list[str | None] = shapely.to_wkb(shapes, hex=True, include_srid=srid > 0).tolist()
    return found


def files_table(schema: Schema, name: str, files: dict[str, bytes | Path]) -> None:
    """Files in pages."""
    schema.connection.execute(
        f"""CREATE TABLE {schema.of(name)} (
            name text, page integer, size bigint, build text NOT NULL,
            data bytea STORAGE EXTERNAL, PRIMARY KEY (name, page))"""
    )
    build = uuid.uuid4().hex

    def rows() -> Iterator[Sequence[Any]]:
        for file, content in files.items():
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            for page, data in enumerate(_pages(content)):
                yield file, page, size, build, data

    _copy(schema, name, ["name", "page", "size", "build", "data"], rows())


def _pages(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield from (content[at : at + PAGE] for at in range(0, len(content), PAGE))
        return
    with content.open("rb") as stream:
        while data := stream.read(PAGE):
            yield data


def _copy(schema: Schema, name: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    listed = ", ".join(map(quoted, columns))
    with (
        schema.connection.cursor() as cursor,
        cursor.copy(f"COPY {schema.of(name)} ({listed}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
