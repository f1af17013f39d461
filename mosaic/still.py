"""Threads that stand still while their process forks.

A child has the forking thread alone. A lock that any other held at that moment (Python's of a
module being imported, numba's while it compiles, one inside PROJ or a codec) stays held in the
child for ever, and its first read would wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_TICK = 0.001


class Crew(ThreadPoolExecutor):
    """A pool whose threads can be held between two pieces of work."""

    def __init__(self, count: int, name: str, join: Callable[[], None]) -> None:
        super().__init__(count, thread_name_prefix=name, initializer=join)
        self._turn = threading.Condition()
        self._busy = 0
        self._held = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As any executor's."""
        return super().submit(self._work, fn, args, kwargs)

    def _work(self, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        with self._turn:
            while self._held:
                self._turn.wait()
            self._busy += 1
        try:
            return fn(*args, **kwargs)
        finally:
            with self._turn:
                self._busy -= 1
                self._turn.notify_all()

    def hold(self, until: float, mine: int = 0) -> None:
        """Begin no further work, and wait for what is being done; not beyond ``until``.

        ``mine``: how many of the busy threads are the caller.
        """
        with self._turn:
            self._held = True
            self._turn.wait_for(lambda: self._busy <= mine, _left(until))

    def go_on(self) -> None:
        """Work goes on."""
        with self._turn:
            self._held = False
            self._turn.notify_all()


class Pause:
    """A loop that is held between two of its callbacks, by another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        self._over = threading.Event()
        here = threading.Event()

        def stand() -> None:
            here.set()
            self._over.wait(_left(until))

        with contextlib.suppress(RuntimeError):  # closed
            loop.call_soon_threadsafe(stand)
            here.wait(_left(until))

    def end(self) -> None:
        """The loop goes on."""
        self._over.set()


def imported(until: float) -> None:
    """Wait until no other thread imports a module; not beyond ``until``.

    Python gives a child the lock of the import system, but not those of its modules.
    """
    while _importing() and _left(until):
        time.sleep(_TICK)


def _importing() -> bool:
    known = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    me = threading.get_ident()
    owners = [getattr(lock(), "owner", None) for lock in list(known.values())]
    return any(owner not in (None, me) for owner in owners)


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.0)
