"""``mosaic serve``: a gateway that runs until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mosaic.errors import UsageError
from mosaic.gateway.app import Gateway
from mosaic.gateway.catalogs import named
from mosaic.gateway.door import widen
from mosaic.gateway.options import Options

_ENDS = (signal.SIGINT, signal.SIGTERM)


def configured(path: str | None, flags: dict[str, Any]) -> Options:
    """Options of a TOML file, overridden by flags that were given (not None).

    ``token_file`` names a file that holds the token. Raises UsageError.
    """
    told: dict[str, Any] = {}
    if path:
        try:
            told = tomllib.loads(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path} can't be read ({error})") from error
    told |= {name: value for name, value in flags.items() if value is not None}
    token_file = told.pop("token_file", None)
    if token_file is not None and not isinstance(token_file, str):
        raise UsageError(f"{path}: token_file must be a text")
    if token_file == "":  # of a variable that isn't set, say: nobody would be asked
        raise UsageError("--token-file names no file; leave it out to ask nobody for a token")
    if token_file:
        try:
            told["token"] = Path(token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the token can't be read ({type(error).__name__})") from None
        if not told["token"]:
            raise UsageError(f"{token_file} holds no token")
    known = [field.name for field in fields(Options)]
    unknown = [name for name in told if name not in known]
    if unknown:
        may = ", ".join([*known, "token_file"])
        raise UsageError(f"{path} sets {', '.join(unknown)}; it may set {may}")
    for name in ("redirects", "origins"):
        if isinstance(told.get(name), list):  # of a text, each letter would be one
            told[name] = tuple(told[name])
    return Options(**told)


def serve(sources: tuple[str, ...], options: Options, say: Callable[[str], None]) -> None:
    """Serves mosaics until SIGINT or SIGTERM; requests under way are finished then.

    A second signal ends the process at once.

    ``say`` is told where. Raises what :class:`~mosaic.gateway.app.Gateway` raises.
    """
    stop = threading.Event()

    def end(*_: object) -> None:
        for one in _ENDS:
            signal.signal(one, signal.SIG_DFL)
        stop.set()

    for one in _ENDS:
        signal.signal(one, end)
    widen(options.connections)
    with Gateway(named(sources), options) as gateway:
        say(f"serving  {gateway.url}/catalogs")
        say(f"map      {gateway.url}/")
        for location in gateway.locations():
            say(f"index    {location}")
        stop.wait()
        say("stopping: requests under way are finished; once more to stop at once")


def log_to_stderr() -> None:
    """The access log on stderr, a line a request."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("mosaic.gateway")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
