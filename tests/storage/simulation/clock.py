"""An event loop whose time jumps to the next timer: hours in seconds, and the same every time."""

import asyncio
import selectors
import socket
from collections.abc import Mapping
from typing import Any


class ForgottenError(AssertionError):
    """Somebody waits, and nothing is left that could wake them."""


class _Jump(selectors.BaseSelector):
    """Waits for no file: it moves the clock instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = fileobj.fileno() if isinstance(fileobj, socket.socket) else int(fileobj)
        key = selectors.SelectorKey(fileobj, number, events, data)
        self._keys[number] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        number = fileobj.fileno() if isinstance(fileobj, socket.socket) else int(fileobj)
        return self._keys.pop(number)

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise ForgottenError("a waiter was forgotten: no timer is left")
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, which begins at 0."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jump.now
