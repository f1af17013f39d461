"""What a thread waits for on the background loop, given up from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Leash:
    """Holds what one call waits for, whichever thread makes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits_for: Future[Any] | None = None
        self._is_cut = False

    def run(self, work: Callable[..., T], *given: object) -> T:
        """Do it on this thread. Raises CancelledError once it is given up and has to wait."""
        before, _here.leash = _here.leash, self
        try:
            return work(*given)
        finally:
            _here.leash = before

    def cancel(self) -> None:
        """Give up what the call waits for, now and from now on."""
        with self._lock:
            self._is_cut, future = True, self._waits_for
        if future is not None:
            future.cancel()

    def _hold(self, future: Future[Any]) -> None:
        with self._lock:
            self._waits_for = future
            is_cut = self._is_cut
        if is_cut:
            future.cancel()


class _Here(threading.local):
    leash: Leash | None = None
    """Of the call that the thread is in."""


_here = _Here()


def hold(future: Future[Any]) -> None:
    """Let whoever has this thread's call on a leash give up what it is about to wait for."""
    if _here.leash is not None:
        _here.leash._hold(future)
