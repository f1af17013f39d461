"""Items in memory by columns, as ``ParquetColumns`` has those on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from mosaic.catalog.stac import TIMES


@dataclass(frozen=True, slots=True, eq=False)
class HeldColumns:
    """Columns of items that nobody wrote; they travel to other processes as they are."""

    arrays: Mapping[str, pa.Array]
    """(n,) columns by path."""
    properties: Sequence[Mapping[str, Any]] = field(repr=False)
    """(n,) properties of the items, which are columns as soon as they are asked for."""

    def __len__(self) -> int:
        return len(self.properties)

    @property
    def names(self) -> list[str]:
        """Names of the columns: id, and properties."""
        return ["id", *dict.fromkeys(name for one in self.properties for name in one)]

    def has(self, path: str) -> bool:
        """Whether there is such a column."""
        return path in self.arrays or any(path in one for one in self.properties)

    def read(self, path: str) -> pa.Array:
        """(n,) a column; times as such, and as JSON texts what differs in kind.

        Raises KeyError without such a one.
        """
        if path in self.arrays:
            return self.arrays[path]
        if not self.has(path):
            raise KeyError(f"no column {path}")
        values = [one.get(path) for one in self.properties]
        if path in TIMES:
            return pa.array(values, pa.string()).cast(pa.timestamp("us", tz="UTC"))
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if one is None else orjson.dumps(one).decode() for one in values])

    def take(self, path: str, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Some rows of a column."""
        return self.read(path).take(pa.array(rows))
