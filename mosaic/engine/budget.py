"""How much may be in memory at once: work is let in by its place in the order, not by its luck.

What is held and waits for something that isn't let in would wait for ever; so whenever nothing
is moving, the next in order is let in, whatever it weighs. Lives on one loop.
"""

from __future__ import annotations

import asyncio
import heapq


class Budget:
    """Bytes for decoded blocks, and the queue of those who want some."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._moving = 0
        self._count = 0
        self._queue: list[tuple[tuple[int, ...], int, int, asyncio.Future[None]]] = []
        self.peak = 0

    async def enter(self, order: tuple[int, ...], size: int) -> None:
        """Wait for ``size`` bytes; the least ``order`` comes first. Whoever is in is moving."""
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._queue, (order, self._count, size, future))
        # whoever asks at the same time is asked first, in order
        asyncio.get_running_loop().call_soon(self._admit)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.rest()
                self.free(size)
            raise

    def move(self) -> None:
        """Some work has begun that ends by itself."""
        self._moving += 1

    def rest(self) -> None:
        """Some work has ended."""
        self._moving -= 1
        self._admit()

    def free(self, size: int) -> None:
        """Give bytes back."""
        self._used -= size
        self._admit()

    def _admit(self) -> None:
        while self._queue:
            _, _, size, future = self._queue[0]
            if future.cancelled():
                heapq.heappop(self._queue)
                continue
            if self._moving and self._used + size > self._size:
                return
            heapq.heappop(self._queue)
            self._used += size
            self._moving += 1
            self.peak = max(self.peak, self._used)
            future.set_result(None)
