"""The gates of a process: its own, those through a gateway, those that came from elsewhere."""

from __future__ import annotations

import os
import threading
import weakref
from uuid import uuid4

from mosaic.errors import UsageError
from mosaic.storage.address import gateway_of
from mosaic.storage.gate import Gate
from mosaic.storage.metrics import Stats
from mosaic.storage.parts import Settings
from mosaic.storage.recent import Recent

_ARRIVED = 8  # gates that came from other processes stay between two tasks

_lock = threading.Lock()
_default: Gate | None = None
_through: dict[str, Gate] = {}
_names: weakref.WeakKeyDictionary[Gate, str] = weakref.WeakKeyDictionary()
_travelled: weakref.WeakValueDictionary[str, Gate] = weakref.WeakValueDictionary()
_lately = Recent(_ARRIVED)


def default_gate() -> Gate:
    """The gate of this process, made with its settings when first asked for."""
    global _default
    with _lock:
        if _default is None:
            _default = Gate()
        return _default


def gate_via(url: str) -> Gate:
    """The gate of this process through a gateway, made when first asked for. Raises UsageError."""
    via = gateway_of(url)
    with _lock:
        if via not in _through:
            _through[via] = Gate(via=via)
        return _through[via]


def chosen_gate(gate: Gate | None, via: str | None) -> Gate:
    """The gate that a user gave, or that through a gateway, or this process's own.

    Raises UsageError for both, and for a gateway's URL that can't be meant.
    """
    if gate is not None and via:
        raise UsageError("give either gate= or via=; Gate(via=...) has both")
    return gate or (gate_via(via) if via else default_gate())


def stats() -> Stats:
    """What this process asked of storage so far, per origin; reads well in a notebook."""
    return default_gate().stats()


def travelling(gate: Gate) -> tuple[object, ...]:
    """What ``__reduce__`` returns: a gate's settings travel to workers, not what was read."""
    if gate is _default:
        return default_gate, ()
    via = gate.settings.via
    if via and _through.get(via) is gate:
        return gate_via, (via,)
    with _lock:
        name = _names.setdefault(gate, uuid4().hex)
        _travelled[name] = gate
    return _arrived, (gate.settings, name)


def _arrived(told: Settings, name: str) -> Gate:
    """One gate in this process for all that came with one of another: one budget, one cache."""
    shared = told.shared_limits
    with _lock:
        found = _travelled.get(name)
        if found is None:
            found = _travelled[name] = Gate(
                told.limits, told.cache, told.retry, sign=told.sign, shared_limits=shared,
                via=told.via,
            )  # fmt: skip
            _names[found] = name
    _lately.keep(name, found)
    return found


def _unlocked() -> None:
    global _lock, _lately
    _lock = threading.Lock()  # a thread of the parent may hold the old one
    _lately = Recent(_ARRIVED)


os.register_at_fork(after_in_child=_unlocked)
