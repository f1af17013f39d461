"""Dask's workers: what travels to them is of this version, and they have the package."""

from __future__ import annotations

import sys

from mosaic.errors import WorkerError
from mosaic.version import __version__


class Sent:
    """Goes before what travels: its arrival is an error where another version is installed."""

    def __reduce__(self) -> tuple[object, ...]:
        return same_version, (__version__,)


def same_version(sender: str) -> Sent:
    """Raises WorkerError unless the sender's version is the one that is here."""
    if sender != __version__:
        raise WorkerError(f"this process has mosaic {__version__}, what it was sent is {sender}'s")
    return Sent()


def check_workers() -> None:
    """Ask the workers of the current dask client, if there is one, for their versions.

    Raises WorkerError for the first that lacks the package, or has another version. Workers that
    come later are judged by what arrives there.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return
    try:
        client = distributed.default_client()
    except ValueError:
        return
    if client.asynchronous:
        return
    for name, version in client.run(_installed, on_error="return").items():
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
