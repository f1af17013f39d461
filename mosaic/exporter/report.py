"""What an export did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is whole, and was read back."""

    path: str
    """Where it lies."""
    format: str
    """``COG`` or ``Zarr``."""
    shape: tuple[int, int, int]
    """Layers of time, rows and columns."""
    bands: tuple[str, ...]
    """Names of the bands."""
    crs: str
    """Canonical name of the CRS."""
    windows: int
    """Windows in which it was written."""
    resumed: int
    """Of these, how many an earlier attempt had written."""
    bytes: int
    """Bytes of its files."""
    seconds: float
    """How long it took, this time."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)
