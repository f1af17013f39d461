"""What of the items that are given is new to a mosaic, by id and ``updated``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mosaic.builder.inputs import Found, Given
from mosaic.builder.standing import UNKNOWN, Standing
from mosaic.catalog.item import utc
from mosaic.errors import Problem


@dataclass(slots=True)
class Sift:
    """Items on their way to an update, and what was seen of them."""

    stand: Standing
    """The mosaic."""
    drop: Collection[str] = ()
    """Ids of items that aren't wanted, in whatever state they are given."""
    seen: set[str] = field(default_factory=set)
    """Ids of all that were given."""
    same: int = 0
    """Items that the mosaic has as they are."""
    older: int = 0
    """Items of which the mosaic has a later state."""
    doubted: set[str] = field(default_factory=set)
    """Ids of items that the mosaic has, and that don't tell when they were updated."""

    def new(self, stream: Iterable[Found]) -> Iterator[Found]:
        """What the mosaic hasn't, or not so; an item of another collection is a problem."""
        stand = self.stand
        for one in stream:
            if not isinstance(one, Given) or not isinstance(one.item, dict):
                yield one
                continue
            name = str(one.item.get("id") or "")
            origin = one.item.get("collection")
            self.seen.add(name)
            if origin not in stand.collections:
                held = ", ".join(str(known) for known in sorted(stand.collections, key=str))
                what = f"is of the collection {origin}, the mosaic's items are of {held}"
                yield Problem("collection", what, "build them together", name)
                continue
            if name in self.drop:
                continue
            row = stand.rows.get(name)
            if row is not None and not self._is_newer(one.item, name, row):
                continue
            yield one

    def _is_newer(self, item: dict[str, object], name: str, row: int) -> bool:
        properties = item.get("properties")
        told = utc(properties.get("updated") if isinstance(properties, dict) else None, "auto")
        known = int(self.stand.updated[row])
        if not told or known == UNKNOWN:
            self.doubted.add(name)
            return True
        time = int(np.datetime64(told.removesuffix("Z"), "us").astype(np.int64))
        self.same += time == known
        self.older += time < known
        return time > known
