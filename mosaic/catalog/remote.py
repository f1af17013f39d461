"""Headers of remote rasters: GDAL reads them through the gate, in a process of its own.

The gate's loopback needs Python's lock to answer, and rasterio keeps that lock through some of its
calls, so the two can't share a process.  The process gets names on its standard input and gives
headers on its standard output.  Limits, retries, credentials and counters are the gate's; the
loopback remembers why a read failed, which GDAL doesn't tell.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mosaic.errors import AccessError, HeaderError, MissingError, Problem, StorageError
from mosaic.storage import Gate, default_gate
from mosaic.storage.loopback import Loopback

if TYPE_CHECKING:
    from mosaic.catalog.headers import Header

_READY = b"ready\n"
_SERVE = "from mosaic.catalog.remote import serve; serve()"


def read_governed(
    hrefs: Sequence[str], threads: int, gate: Gate | None = None, fresh: bool = True
) -> Iterator[tuple[str, Header | HeaderError]]:
    """Headers of rasters that the gate can reach, as they arrive; errors are values here.

    ``threads`` are opened at once; how many of them may ask their origin is the gate's to say.
    ``fresh``: what the gate has of them is forgotten first.
    """
    gate = gate or default_gate()
    loopback = Loopback(gate)
    left: dict[str, None] = {}
    try:
        for href in hrefs:
            try:
                if fresh:
                    gate.forget(href)
                left[href] = None
            except StorageError as error:
                yield href, HeaderError(_problem(href, error))
        while left:
            for href, got in _opened(list(left), loopback, threads):
                del left[href]
                yield href, _explained(href, got, loopback.failure(href))
            if left and threads > 1:
                threads = 1  # a file broke GDAL itself: one at a time tells which
            elif left:
                href = next(iter(left))
                del left[href]
                yield href, HeaderError(_broke_gdal(href))
    finally:
        loopback.close()


def _opened(
    hrefs: list[str], loopback: Loopback, threads: int
) -> Iterator[tuple[str, Header | Problem]]:
    """What a process of its own says, until it has said all or died."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            names = {href: f"/vsicurl/{loopback.url(href)}" for href in hrefs}
            if process.stdout.readline() != _READY:
                raise HeaderError(Problem("process", "no process can be started to read headers"))
            pickle.dump(names, process.stdin)
            process.stdin.close()
            while True:
                yield pickle.load(process.stdout)
        except (EOFError, pickle.UnpicklingError, BrokenPipeError):
            pass  # it has ended; who isn't answered is asked again
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("GDAL_HTTP_", "CPL_VSIL_CURL"))  # the gate's business now
    }
    none = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "no_proxy": f"{none},127.0.0.1" if none else "127.0.0.1",
    }


def serve() -> None:
    """The other process: names on standard input, headers and problems on standard output."""
    from mosaic.catalog.headers import read_header

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    # messages of GDAL and rasterio name the loopback with its key; what failed is told in a Problem
    warnings.simplefilter("ignore")
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    logging.getLogger("rasterio").propagate = False
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a driver that prints must not spoil the answers
    answers.write(_READY)
    answers.flush()
    lock = threading.Lock()

    def answer(href: str, name: str) -> None:
        try:
            told: Header | Problem = read_header(href, name)
        except HeaderError as error:
            told = error.problem
        with lock:
            pickle.dump((href, told), answers)
            answers.flush()

    names: dict[str, str] = pickle.load(sys.stdin.buffer)
    with ThreadPoolExecutor(int(sys.argv[1])) as pool:
        for done in [pool.submit(answer, href, name) for href, name in names.items()]:
            done.result()


def _explained(
    href: str, got: Header | Problem, failure: StorageError | None
) -> Header | HeaderError:
    if not isinstance(got, Problem):
        return got
    return HeaderError(_problem(href, failure) if failure else got)


def _problem(href: str, failure: StorageError) -> Problem:
    kinds = {MissingError: "missing", AccessError: "permission"}
    kind = next((name for of, name in kinds.items() if isinstance(failure, of)), "unreadable")
    told = failure.again()
    told.href = told.advice = ""  # a problem has places of its own for them
    return Problem(kind, str(told), failure.advice, href=href)


def _broke_gdal(href: str) -> Problem:
    what = "GDAL's process ended while it read this header"
    return Problem("unreadable", what, "mend the file or leave it out", href=href)
