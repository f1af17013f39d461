"""A mosaic in PostGIS: built as a folder, and loaded from there in one transaction.

A schema holds a table of each index's rows (``tiles_B04``), the items (``items``), and the files
that a reader in Python and the doors for GDAL are made of (``files``). Readers see the old mosaic
until the new one is whole. What else lies in the schema stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from mosaic.builder.copying import Schema, files_table, items_table, quoted, srid_of, tiles_table
from mosaic.builder.doors import document_of, door_files
from mosaic.builder.inputs import Source
from mosaic.builder.make import Progress, make
from mosaic.builder.options import Options
from mosaic.builder.report import Report
from mosaic.builder.search import Search
from mosaic.catalog.database import Place, connected, lock_refused, named
from mosaic.catalog.layout import COLLECTION, ITEMS, MARK, index_name, read_collection
from mosaic.catalog.stored import FILES, build_at, table
from mosaic.errors import CatalogExistsError, DatabaseError, UsageError

Json = dict[str, Any]

ITEMS_TABLE = "items"
_PATIENCE = 300.0
"""Seconds for which readers of an old mosaic are waited for."""


def make_there(
    sources: Sequence[Source | Search],
    url: str,
    options: Options,
    progress: Progress = lambda step, done: None,
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
            report = make(sources, folder, chosen, progress)
            with connection.transaction():
                schema = Schema(place.schema, postgis, connection)
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


def _load(schema: Schema, folder: Path, old: Sequence[str], progress: Progress) -> dict[str, str]:
    """A built folder into the schema; returns the tables by file name of their index."""
    connection = schema.connection
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema.name}"')
    document = read_collection(folder)
    assets = [str(asset) for asset in document["mosaic:assets"]]
    tables = {asset: named("tiles_", asset) for asset in assets}
    fresh: dict[str, str] = {}
    srid = srid_of(schema, document[MARK]["crs"])
    for asset in assets:
        name = tables[asset]
        fresh[name] = f"{name[:62]}~"
        tiles_table(schema, fresh[name], folder / index_name(asset), srid)
        progress(name, 0)
    fresh[ITEMS_TABLE] = f"{ITEMS_TABLE}~"
    items_table(schema, fresh[ITEMS_TABLE], folder / ITEMS, lambda count: progress("items", count))
    fresh[FILES] = f"{FILES}~"
    told = document_of(document, tables) | {"mosaic:tables": sorted(fresh)}
    files_table(
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
        connection.execute(f"ALTER TABLE {schema.of(built)} RENAME TO {quoted(name)}")
    return {index_name(asset): name for asset, name in tables.items()}


def _seize(schema: Schema, tables: Sequence[str]) -> None:
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


def _grant(schema: Schema, old: str, new: str) -> None:
    """Who may read a table may read the one that takes its place."""
    granted = schema.connection.execute(
        "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type "
        "FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass AND grantee <> relowner",
        (schema.of(old),),
    ).fetchall()
    for role, privilege in granted:
        schema.connection.execute(f"GRANT {privilege} ON {schema.of(new)} TO {role}")
