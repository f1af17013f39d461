"""Dask's workers: what travels to them is of this version, and they have the package.

What can't be unpacked on a worker ends that worker's connection, without a word to the client. So
what travels is packed once more, and judged when it is used.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from mosaic.errors import WorkerError
from mosaic.version import __version__


class Stranger:
    """In place of what another version sent: an error as soon as somebody asks it anything."""

    def __init__(self, sender: str) -> None:
        self._sender = sender

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        same_version(self.__dict__.get("_sender", ""))
        raise AssertionError


def same_version(sender: str) -> None:
    """Raises WorkerError unless the sender's version is the one that is here."""
    if sender != __version__:
        raise WorkerError(f"this process has mosaic {__version__}, what it was sent is {sender}'s")


def packed(made_by: Callable[..., Any], *given: Any) -> tuple[object, ...]:
    """What ``__reduce__`` returns of an object that a function makes of what is given."""
    try:
        data = pickle.dumps((made_by, given))
    except (pickle.PicklingError, AttributeError, TypeError):
        data = b""
    if not data or b"__main__" in data:  # functions that other processes can't look up
        try:
            import cloudpickle
        except ImportError:
            data = data or pickle.dumps((made_by, given))
        else:
            data = cloudpickle.dumps((made_by, given))
    return unpacked, (__version__, data)


def unpacked(sender: str, data: bytes) -> Any:
    """What :func:`packed` was given, made again; a :class:`Stranger` if the version is another."""
    if sender != __version__:
        return Stranger(sender)
    made_by, given = pickle.loads(data)
    return made_by(*given)


def client() -> Any:
    """The client of dask.distributed that this process has made, or None."""
    distributed = sys.modules.get("distributed")  # without it there is no client
    if distributed is None:
        return None
    try:
        distributed.get_worker()
        return None  # on a worker: waiting for others might be for ever
    except (ValueError, AttributeError):
        pass
    try:
        found = distributed.default_client()
    except ValueError:
        return None
    return None if found.asynchronous else found


def check_workers() -> None:
    """Ask the workers of the current dask client, if there is one, for their versions.

    Raises WorkerError for the first that lacks the package, or has another version. Of workers
    that come later only the version can be judged, when something is asked there: one without the
    package can't unpack what it is sent, and dask.distributed drops it, or waits for ever.
    """
    found = client()
    if found is None:
        return
    for name, version in found.run(_installed, on_error="return").items():
        if version is None:
            raise WorkerError(f"dask's worker {name} has no mosaic")
        if isinstance(version, str) and version != __version__:
            raise WorkerError(f"dask's worker {name} has mosaic {version}, here is {__version__}")


def _installed() -> str | None:
    try:
        from mosaic.version import __version__ as found
    except ImportError:
        return None
    return found


# it travels as its code: a worker without the package couldn't look up its name
_installed.__module__ = "__main__"
