"""Rows of a tile index that come, go, or lie elsewhere in the drawing order, in a copy of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyogrio

from mosaic.catalog.gti import LAYER, Index, Tiles, add_xml, index_xml, write_rows
from mosaic.errors import CatalogError


def change_index(
    path: Path,
    index: Index,
    gone: Iterable[str],
    moved: Mapping[int, int],
    fresh: Tiles | None,
) -> list[str]:
    """Changes an index in place: nobody may read it yet.

    ``index``: what it declares from now on. ``gone``: ids of items whose rows go. ``moved``: z of
    rows that stay, old to new. ``fresh``: rows that come, or None. Returns the locations of the
    rows that went. Raises :class:`~mosaic.errors.CatalogError` when it can't be written.
    """
    try:
        with sqlite3.connect(path) as database:
            # a copy that nobody knows needs no way back
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            # GeoPackage's triggers name them; they aren't called for what is changed here
            for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
                database.create_function(name, 1, _never)
            lost = _without(database, gone)
            if moved:
                database.create_function("moved", 1, lambda z: moved.get(z, z))
                where = f"z BETWEEN {min(moved)} AND {max(moved)}"
                database.execute(f"UPDATE {LAYER} SET z = moved(z) WHERE {where}")
            add_xml(database, index_xml(index))
        database.close()
        if fresh is not None and fresh.location:
            write_rows(path, index, fresh, append=True)
    except (pyogrio.errors.DataSourceError, sqlite3.Error, OSError, RuntimeError) as error:
        raise CatalogError(f"{path.name} can't be written: {error}") from error
    return lost


def _without(database: sqlite3.Connection, gone: Iterable[str]) -> list[str]:
    database.execute("CREATE TEMP TABLE gone (id TEXT PRIMARY KEY)")
    database.executemany("INSERT OR IGNORE INTO gone VALUES (?)", ((one,) for one in gone))
    found = database.execute(
        f"SELECT fid, location FROM {LAYER} WHERE item IN (SELECT id FROM gone)"
    ).fetchall()
    database.executemany(f"DELETE FROM {LAYER} WHERE fid = ?", ((fid,) for fid, _ in found))
    return [location for _, location in found]


def _never(geometry: object) -> int:
    raise RuntimeError("a geometry was changed")


def drawing_orders(path: Path) -> pa.Table:
    """``item`` and ``z`` of the rows of an index."""
    _, table = pyogrio.read_arrow(path, columns=["item", "z"], read_geometry=False)
    return table
