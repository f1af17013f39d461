"""What is opened: enough to open it again in another process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from odc.geo.geobox import GeoBox

from mosaic.catalog.database import shown
from mosaic.catalog.opened import Opened
from mosaic.cube.composite import Composite
from mosaic.cube.groups import GroupBy, Groups
from mosaic.cube.variables import Variable
from mosaic.storage import Gate


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What was asked for."""

    source: str | Opened
    """Where a mosaic lies, a path absolute; or items in memory."""
    stamp: str
    """Its version: another one isn't mixed with it."""
    target: GeoBox
    """The grid."""
    variables: tuple[Variable, ...]
    """The bands."""
    span: tuple[int, int] | None
    """First and last millisecond, or None."""
    groupby: GroupBy | Groups
    """How items make layers of time; a function's layers, as a function may not travel."""
    order: str | None
    """Property by which scenes lie on each other, as a build's ``sort``; None: the mosaic's."""
    last: bool
    """Whether the undermost scene shows, not the topmost."""
    composite: Composite | None
    """How layers become one; None: the topmost scenes show."""
    ignore: bool
    """Whether what can't be read is noted, not raised."""
    raw: bool
    """Whether numbers are the files' own."""
    gate: Gate
    """Through which files are read."""
    native: bool = False
    """Whether only scenes are read whose pixels are the grid's own."""
    where: str | None = None
    """An SQL condition on items, or None."""

    @property
    def named(self) -> str:
        """Where the mosaic lies, without what may be secret; ``items`` where it lies nowhere."""
        return shown(self.source) if isinstance(self.source, str) else "items"

    @property
    def assets(self) -> list[str]:
        """Assets of the bands that are returned."""
        return list(dict.fromkeys(one.asset for one in self.variables))

    @property
    def others(self) -> list[str]:
        """Assets of bands that decide which pixels show."""
        found = () if self.composite is None else self.composite.deciding
        return list(dict.fromkeys(one.asset for one in found))

    @property
    def token(self) -> str:
        """Equal for what reads the same, in every process."""
        by: Any = self.groupby
        if isinstance(by, Groups):
            by = hashlib.sha1(by.time.tobytes() + by.of.tobytes()).hexdigest()
        source = self.named if isinstance(self.source, str) else ""
        grid = str(self.target.crs), tuple(self.target.affine), tuple(self.target.shape)
        how = (
            self.span,
            by,
            self.order,
            self.last,
            self.composite,
            self.ignore,
            self.raw,
            self.native,
            self.where,
        )
        told = source, self.stamp, grid, self.variables, how
        return hashlib.sha1(repr(told).encode()).hexdigest()
