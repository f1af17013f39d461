"""SQL over a mosaic's items, by DuckDB without extensions: given columns, it opens no file.

The table is ``items``. Its columns are those of ``items.parquet`` that a query names (``*``: all
but ``assets``, ``links`` and ``geometry``), times in UTC without a zone, and besides them ``xmin``,
``ymin``, ``xmax``, ``ymax`` in degrees (``xmin > xmax`` across 180) and ``row``, from 0.
"""

from __future__ import annotations

import re
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mosaic.catalog.columns import Columns
from mosaic.errors import UsageError

TABLE = "items"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_HEAVY = frozenset(
    ("assets", "links", "geometry", "bbox", "stac_extensions", "stac_version", "type")
)
"""Columns that have to be named."""
_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "lock_configuration": "true",
}
"""A database that reaches nothing but what it is given."""


def query(columns: Columns, sql: str) -> pa.Table:
    """What an SQL query finds. Raises :class:`~mosaic.errors.UsageError` for one that can't be
    meant; it names the columns."""
    table = _table(columns, sql)
    with duckdb.connect(config=_ALONE) as database:
        database.register(TABLE, table)
        try:
            found = database.sql(sql)
            if found is None:
                raise UsageError(f"{sql:.80} finds nothing: give a SELECT")
            result: pa.Table = found.to_arrow_table()
        except duckdb.Error as error:
            told = str(error).partition("\n")[0]
            names = ", ".join(sorted(names_of(columns)))
            raise UsageError(f"the SQL can't be meant ({told}); columns: {names}") from None
    return result


def rows(columns: Columns, where: str) -> npt.NDArray[np.int64]:
    """Ascending rows of the items for which a condition holds. Raises as :func:`query`."""
    found = query(columns, f'SELECT "row" FROM {TABLE} WHERE (\n{where}\n) ORDER BY "row"')
    return np.asarray(found["row"].to_numpy(), np.int64)


def names_of(columns: Columns) -> list[str]:
    """Names of the columns of ``items``."""
    more = _SIDES if "bbox" in columns.names else ()
    return [*columns.names, *more, "row"]


def _table(columns: Columns, sql: str) -> pa.Table:
    every = "*" in re.sub(r"\(\s*\*\s*\)", "", sql)
    found: dict[str, Any] = {"row": pa.array(np.arange(len(columns)))}
    for name in columns.names:
        if (every and name not in _HEAVY) or _is_named(name, sql):
            found[name] = _plain(columns.read(name))
    if "bbox" in columns.names:
        for side in _SIDES:
            if every or _is_named(side, sql):
                found[side] = columns.read(f"bbox.{side}")
    return pa.table(found)


def _is_named(name: str, sql: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE) is not None


def _plain(values: pa.Array) -> pa.Array:
    """A column that DuckDB takes without its extension for time zones."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        return pc.local_timestamp(values) if values.type.tz == "UTC" else values
    return values
