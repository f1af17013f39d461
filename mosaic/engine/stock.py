"""Memory of one request that is used again: its blocks and windows come and go by the thousand.

What comes from the system anew is cleared a page at a time, which takes longer than a block to
unpack or a window to fill. Threads may take and give at once.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class Stock:
    """Buffers that lie ready, by the power of two that their length is."""

    def __init__(self) -> None:
        self._ready: defaultdict[int, list[Bytes]] = defaultdict(list)

    def take(self, length: int) -> Bytes:
        """(n,) at least ``length`` bytes, of any values."""
        power = max(length - 1, 0).bit_length()
        try:
            return self._ready[power].pop()
        except IndexError:
            return np.empty(1 << power, np.uint8)

    def give(self, buffer: Bytes) -> None:
        """What :meth:`take` gave, and nobody looks at any more."""
        self._ready[(len(buffer) - 1).bit_length()].append(buffer)


def shaped(buffer: Bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The beginning of a buffer as an array."""
    length = int(np.prod(shape)) * dtype.itemsize
    found: Array = buffer[:length].view(dtype).reshape(shape)
    return found
