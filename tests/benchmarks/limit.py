"""What a read can't go below: its blocks decoded and its pixels warped, with all at hand.

A read is watched once; then the same blocks are unpacked by libdeflate into one buffer, and the
same calls of the kernel made again, by one thread. The least of three rounds counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import imagecodecs
import numpy as np

from tests.benchmarks.cases import Window
from tests.benchmarks.contenders import Source, mosaic

ROUNDS = 3
CORES = 2


@dataclass(frozen=True)
class Limit:
    """The work that a read can't be spared, in seconds of CPU."""

    blocks: int
    """Blocks."""
    decode: float
    """To unpack them."""
    warp: float
    """To warp their pixels."""

    def wall(self, latency: float) -> float:
        """Seconds: two round trips, and the work shared by the cores."""
        return 2 * latency + (self.decode + self.warp) / CORES


def limit(source: Source, window: Window) -> Limit:
    """The limit of one read by this package."""
    from mosaic.engine import kernels
    from mosaic.engine.tiff import build

    codecs = import_module("mosaic.engine.tiff.decode")  # its package has a function so called
    packed: list[tuple[bytes, int]] = []
    calls: list[tuple[Any, ...]] = []
    deflate, kernel = codecs._BYTES[build.DEFLATE], kernels.nearest

    def unpack(data: Any, out: np.ndarray) -> Any:
        packed.append((bytes(data), len(out)))
        return deflate(data, out=out)

    def warp(*arguments: Any) -> None:
        calls.append(arguments)
        kernel(*arguments)

    codecs._BYTES[build.DEFLATE], kernels.nearest = unpack, warp
    try:
        mosaic(source)(window)
    finally:
        codecs._BYTES[build.DEFLATE], kernels.nearest = deflate, kernel
    room = np.empty(max(length for _, length in packed), np.uint8)

    def decoded() -> None:
        for data, length in packed:
            deflate(data, out=room[:length])
            side = int((length // 2) ** 0.5)
            pixels = room[:length].view(np.uint16).reshape(side, side)
            imagecodecs.delta_decode(pixels, axis=1, out=pixels)

    canvases = {
        call[-2].ctypes.data: (np.empty_like(call[-2]), np.empty_like(call[-1])) for call in calls
    }

    def warped() -> None:
        for call in calls:
            kernel(*call[:-2], *canvases[call[-2].ctypes.data])

    return Limit(len(packed), _least(decoded), _least(warped, lambda: _clear(canvases)))


def _clear(canvases: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    for values, filled in canvases.values():
        values[:] = 0
        filled[:] = False


def _least(work: Callable[[], None], before: Callable[[], None] = lambda: None) -> float:
    taken = []
    for _ in range(ROUNDS):
        before()
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return min(taken)
