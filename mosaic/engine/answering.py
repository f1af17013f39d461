"""How a process that GDAL has to itself answers: see :mod:`mosaic.engine.gdal_process`, which asks.

Requests come on its standard input, answers leave on its standard output, each a pickle behind
its length.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LENGTH = struct.Struct("<Q")
"""How a message's length is written."""


def answer_requests(
    called: Callable[[str, tuple[Any, ...]], Any],
    threads: int,
    at_once: Mapping[str, Callable[..., None]] | None = None,
) -> None:
    """Answer requests until standard input ends, and end this process then.

    ``called``: what a verb and its arguments give; whatever it raises is told. ``threads``: how
    many are answered at the same time. ``at_once``: verbs without an answer, done before others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    # messages of GDAL and rasterio name the loopback with its key; what failed is told in answers
    warnings.simplefilter("ignore")
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    logging.getLogger("rasterio").propagate = False
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a driver that prints must not spoil the answers
    lock = threading.Lock()

    def answer(number: int, verb: str, arguments: tuple[Any, ...]) -> None:
        try:
            found, failed = called(verb, arguments), ""
        except Exception as error:
            # all that GDAL, its drivers and rasterio may raise, told where the file is known
            found, failed = None, str(error.__cause__ or error) or type(error).__name__
        data = pickle.dumps((number, failed, found), protocol=5)
        with lock:
            answers.write(LENGTH.pack(len(data)))
            answers.write(data)
            answers.flush()

    pool = ThreadPoolExecutor(threads)
    while head := source.read(LENGTH.size):
        number, verb, arguments = pickle.loads(source.read(LENGTH.unpack(head)[0]))
        if at_once and verb in at_once:
            at_once[verb](*arguments)
        else:
            pool.submit(answer, number, verb, arguments)
    os._exit(0)  # nobody waits for what is under way, and a read that hangs must not keep it
