"""What was made for one request and may serve others: kept for a while, made once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Work:
    """Something that is being made."""

    task: asyncio.Task[Any]
    waiting: int = 0


class Kept(Generic[T]):
    """A cache on the loop: of those that ask at one time for one thing, all get the same.

    ``most``: the sum of sizes that is kept; ``size``: of one. Failures aren't kept.
    """

    def __init__(self, most: int, size: Callable[[T], int] = lambda _: 1) -> None:
        self._kept: LRUCache[Hashable, T] = LRUCache(most, getsizeof=size)
        self._size = size
        self._works: dict[Hashable, _Work] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What is kept, or what ``make`` makes. Work that nobody waits for any more is given up."""
        found = self._kept.get(key)
        if found is not None:
            return found
        work = self._works.get(key)
        if work is None:
            work = self._works[key] = _Work(asyncio.ensure_future(self._made(key, make)))
        work.waiting += 1
        try:
            made: T = await asyncio.shield(work.task)
            return made
        finally:
            work.waiting -= 1
            if not work.waiting and self._works.get(key) is work:
                del self._works[key]
                work.task.cancel()

    async def _made(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        made = await make()
        if self._size(made) <= self._kept.maxsize:
            self._kept[key] = made
        return made
