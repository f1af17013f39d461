"""A mosaic in PostGIS: built as a folder, and loaded from there in one transaction.

A schema holds a table of each index's rows (``tiles_B04``), the items (``items``), and the files
that a reader in Python and the doors for GDAL are made of (``files``). Readers see the old mosaic
until the new one is whole. What else lies in the schema stays.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely

from mosaic.builder.doors import document_of, door_files
from mosaic.builder.inputs import Source
from mosaic.builder.make import Progress, make
from mosaic.builder.options import Options
from mosaic.builder.report import Report
from mosaic.builder.search import Search
from mosaic.catalog.database import Place, connected, lock_refused, named
from mosaic.catalog.gti import LAYER
from mosaic.catalog.layout import COLLECTION, ITEMS, MARK, index_name, read_collection
from mosaic.catalog.stored import FILES, PAGE, build_at, table
from mosaic.errors import CatalogExistsError, DatabaseError, UsageError

Json = dict[str, Any]

ITEMS_TABLE = "items"
_LONLAT = 4326
_SYSTEM = frozenset(("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))
"""Names of columns that every table has."""
_BATCH = 10_000
"""Rows that are in memory at once."""
_PATIENCE = 300.0
"""Seconds for which readers of an old mosaic are waited for."""


@dataclass(frozen=True, slots=True)
class _Schema:
    """A schema that is ready to be written."""

    name: str
    """Its name."""
    postgis: str
    """Schema of the extension, quoted."""
    connection: Any
    """A connection, in a transaction."""

    def of(self, name: str) -> str:
        """A table of it, as SQL names it."""
        return f'"{self.name}".{_quoted(name)}'


def make_there(
    sources: Sequence[Source | Search],
    url: str,
    options: Options,
    progress: Progress = lambda step, done: None,
    stdin: IO[bytes] | None = None,
) -> Report:
    """Builds a mosaic from sources into a schema of a database. See :func:`mosaic.build`.

    One process at a time builds there, from whatever machine. Raises what
    :func:`~mosaic.builder.make.make` raises, and :class:`~mosaic.errors.DatabaseError`.
    """
    place = Place.of(url)
    if options.overview:
        raise UsageError(
            "--overview: a coarse image is a file, and a database holds none; build a folder"
        )
    folder = _waiting(place)
    with connected(place, autocommit=True) as connection:
        postgis = _postgis(place, connection)
        if not _locked(place, connection):
            raise DatabaseError(
                f"{place.url} is being built by another process: wait for it, then try again"
            )
        _replaceable(place, connection, options.overwrite)
        try:
            chosen = replace(options, item_files=0, overwrite=True)
            report = make(sources, folder, chosen, progress, stdin)
            with connection.transaction():
                schema = _Schema(place.schema, postgis, connection)
                tables = _load(schema, folder, _replaceable(place, connection, True), progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # an interrupted search waits there
                folder.parent.rmdir()
    note = f"GDAL and QGIS open it by the files that `mosaic doors '{place.url}' DIR` writes"
    return replace(
        report,
        path=place.url,
        indexes=tuple((tables[name], count) for name, count in report.indexes),
        encodings=tuple(replace(one, file=tables[one.file]) for one in report.encodings),
        notes=(*report.notes, note),
    )


def _waiting(place: Place) -> Path:
    """Where a build lies until it is loaded: a search that is interrupted waits beside it."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "mosaic" / "postgis" / place.digest() / place.schema


def _postgis(place: Place, connection: Any) -> str:
    """The schema, quoted, in which the extension lies."""
    found = connection.execute(
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON extnamespace = n.oid "
        "WHERE extname = 'postgis'"
    ).fetchone()
    if found is None:
        raise DatabaseError(f"{place.url} has no PostGIS: CREATE EXTENSION postgis")
    return str(found[0])


def _locked(place: Place, connection: Any) -> bool:
    """Whether this process may write there from now on; the lock goes with the connection."""
    found = connection.execute("SELECT pg_try_advisory_lock(%s)", (place.lock(),)).fetchone()
    return bool(found[0])


def _replaceable(place: Place, connection: Any, overwrite: bool) -> list[str]:
    """Tables of the mosaic that is there.

    Raises :class:`~mosaic.errors.CatalogExistsError` for one that mustn't be replaced, or for
    tables of somebody else's.
    """
    names = {
        str(name)
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON relnamespace = n.oid "
            "WHERE nspname = %s",
            (place.schema,),
        )
    }
    if FILES not in names:
        own: list[str] = []
    else:
        columns = connection.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass "
            "AND attname IN ('name', 'page', 'size', 'build', 'data')",
            (table(place),),
        ).fetchone()
        if columns[0] != 5 or build_at(place, connection) is None:
            raise _foreign(place, FILES)
        if not overwrite:
            raise CatalogExistsError(f"{place.url} holds a mosaic already: --overwrite replaces it")
        rows = connection.execute(
            f"SELECT data FROM {table(place)} WHERE name = %s ORDER BY page", (COLLECTION,)
        )
        own = orjson.loads(b"".join(bytes(data) for (data,) in rows))["mosaic:tables"]
    if ITEMS_TABLE in names - set(own):
        raise _foreign(place, ITEMS_TABLE)
    return [name for name in own if name in names]


def _foreign(place: Place, name: str) -> CatalogExistsError:
    return CatalogExistsError(
        f"{place.url} holds a table {name} that isn't mosaic's: name another schema (?schema=…)"
    )


def _load(schema: _Schema, folder: Path, old: Sequence[str], progress: Progress) -> dict[str, str]:
    """A built folder into the schema; returns the tables by file name of their index."""
    connection = schema.connection
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema.name}"')
    document = read_collection(folder)
    assets = [str(asset) for asset in document["mosaic:assets"]]
    tables = {asset: named("tiles_", asset) for asset in assets}
    fresh: dict[str, str] = {}
    srid = _srid(schema, document[MARK]["crs"])
    for asset in assets:
        name = tables[asset]
        fresh[name] = f"{name[:62]}~"
        _tiles(schema, fresh[name], folder / index_name(asset), srid)
        progress(name, 0)
    fresh[ITEMS_TABLE] = f"{ITEMS_TABLE}~"
    _items(schema, fresh[ITEMS_TABLE], folder / ITEMS, lambda count: progress("items", count))
    fresh[FILES] = f"{FILES}~"
    told = document_of(document, tables) | {"mosaic:tables": sorted(fresh)}
    _files(
        schema,
        fresh[FILES],
        {
            **door_files(folder, document, tables),
            COLLECTION: orjson.dumps(told),
            ITEMS: folder / ITEMS,
        },
    )
    if old:
        _seize(schema, old)
        for name in fresh.keys() & set(old):
            _grant(schema, name, fresh[name])
        connection.execute(f"DROP TABLE {', '.join(map(schema.of, old))}")
    for name, built in fresh.items():
        connection.execute(f"ALTER TABLE {schema.of(built)} RENAME TO {_quoted(name)}")
    return {index_name(asset): name for asset, name in tables.items()}


def _seize(schema: _Schema, tables: Sequence[str]) -> None:
    """Locks tables against readers, who wait for a second at most where another one doesn't end.

    Raises LockNotAvailable of psycopg when that one hasn't ended in time.
    """
    connection = schema.connection
    connection.execute("SET LOCAL lock_timeout = '1s'")
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with connection.transaction():  # a savepoint: without it what is locked would stay so
                connection.execute(f"LOCK TABLE {', '.join(map(schema.of, tables))}")
                return
        except lock_refused():
            if time.monotonic() > end:
                raise
        time.sleep(1.0)


def _grant(schema: _Schema, old: str, new: str) -> None:
    """Who may read a table may read the one that takes its place."""
    granted = schema.connection.execute(
        "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type "
        "FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass AND grantee <> relowner",
        (schema.of(old),),
    ).fetchall()
    for role, privilege in granted:
        schema.connection.execute(f"GRANT {privilege} ON {schema.of(new)} TO {role}")


def _srid(schema: _Schema, crs: str) -> int:
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


def _tiles(schema: _Schema, name: str, index: Path, srid: int) -> None:
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


def _items(schema: _Schema, name: str, path: Path, progress: Any) -> None:
    """The columns of ``items.parquet``; what is nested in them as JSON."""
    with pq.ParquetFile(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
        columns = {
            column: named("", column) for column in kinds if not pa.types.is_null(kinds[column])
        }
        # colons are the rule in names of properties: they are kept, in quotes
        columns = {one: one if len(one.encode()) <= 63 else short for one, short in columns.items()}
        columns |= {one: f"{one}_" for one in _SYSTEM & columns.keys()}
        types = [f"{_quoted(columns[one])} {_type(schema, one, kinds[one])}" for one in columns]
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


def _type(schema: _Schema, name: str, kind: pa.DataType) -> str:
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


def _files(schema: _Schema, name: str, files: dict[str, bytes | Path]) -> None:
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


def _copy(
    schema: _Schema, name: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]
) -> None:
    listed = ", ".join(map(_quoted, columns))
    with (
        schema.connection.cursor() as cursor,
        cursor.copy(f"COPY {schema.of(name)} ({listed}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
