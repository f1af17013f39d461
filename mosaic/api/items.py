"""A mosaic's items, asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from mosaic.catalog.finder import Finder
    from mosaic.storage import Gate


def query(source: str | os.PathLike[str], sql: str, *, gate: Gate | None = None) -> pa.Table:
    """What SQL finds in a mosaic's items: ``mosaic.query(folder, "select id from items")``.

    ``source``: a built mosaic's folder or URL. The table is ``items``, its columns those of
    ``items.parquet``, times in UTC without a zone, and ``xmin``, ``ymin``, ``xmax``, ``ymax`` in
    degrees. DuckDB answers, in a database that reaches nothing else. What follows WHERE makes a
    mosaic of the same items: ``mosaic.open(folder, where="...")``.

    Raises :class:`~mosaic.errors.UsageError` for SQL that can't be meant, and names the columns,
    :class:`~mosaic.errors.CatalogError` for a mosaic that can't be read.
    """
    from mosaic.catalog import sql as items
    from mosaic.catalog.folder import Folder
    from mosaic.catalog.layout import ITEMS
    from mosaic.storage import default_gate

    folder = Folder.at(source, gate or default_gate())
    folder.collection()
    return items.query(folder.columns(ITEMS), sql)


def finder(source: str | os.PathLike[str], *, gate: Gate | None = None) -> Finder:
    """A mosaic's items in memory, to be asked often: ``finder.find(bbox, "2025-06")``.

    ``source``: a built mosaic's folder or URL. A million items take two seconds once, and then far
    less than a millisecond a question. Raises :class:`~mosaic.errors.CatalogError` for a mosaic
    that can't be read.
    """
    from mosaic.catalog.finder import Finder
    from mosaic.catalog.folder import Folder
    from mosaic.catalog.layout import ITEMS
    from mosaic.storage import default_gate

    folder = Folder.at(source, gate or default_gate())
    folder.collection()
    return Finder.of(folder.columns(ITEMS))
