"""Settings, and the only reader of ``MOSAIC_*`` variables."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeaderSettings:
    """How headers are read when an item doesn't tell what an index needs."""

    local_threads: int = 8
    """Files of this machine read at once."""
    remote_threads: int = 4
    """Remote files read at once: the smallest quota a public provider grants."""

    @classmethod
    def from_env(cls) -> HeaderSettings:
        """The defaults, overridden by ``MOSAIC_HEADER_THREADS`` (remote files)."""
        return cls(remote_threads=int(os.environ.get("MOSAIC_HEADER_THREADS", "4")))
