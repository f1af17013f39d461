"""What a build did: figures, what it left out, what it noticed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mosaic.errors import Problem


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the numbers of one band of an index mean: value = number * scale + offset."""

    file: str
    """File name of the index."""
    band: int
    """Its band, from 1."""
    scale: float
    """Declared scale; 1 when none is."""
    offset: float
    """Declared offset; 0 when none is."""
    changed: int
    """Items whose numbers are brought to this encoding as they are read."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a build."""

    path: str
    """The mosaic's folder."""
    items: int
    """Items indexed."""
    indexes: tuple[tuple[str, int], ...]
    """(file name, tiles) of each tile index."""
    encodings: tuple[Encoded, ...]
    """What the numbers of each band of each index mean."""
    stacks: tuple[str, ...]
    """File names of the stacks."""
    overviews: tuple[tuple[str, int], ...]
    """(file name, factor) of the coarse image of each asset; none if not asked for."""
    slices: tuple[str, ...]
    """Labels of the time slices, in order."""
    crs: str
    """Canonical name of the mosaic's CRS."""
    resolution: tuple[float, float]
    """Pixel width and height in units of the CRS."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    source_crs: tuple[tuple[str, int], ...]
    """(CRS, items) of the scenes, most frequent first."""
    interval: tuple[str, str]
    """First and last time of the items, or empty."""
    headers_read: int
    """Files that had to be opened, because their items don't tell enough or to verify them."""
    left_out: tuple[Problem, ...]
    """Items and assets that aren't in the mosaic."""
    disagreements: tuple[Problem, ...]
    """Where an item and its file disagree; the file is believed."""
    notes: tuple[str, ...]
    """What else the user should know."""
    seconds: float
    """Wall time."""

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values, without secrets."""
        return {
            "path": self.path,
            "items": self.items,
            "indexes": [{"file": name, "tiles": count} for name, count in self.indexes],
            "encodings": [asdict(one) for one in self.encodings],
            "stacks": list(self.stacks),
            "overviews": [
                {
                    "file": name,
                    "shape": [size // factor for size in self.shape],
                    "resolution": [size * factor for size in self.resolution],
                }
                for name, factor in self.overviews
            ],
            "slices": list(self.slices),
            "crs": self.crs,
            "resolution": list(self.resolution),
            "shape": list(self.shape),
            "source_crs": [{"crs": name, "items": count} for name, count in self.source_crs],
            "interval": list(self.interval),
            "headers_read": self.headers_read,
            "left_out": [problem.as_dict() for problem in self.left_out],
            "disagreements": [problem.as_dict() for problem in self.disagreements],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Updated:
    """The outcome of an update."""

    path: str
    """The mosaic's folder."""
    added: int
    """Items that came."""
    replaced: int
    """Items that came in place of an earlier state."""
    dropped: int
    """Items that went."""
    same: int
    """Items that were given and are in the mosaic already, so or later."""
    items: int
    """Items in the mosaic."""
    left_out: tuple[Problem, ...]
    """Items and assets that couldn't be taken."""
    notes: tuple[str, ...]
    """What else the user should know."""
    seconds: float
    """Wall time."""

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.added or self.replaced or self.dropped)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        found = asdict(self)
        found["left_out"] = [problem.as_dict() for problem in self.left_out]
        return {**found, "notes": list(self.notes), "seconds": round(self.seconds, 3)}
