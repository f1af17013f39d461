"""What can be chosen of the file that an export writes, checked. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mosaic.errors import UsageError

COMPRESSIONS = {"tif": ("deflate", "zstd", "lzw", "none"), "zarr": ("zstd", "gzip", "none")}
"""By format; the first is the default."""
LEVELS = {
    "tif": {"deflate": (1, 12), "zstd": (1, 22)},
    "zarr": {"zstd": (1, 9), "gzip": (1, 9)},
}
"""Least and greatest level of a compression that has any; zstd is Blosc's in Zarr."""
OVERVIEWS = ("nearest", "average", "mode", "rms", "bilinear", "cubic")
"""How the overviews of a COG are made."""


@dataclass(frozen=True, slots=True)
class Format:
    """How pixels are laid in a file."""

    name: str
    """``tif`` or ``zarr``."""
    compress: str
    """One of :data:`COMPRESSIONS`."""
    level: int | None
    """How hard it tries; None: its own default."""
    block: int
    """Pixels a side of a tile, or of an inner chunk."""
    overviews: str
    """One of :data:`OVERVIEWS`; empty: by the bands' resampling."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return asdict(self)


def format_of(
    out: Path, compress: str | None, level: int | None, block: int, overviews: str | None
) -> Format:
    """The format that a target's name and options mean. Raises UsageError."""
    name = {".tif": "tif", ".tiff": "tif", ".zarr": "zarr"}.get(out.suffix.lower())
    if name is None:
        raise UsageError(f"{out}: name it .tif for a COG, or .zarr for a Zarr store")
    known = COMPRESSIONS[name]
    if compress is not None and compress not in known:
        raise UsageError(f"--compress {compress}: .{name} takes {', '.join(known)}")
    packing = compress or known[0]
    if level is not None:
        least, most = LEVELS[name].get(packing, (0, 0))
        if not most:
            raise UsageError(f"--level: {packing} has none")
        if not least <= level <= most:
            raise UsageError(f"--level {level}: {packing} has {least} to {most}")
    if not 128 <= block <= 4096 or block & (block - 1):
        raise UsageError(f"--blocksize {block}: a power of two from 128 to 4096")
    if overviews is not None and name != "tif":
        raise UsageError("--overview-resampling: a Zarr store has no overviews")
    if overviews is not None and overviews not in OVERVIEWS:
        raise UsageError(f"--overview-resampling {overviews}: one of {', '.join(OVERVIEWS)}")
    return Format(name, packing, level, block, overviews or "")
