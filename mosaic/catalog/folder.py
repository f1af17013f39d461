"""A mosaic's folder as a reader sees it: on this machine, or behind a URL through the gate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mosaic.catalog.database import is_database, shown
from mosaic.catalog.file_columns import ParquetColumns as ParquetColumns
from mosaic.catalog.layout import COLLECTION, MARK, read_collection
from mosaic.catalog.ranged import Ranges, fetched
from mosaic.catalog.stored import Stored
from mosaic.errors import CatalogError, MissingError, NotACatalogError, StorageError
from mosaic.storage import Gate


@dataclass(frozen=True, eq=False)
class Folder:
    """Where a mosaic lies."""

    base: str
    """Absolute path, or URL without a slash at its end."""
    gate: Gate | Stored
    """Through which it is read, if it is a URL."""
    stamp: tuple[int, ...] | None = None
    """What its collection was on this machine, to tell when another took its place; or None."""

    @classmethod
    def at(cls, source: str | os.PathLike[str], gate: Gate) -> Folder:
        """The folder of a path or URL, of itself or of its collection; or what stands for it in
        PostGIS."""
        text = os.fspath(source)
        if is_database(text):
            return cls(text, Stored.at(text))
        text = text.removesuffix(f"/{COLLECTION}").removesuffix("/catalog.json")
        if "://" in text:
            return cls(text.rstrip("/"), gate)
        path = Path(text).expanduser().absolute()
        return cls(str(path), gate, _stamp(path))

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return "://" in self.base

    def collection(self) -> dict[str, Any]:
        """The mosaic's collection. Raises :class:`~mosaic.errors.NotACatalogError`."""
        if not self.remote:
            return read_collection(Path(self.base))
        href = f"{self.base}/{COLLECTION}"
        try:
            document = orjson.loads(self.text(COLLECTION))
        except MissingError as error:
            what = "isn't there: no mosaic lies at this URL"
            raise NotACatalogError(f"{shown(href)} {what}") from error
        except (StorageError, orjson.JSONDecodeError) as error:
            raise NotACatalogError(f"{shown(href)} can't be read ({error})") from error
        if not isinstance(document, dict) or MARK not in document:
            what = "holds a STAC collection, but none of mosaic's"
            raise NotACatalogError(f"{shown(self.base)} {what}")
        return document

    def text(self, name: str) -> bytes:
        """A whole file in it. Raises OSError or StorageError."""
        if not self.remote:
            return (Path(self.base) / name).read_bytes()
        return Ranges(self.gate, f"{self.base}/{name}").readall()

    def columns(self, name: str, groups: Sequence[int] | None = None) -> ParquetColumns:
        """The columns of a Parquet file in it. Raises :class:`~mosaic.errors.CatalogError`.

        ``groups``: row groups that are enough; None for all.
        """
        ranges = self._ranges(name)
        return ParquetColumns(self._file(name, ranges), self, name, groups, ranges)

    def parts(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes | memoryview]:
        """Parts of a file in it, from a byte to another; behind a URL by few requests.

        Raises :class:`~mosaic.errors.CatalogError`.
        """
        href = f"{self.base}/{name}"
        try:
            if self.remote:
                return fetched(self.gate, href, spans)
            with open(href, "rb") as stream:  # noqa: PTH123 - its base is a text
                self._same()
                return [os.pread(stream.fileno(), end - start, start) for start, end in spans]
        except FileNotFoundError:
            raise CatalogError(
                f"{shown(href)} isn't there, but it belongs to the mosaic: copy it, too, or build "
                "the mosaic anew"
            ) from None
        except (OSError, StorageError) as error:
            raise CatalogError(f"{shown(href)} can't be read: {error}") from error

    def parquet(self, name: str) -> pq.ParquetFile:
        """A Parquet file in it. Raises :class:`~mosaic.errors.CatalogError`."""
        return self._file(name, self._ranges(name))

    def _ranges(self, name: str) -> Ranges | None:
        """A file as the gate has it; None for one of this machine."""
        href = f"{self.base}/{name}"
        try:
            return Ranges(self.gate, href) if self.remote else None
        except (OSError, StorageError) as error:
            raise CatalogError(f"{shown(href)} can't be read: {error}") from error

    def _file(self, name: str, ranges: Ranges | None) -> pq.ParquetFile:
        href = f"{self.base}/{name}"
        try:
            # `open` would want a handle that lives as long as the file
            source: Any = href if ranges is None else pa.PythonFile(ranges, mode="r")
            file = pq.ParquetFile(source, pre_buffer=True)
        except (OSError, StorageError, pa.ArrowException) as error:
            self._same()
            raise CatalogError(f"{shown(href)} can't be read: {error}") from error
        self._same()
        return file

    def _same(self) -> None:
        """Raises CatalogError when files opened by now may be another build's."""
        if self.stamp is not None and _stamp(Path(self.base)) != self.stamp:
            raise CatalogError(f"{self.base} was changed while it was opened: open it again")


def _stamp(folder: Path) -> tuple[int, ...] | None:
    try:
        told = (folder / COLLECTION).stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_size
