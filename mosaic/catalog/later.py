"""Columns of a Parquet file that is opened as soon as one is asked for that isn't at hand."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mosaic import bridge
from mosaic.catalog.database import shown
from mosaic.catalog.folder import Folder, ParquetColumns
from mosaic.errors import CatalogError


class LaterColumns:
    """Columns of a Parquet file by their path, some of which are known.

    ``groups``: row groups that are enough, None for all; ``known``: (n,) columns by path.
    ``mark``: of the file to which these belong, or empty where that isn't known.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        groups: Sequence[int] | None,
        known: Mapping[str, pa.Array],
        mark: str,
    ) -> None:
        self._place = folder, name, groups
        self._known = dict(known)
        self._mark = mark
        self._opened: ParquetColumns | None = None
        self._lock = threading.Lock()
        bridge.settle(self)

    def __reduce__(self) -> tuple[object, ...]:
        return LaterColumns, (*self._place, self._known, self._mark)

    def __len__(self) -> int:
        return len(next(iter(self._known.values())))

    def after_fork(self) -> None:
        """A child's lock is free."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing has to be given back."""

    @property
    def file(self) -> ParquetColumns:
        """The file. Raises :class:`~mosaic.errors.CatalogError`, also where it has other rows."""
        with self._lock:
            if self._opened is None:
                folder, name, groups = self._place
                found = folder.columns(name, groups)
                # a build that came meanwhile may have as many rows, in another order
                if len(found) != len(self) or (self._mark and found.mark() != self._mark):
                    what = "has other items than those that were opened: open the mosaic again"
                    raise CatalogError(f"{shown(folder.base)}/{name} {what}, or build it anew")
                self._opened = found
            return self._opened

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self.file.names

    def has(self, path: str) -> bool:
        """Whether there is such a column, or a part of one."""
        return path in self._known or self.file.has(path)

    def read(self, path: str) -> pa.Array:
        """A column. Raises KeyError without such a one."""
        return self._known[path] if path in self._known else self.file.read(path)

    def take(self, path: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Some rows of a column."""
        return self.file.take(path, rows)
