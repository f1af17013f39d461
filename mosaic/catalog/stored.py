"""The files of a mosaic in PostGIS, read by ranges, as the gate reads those behind a URL.

A table ``files`` holds them in pages, so that a reader fetches the columns and row groups of
``items.parquet`` that it needs. Each call has a connection of its own: nothing has to survive a
fork, or to be closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mosaic.catalog.database import Place, connected
from mosaic.errors import MissingError, NotACatalogError, SourceChanged

PAGE = 256 << 10
"""Bytes of a file in a row of the table."""
FILES = "files"
"""Name of the table."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is told of a file."""

    size: int
    """Length in bytes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What stands for the gate where a mosaic lies in PostGIS."""

    place: Place
    """Where."""
    build: str
    """Names the build that wrote it: no other is read."""

    @classmethod
    def at(cls, url: str) -> Stored:
        """The files of the mosaic at a URL, as it is now.

        Raises :class:`~mosaic.errors.NotACatalogError` where there is none,
        :class:`~mosaic.errors.DatabaseError` for a database that can't be read.
        """
        place = Place.of(url)
        with connected(place) as connection:
            build = build_at(place, connection)
        if build is None:
            raise NotACatalogError(
                f"{place.url} holds no mosaic; make one with: mosaic build SOURCE -o {place.url}"
            )
        return cls(place, build)

    def meta(self, href: str) -> Size:
        """How long a file is. Raises :class:`~mosaic.errors.MissingError`."""
        name = href.rpartition("/")[2]
        with connected(self.place) as connection:
            self._same(connection)
            found = connection.execute(
                f"SELECT size FROM {table(self.place)} WHERE name = %s AND page = 0", (name,)
            ).fetchone()
        if found is None:
            raise MissingError(f"{self.place.url} has no {name}", advice="build it anew")
        return Size(found[0])

    def names(self) -> list[str]:
        """Names of the files."""
        with connected(self.place) as connection:
            self._same(connection)
            rows = connection.execute(
                f"SELECT name FROM {table(self.place)} WHERE page = 0 ORDER BY name"
            )
            return [str(name) for (name,) in rows]

    def taken(self, tables: Sequence[str]) -> int:
        """Bytes that tables of the schema take, with their indexes."""
        with connected(self.place) as connection:
            self._same(connection)
            found = connection.execute(
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
                "JOIN pg_namespace n ON relnamespace = n.oid "
                "WHERE nspname = %s AND relname = ANY(%s)",
                (self.place.schema, list(tables)),
            ).fetchone()
        return int(found[0]) if found else 0

    def whole(self, name: str) -> bytes:
        """A file. Raises :class:`~mosaic.errors.MissingError`."""
        return bytes(self.get_range(name, start=0, end=self.meta(name).size))

    def get_range(
        self, href: str, *, start: int, length: int | None = None, end: int | None = None
    ) -> memoryview:
        """Bytes of a file: as the gate's."""
        stop = end if length is None else start + length
        return self.get_ranges(href, starts=[start], ends=[stop or 0])[0]

    def get_ranges(
        self, href: str, *, starts: Sequence[int], ends: Sequence[int]
    ) -> list[memoryview]:
        """Several ranges of a file: as the gate's.

        Raises :class:`~mosaic.errors.SourceChanged` when it was built anew meanwhile.
        """
        name = href.rpartition("/")[2]
        found = []
        with connected(self.place) as connection:
            # one snapshot: a build that commits meanwhile isn't seen
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._same(connection)
            for start, end in zip(starts, ends, strict=True):
                first = start // PAGE
                rows = connection.execute(
                    f"SELECT data FROM {table(self.place)} "
                    "WHERE name = %s AND page BETWEEN %s AND %s ORDER BY page",
                    (name, first, max(start, end - 1) // PAGE),
                    binary=True,
                )
                data = memoryview(b"".join(bytes(page) for (page,) in rows))
                found.append(data[start - first * PAGE : end - first * PAGE])
        return found

    def _same(self, connection: Any) -> None:
        if build_at(self.place, connection) != self.build:
            raise SourceChanged(
                f"{self.place.url} was built anew while it was read", advice="open it again"
            )


def table(place: Place) -> str:
    """The table of the files, as SQL names it."""
    return f'"{place.schema}".{FILES}'


def build_at(place: Place, connection: Any) -> str | None:
    """Which build wrote the mosaic at a place; None where there is none."""
    if connection.execute("SELECT to_regclass(%s)", (table(place),)).fetchone()[0] is None:
        return None
    found = connection.execute(f"SELECT build FROM {table(place)} LIMIT 1").fetchone()
    return None if found is None else str(found[0])
